"""slick.plan: what a probe will cost and what it can show."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.plan import (
    EVERY,
    LEAST_FACTOR,
    LONE_FACTOR,
    Cost,
    Piece,
    Plan,
    Range,
    Reading,
    Stage,
    about,
    cost,
    count,
    duration,
    effective_facts,
    factor_of,
    facts_for,
    forecast,
    points,
    powers,
    share_of,
    size,
    smallest_margin,
)
from slick.statistics import tango

positive = st.floats(1e-3, 1e6)
pieces_drawn = st.lists(st.builds(Piece, positive, positive), min_size=1, max_size=6)


@pytest.mark.parametrize(("margin", "n"), [(0.01, 6183), (0.02, 1546), (0.03, 687), (0.05, 248)])
def test_the_facts_that_a_margin_needs(margin: float, n: int) -> None:
    """The figures that the statistics were designed by; so many facts show that margin, one fewer does not."""
    assert facts_for(margin) == n
    found = smallest_margin(n)
    assert found is not None
    assert found <= margin < (smallest_margin(n - 1) or 0)


def test_seventy_facts_show_no_margin_under_nine_points() -> None:
    """A small category can defend no small margin."""
    found = smallest_margin(70)
    assert found is not None
    assert 0.09 < found < 0.10


@given(n=st.integers(1, 10**6), more=st.integers(1, 10**6), discordant=st.floats(0.01, 1), power=st.floats(0.5, 0.98))
def test_more_facts_show_smaller_differences(n: int, more: int, discordant: float, power: float) -> None:
    """The margin falls with facts, and rises with discordant pairs and with the power that is asked for."""

    def margin(n: int, discordant: float, power: float) -> float:
        return smallest_margin(n, discordant=discordant, power=power) or 1.0

    here = margin(n, discordant, power)
    assert margin(n + more, discordant, power) <= here
    assert margin(n, discordant / 2, power) <= here
    assert margin(n, discordant, power + 0.01) >= here


def test_the_margin_has_the_power_that_is_claimed() -> None:
    """Of simulated pairs, 10 % discordant and no true drop, four of five intervals lie above minus the margin."""
    n, trials = 687, 400
    margin = smallest_margin(n)
    assert margin is not None
    rng = random.Random(0)
    shown = 0
    for _ in range(trials):
        outcomes = rng.choices(["lost", "gained", "same"], [5, 5, 90], k=n)
        found = tango(outcomes.count("lost"), outcomes.count("gained"), n)
        assert found is not None
        assert found.interval is not None
        shown += found.interval.low > -margin
    # Two standard deviations of a binomial share are 4 points.
    assert 0.75 < shown / trials < 0.85


def test_what_cannot_be_shown_is_undefined() -> None:
    """No facts, or so few that no difference below 1 is shown; never an infinite or impossible margin."""
    assert smallest_margin(0) is None
    assert smallest_margin(1, discordant=0.5) is None
    assert points(None) == "undefined"
    assert powers([])[0].margin is None


@given(clusters=st.lists(st.integers(1, 50), min_size=1, max_size=40))
def test_clustered_facts_are_worth_no_more_than_as_many_alone(clusters: list[int]) -> None:
    """Between the number of the largest clusters' worth and all facts; equal clusters count as one fact each."""
    n = sum(clusters)
    assert n / max(clusters) - 1e-9 <= effective_facts(clusters) <= n
    assert effective_facts([3] * len(clusters)) == pytest.approx(len(clusters))
    assert effective_facts([1] * n) == n
    for power in powers(clusters):
        assert power.margin is None or power.worst is None or power.worst >= power.margin - 1e-9 or power.n < 10


def test_a_category_is_a_share_of_the_facts() -> None:
    """A fifth of 500 facts shows what 100 facts show; clusters hurt a part less than the whole."""
    every, fifth = powers([1] * 500)
    assert (every.n, fifth.n) == (500, 100)
    assert (fifth.margin, fifth.worst) == (smallest_margin(100), pytest.approx(smallest_margin(100)))
    every, fifth = powers([10] * 50)
    assert (every.worst or 0) / (every.margin or 1) == pytest.approx(math.sqrt(10))
    assert 1 < (fifth.worst or 0) / (fifth.margin or 1) < math.sqrt(10)


def test_a_forecast_is_the_mean_rate_times_the_work() -> None:
    """By the geometric mean of seconds a token, between limits by the factor in which the pieces differ."""
    pieces = [Piece(10, 1.0), Piece(20, 2.0), Piece(10, 1.0)]
    found = forecast(pieces, 1000)
    assert found.value == pytest.approx(100)
    assert (found.low, found.high) == (pytest.approx(100 / LEAST_FACTOR), pytest.approx(100 * LEAST_FACTOR))
    wide = forecast(pieces, 1000, least=4)
    assert (wide.low, wide.high) == (pytest.approx(25), pytest.approx(400))
    # Logarithms 0, 1 and 2 times that of 2: standard deviation log 2, t of two degrees of freedom 2.92.
    assert factor_of([Piece(1, 1), Piece(1, 2), Piece(1, 4)]) == pytest.approx(2 ** (2.91999 * math.sqrt(4 / 3)), 1e-4)


@given(pieces=pieces_drawn, work=positive, more=st.floats(1, 100))
def test_a_forecast_grows_with_the_work(pieces: list[Piece], work: float, more: float) -> None:
    """In proportion, and its range always holds it."""
    found, longer = forecast(pieces, work), forecast(pieces, work * more)
    assert 0 < found.low < found.value < found.high
    assert longer.value == pytest.approx(found.value * more)
    assert longer.high / longer.low == pytest.approx(found.high / found.low)


def test_few_pieces_promise_little() -> None:
    """One piece is worth a factor of 3; two that differ more than three alike; nothing at all is an error."""
    assert factor_of([Piece(1, 1)]) == LONE_FACTOR
    assert factor_of([Piece(1, 1), Piece(1, 1.2)]) > factor_of([Piece(1, 1), Piece(1, 1.1), Piece(1, 1.2)])
    assert factor_of([Piece(1, 1e-5), Piece(1, 1e5)]) == 100
    with pytest.raises(ValueError, match="nothing was measured"):
        factor_of([])


def test_a_share_that_was_not_seen_may_be_any() -> None:
    """Of no facts from 0 to 1; of some with Wilson's interval."""
    assert share_of(0, 0) == Range(0.5, 0.0, 1.0)
    found = share_of(3, 10)
    assert found.value == 0.3
    assert 0 < found.low < 0.3 < found.high < 1


def stage(answers: float, seconds: float) -> Stage:
    """So many answers of 10 tokens read, 15 unshared, 2 written, that take so long."""
    pieces = [Piece(12 * answers, seconds)] * 3
    return Stage(answers, 10 * answers, 15 * answers, 2 * answers, 0.0, pieces)


def test_an_estimator_costs_what_its_stages_cost() -> None:
    """Each for its share of the facts, an uncertain share widening all; processes divide the time alone."""
    greedy, samples = stage(100, 5.0), stage(1600, 40.0)
    full = cost("full", [(greedy, EVERY), (samples, EVERY)], 7.0)
    assert (full.answers, full.read, full.anew) == tuple(Range.certain(n * 1700) for n in (1, 10, 15))
    assert full.written == Range.certain(3400)
    assert full.seconds.value == pytest.approx(45)
    two = cost("two", [(greedy, EVERY), (samples, Range(0.5, 0.25, 0.75))], 7.0, chosen=True, processes=2)
    assert two.answers == Range(900, 500, 1300)
    assert two.seconds.value == pytest.approx(12.5)
    assert two.seconds.low == pytest.approx((5 + 10) / LEAST_FACTOR / 2)
    assert (two.memory, two.chosen, full.chosen) == (7.0, True, False)


def test_what_is_walked_takes_time_and_writes_nothing() -> None:
    """The exact estimator computes its answers' tokens along with the prompts."""
    exact = Stage(10, 80, 100, 0.0, 20, [Piece(100, 3.0)])
    assert exact.seconds.value == pytest.approx(3)
    assert cost("exact", [(exact, EVERY)], None).written is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "<0.1 s"),
        (0.42, "0.42 s"),
        (9.96, "10.0 s"),
        (119, "119 s"),
        (150, "2.5 min"),
        (7200, "2 h"),
        (1e6, "11.6 d"),
    ],
)
def test_a_duration_in_the_unit_that_fits(seconds: float, text: str) -> None:
    """Two or three digits, never a false 0."""
    assert duration(seconds) == text


def test_counts_and_sizes_are_short() -> None:
    """Whole up to a million; an expected number carries a sign."""
    assert [count(n) for n in (0, 999_999, 1e6, 16_664_930, 3.2e9, 5e12)] == [
        "0",
        "999,999",
        "1 M",
        "16.7 M",
        "3.2 G",
        "5 T",
    ]
    assert [about(Range(5, 5, 5)), about(Range(5, 4, 6))] == ["5", "~5"]
    assert [size(584e6), size(1.3e9)] == ["584 MB", "1.3 GB"]


def plan_of(costs: Sequence[Cost]) -> Plan:
    return Plan(
        1000, 2, 10, 5, 4, 900, 128, Reading(15000, 9e5, 2e5, 600), tuple(costs), powers([1] * 1000), share_of(1, 2)
    )


def test_a_plans_table_has_a_column_an_estimator() -> None:
    """The chosen one is marked; what is expected only has a sign; what is not known says so."""
    two = cost("two", [(stage(100, 5.0), Range(0.5, 0.25, 0.75))], None)
    plan = plan_of([replace(two, name="exact", chosen=True, written=None, memory=2e9), two])
    rows = {row[0]: row[1:] for row in plan.cost_rows()}
    assert rows[""] == ("exact (chosen)", "two")
    assert rows["answers"] == ("~50", "~50")
    assert rows["tokens written"] == ("none", "~100")
    assert rows["time"] == ("2.5 s", "2.5 s")
    assert rows["peak memory"] == ("2 GB", "not known")
    assert plan.power_rows() == [
        ("all facts", "1,000", "2.5 points", "2.5 points"),
        ("a category of 20%", "200", "5.6 points", "5.6 points"),
    ]
    assert "1,000 facts of 2 relations and 900 subjects, each under 10 + 5 exemplar sets of 4" in plan.title
