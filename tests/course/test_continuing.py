"""Generation with a cache of keys and values gives the text that running everything anew gives."""

import pytest
import torch

from solutions.chapter4_interventions import Edit, continue_text, generate, intervene, run_base
from solutions.chapter4_interventions.continuing import choose_token
from tests.tiny import ARCHITECTURES, N_CTX, PROMPT

N_NEW = 4
NEVER = -1  # no token ends the text


@pytest.fixture(scope="module")
def prepared(tiny):
    """`prepared(architecture)`: model, transcoders, two rows of one prompt, and edits in the middle and at the end."""

    def make(architecture):
        model, transcoders = tiny(architecture)
        tokens = model.to_tokens(PROMPT).repeat(2, 1)
        last = tokens.shape[1] - 1
        edits = [
            Edit(0, 2, 7, 30.0, row=1),
            Edit(1, last, 5, 12.0, "add", row=1),
            Edit(0, last, 11, 20.0, row=1),
        ]
        return model, transcoders, tokens, edits

    return make


@pytest.mark.parametrize("temperature", [0.0, 1.5])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_is_what_generate_writes(prepared, architecture, temperature):
    model, transcoders, tokens, edits = prepared(architecture)
    expected = generate(model, transcoders, tokens, edits, N_NEW, temperature, 3)
    found = continue_text(model, transcoders, tokens, edits, N_NEW, temperature=temperature, seed=3, stop_at=NEVER)
    assert found.tolist() == expected.tolist()
    assert generate(model, transcoders, tokens, [], N_NEW, temperature, 3).tolist() != expected.tolist()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_attention_can_be_frozen(prepared, architecture):
    """Token by token with chapter 4's `intervene`, whose patterns are those of the text without edits."""
    model, transcoders, tokens, edits = prepared(architecture)
    last, expected = tokens.shape[1] - 1, tokens
    values = run_base(model, transcoders, tokens).acts[1][1, last, 5] + 12.0
    fixed = [edits[0], edits[1]._replace(value=float(values), kind="set"), edits[2]]
    for _ in range(N_NEW):
        more = [e._replace(position=p) for e in fixed[1:] for p in range(last + 1, expected.shape[1])]
        base = run_base(model, transcoders, expected)
        logits = intervene(model, transcoders, base, [*fixed, *more], freeze_attention=True).logits
        expected = torch.cat([expected, logits[:, -1].argmax(-1, keepdim=True)], 1)
    found = continue_text(model, transcoders, tokens, edits, N_NEW, freeze_attention=True, stop_at=NEVER)
    assert found.tolist() == expected.tolist()


def test_a_row_ends_at_its_end_token(prepared):
    model, transcoders, tokens, edits = prepared("gemma3")
    whole = continue_text(model, transcoders, tokens, edits, N_NEW, stop_at=NEVER)
    new = whole[:, tokens.shape[1] :].tolist()
    end = new[1][0]
    found = continue_text(model, transcoders, tokens, edits, N_NEW, stop_at=end)[:, tokens.shape[1] :].tolist()
    if end in new[0]:
        assert len(found[1]) == new[0].index(end) + 1
    assert set(found[1]) == {end} and found[0] == new[0][: len(found[0])]
    alone = [edit._replace(row=0) for edit in edits]
    assert continue_text(model, transcoders, tokens[1:], alone, N_NEW, stop_at=end).shape[1] == tokens.shape[1] + 1


def test_it_stops_at_the_models_length(prepared):
    model, transcoders, tokens, _ = prepared("gpt2")
    found = continue_text(model, transcoders, tokens, [], 100, stop_at=NEVER)
    assert found.shape[1] == N_CTX


def test_top_p_draws_from_the_most_probable():
    logits = torch.tensor([[0.1, 0.5, 0.3, 0.1]]).log().repeat(500, 1)
    generator = torch.Generator().manual_seed(0)
    drawn = {p: set(choose_token(logits, 1.0, p, generator)[:, 0].tolist()) for p in (0.4, 0.6, 0.8001, 1.0)}
    assert drawn[0.4] == {1} and drawn[0.6] == {1, 2} and len(drawn[0.8001]) == 3 and drawn[1.0] == {0, 1, 2, 3}


@pytest.mark.parametrize("wrong", [{"top_p": 0.0}, {"top_p": 1.5}, {"temperature": -1.0}])
def test_numbers_out_of_range_are_refused(prepared, wrong):
    model, transcoders, tokens, _ = prepared("gpt2")
    with pytest.raises(ValueError, match="must be"):
        continue_text(model, transcoders, tokens, [], 1, **wrong)
