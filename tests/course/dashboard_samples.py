"""Graphs, latents and a browser for the tests of the dashboard."""

import contextlib
import json
import random
import shutil
from collections.abc import Iterator

import pytest

from tests.course.samples import prune_sample, sample_result
from utils.dashboard import build_graph, latents_of

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
LABELS = {(0, 0): "The (word)", (2, 7): "Dallas (city)", (3, 7): "Texas", (1, 3): "<b>of</b>"}


@contextlib.contextmanager
def chromium() -> Iterator:
    """A headless Chromium; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (requirements-dev.txt)")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


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
