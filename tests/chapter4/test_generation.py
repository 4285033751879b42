"""Text that is generated while latents are edited."""

import pytest
import torch

from solutions.chapter4_interventions import Edit
from tests.chapter4.shared import encode, plain_run
from utils.grading import expect, expect_equal

EDITS = [Edit(0, 3, 1, 2.0), Edit(0, 7, 1, 2.0), Edit(1, 8, 4, 3.0, "scale"), Edit(2, 8, 5, 1.0, "add")]


def test_edits_stay_where_they_are(extend_edits):
    """Every edit of the prompt stays where it is."""
    expect_equal(extend_edits(list(EDITS), 9, 9), EDITS, "The edits of a text that has not grown")
    expect_equal(extend_edits(list(EDITS), 9, 11)[:4], EDITS, "The first edits of a text that has grown")


def test_the_list_given_is_left_alone(extend_edits):
    """The list that is given is left as it is."""
    given = list(EDITS)
    extend_edits(given, 9, 12)
    expect(given == EDITS, "The list that is given must not grow.", got=f"{len(given)} edits instead of {len(EDITS)}")


def test_edits_at_the_last_position_go_on(extend_edits):
    """Edits at the prompt's last position go on at every new one, and no others."""
    new = extend_edits(list(EDITS), 9, 12)[4:]
    expected = [edit._replace(position=position) for position in (9, 10, 11) for edit in EDITS[2:]]
    expect_equal([tuple(edit) for edit in new], [tuple(edit) for edit in expected], "The new edits")


def strong_edits(x, row: int = 0) -> list[Edit]:
    """One edit in the middle of the prompt, two at its end."""
    end = x.tokens.shape[1] - 1
    on = int(x.base.acts[1][0, end].argmax())
    return [Edit(0, 4, 7, 30.0, row=row), Edit(1, end, on, -25.0, "scale", row), Edit(0, end, 11, 20.0, "add", row)]


_done: dict = {}


def plain_generation(x, tokens, edits: list[Edit], n_new: int, temperature: float = 0.0, seed: int = 0) -> list:
    """Token by token with hooks written plainly; worked out once."""
    key = (id(x), str(tokens.tolist()), tuple(edits), n_new, temperature, seed)
    if key in _done:
        return _done[key]
    end = tokens.shape[1] - 1
    _, reads = plain_run(x.model, x.transcoders, tokens)
    old = {layer: encode(tc, reads[layer]) for layer, tc in x.transcoders.items()}
    now = {"set": lambda v, a: v, "scale": lambda v, a: v * a, "add": lambda v, a: v + a}
    fixed = [
        (e.row, e.layer, e.position, e.latent, now[e.kind](e.value, float(old[e.layer][e.row, e.position, e.latent])))
        for e in edits
    ]
    draws = torch.Generator().manual_seed(seed)
    for _ in range(n_new):
        changes = list(fixed)
        for position in range(end + 1, tokens.shape[1]):
            changes += [(r, layer, position, latent, value) for r, layer, where, latent, value in fixed if where == end]
        logits = plain_run(x.model, x.transcoders, tokens, changes)[0][:, -1]
        new = (
            torch.multinomial((logits / temperature).softmax(-1), 1, generator=draws)
            if temperature
            else logits.argmax(-1, keepdim=True)
        )
        tokens = torch.cat([tokens, new], 1)
    _done[key] = tokens.tolist()
    return _done[key]


@pytest.mark.parametrize("architecture", ["gemma3", "gpt2"])
def test_greedy_generation(generate, traced4, architecture):
    """The most probable continuation is that of hooks written plainly."""
    x = traced4(architecture)
    edits = strong_edits(x)
    found = generate(x.model, x.transcoders, x.tokens, edits, 3)
    expect_equal(found.tolist(), plain_generation(x, x.tokens, edits, 3), "The tokens")


def test_two_prompts_at_once(generate, traced4):
    """Each prompt of a batch goes on by itself, with its own edits: here only the second has any."""
    x = traced4("gemma3")
    other = torch.cat([x.tokens[:, :1], x.tokens[:, 1:].flip(1)], 1)
    tokens, edits = torch.cat([other, x.tokens]), strong_edits(x, 1)
    found = generate(x.model, x.transcoders, tokens, edits, 3)
    expect_equal(found.tolist(), plain_generation(x, tokens, edits, 3), "The tokens of two prompts")


@pytest.mark.parametrize("temperature", [2.0, 0.5])
def test_sampled_generation(generate, traced4, temperature):
    """Sampled continuations of a batch are those of hooks written plainly with the same seed."""
    x = traced4("gemma3")
    edits = strong_edits(x, 0) + strong_edits(x, 2)
    state = torch.get_rng_state()
    tokens = x.tokens.repeat(6, 1)
    found = generate(x.model, x.transcoders, tokens, edits, 3, temperature, 5)
    expect_equal(found.tolist(), plain_generation(x, tokens, edits, 3, temperature, 5), "The tokens of six rows")
    same = torch.equal(torch.get_rng_state(), state)
    expect(same, "PyTorch's own generator must be left alone: draw from one of your own.")


def test_without_edits_it_is_the_model_itself(generate, traced4):
    """Without edits it continues as the model itself does."""
    x = traced4("gemma3")
    tokens = x.tokens
    with torch.no_grad():
        for _ in range(2):
            tokens = torch.cat([tokens, x.model(tokens)[:, -1].argmax(-1, keepdim=True)], 1)
    found = generate(x.model, x.transcoders, x.tokens, [], 2)
    expect(found.shape == (1, x.tokens.shape[1] + 2), "Two tokens must be added.", got=tuple(found.shape))
    expect_equal(found.tolist(), tokens.tolist(), "The tokens")
