"""What is traced: tokens, contrasts, directions, other positions, weights; and how a prompt becomes tokens."""

from functools import partial

import pytest
import torch

from solutions.answers import trace_answer
from solutions.chapter3_attribution_graphs import attribute
from solutions.chapter5_cross_layer_transcoders import CrossLayerTranscoder, attribute_cross_layer
from tests.tiny import ARCHITECTURES, D_MODEL, PROMPT
from utils.dashboard import build_graph
from utils.engine.arguments import tokenize_prompt
from utils.engine.graph import AttributionResult, NodeType
from utils.engine.targets import as_targets, contrast, direction, token_id, token_target


def outputs(result: AttributionResult) -> list:
    return [result.graph.nodes[i] for i in result.graph.indices(NodeType.LOGIT)]


def rows(result: AttributionResult) -> torch.Tensor:
    return result.adjacency_matrix[result.graph.indices(NodeType.LOGIT)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_contrast_is_a_difference_of_logits(tiny, architecture):
    """Its value is the difference of the model's own logits, and its edges are the difference of the tokens' edges."""
    model, transcoders = tiny(architecture)
    tokens = ["Austin", "Paris", "France"]
    single = attribute(model, transcoders, PROMPT, target_tokens=tokens)
    result = attribute(model, transcoders, PROMPT, target_tokens=contrast(model, "Austin", ["Paris", "France"]))
    logits = model(model.to_tokens(PROMPT))[0, -1, [token_id(model, token) for token in tokens]].detach()
    assert float(result.values[-1]) == pytest.approx(float(logits[0] - logits[1:].mean()), rel=1e-5)
    expected = rows(single)[0] - rows(single)[1:].mean(0)
    torch.testing.assert_close(rows(result)[0][:-1], expected[:-3])
    assert result.scores["completeness_gap"] <= 1e-6
    (node,) = outputs(result)
    assert node.str_token == "Austin − mean of 2 others" and node.weight == 1.0
    assert node.token_prob == pytest.approx(
        float(model(model.to_tokens(PROMPT))[0, -1].detach().softmax(-1)[10]), rel=1e-5
    )


def test_a_direction_is_read_at_the_final_norm(tiny):
    model, transcoders = tiny("gemma3")
    vector = torch.randn(D_MODEL, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    result = attribute(model, transcoders, PROMPT, target_tokens=direction(model, vector, "a probe"))
    _, cache = model.run_with_cache(model.to_tokens(PROMPT), names_filter=lambda name: name == "ln_final.hook_out")
    assert float(result.values[-1]) == pytest.approx(float(cache["ln_final.hook_out"][0, -1] @ vector), abs=1e-5)
    assert result.scores["completeness_gap"] <= 1e-6
    assert outputs(result)[0].str_token == "a probe" and outputs(result)[0].token_prob == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_position_is_the_end_of_a_shorter_prompt(tiny, architecture):
    """What stands behind the position cannot act on it."""
    model, transcoders = tiny(architecture)
    whole = attribute(model, transcoders, PROMPT, position=4)
    words = PROMPT.split()[: 5 - int(architecture != "qwen3")]  # the tiny Qwen has no <bos>
    shorter = attribute(model, transcoders, " ".join(words))
    assert torch.equal(whole.adjacency_matrix, shorter.adjacency_matrix)
    assert whole.prompt == shorter.prompt == " ".join(words) and whole.str_tokens == shorter.str_tokens
    last = attribute(model, transcoders, PROMPT, position=-1)
    assert torch.equal(last.adjacency_matrix, attribute(model, transcoders, PROMPT).adjacency_matrix)
    for wrong in (99, -99):
        with pytest.raises(ValueError, match="position must be between"):
            attribute(model, transcoders, PROMPT, position=wrong)


def test_chosen_targets_weigh_the_same_unless_weights_are_given(tiny):
    model, transcoders = tiny("gemma3")
    equal = attribute(model, transcoders, PROMPT, target_tokens=["Austin", "Paris", "Austin"])
    assert [node.str_token for node in outputs(equal)] == ["Austin", "Paris"]
    assert equal.logit_weights.tolist() == [0.5, 0.5]
    given = attribute(model, transcoders, PROMPT, target_tokens={"Austin": 3, "Paris": 1})
    assert given.logit_weights.tolist() == [0.75, 0.25]
    default = attribute(model, transcoders, PROMPT)
    assert default.logit_weights.tolist() == pytest.approx([node.token_prob for node in outputs(default)])
    assert sum(default.logit_weights.tolist()) < 1


def test_an_unlikely_target_gets_edges(atlas):
    """Two tokens, one of them all but impossible: each has its part of the graph."""
    prompt = "The capital of the state containing Dallas is"
    result = attribute(*atlas, prompt, target_tokens=[" Austin", " Raleigh"])
    assert outputs(result)[1].token_prob < 1e-4
    assert (result.pruned_matrix[-2:] != 0).sum(1).min() >= 5


def test_a_text_is_one_token(atlas):
    model, transcoders = atlas
    result = attribute(model, transcoders, "The capital of the state containing Dallas is", target_tokens=" Austin")
    assert [node.str_token for node in outputs(result)] == [" Austin"]
    with pytest.raises(ValueError, match="not one token but"):
        as_targets(model, " Dallas, Texas")


def test_targets_are_traced_through_a_cross_layer_transcoder_too(tiny):
    model, _ = tiny("gemma3")
    torch.manual_seed(0)
    clt = CrossLayerTranscoder(3, D_MODEL, 31, threshold=0.5).double()
    result = attribute_cross_layer(model, clt, PROMPT, target_tokens=contrast(model, "Austin", "Paris"), position=-2)
    assert outputs(result)[0].str_token == "Austin − Paris"
    assert len(result.str_tokens) == len(model.to_str_tokens(PROMPT)) - 1
    assert result.scores["completeness_gap"] <= 1e-6


def test_targets_are_saved_and_drawn(tiny, tmp_path):
    model, transcoders = tiny("gemma3")
    targets = [contrast(model, "Austin", "Paris"), contrast(model, "Austin", "France"), token_target(model, "Austin")]
    result = attribute(model, transcoders, PROMPT, target_tokens=targets)
    loaded = AttributionResult.load(result.save(tmp_path / "result"))
    assert loaded.graph.nodes == result.graph.nodes
    assert torch.equal(loaded.logit_weights, result.logit_weights)
    labels = [node["clerp"] for node in build_graph(loaded)["nodes"] if node["isLogit"]]
    assert [label.split(" (p=")[0] for label in labels] == [
        'Output "Austin − Paris"',
        'Output "Austin − France"',
        'Output "Austin"',
    ]


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda model: as_targets(model, []), ValueError, "at least one"),
        (lambda model: as_targets(model, ""), ValueError, "token ''"),
        (lambda model: as_targets(model, [True]), TypeError, "not as a bool"),
        (lambda model: as_targets(model, [1.0]), TypeError, "not as a float"),
        (lambda model: as_targets(model, {"Austin": 0}), ValueError, "weigh nothing"),
        (lambda model: as_targets(model, {"Austin": -1}), ValueError, "at least 0"),
        (lambda model: as_targets(model, {"Austin": float("nan")}), ValueError, "at least 0"),
        (lambda model: contrast(model, "Austin", []), ValueError, "at least one other"),
        (lambda model: contrast(model, "Austin", ["Paris", "Austin"]), ValueError, "with itself"),
        (lambda model: direction(model, torch.zeros(D_MODEL)), ValueError, "not zero"),
        (lambda model: direction(model, torch.ones(D_MODEL + 1)), ValueError, f"has {D_MODEL} numbers"),
        (lambda model: direction(model, torch.full((D_MODEL,), torch.nan)), ValueError, "finite"),
    ],
)
def test_wrong_targets_are_refused_in_one_sentence(tiny, make, kind, message):
    with pytest.raises(kind, match=message) as error:
        make(tiny("gemma3")[0])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": torch.tensor([[1, 2]])}, "a text, not a Tensor"),
        ({"prompt": ["the", "capital"]}, "a text, not a list"),
        ({"prompt": b"the"}, "a text, not a bytes"),
        ({"prompt": None}, "a text, not a NoneType"),
        ({"node_threshold": "0.8"}, "node_threshold must be a number"),
        ({"edge_threshold": None}, "edge_threshold must be a number"),
        ({"top_k": 2.0}, "top_k must be a whole number, not 2.0"),
        ({"batch_size": True}, "batch_size must be a whole number"),
        ({"start_posn": 1.5}, "start_posn must be a whole number"),
        ({"position": "last"}, "position must be a whole number"),
    ],
)
def test_values_of_another_kind_are_refused_in_one_sentence(tiny, arguments, message):
    model, transcoders = tiny("gemma3")
    with pytest.raises(TypeError, match=message) as error:
        attribute(model, transcoders, **({"prompt": PROMPT} | arguments))
    assert "\n" not in str(error.value)


def test_model_and_transcoders_in_the_wrong_order_are_refused(tiny):
    model, transcoders = tiny("gemma3")
    with pytest.raises(TypeError, match="must be a TransformerBridge"):
        attribute(transcoders, model, PROMPT)
    with pytest.raises(TypeError, match="Transcoders are a dict"):
        attribute(model, list(transcoders.values()), PROMPT)


@pytest.mark.parametrize("text", ["<bos> " + PROMPT, "<bos> <bos> " + PROMPT])
def test_there_is_one_beginning_of_sequence(tiny, text):
    """Chat templates put one into the text, and the tokenizer puts one in front of that."""
    model, _ = tiny("gemma3")
    assert model.to_tokens(text)[0, 1] == model.tokenizer.bos_token_id
    assert torch.equal(tokenize_prompt(model, text), tokenize_prompt(model, PROMPT))


def test_an_answer_of_several_tokens_is_traced_token_by_token(tiny):
    """Each with the ones before it given."""
    model, transcoders = tiny("gemma3")
    results = trace_answer(partial(attribute, model, transcoders), model, PROMPT, " Austin in France", top_k=2)
    assert [outputs(result)[0].str_token for result in results] == ["Austin", "in", "France"]
    assert [result.prompt for result in results] == [PROMPT, PROMPT + " Austin", PROMPT + " Austin in"]
    single = attribute(model, transcoders, PROMPT + " Austin", target_tokens="in", top_k=2)
    assert torch.equal(results[1].adjacency_matrix, single.adjacency_matrix)
    with pytest.raises(ValueError, match="answer is empty"):
        trace_answer(partial(attribute, model, transcoders), model, PROMPT, " ")


def test_an_answer_that_changes_the_prompts_tokens_is_refused(atlas):
    trace = partial(attribute, *atlas)
    results = trace_answer(trace, atlas.model, "The opposite of small", " is big")
    assert [outputs(result)[0].str_token for result in results] == [" is", " b", "ig"]
    with pytest.raises(ValueError, match="last token is another one"):
        trace_answer(trace, atlas.model, "Dallas lies in the state of Tex", "as")
