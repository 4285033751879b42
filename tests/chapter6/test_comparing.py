"""What the sentences have in common on which a node fires."""

import pytest

from utils.grading import expect, expect_close, expect_equal

TEXAS = {"place": "Texas", "relation": "capital"}
TEXAS_FLOWER = {"place": "Texas", "relation": "flower"}
UTAH = {"place": "Utah", "relation": "capital"}
IOWA = {"place": "Iowa", "relation": "capital"}
EVERYWHERE = [TEXAS, TEXAS_FLOWER, UTAH, IOWA, IOWA, IOWA, IOWA, IOWA]


def test_agreement_by_hand(agreement):
    """Two of three are about Texas, one in four is everywhere; all ask for a capital, but so do most."""
    found = agreement([TEXAS, TEXAS, UTAH], EVERYWHERE)
    expect_equal(found.concept, ("place", "Texas"), "The concept")
    expect_close(found.share, 2 / 3, "Its share of the sentences that fired")
    expect_close(found.base, 2 / 8, "Its share of all sentences")
    expect_close(found.excess, 2 / 3 - 1 / 4, "The excess")


def test_the_difference_counts_not_the_ratio(agreement):
    """A rare concept in one sentence of five is no name for the other four."""
    found = agreement([IOWA, IOWA, IOWA, IOWA, UTAH], [*[IOWA, TEXAS] * 9, UTAH, TEXAS_FLOWER])
    expect_equal(found.concept, ("place", "Iowa"), "The concept")


def test_a_value_of_another_kind_is_another_concept(agreement):
    """New York the state and New York the city are two concepts."""
    state, city = {"state": "New York"}, {"city": "New York"}
    found = agreement([state, city, {"state": "Ohio"}, state], [state, city, {"state": "Ohio"}, {"state": "Utah"}] * 2)
    expect_equal(found.concept, ("state", "New York"), "The concept")
    expect_close(found.share, 0.5, "Its share of the sentences that fired")
    expect_close(found.base, 0.25, "Its share of all sentences")


def test_shares_are_of_the_sentences_that_fired(agreement):
    """All that fired are about Texas, however few sentences there are to compare with."""
    found = agreement([TEXAS] * 5, [UTAH, TEXAS, IOWA, IOWA])
    expect_equal(found.concept, ("place", "Texas"), "The concept")
    expect_close(found.share, 1.0, "Its share of the sentences that fired")


def test_nothing_in_common(agreement):
    """Where nothing fired, or nothing is more common than everywhere, there is no concept."""
    expect_equal(tuple(agreement([], EVERYWHERE)), (None, 0.0, 0.0), "Nothing fired")
    expect_equal(tuple(agreement([UTAH, IOWA], [UTAH, IOWA])), (None, 0.0, 0.0), "Nothing more common")


def test_nothing_to_compare_with(agreement):
    """Without any sentences there is one sentence of complaint."""
    with pytest.raises(ValueError) as error:
        agreement([TEXAS], [])
    expect("\n" not in str(error.value), "The message is one line", got=str(error.value))
