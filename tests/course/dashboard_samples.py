"""Graphs, latents and a browser for the tests of the dashboard."""

import contextlib
import json
import random
from collections.abc import Iterator

import pytest

from tests.course.samples import HOSTILE, prune_sample, sample_result
from utils.dashboard import build_graph, latents_of
from utils.notebooks import pictures

SIZES = [(1280, 720), (1920, 1080), (844, 390)]
TWO_FRAMES = pictures.TWO_FRAMES
LABELS = {(0, 0): "The (word)", (2, 7): "Dallas (city)", (3, 7): "Texas", (1, 3): "<b>of</b>"}


@contextlib.contextmanager
def chromium() -> Iterator:
    """A headless Chromium; the test is skipped where there is none."""
    with contextlib.ExitStack() as stack:
        try:
            browser = stack.enter_context(pictures.chromium())
        except pictures.NoChromium as error:
            pytest.skip(str(error))
        yield browser


@contextlib.contextmanager
def new_pages(browser) -> Iterator:
    """A function that opens an address in a window of its own; an error on one of the pages fails the test."""
    contexts, errors = [], []

    def open_page(url: str, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(30_000)  # a machine may be busy
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: message.type == "error" and errors.append(message.text))
        page.goto(url)
        page.evaluate(TWO_FRAMES)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not errors, errors


def sample_graph(n_nodes: int = 70, edges_per_row: int = 9, seed: int = 0, paths: bool = False, **options) -> dict:
    """A pruned random graph with a few labels, and one path if asked for."""
    result = prune_sample(sample_result(seed=seed, **options), n_nodes, edges_per_row)
    return build_graph(result, LABELS, paths=[(a_path(result), 0.25)] if paths else [])


def a_path(result) -> list[int]:
    """From an embedding through one latent to an answer."""
    kept, matrix = result.kept_indices.tolist(), result.pruned_matrix
    kinds = [result.graph.nodes[i].node_type.value for i in kept]
    for middle in range(len(kept)):
        sources = [s for s in matrix[middle].nonzero().flatten().tolist() if kinds[s] == "embedding"]
        targets = [t for t in matrix[:, middle].nonzero().flatten().tolist() if kinds[t] == "logit"]
        if kinds[middle] == "latent" and sources and targets:
            return [kept[sources[0]], kept[middle], kept[targets[0]]]
    raise AssertionError("the sample has no path")


def sample_latents(graph: dict, n_examples: int = 4, length: int = 12, seed: int = 0) -> dict:
    """Made-up data for every latent of a graph, in Anthropic's form."""
    rng = random.Random(seed)
    words = [f" word{k}" for k in range(3000)]
    latents = {}
    for layer, latent in sorted(latents_of(graph)):
        quantiles = []
        for name in ("Strongest", "Upper quarter", "Second quarter", "Third quarter", "Lowest quarter"):
            examples = []
            for _ in range(n_examples):
                centre = rng.randrange(length)
                acts = [0.0] * length
                acts[centre] = rng.uniform(0.5, 4)
                acts[rng.randrange(length)] = 0.25
                examples.append(
                    {
                        "tokens": rng.sample(words, length),
                        "tokens_acts_list": acts,
                        "train_token_ind": centre,
                        "is_repeated_datapoint": False,
                    }
                )
            quantiles.append({"quantile_name": name, "examples": examples})
        latents[layer, latent] = {
            "transcoder_id": f"sample-{layer}",
            "examples_quantiles": quantiles,
            "top_logits": [f" up{k}" for k in range(10)],
            "top_logit_values": [2.5 - k / 10 for k in range(10)],
            "bottom_logits": [f" down{k}" for k in range(10)],
            "bottom_logit_values": [-1.5 + k / 10 for k in range(10)],
            "act_min": 0.0,
            "act_max": 4.0,
            "histogram": [float(2 ** (10 - k)) for k in range(10)],
            "quantile_values": [k / 25 for k in range(100)],
            "activation_frequency": rng.choice([0.001, 0.02, 0.4]),
            "source": "Made up for a test.",
        }
    return latents


def cloned(graph: dict) -> dict:
    return json.loads(json.dumps(graph))


# ---------------------------------------------------------------- as other tools write it

LATENT, ERROR = "cross layer transcoder", "mlp reconstruction error"


def as_circuit_tracer(graph):
    """The same graph as circuit-tracer 0.5.0 writes it: an error is called `0_layer_position`, as a latent might be."""
    made, names = cloned(graph), {}
    for node in made["nodes"]:
        if node["feature_type"] == ERROR:
            names[node["node_id"]] = f"0_{node['layer']}_{node['ctx_idx']}"
        node["node_id"] = names.setdefault(node["node_id"], node["node_id"])
        node["jsNodeId"] = f"{node['layer']}_{node['ctx_idx']}-0"
        node["clerp"] = node["clerp"] if node["feature_type"] == "logit" else ""
        for key in ("own_influence", "input_total", "token", "isLogit"):
            node.pop(key, None)
    # as there: by target, then by source, latents before errors
    order = {id(node): (node["feature_type"] == ERROR, k) for k, node in enumerate(made["nodes"])}
    place = {old["node_id"]: order[id(new)] for old, new in zip(graph["nodes"], made["nodes"])}
    links = sorted(graph["links"], key=lambda link: (place[link["target"]], place[link["source"]]))
    made["links"] = [{k: names.get(v, v) for k, v in link.items()} for link in links]
    for key in ("info", "generation_settings", "pruning_settings", "scores", "counts"):
        made["metadata"].pop(key, None)
    made["metadata"] |= {"scan": "org/repo//folder@main", "transcoder_list": []}
    return made


def as_neuronpedia_backend(graph):
    """The same graph as Neuronpedia's own generator writes it: whole numbers for layers, no feature numbers, `qParams: {}`."""
    made, names = cloned(graph), {}
    for node in made["nodes"]:
        kind, layer, pos = node["feature_type"], node["layer"], node["ctx_idx"]
        index = node["node_id"].split("_")[1]
        names[node["node_id"]] = {
            LATENT: f"{layer}_cro_{index}_{pos}",
            ERROR: f"{layer}_error_mlp_{pos}",
            "embedding": f"E_{index}_{pos}",
            "logit": f"6_{index}_{pos}",
        }[kind]
        node |= {"node_id": names[node["node_id"]], "jsNodeId": names[node["node_id"]]}
        node["layer"] = 6 if kind == "logit" else -1 if kind == "embedding" else int(layer)
        node["feature"] = node["feature"] if kind == LATENT else None
        node["clerp"] = {LATENT: f"F{node['feature']}", "logit": f'Logit "{node.get("token")}" (p=0.93)'}.get(kind, "")
        for key in ("own_influence", "input_total", "token", "isLogit", "token_prob"):
            node.pop(key, None)
    made["links"] = [{k: names.get(v, v) for k, v in link.items()} for link in made["links"]]
    made["qParams"] = {}
    return made


# ---------------------------------------------------------------- hostile files

ODD = [
    None, True, 0, -1, 1.5, 10**400, -(10**30), 1e308, float("nan"), float("inf"), "", "0", "-1", "E", "L", "1e999",
    [], {}, [[]], [None] * 3, {"a": 1}, "constructor", "__proto__", "0_1_1", "E_3_0", *HOSTILE,
    {"nodes": ["E_3_0"], "strength": 1}, [["name", "E_3_0"]], '[["<b>", "E_3_0"]]', "E_3_0,E_4_1", [["0_0", "<b>"]],
]  # fmt: skip


def places(value, path=()):
    """Every place inside a JSON value."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*path, key))


def mutated(graph, rng):
    """A graph with a few parts replaced, removed, doubled or exchanged; sometimes damaged as text."""
    made = cloned(graph)
    for _ in range(rng.choice([1, 1, 2, 4])):
        everywhere = list(places(made))
        *parents, key = rng.choice(everywhere[1:])
        where = made
        for step in parents:
            where = where[step]
        action = rng.random()
        if action < 0.6:
            where[key] = cloned(rng.choice(ODD))
        elif action < 0.75:
            del where[key]
        elif isinstance(where, list):
            where.insert(rng.randrange(len(where) + 1), cloned(where[key]))
        else:
            where[rng.choice(HOSTILE)] = cloned(where[key])
        if not isinstance(made, dict) or len(list(places(made))) < 3:
            break
    text = json.dumps(made)
    if rng.random() < 0.1:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(["", '"', "}", "\\u0000", "</script>", "NaN"]) + text[at + rng.randrange(3) :]
    return text


def fuzzed(count, seed=0):
    """`count` hostile graph files as text, from the forms of three tools."""
    rng = random.Random(seed)
    result = prune_sample(sample_result(HOSTILE[:6], n_layers=3, per_cell=1), 14, 4)
    ours = build_graph(result, LABELS)
    forms = [ours, as_circuit_tracer(ours), as_neuronpedia_backend(ours)]
    return [mutated(forms[k % 3], rng) for k in range(count)]
