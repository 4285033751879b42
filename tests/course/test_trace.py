"""The command that traces a prompt: what it writes, what it says, and how it refuses."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from solutions.chapter5_cross_layer_transcoders import CrossLayerTranscoder
from solutions.trace import __main__ as command
from solutions.trace.output import PARTS, staged
from solutions.trace.paths import Path as GraphPath
from solutions.trace.paths import direct_inputs, likeliest_answer, strongest_paths, top_sources
from solutions.trace.summary import node_in_words, path_in_words, printable, summarize
from tests.course.samples import HOSTILE, prune_sample, sample_result
from tests.tiny import D_MODEL, N_CTX, PROMPT, tiny_model, tiny_transcoders
from utils.dashboard import check_graph
from utils.engine.graph import AttributionResult, NodeType
from utils.models.registry import ATLAS_FOLDER

ROOT = Path(command.__file__).resolve().parents[2]
DALLAS = "The capital of the state containing Dallas is"
needs_atlas = pytest.mark.skipif(
    not (ATLAS_FOLDER / "model" / "config.json").is_file(), reason="the bundled model is not here: utils/atlas/weights"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A tiny random model in the bundled one's form."""
    folder = tmp_path_factory.mktemp("tiny")
    model = tiny_model(folder / "model", dtype=torch.float32)
    for layer, transcoder in tiny_transcoders(model).items():
        transcoder.save_model(folder / "transcoders" / f"layer_{layer}")
    named = {"0": {str(i): f"zero {i}" for i in range(41)}}
    (folder / "labels.json").write_text(json.dumps(named))
    return folder


@pytest.fixture
def trace(bundle, capsys):
    """Run the command in this process: (exit code, stdout, stderr)."""

    def call(*arguments, model=bundle):
        try:
            code = command.main([*map(str, arguments), "--model", str(model)])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return call


def refused(answer, *words):
    """The command said one sentence with these words, and stopped with 2. Before it may stand what the graph takes."""
    code, out, err = answer
    assert code == 2 and out == ""
    before, *rest = err.splitlines(keepends=True)
    err = "".join(rest) if before.startswith("The graph has ") else err
    assert err.count("\n") == 1 and err.endswith("\n") and len(err) > 20, err
    for word in words:
        assert word in err


# ---------------------------------------------------------------- what it writes and says


def test_a_trace_writes_page_graph_and_result(trace, tmp_path):
    code, out, _ = trace(PROMPT, "--out", tmp_path / "a" / "b")
    assert code == 0
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == set(PARTS)
    graph = json.loads((tmp_path / "a" / "b" / "graph.json").read_text())
    check_graph(graph)
    result = AttributionResult.load(tmp_path / "a" / "b" / "result")
    assert result.prompt == PROMPT == graph["metadata"]["prompt"]
    assert len(graph["nodes"]) == len(result.kept_indices)
    page = (tmp_path / "a" / "b" / "index.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and PROMPT in page
    for words in (PROMPT, "Strongest paths", "Completeness", "replacement", "nodes", "index.html"):
        assert words in out


def test_the_numbers_said_are_the_results(trace, tmp_path):
    _, out, _ = trace(PROMPT, "--out", tmp_path / "o", "--node-threshold", "0.9", "--edge-threshold", "1")
    result = AttributionResult.load(tmp_path / "o" / "result")
    assert (result.node_threshold, result.edge_threshold) == (0.9, 1.0)
    edges = int((result.pruned_matrix != 0).sum())
    assert f"{len(result.kept_indices)} of {len(result.graph.nodes)} nodes, {edges:,} of" in out
    assert f"gap {result.scores['completeness_gap']:.1e}" in out
    best = result.graph.nodes[likeliest_answer(result)]
    assert f"→ '{best.str_token}' {100 * best.token_prob:.1f} %" in out


def test_targets_are_traced_instead_of_the_likeliest(trace, tmp_path):
    code, out, _ = trace(PROMPT, "--out", tmp_path / "o", "--target", "Paris", "France")
    assert code == 0
    result = AttributionResult.load(tmp_path / "o" / "result")
    logits = [node.str_token for node in result.graph.nodes if node.node_type is NodeType.LOGIT]
    assert logits == ["Paris", "France"]
    assert "Strongest paths to" in out


def test_a_contrast_is_traced_and_said(trace, tmp_path):
    code, out, _ = trace(PROMPT, "--out", tmp_path / "o", "--target", "Paris", "--contrast", "France", "Austin")
    assert code == 0 and "Traced: 'Paris − mean of 2 others' ('Paris'" in out
    result = AttributionResult.load(tmp_path / "o" / "result")
    (node,) = [node for node in result.graph.nodes if node.node_type is NodeType.LOGIT]
    assert node.str_token == "Paris − mean of 2 others" and node.weight == 1


def test_a_contrast_alone_is_that_of_the_likeliest_token(trace, tmp_path):
    code, out, _ = trace(PROMPT, "--out", tmp_path / "o", "--contrast", "France")
    first = out.split("→ '")[1].split("'")[0]
    assert code == 0 and f"Traced: '{first} − France'" in out


def test_weights_and_positions_are_taken(trace, tmp_path):
    code, _, _ = trace(
        PROMPT, "--out", tmp_path / "o", "--target", "Paris", "is", "--weights", "1", "3", "--position", "-2"
    )
    assert code == 0
    result = AttributionResult.load(tmp_path / "o" / "result")
    assert result.logit_weights.tolist() == [0.25, 0.75] and result.prompt == PROMPT.rsplit(" ", 1)[0]


@needs_atlas
def test_of_two_forms_of_a_target_the_likelier_is_taken_and_named(trace, tmp_path):
    _, out, _ = trace(
        "Dallas lies in the state of",
        *("--target", "Texas", "--out", tmp_path / "o", "--examples", "none"),
        model="atlas",
    )
    assert "Traced: ' Texas'" in out and re.search(
        r"' Texas' \(\d+\.\d %\) was taken; 'Texas' \(<0.1 %\) is another token\.", out
    )


def test_a_target_that_lost_all_its_edges_is_named(bundle):
    result = sample_result(n_layers=2, per_cell=1, seed=0)
    assert "No edge to" not in summarize(result, [], [], {}, [bundle])
    result.pruned_matrix[:] = 0
    assert "No edge to" in summarize(result, [], [], {}, [bundle])


def test_the_strongest_sources_are_those_of_products_of_shares():
    """First order: a row of the shares. Second order: its product with the matrix of shares."""
    result = sample_result(n_layers=3, per_cell=2, seed=1)
    answer = likeliest_answer(result)
    shares = result.adjacency_matrix.abs() / result.adjacency_matrix.abs().sum(1, keepdim=True).clamp(min=1e-30)
    for order, expected in ((1, shares[answer]), (2, shares[answer] @ shares), (3, shares[answer] @ shares @ shares)):
        expected = expected.masked_fill(result.graph.hidden, 0)
        found = top_sources(result, answer, 4, order)
        assert [source.node for source in found] == expected.topk(4).indices.tolist()
        assert [source.share for source in found] == pytest.approx(expected.topk(4).values.tolist(), rel=1e-5)
    signs = result.adjacency_matrix[answer].sign()
    assert all(source.sign == signs[source.node] for source in top_sources(result, answer, 9))
    with pytest.raises(ValueError, match="order must be"):
        top_sources(result, answer, order=0)


def test_neurons_need_no_dictionary(trace, bundle, tmp_path):
    """A folder in Hugging Face form is enough."""
    code, out, _ = trace(
        PROMPT,
        *("--dictionary", "neurons", "--max-latent-nodes", "40", "--out", tmp_path / "o"),
        model=bundle / "model",
    )
    assert code == 0 and "read through neurons" in out
    check_graph(json.loads((tmp_path / "o" / "graph.json").read_text()))
    result = AttributionResult.load(tmp_path / "o" / "result")
    assert len(result.graph.indices(NodeType.LATENT)) == 40 and result.scores["completeness_gap"] < 1e-3
    again, _, _ = trace(PROMPT, "--dictionary", "neurons", "--out", tmp_path / "p")
    assert again == 0


def test_the_number_of_latents_can_be_limited(trace, tmp_path):
    code, _, _ = trace(PROMPT, "--max-latent-nodes", "7", "--out", tmp_path / "o")
    assert code == 0
    assert len(AttributionResult.load(tmp_path / "o" / "result").graph.indices(NodeType.LATENT)) == 7


def test_top_k_limits_the_latents(trace, tmp_path):
    trace(PROMPT, "--out", tmp_path / "o", "--top-k", "1")
    cells = [
        (n.layer, n.ctx_idx) for n in AttributionResult.load(tmp_path / "o" / "result").graph.nodes if n.activation
    ]
    assert cells and len(cells) == len(set(cells))


def test_labels_name_the_latents(trace, tmp_path):
    trace(PROMPT, "--out", tmp_path / "o", "--node-threshold", "1")
    graph = json.loads((tmp_path / "o" / "graph.json").read_text())
    latents = [n for n in graph["nodes"] if n["feature_type"] == "cross layer transcoder"]
    assert {n["clerp"].split()[0] for n in latents if n["layer"] == "0"} == {"zero"}
    assert {n["clerp"] for n in latents if n["layer"] != "0"} == {""}


def test_a_cross_layer_transcoder_is_traced(trace, bundle, tmp_path, monkeypatch):
    torch.manual_seed(3)
    weights = CrossLayerTranscoder(3, D_MODEL, 31, threshold=0.5).weights()
    weights.W_dec = [torch.randn_like(rows) for rows in weights.W_dec]
    weights.save(bundle / "clt")
    named = {"0": {str(i): f"crossing {i}" for i in range(31)}}
    (bundle / "clt" / "labels.json").write_text(json.dumps(named))
    code, out, _ = trace(PROMPT, "--dictionary", "clt", "--out", tmp_path / "o")
    assert code == 0 and f"{bundle.name}/clt" in out and "crossing" in out
    graph = json.loads((tmp_path / "o" / "graph.json").read_text())
    check_graph(graph)
    result = AttributionResult.load(tmp_path / "o" / "result")
    assert result.scores["completeness_gap"] < 1e-3 and result.dictionary_name == f"{bundle.name}/clt"
    assert any(node["clerp"].startswith("crossing") for node in graph["nodes"])
    monkeypatch.chdir(tmp_path)
    trace(PROMPT, "--dictionary", "clt")
    assert [path.name.startswith(f"{bundle.name}-clt-") for path in (tmp_path / "out").iterdir()] == [True]
    shutil.rmtree(bundle / "clt")


def test_a_model_without_a_cross_layer_transcoder_is_refused(trace, tmp_path):
    refused(trace(PROMPT, "--dictionary", "clt", "--out", tmp_path / "o"), "clt")
    assert not (tmp_path / "o").exists()


def test_the_default_folder_is_named_after_model_and_prompt(trace, bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = trace("the capital")
    assert code == 0
    assert (tmp_path / "out" / f"{bundle.name}-the-capital" / "index.html").is_file()


def test_a_second_trace_replaces_the_first(trace, tmp_path):
    trace(PROMPT, "--out", tmp_path / "o")
    code, _, _ = trace("the state", "--out", tmp_path / "o")
    assert code == 0
    assert json.loads((tmp_path / "o" / "graph.json").read_text())["metadata"]["prompt"] == "the state"
    assert AttributionResult.load(tmp_path / "o" / "result").prompt == "the state"
    assert {path.name for path in (tmp_path / "o").iterdir()} == set(PARTS)


@pytest.mark.parametrize("prompt", ["<script>alert(1)</script>", "a\nb\t\u202ec", "Dallas 👩‍👩‍👧 العربية"])
def test_hostile_prompts_are_traced_and_shown_as_text(trace, tmp_path, prompt):
    code, out, _ = trace(prompt, "--out", tmp_path / "o")
    assert code == 0
    assert "\u202e" not in out and "\t" not in out
    assert (tmp_path / "o" / "index.html").read_text().count("<script") == 2


# ---------------------------------------------------------------- how it refuses


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([""], ["empty"]),
        (["  \n"], ["empty"]),
        (["is " * (N_CTX + 1)], ["tokens", str(N_CTX)]),
        (["is", "--target", "Zork"], ["'Zork'"]),
        (["is", "--target", "Paris France"], ["Paris France"]),
        (["is", "--target", ""], ["token ''"]),
        (["is", "--contrast", "Zork"], ["'Zork'"]),
        (["is", "--target", "Paris", "--contrast", "Paris"], ["with itself"]),
        (["is", "--target", "Paris", "--weights", "1", "2"], ["2 numbers for 1 targets"]),
        (["is", "--weights", "1"], ["1 numbers for 0 targets"]),
        (["is", "--target", "Paris", "--weights", "0"], ["weigh nothing"]),
        (["is", "--max-latent-nodes", "0"], ["--max-latent-nodes"]),
        (["is", "--dictionary", "neurons", "--top-k", "3"], ["--max-latent-nodes instead of --top-k"]),
        (["is", "--position", "7"], ["position must be between"]),
        (["is", "--node-threshold", "1.01"], ["--node-threshold", "between 0 and 1"]),
        (["is", "--edge-threshold", "-0.1"], ["--edge-threshold", "between 0 and 1"]),
        (["is", "--node-threshold", "nan"], ["--node-threshold"]),
        (["is", "--node-threshold", "much"], ["node-threshold", "much"]),
        (["is", "--top-k", "0"], ["--top-k"]),
        (["is", "--device", "toaster"], ["toaster"]),
        (["is", "--nonsense"], ["--nonsense"]),
        ([], ["prompt"]),
        (["bad \udcff byte"], ["UTF-8"]),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing(trace, tmp_path, arguments, words):
    refused(trace(*arguments, "--out", tmp_path / "o"), *words)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_model_is_one_sentence(trace, tmp_path):
    refused(trace("is", "--out", tmp_path / "o", model="atlsa"), "atlsa", "atlas")
    refused(trace("is", "--out", tmp_path / "o", model=tmp_path), "model")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_sentence(trace, tmp_path):
    (tmp_path / "file").write_text("mine")
    refused(trace("is", "--out", tmp_path / "file"), "file")
    refused(trace("is", "--out", tmp_path / "file" / "below"), "cannot be written")
    refused(trace("is", "--out", "/proc/nowhere/out"), "cannot be written")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_with_other_files_is_left_alone(trace, tmp_path):
    (tmp_path / "index.html").write_text("mine")
    refused(trace("is", "--out", tmp_path), "other files")
    assert (tmp_path / "index.html").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failure_while_writing_keeps_the_earlier_trace(trace, tmp_path, monkeypatch):
    trace(PROMPT, "--out", tmp_path / "o")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "o").iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AttributionResult, "save", full)
    refused(trace("the state", "--out", tmp_path / "o"), "No space left")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "o").iterdir()} == before


def test_staging_leaves_nothing_behind_when_stopped(tmp_path):
    with pytest.raises(KeyboardInterrupt), staged(tmp_path / "o") as folder:
        (folder / "index.html").write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_run_as_a_module(tmp_path):
    """The real process: exit code 2, one line on stderr, and no heavy import before the check."""
    line = [sys.executable, "-m", "solutions.trace", "", "--out", str(tmp_path / "o")]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60)
    refused((done.returncode, done.stdout, done.stderr), "empty")


# ---------------------------------------------------------------- paths


def all_paths(result, answer):
    """Every path from a token to the answer, by walking back: slow and plain."""
    kept = result.kept_indices.tolist()
    shares = result.adjacency_matrix.abs() / result.adjacency_matrix.abs().sum(1, keepdim=True).clamp(min=1e-30)

    def back(node):
        if result.graph.nodes[node].node_type is NodeType.EMBEDDING:
            return [((node,), 1.0)]
        row = result.pruned_matrix[kept.index(node)]
        sources = [kept[k] for k in row.nonzero().flatten().tolist()]
        return [((*p, node), s * float(shares[node, source])) for source in sources for p, s in back(source)]

    return sorted(back(answer), key=lambda path: -path[1])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("per_token", [None, 1, 2])
def test_the_strongest_paths_are_those_of_a_full_search(seed, per_token):
    result = prune_sample(sample_result(n_layers=4, per_cell=2, seed=seed), n_nodes=45, edges_per_row=5)
    answer = likeliest_answer(result)
    expected, count = [], Counter()
    for nodes, strength in all_paths(result, answer):
        if per_token is None or count[nodes[0]] < per_token:
            expected.append((nodes, strength))
            count[nodes[0]] += 1
    found = strongest_paths(result, 7, per_token=per_token)
    assert [path.nodes for path in found] == [nodes for nodes, _ in expected[:7]]
    assert [path.strength for path in found] == pytest.approx([strength for _, strength in expected[:7]])
    place = {int(k): i for i, k in enumerate(result.kept_indices)}
    for path in found:
        signs = [int(result.pruned_matrix[place[b], place[a]].sign()) for a, b in pairwise(path.nodes)]
        assert list(path.signs) == signs


@pytest.mark.parametrize("layer", range(4))
def test_paths_through_chosen_latents_only(layer):
    result = prune_sample(sample_result(n_layers=4, per_cell=2), n_nodes=60, edges_per_row=6)
    nodes = result.graph.nodes
    expected = [p for p, _ in all_paths(result, likeliest_answer(result)) if any(nodes[i].layer == layer for i in p)]
    found = strongest_paths(result, 5, through=lambda node: node.layer == layer)
    assert [path.nodes for path in found] == expected[:5]


def test_strength_is_a_share_of_all_that_reaches_the_answer():
    """With nothing pruned, paths from tokens (direct ones too) and what begins at errors add up to one."""
    result = sample_result(tokens=["a", "b"], n_layers=2, per_cell=1, seed=3)
    answer = likeliest_answer(result)
    full = all_paths(result, answer)
    found = strongest_paths(result, 10_000)
    assert any(len(path.nodes) == 2 for path in found)
    assert sum(path.strength for path in found) == pytest.approx(sum(strength for _, strength in full))
    errors = sum_from_errors(result, answer)
    assert sum(strength for _, strength in full) + errors == pytest.approx(1, abs=1e-5)


def sum_from_errors(result, answer):
    """The part of what reaches the answer that begins at error nodes, by matrix powers."""
    normal = result.adjacency_matrix.abs() / result.adjacency_matrix.abs().sum(1, keepdim=True).clamp(min=1e-30)
    flow = torch.zeros(len(normal))
    flow[answer] = 1
    total = 0.0
    while flow.any():
        flow = flow @ normal
        total += float(flow[result.graph.indices(NodeType.MLP_ERROR)].sum())
    return total


@pytest.mark.parametrize("seed", range(3))
def test_direct_inputs_are_those_of_the_pruned_graph_and_the_rest_is_said(seed):
    result = prune_sample(sample_result(n_layers=4, per_cell=2, seed=seed), n_nodes=45, edges_per_row=5)
    answer = likeliest_answer(result)
    place = result.kept_indices.tolist()
    row, total = result.pruned_matrix[place.index(answer)], float(result.adjacency_matrix[answer].abs().sum())
    kept, dropped = direct_inputs(result, answer)
    wanted = sorted(((abs(float(w)) / total, place[k]) for k, w in enumerate(row) if w), reverse=True)
    assert [source.node for source in kept] == [node for _, node in wanted]
    assert [source.share for source in kept] == pytest.approx([share for share, _ in wanted])
    assert [source.sign for source in kept] == [int(row[place.index(source.node)].sign()) for source in kept]
    assert 0 < dropped < 1 and dropped + sum(source.share for source in kept) == pytest.approx(1)


def test_the_summary_tells_direct_inputs_first_and_what_the_paths_make_together():
    result = prune_sample(sample_result(n_layers=4, per_cell=2), n_nodes=45, edges_per_row=5)
    paths = strongest_paths(result, 4)
    kept, dropped = direct_inputs(result, likeliest_answer(result))
    lines = summarize(result, [(" a", 0.5)], paths, {}, [Path("x")]).splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("Direct inputs of"))
    shares = [shown_share(line) for line in lines[start + 1 : lines.index("", start)]]
    assert sum(shares) == pytest.approx(1, abs=0.005)
    assert shares[0] == pytest.approx(kept[0].share, abs=6e-4) and shares[-1] == pytest.approx(dropped, abs=6e-4)
    heading = next(line for line in lines if line.startswith("Strongest paths"))
    assert lines.index(heading) > start
    told = float(re.search(r"together ([\d.]+) %", heading)[1]) / 100
    assert told == pytest.approx(sum(path.strength for path in paths), abs=6e-4)


def shown_share(line: str) -> float:
    """The percentage at the beginning of a line."""
    return float(re.match(r" *<?([\d.]+) %", line)[1]) / 100


def test_paths_to_another_answer():
    result = prune_sample(sample_result(), 80, 12)
    other = result.graph.indices(NodeType.LOGIT)[1]
    paths = strongest_paths(result, 3, answer=other)
    assert {path.nodes[-1] for path in paths} == {other}


def test_a_graph_without_paths_is_said_to_have_none():
    result = sample_result()
    result.pruned_matrix.zero_()
    assert strongest_paths(result) == []
    assert "No path" in summarize(result, [(" a", 0.5)], [], {}, [Path("x")])


# ---------------------------------------------------------------- words


def test_a_path_in_words():
    result = sample_result()
    index = {node.node_id: i for i, node in enumerate(result.graph.nodes)}
    nodes = tuple(index[name] for name in ("E_11_8", "2_8_8", "4_9_9", "5_9_9", "L_50_9"))
    labels = {(2, 8): "Texas (state)", (5, 9): "say Austin"}
    words = path_in_words(GraphPath(nodes, 0.1, (1, 1, 1, -1)), result, labels)
    assert words == "'las' → Texas (state) layer 2 → latent 4/9 @ ' is' → say Austin layer 5 ⊣ ' Austin'"


def test_a_repeated_token_is_told_apart_by_its_place():
    result = sample_result(tokens=[" the", " cat", " the"])
    assert node_in_words(result.graph.nodes[2], result.str_tokens, {}) == "' the'[2]"
    assert node_in_words(result.graph.nodes[1], result.str_tokens, {}) == "' cat'"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_terminal_is_never_steered(text):
    shown = printable(text + "\x1b[31m", limit=10_000)
    assert shown.isprintable()
    assert len(printable(text)) <= 48


# ---------------------------------------------------------------- the bundled model


@needs_atlas
def test_the_bundled_model_knows_the_capital(capsys, tmp_path):
    assert command.main([DALLAS, "--out", str(tmp_path / "o"), "--examples", "none"]) == 0
    result = AttributionResult.load(tmp_path / "o" / "result")
    assert result.scores["completeness_gap"] < 1e-4
    best = result.graph.nodes[likeliest_answer(result)].str_token
    assert best.strip() and "Austin".startswith(best.strip())
    out = capsys.readouterr().out
    assert "Strongest paths" in out and " layer " in out, "no latent on a strong path has a name"
