"""Results on disk: what is saved comes back, and what is damaged is refused."""

import json
import pickle

import pytest
import torch

from solutions.chapter3_attribution_graphs import attribute
from tests.tiny import PROMPT
from utils.engine import graph as graph_module
from utils.engine.graph import JSON_FILE, TENSORS_FILE, AttributionResult, NodeInfo, NodeType

TENSORS = ("adjacency_matrix", "bias", "values", "influence", "kept_indices", "pruned_matrix")
FIELDS = ("prompt", "str_tokens", "node_threshold", "edge_threshold", "model_name", "dictionary_name", "scores")


@pytest.fixture(scope="module")
def result(tiny) -> AttributionResult:
    return attribute(*tiny("gemma3"), PROMPT, top_k=2, model_name="tiny", dictionary_name="randóm")


def test_what_is_saved_comes_back(result, tmp_path):
    folder = result.save(tmp_path / "deep" / "folder")
    loaded = AttributionResult.load(folder)
    for name in TENSORS:
        assert torch.equal(getattr(loaded, name), getattr(result, name))
        assert getattr(loaded, name).dtype == getattr(result, name).dtype
    for name in FIELDS:
        assert getattr(loaded, name) == getattr(result, name)
    for name in ("nodes", "node_range_dict", "seq_len", "n_layers", "start_posn"):
        assert getattr(loaded.graph, name) == getattr(result.graph, name)
    for name in ("writing_vecs", "reading_vecs", "reading_bias"):
        assert torch.equal(getattr(loaded.graph, name), getattr(result.graph, name))
    assert {path.name for path in folder.iterdir()} == {TENSORS_FILE, JSON_FILE}
    assert [path.name for path in folder.parent.iterdir()] == ["folder"], "something temporary was left"


def test_an_earlier_result_is_replaced(result, tmp_path, tiny):
    folder = tmp_path / "result"
    attribute(*tiny("qwen3"), "Dallas").save(folder)
    result.save(folder)
    assert AttributionResult.load(folder).prompt == PROMPT
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_a_failure_while_saving_leaves_the_earlier_result(result, tmp_path, tiny, monkeypatch):
    folder = tmp_path / "result"
    earlier = attribute(*tiny("qwen3"), "Dallas")
    earlier.save(folder)

    def fail(*args):
        raise OSError("no space left")

    monkeypatch.setattr(graph_module, "_file_hash", fail)
    with pytest.raises(OSError, match="no space"):
        result.save(folder)
    with pytest.raises(OSError, match="no space"):
        result.save(tmp_path / "new")
    monkeypatch.undo()
    assert AttributionResult.load(folder).prompt == "Dallas"
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_files_of_others_are_not_replaced(result, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds other files"):
        result.save(tmp_path)
    with pytest.raises(ValueError, match="not a folder"):
        result.save(tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def refused(folder, message):
    with pytest.raises(ValueError, match=message) as error:
        AttributionResult.load(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [TENSORS_FILE, JSON_FILE])
def test_damaged_files_are_refused(result, tmp_path, name):
    path = result.save(tmp_path / "result") / name
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:-1], pickle.dumps({"a": 1})):
        path.write_bytes(damaged)
        refused(path.parent, "damaged|not written by this course")
    for at in (len(whole) // 3, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        refused(path.parent, "damaged|not written by this course|version")
    path.unlink()
    refused(path.parent, "no saved result")


def test_foreign_files_are_refused(result, tmp_path):
    folder = result.save(tmp_path / "result")
    header = json.loads((folder / JSON_FILE).read_text())
    for change, message in [
        ({"format": "another"}, "not written by this course"),
        ({"version": 99}, "version 99"),
        ({"content": []}, "damaged"),
    ]:
        (folder / JSON_FILE).write_text(json.dumps(header | change))
        refused(folder, message)
    for text in ("[]", "null", "[" * 100_000):
        (folder / JSON_FILE).write_text(text)
        refused(folder, "damaged|not written by this course")
    refused(tmp_path / "nowhere", "no saved result")


def test_parts_that_do_not_fit_together_are_refused(result, tmp_path):
    """Even with right checksums."""
    folder = result.save(tmp_path / "result")
    header = json.loads((folder / JSON_FILE).read_text())
    for change in (
        lambda content: content["graph"]["nodes"].pop(),
        lambda content: content["graph"]["nodes"][0].update(node_type="alien"),
        lambda content: content["graph"]["nodes"][0].update(surprise=1),
        lambda content: content.pop("prompt"),
        lambda content: content["graph"].update(node_range_dict=[[1]]),
    ):
        content = json.loads(json.dumps(header["content"]))
        change(content)
        changed = header | {"content": content, "content_sha256": graph_module._content_hash(content)}
        (folder / JSON_FILE).write_text(json.dumps(changed))
        refused(folder, "damaged")


def test_names_of_nodes_are_their_own():
    latent = NodeInfo(NodeType.LATENT, 0, 5, 0)
    error = NodeInfo(NodeType.MLP_ERROR, 0, 5, 0)
    assert latent.node_id == "0_0_5" and error.node_id != latent.node_id
