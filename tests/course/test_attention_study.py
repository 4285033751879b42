"""The measurement behind chapter 7: many prompts, one head."""

import pytest
import torch

from solutions.attention_study import by_position, find, lists_of_names, main, summary
from solutions.chapter7_attention import measured, pair_attributions


@pytest.fixture(scope="module")
def asked(atlas):
    return list(lists_of_names(2, seed=3))


def test_lists_break_off_where_the_third_name_comes(asked):
    for size, one in zip((3, 4), asked):
        words = [node.str_token.strip() for node in one.head.x.graph.nodes[: one.head.x.graph.seq_len]]
        names = words[1 : 2 * size : 2]
        assert words[1:] == [part for name in [*names, *names[:2]] for part in (name, ",")]
        assert one.key == 5 and words[one.answers] == words[one.asks] == names[1]
        assert sorted([*one.others, one.key]) == list(range(1, 2 * size, 2))


def test_tables_add_up_but_for_the_constants(asked):
    one = asked[0]
    x = one.head.x
    pairs = pair_attributions(one.head, x.graph.seq_len - 1, one.key, one.others).pairs
    table = by_position(x, pairs)
    torch.testing.assert_close(table.sum(), pairs[:-1, :-1].sum(), rtol=1e-4, atol=1e-4)
    assert not table[:, max([*one.others, one.key]) + 1 :].any()  # nothing behind a key reaches it


def test_a_finding_is_what_runs_of_the_model_give(asked):
    one = asked[1]
    found, query = find(one), one.head.x.graph.seq_len - 1
    plain, without = measured(one.head, query, [[], [one.answers]])
    assert found.weight == pytest.approx(float(plain.pattern[one.key]), abs=1e-5)
    change = float(without.pattern[one.key] - plain.pattern[one.key])
    assert float(found.real[found.story]) == pytest.approx(change, abs=1e-5)
    # what is held answers as predicted, as far as the words are on one side only
    assert float(torch.corrcoef(torch.stack([found.predicted, found.frozen]))[0, 1]) > 0.8
    text = summary([found, find(asked[0])])
    assert text.startswith("2 prompts") and len(text.splitlines()) == 5


def test_the_command(atlas, capsys):
    assert main(["--prompts", "1"]) == 0
    assert capsys.readouterr().out.startswith("1 prompts")
    assert main(["--prompts", "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
