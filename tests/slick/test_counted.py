"""slick.counted: the chance of Tango's statistic by counting, against every outcome there is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slick.counted import MANY, counted_chance
from slick.statistics import tango_lost, tango_statistic


def enumerated(lost: int, gained: int, n: int, difference: float) -> float:
    """The multinomial sum over all outcomes, term by term."""
    p21 = tango_lost(gained, lost, n, difference)
    p12 = max(0.0, p21 + difference)
    seen = tango_statistic(gained, lost, n, difference)

    def power(p: float, k: int) -> float:
        return 1.0 if k == 0 else p**k

    return sum(
        math.comb(n, x) * math.comb(n - x, y) * power(p21, x) * power(p12, y) * power(max(0, 1 - p21 - p12), n - x - y)
        for x in range(n + 1)
        for y in range(n + 1 - x)
        if tango_statistic(y, x, n, difference) <= seen + 1e-12
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 25), st.data())
def test_counting_is_the_sum_over_all_outcomes(n: int, data: st.DataObject) -> None:
    """For any counts and any difference, to 1e-9."""
    lost = data.draw(st.integers(0, n))
    gained = data.draw(st.integers(0, n - lost))
    difference = data.draw(st.sampled_from([-0.5, -0.2, -0.05, -0.01, 0.0, 0.05, 0.3]))
    assert counted_chance(lost, gained, n, difference) == pytest.approx(
        enumerated(lost, gained, n, difference), abs=1e-9
    )


def test_many_of_both_kinds_are_left_to_the_normal_distribution() -> None:
    """0: a p-value takes the larger of the two chances."""
    assert counted_chance(2 * MANY, 2 * MANY, 10_000, -0.001) == 0.0
    assert counted_chance(2 * MANY, 0, 10_000, -0.005) > 0


def test_the_normal_distribution_convicts_too_soon() -> None:
    """Six of 100 lost and none gained against 3 points: 4.4 % by the normal distribution, 8.3 % by counting."""
    normal = 0.5 * math.erfc(-tango_statistic(0, 6, 100, -0.03) / math.sqrt(2))
    assert normal < 0.05 < counted_chance(6, 0, 100, -0.03)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 400), st.data())
def test_one_more_lost_fact_never_raises_the_chance(n: int, data: st.DataObject) -> None:
    """Seen against one difference; the likeliest shares move too, by less than the statistic does."""
    lost = data.draw(st.integers(0, n - 1))
    gained = data.draw(st.integers(0, min(n - 1 - lost, MANY // 2)))
    one, worse = (counted_chance(k, gained, n, -0.05) for k in (lost, lost + 1))
    assert worse <= one + 0.02


def test_large_runs_count_quickly_enough() -> None:
    """A hundred thousand facts: only outcomes within eight standard deviations are visited."""
    assert 0 <= counted_chance(5_200, 10, 100_000, -0.05) <= 1
