"""slick.knowledge: the four categories, and what a probe says of a fact."""

from __future__ import annotations

import json
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.facts import Fact
from slick.knowledge import (
    CATEGORIES,
    KNOWN,
    Category,
    Chances,
    Knowledge,
    categorise,
    category_counts,
    expected_shares,
    unknown_noise,
)
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


# --- the exact estimator ----------------------------------------------------------------------------------------


def exact(greedy_right: int, *p: float, n_samples: int = 16, pruned: float = 0.0) -> Knowledge:
    return Knowledge(FACT, greedy_right, len(p), chances=Chances(p, n_samples, pruned))


def p_of(u: float, sets: int = 10) -> tuple[float, ...]:
    """Chances, the same for every set, under which none of 16 samples a set is right with chance u."""
    return (1 - u ** (1 / (16 * sets)),) * sets


@pytest.mark.parametrize(
    ("found", "category", "flagged"),
    [
        (exact(10, *[0.0] * 10), HIGHLY, False),
        (exact(9, *[1.0] * 10), MAYBE, False),
        (exact(1, *[0.0] * 10), MAYBE, False),
        (exact(1, *p_of(0.5)), MAYBE, False),
        (exact(0, *[0.0] * 10), UNKNOWN, False),
        (exact(0, *p_of(0.951)), UNKNOWN, False),
        (exact(0, *p_of(0.949)), UNKNOWN, True),
        (exact(0, *p_of(0.501)), UNKNOWN, True),
        (exact(0, *p_of(0.499)), WEAKLY, True),
        (exact(0, *p_of(0.051)), WEAKLY, True),
        (exact(0, *p_of(0.049)), WEAKLY, False),
        (exact(0, 1.0, *[0.0] * 9), WEAKLY, False),
        (exact(0, 0.04, n_samples=16), UNKNOWN, True),
        (exact(0, 0.04, n_samples=17), WEAKLY, True),
    ],
)
def test_the_category_from_exact_chances(found: Knowledge, category: Category, flagged: bool) -> None:
    """Unknown where no greedy answer is right and u > 0.5; flagged where u is not clear; hits need no samples."""
    assert (found.category, found.flagged) == (category, flagged)


def test_u_keeps_the_digits_of_small_chances() -> None:
    """A product of 160 factors next to 1 is computed to the last digits; a hit makes it 0."""
    assert exact(0, *[1e-12] * 10).u == pytest.approx(math.exp(-160e-12), abs=1e-16)
    assert exact(0, *[1e-12] * 10).u != 1.0
    assert exact(0, *[0.25] * 10).u == pytest.approx(0.75**160, rel=1e-12)
    assert exact(3, *[0.25] * 10).u == 0.0


def test_pruned_mass_that_could_turn_the_category_is_flagged() -> None:
    """u is clear by what was walked, but not if all that was not walked were right; one cannot exceed 1."""
    assert exact(0, *[1e-6] * 10, pruned=1e-6).flagged is False
    assert exact(0, *[1e-6] * 10, pruned=1e-3).flagged is True
    assert exact(0, *[0.0] * 10, pruned=1.0).flagged is True
    assert exact(0, *[0.9] * 10, pruned=0.5).flagged is False
    assert exact(1, *[0.0] * 10, pruned=1.0).flagged is False


def test_the_chances_stand_in_for_samples() -> None:
    """P_Correct(T>0) is the mean over sets; sampled knowledge has neither u nor flags."""
    found = exact(1, 0.1, 0.2, 0.6)
    assert found.p_sampled == pytest.approx(0.3)
    assert (found.sampled_total, found.p_greedy) == (0, 1 / 3)
    sampled = Knowledge(FACT, 0, 10, 0, 160)
    assert (sampled.u, sampled.flagged) == (None, None)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        (((), 16), "chances of no exemplar set cannot be"),
        (((0.5, -0.1), 16), "-0.1 is no probability"),
        (((0.5, 1.1), 16), "1.1 is no probability"),
        (((math.nan,), 16), "nan is no probability"),
        (((0.5,), 16, math.inf), "inf is no probability"),
        (((0.5,), 0), "0 samples a set cannot be"),
    ],
)
def test_chances_that_cannot_be_are_refused(given_: tuple[object, ...], message: str) -> None:
    """No probability, no sets, no samples."""
    with pytest.raises(ValueError, match=message):
        Chances(*given_)  # type: ignore[arg-type]


def test_chances_of_other_sets_have_no_category() -> None:
    """There is one chance for each greedy answer; impossible greedy counts are refused as ever."""
    with pytest.raises(ValueError, match="10 greedy answers but chances of 1 sets"):
        _ = Knowledge(FACT, 0, 10, chances=Chances((0.5,))).category
    with pytest.raises(ValueError, match="3 right of 1 greedy answers cannot be"):
        _ = exact(3, 0.5).category


PROBABILITIES = st.floats(0, 1) | st.floats(0, 1e-3)
EXACT = st.lists(PROBABILITIES, min_size=1, max_size=12).flatmap(
    lambda p: st.builds(
        lambda right, n, pruned: exact(right, *p, n_samples=n, pruned=pruned),
        st.integers(0, len(p)),
        st.integers(1, 20),
        PROBABILITIES,
    )
)
SAMPLED = st.builds(
    lambda counts: Knowledge(FACT, *counts),
    st.tuples(st.integers(0, 3), st.just(3), st.integers(0, 6), st.just(6), st.integers(0, 2), st.just(2)),
)


@given(EXACT | SAMPLED)
def test_the_shares_of_a_fact_are_a_distribution(found: Knowledge) -> None:
    """They add up to 1, and the category is a likeliest one."""
    shares = found.shares
    assert list(shares) == list(CATEGORIES)
    assert sum(shares.values()) == pytest.approx(1)
    assert all(0 <= share <= 1 for share in shares.values())
    assert shares[found.category] == max(shares.values())


@given(EXACT | SAMPLED)
def test_a_record_survives_json(found: Knowledge) -> None:
    """Everything but the fact, of either estimator, digit by digit."""
    record = json.loads(json.dumps(found.record()))
    assert Knowledge.of_record(FACT, record) == found
    assert ("p_by_set" in record) is (found.chances is not None)


@given(st.lists(PROBABILITIES, min_size=1, max_size=10), st.data())
def test_u_falls_as_a_chance_rises(p: list[float], data: st.DataObject) -> None:
    """A sample that is right more often never makes Unknown likelier, nor does one more set."""
    place = data.draw(st.integers(0, len(p) - 1))
    higher = [*p[:place], data.draw(st.floats(p[place], 1)), *p[place + 1 :]]
    assert Chances(tuple(higher)).none_right <= Chances(tuple(p)).none_right
    assert Chances((*p, data.draw(PROBABILITIES))).none_right <= Chances(tuple(p)).none_right


def test_records_that_are_none_are_refused() -> None:
    """A count that is missing, or cannot be."""
    record = exact(0, 0.5).record()
    with pytest.raises(KeyError, match="greedy_total"):
        Knowledge.of_record(FACT, {name: value for name, value in record.items() if name != "greedy_total"})
    with pytest.raises(KeyError, match="pruned"):
        Knowledge.of_record(FACT, {name: value for name, value in record.items() if name != "pruned"})
    with pytest.raises(ValueError, match="2 right of 1 greedy answers cannot be"):
        Knowledge.of_record(FACT, record | {"greedy_right": 2})


def test_reported_shares_are_expectations_with_the_noise_of_sampling() -> None:
    """Unknown's share is the mean u, its noise that of the samples that were not drawn; the counts stay hard."""
    knowledge = [exact(0, *p_of(u)) for u in (0.9, 0.6, 0.3)] + [exact(10, *[0.5] * 10)]
    shares = expected_shares(knowledge)
    assert list(shares) == list(CATEGORIES)
    assert list(shares.values()) == pytest.approx([0.25, 0, (0.1 + 0.4 + 0.7) / 4, (0.9 + 0.6 + 0.3) / 4])
    assert unknown_noise(knowledge) == pytest.approx(math.sqrt(0.09 + 0.24 + 0.21))
    assert category_counts(knowledge)[UNKNOWN] == 2
    sampled = [Knowledge(FACT, 0, 10, 0, 16), Knowledge(FACT, 0, 10, 1, 16)]
    assert expected_shares(sampled) == {HIGHLY: 0, MAYBE: 0, WEAKLY: 0.5, UNKNOWN: 0.5}
    assert unknown_noise(sampled) == 0
    with pytest.raises(ValueError, match="no facts have no shares"):
        expected_shares([])
