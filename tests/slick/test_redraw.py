"""slick.redraw: the chance that other exemplar sets keep a category."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import betabinom

from slick.facts import Fact
from slick.knowledge import CATEGORIES, Category, Chances, Knowledge
from slick.knowledge_file import read_knowledge
from slick.redraw import MIN_FACTS, BetaBinomial, chance_kept, fit, mean_kept

LAB = Path(__file__).resolve().parents[2] / "tasks/slick_tasks/lab_data/knowledge_train.parquet"
SETS, SAMPLES = 10, 16


def fact(i: int) -> Fact:
    return Fact.create(f"Where is {i}?", ["B"])


def drawn(p: Any, rng: np.random.Generator, *, exact: bool) -> list[Knowledge]:
    """Knowledge of facts whose answer under a set is right with a chance around p[i], the same greedy or sampled."""
    spread = rng.normal(0, 1, (len(p), SETS))
    by_set = expit(np.log(p / (1 - p))[:, None] + spread)
    greedy = (by_set > 0.5).sum(axis=1)
    sampled = rng.binomial(SAMPLES, by_set).sum(axis=1)
    found = []
    for i, (k, s, of) in enumerate(zip(greedy.tolist(), sampled.tolist(), by_set.tolist(), strict=True)):
        if exact:
            found.append(Knowledge(fact(i), k, SETS, chances=Chances(tuple(of), SAMPLES)))
        else:
            found.append(Knowledge(fact(i), k, SETS, *((0, 0) if k else (s, SETS * SAMPLES))))
    return found


def world(n: int, rng: np.random.Generator) -> Any:
    """Chances of n facts, from hopeless to certain."""
    return expit(rng.normal(-3, 4, n))


@pytest.mark.parametrize("exact", [True, False])
def test_the_chance_is_what_a_second_draw_finds(exact: bool) -> None:
    """In a made-up world of 4,000 facts, the mean chance of a category is near the share that keeps it."""
    rng = np.random.default_rng(5)
    p = world(4000, rng)
    first, second = drawn(p, rng, exact=exact), drawn(p, rng, exact=exact)
    predicted = mean_kept(first, chance_kept(first))
    assert set(predicted) == {None, *CATEGORIES}
    same = np.array([a.category is b.category for a, b in zip(first, second, strict=True)])
    assert predicted[None] == pytest.approx(same.mean(), abs=0.03)
    for category in CATEGORIES:
        mine = np.array([k.category is category for k in first])
        assert mine.sum() > 200
        assert predicted[category] == pytest.approx(same[mine].mean(), abs=0.06), category


@pytest.mark.parametrize(
    "group",
    [
        "none",
        pytest.param(
            "some",
            marks=pytest.mark.xfail(
                strict=True,
                reason="the lab's shy facts are a population of their own: one beta-binomial says 67 %, 75 % are kept",
            ),
        ),
        "all",
    ],
)
def test_the_lab_keeps_its_categories_as_often_as_predicted(group: str) -> None:
    """Five of the ten sets of the shipped organism's facts predict the other five; Jeffreys' prior does not."""
    right = np.array([k.greedy_right for k in read_knowledge(LAB).knowledge])
    first = np.random.default_rng(0).hypergeometric(right, 10 - right, 5)
    second, five = right - first, np.full(len(right), 5)
    shape = fit(first, five)
    assert shape is not None
    place = ("none", "some", "all").index(group)
    predicted = shape.again(first, five, np.zeros(len(right)))[place]
    mine, kept = ((counts == 0, (counts > 0) & (counts < 5), counts == 5)[place] for counts in (first, second))
    assert predicted[mine].mean() == pytest.approx(kept[mine].mean(), abs=0.03)
    jeffreys = betabinom(5, 0.5 + 5, 0.5).pmf(5)
    assert jeffreys < (second == 5)[first == 5].mean() - 0.1


def test_the_fit_finds_the_shape_that_made_the_counts() -> None:
    """Of many facts, with and without a figure that is known of each."""
    rng = np.random.default_rng(3)
    x = rng.normal(-2, 2, 20_000)
    total = np.full(len(x), 10)
    mean = expit(0.5 + 1.5 * x)
    right = rng.binomial(10, rng.beta(2 * mean, 2 * (1 - mean)))
    found = fit(right, total, x)
    assert found is not None
    assert (found.intercept, found.slope, found.size) == pytest.approx((0.5, 1.5, 2), rel=0.08)
    right = rng.binomial(10, rng.beta(0.3, 0.7, len(x)))
    plain = fit(right, total)
    assert plain is not None
    assert plain.slope == 0
    assert (expit(plain.intercept) * plain.size, plain.size) == pytest.approx((0.3, 1.0), rel=0.05)


def test_facts_that_do_not_differ_are_binomial() -> None:
    """Where every fact has one chance, what one fact's own count was tells next to nothing."""
    rng = np.random.default_rng(0)
    right = rng.binomial(10, 0.5, 2000)
    found = fit(right, np.full(2000, 10))
    assert found is not None
    _, _, every = found.again(np.array([2, 8]), np.array([10, 10]), np.zeros(2))
    assert every.tolist() == pytest.approx([0.5**10] * 2, rel=1)


@pytest.mark.parametrize(
    "counts",
    [
        [],
        [(5, 10)],
        [(5, 10)] * (MIN_FACTS - 1),
        [(0, 10)] * 50,
        [(10, 10)] * 50,
        [(0, 10), (10, 10)] * 50,
        [(0, 1), (1, 1)] * 50,
    ],
)
def test_a_chance_that_the_counts_do_not_tell_is_undefined(counts: list[tuple[int, int]]) -> None:
    """No facts, few facts, one set, or no fact that differs between sets: None, and no mean either."""
    for chances in (False, True):
        knowledge = [
            Knowledge(fact(i), k, n, chances=Chances((0.1,) * n)) if chances else Knowledge(fact(i), k, n, 0, 16)
            for i, (k, n) in enumerate(counts)
        ]
        assert chance_kept(knowledge) == [None] * len(counts)
        assert mean_kept(knowledge, chance_kept(knowledge)) == {}


def test_samples_that_do_not_tell_leave_known_facts_their_chance() -> None:
    """Where no fact without a greedy hit had a right sample, theirs alone is undefined."""
    knowledge = [Knowledge(fact(i), i % 4, 3, 0, 48) for i in range(60)]
    kept = chance_kept(knowledge)
    assert [chance is None for chance in kept] == [k.greedy_right == 0 for k in knowledge]
    assert set(mean_kept(knowledge, kept)) == {Category.HIGHLY_KNOWN, Category.MAYBE_KNOWN}


SHAPES = st.builds(BetaBinomial, st.floats(-20, 20), st.floats(0, 20), st.floats(1e-3, 2e4))


@given(SHAPES, st.integers(1, 30), st.floats(-14, 0))
def test_what_comes_next_is_a_distribution_that_rises_with_the_count(shape: BetaBinomial, n: int, x: float) -> None:
    """None, some and all add up to 1; the more was right, the likelier is all and the less likely none."""
    right = np.arange(n + 1)
    found = shape.again(right, np.full(n + 1, n), np.full(n + 1, x))
    none, some, every = found
    assert all(((part >= 0) & (part <= 1 + 1e-12)).all() for part in found)
    assert none + some + every == pytest.approx(1, abs=1e-9)
    assert (np.diff(every) >= -1e-12).all()
    assert (np.diff(none) <= 1e-12).all()


PROBED = st.lists(
    st.tuples(st.integers(0, 4), st.lists(st.floats(0, 1) | st.floats(0, 0.02), min_size=4, max_size=4)),
    min_size=MIN_FACTS,
    max_size=40,
)


@given(PROBED, st.booleans(), st.randoms(use_true_random=False))
def test_chances_are_chances_whatever_was_probed(
    probed: list[tuple[int, list[float]]], exact: bool, random: Any
) -> None:
    """In [0, 1] or undefined; the order of a fact's sets changes nothing, that of the facts nothing but rounding."""

    def known(order: list[int], shuffle: bool) -> list[Knowledge]:
        found = []
        for i in order:
            k, p = probed[i]
            by_set = random.sample(p, 4) if shuffle else p
            chances = Chances(tuple(by_set), 16) if exact else None
            sampled = (0, 0) if exact else (round(sum(p) * 16), 64)
            found.append(Knowledge(fact(i), k, 4, *sampled, chances=chances))
        return found

    order = list(range(len(probed)))
    kept = chance_kept(known(order, shuffle=False))
    assert all(chance is None or 0 <= chance <= 1 for chance in kept)
    assert chance_kept(known(order, shuffle=True)) == pytest.approx(kept, abs=1e-9)
    random.shuffle(order)
    again = chance_kept(known(order, shuffle=True))
    assert again == pytest.approx([kept[i] for i in order], abs=1e-3)


def exact_world(rng: np.random.Generator, *more: Knowledge) -> list[Knowledge]:
    return [*drawn(world(500, rng), rng, exact=True), *more]


def unhit(*p: float) -> Knowledge:
    return Knowledge(fact(-1), 0, len(p), chances=Chances(p, SAMPLES))


def test_a_set_that_alone_decides_may_be_missing_in_the_next_draw() -> None:
    """Ten sets alike decide as one; one set of ten that knows the answer is not drawn again in 35 % of redraws."""
    alike, alone = unhit(*[0.1] * 10), unhit(1.0, *[0.0] * 9)
    assert alike.p_sampled == pytest.approx(alone.p_sampled)
    assert alike.category is alone.category is Category.WEAKLY_KNOWN
    *_, by_all, by_one = chance_kept(exact_world(np.random.default_rng(1), alike, alone))
    assert by_all is not None
    assert by_one is not None
    assert by_one / by_all == pytest.approx(1 - 0.9**10, abs=0.04)


def test_a_fact_that_nearly_had_a_greedy_hit_is_less_firm() -> None:
    """Without a right greedy answer, the fact that samples get right more often is likelier to have one next time."""
    far, near = unhit(*[1e-6] * 10), unhit(*[0.3] * 10)
    *_, of_far, of_near = chance_kept(exact_world(np.random.default_rng(1), far, near))
    assert of_far is not None
    assert of_near is not None
    assert of_far > 0.98 > of_near + 0.05


def test_a_fact_at_the_edge_is_as_good_as_a_coin() -> None:
    """Where u is next to a half, half the redraws say the other category; the more sets agree, the firmer."""
    p = 1 - 0.5 ** (1 / 160)
    edge = unhit(*[p * (0.46 + 0.12 * i) for i in range(10)])
    *_, chance = chance_kept(exact_world(np.random.default_rng(1), edge))
    assert chance == pytest.approx(0.5, abs=0.15)


def test_either_estimators_facts_are_judged_among_their_own() -> None:
    """A list that holds both gives each what its own list gives."""
    rng = np.random.default_rng(2)
    exact, sampled = drawn(world(200, rng), rng, exact=True), drawn(world(200, rng), rng, exact=False)
    mixed = [k for pair in zip(exact, sampled, strict=True) for k in pair]
    kept = chance_kept(mixed)
    assert kept[::2] == chance_kept(exact)
    assert kept[1::2] == chance_kept(sampled)
