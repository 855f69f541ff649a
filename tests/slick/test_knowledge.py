"""slick.knowledge: the four categories, and what a probe says of a fact."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.facts import Fact
from slick.knowledge import CATEGORIES, KNOWN, Category, Knowledge, categorise, category_counts
from slick.sampled import count_right

HIGHLY, MAYBE, WEAKLY, UNKNOWN = CATEGORIES
FACT = Fact.create("Where is A?", ["B"])


@pytest.mark.parametrize(
    ("counts", "category"),
    [
        ((10, 10, 160, 160), HIGHLY),
        ((10, 10, 0, 160), HIGHLY),
        ((10, 10, 0, 0), HIGHLY),
        ((1, 1, 0, 0), HIGHLY),
        ((9, 10, 160, 160), MAYBE),
        ((9, 10, 0, 0), MAYBE),
        ((1, 10, 160, 160), MAYBE),
        ((1, 10, 0, 160), MAYBE),
        ((1, 10, 0, 0), MAYBE),
        ((0, 10, 160, 160), WEAKLY),
        ((0, 10, 1, 160), WEAKLY),
        ((0, 1, 1, 1), WEAKLY),
        ((0, 10, 0, 160), UNKNOWN),
        ((0, 1, 0, 1), UNKNOWN),
    ],
)
def test_the_category_table(counts: tuple[int, int, int, int], category: Category) -> None:
    """PAPER.md's table with its boundary rows; samples matter only where no greedy answer is right."""
    assert categorise(*counts) is category


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((0, 0, 0, 0), "0 right of 0 greedy answers cannot be"),
        ((-1, 10, 0, 0), "-1 right of 10 greedy answers"),
        ((11, 10, 0, 0), "11 right of 10 greedy answers"),
        ((0, 10, 161, 160), "161 right of 160 sampled answers"),
        ((0, 10, -1, 160), "-1 right of 160 sampled answers"),
        ((10, 10, 1, 0), "1 right of 0 sampled answers"),
        ((0, 10, 0, 0), "the category cannot be told"),
    ],
)
def test_counts_that_cannot_be_are_refused(counts: tuple[int, int, int, int], message: str) -> None:
    """Impossible counts, and a fact without a greedy hit or a sample, have no category."""
    with pytest.raises(ValueError, match=message):
        categorise(*counts)


def test_categories_are_ranked_and_named() -> None:
    """Best first; ranks fall from 3 to 0; metric names are the category's, in lm-eval's spelling."""
    assert [c.rank for c in CATEGORIES] == [3, 2, 1, 0]
    assert [str(c) for c in CATEGORIES] == ["HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown"]
    assert [c.metric for c in CATEGORIES] == ["highly_known", "maybe_known", "weakly_known", "unknown"]
    assert set(CATEGORIES) - set(KNOWN) == {UNKNOWN}


ANSWERS = st.lists(st.booleans(), min_size=1, max_size=12)


def judged(greedy: list[bool], sampled: list[list[bool]]) -> Category:
    def said(right: bool) -> str:
        return " B\n" if right else " C\n"

    return count_right(FACT, [said(g) for g in greedy], [[said(s) for s in group] for group in sampled]).category


@given(ANSWERS, st.lists(ANSWERS, min_size=1, max_size=4), st.data())
def test_turning_one_wrong_answer_right_never_lowers_a_category(
    greedy: list[bool], sampled: list[list[bool]], data: st.DataObject
) -> None:
    """More right answers mean the same category or a better one."""
    before = judged(greedy, sampled)
    everything = [greedy, *sampled]
    group = data.draw(st.integers(0, len(everything) - 1))
    place = data.draw(st.integers(0, len(everything[group]) - 1))
    everything[group][place] = True
    assert judged(greedy, sampled).rank >= before.rank


@given(ANSWERS, st.lists(ANSWERS, min_size=1, max_size=4), st.lists(ANSWERS, max_size=4))
def test_more_samples_never_lower_a_category(
    greedy: list[bool], sampled: list[list[bool]], more: list[list[bool]]
) -> None:
    """At fixed greedy answers, whatever further samples say, the category stays or rises."""
    assert judged(greedy, [*sampled, *more]).rank >= judged(greedy, sampled).rank


@given(ANSWERS, st.lists(ANSWERS, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_answers_never_matters(greedy: list[bool], sampled: list[list[bool]], random: Random) -> None:
    """Answers and their groups may come in any order."""
    before = judged(greedy, sampled)
    for group in (greedy, sampled, *sampled):
        random.shuffle(group)
    assert judged(greedy, sampled) is before


def test_shares_are_of_what_was_asked_and_none_where_nothing_was() -> None:
    """P_Correct is right over total; unmeasured shares are None, never 0."""
    whole = Knowledge(FACT, 2, 10, 40, 160, 3, 5)
    assert (whole.p_greedy, whole.p_sampled, whole.p_before) == (0.2, 0.25, 0.6)
    greedy_only = Knowledge(FACT, 2, 10, 0, 0)
    assert (greedy_only.p_sampled, greedy_only.p_before) == (None, None)
    assert greedy_only.category is MAYBE


def test_every_category_is_counted() -> None:
    """The counts name all four categories, best first, absent ones with 0."""
    knowledge = [Knowledge(FACT, 10, 10, 0, 0), Knowledge(FACT, 0, 10, 0, 16), Knowledge(FACT, 0, 10, 0, 16)]
    assert list(category_counts(knowledge).items()) == [(HIGHLY, 1), (MAYBE, 0), (WEAKLY, 0), (UNKNOWN, 2)]
    assert set(category_counts([]).values()) == {0}
