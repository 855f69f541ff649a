"""slick.statistics: intervals against published values, against other ways to compute them, and in simulation."""

from __future__ import annotations

import math
from itertools import pairwise, product
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binomtest, t

from slick.statistics import (
    Interval,
    arm_share,
    design_effect,
    paired_difference,
    seeds_difference,
    seeds_variance,
    share_error,
    t_value,
    tango,
    tango_statistic,
    wilson,
    z_value,
)

Scores = NDArray[np.float64]
CELLS = [
    (0, 0, 1),
    (0, 0, 30),
    (1, 0, 1),
    (0, 1, 30),
    (7, 1, 21),
    (30, 0, 30),
    (0, 30, 30),
    (16, 6, 161),
    (200, 190, 900),
]


def limits(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    return interval.low, interval.high


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_examples(right: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998 (Stat. Med. 17:857), table I, method 3, to the four decimals printed there."""
    found = wilson(right, n, 0.95)
    assert found is not None
    assert limits(found.interval) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("n", "level"), product([1, 2, 7, 50, 1000], [0.8, 0.9, 0.99]))
def test_wilson_is_scipys(n: int, level: float) -> None:
    """Equal to scipy's own Wilson interval at every count, edges included."""
    for right in {0, 1, n // 3, n - 1, n}:
        found = wilson(right, n, level)
        assert found is not None
        expected = binomtest(right, n).proportion_ci(level, "wilson")
        assert limits(found.interval) == pytest.approx((expected.low, expected.high), abs=1e-12)
        assert found.value == right / n


def test_wilson_of_clusters_is_that_of_fewer_facts() -> None:
    """A design effect of 4 counts 200 facts as 50, and few clusters take Student's quantile."""
    found, fewer = wilson(120, 200, design_effect=4.0), wilson(30, 50)
    assert found is not None
    assert fewer is not None
    assert (found.value, found.n) == (0.6, 200)
    assert found.interval == fewer.interval
    wider = wilson(120, 200, design_effect=4.0, df=9.0)
    assert wider is not None
    assert wider.interval is not None
    assert found.interval is not None
    assert wider.interval.low < found.interval.low < found.interval.high < wider.interval.high


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_its_share_and_stays_inside(counts: tuple[int, int]) -> None:
    """0 <= low <= share <= high <= 1; the edge is reached by 0 and n exactly, and by nothing else."""
    right, n = counts
    found = wilson(right, n)
    assert found is not None
    low, high = limits(found.interval)
    assert 0 <= low <= found.value <= high <= 1
    assert (low == 0) is (right == 0)
    assert (high == 1) is (right == n)


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_wilson_takes_an_expected_number(n: int, share: float) -> None:
    """Between the intervals of the whole numbers around it; inside [0, 1] for the smallest of them."""
    found = wilson(share * n, n)
    below, above = wilson(math.floor(share * n), n), wilson(math.ceil(share * n), n)
    assert found is not None
    assert below is not None
    assert above is not None
    slack = 1e-12
    for low, middle, high in zip(limits(below.interval), limits(found.interval), limits(above.interval), strict=True):
        assert low - slack <= middle <= high + slack
    assert 0 <= limits(found.interval)[0] <= limits(found.interval)[1] <= 1


def test_an_undefined_interval_is_none() -> None:
    """No facts, or one fact where a variance is needed: None, never ±0."""
    assert wilson(0, 0) is None
    assert tango(0, 0, 0) is None
    assert share_error(1.0, 1) is None
    assert arm_share(np.zeros((2, 0))) is None
    assert seeds_difference(np.zeros((2, 1)), np.zeros((2, 1))) is None
    assert paired_difference(np.zeros((1, 0)), np.zeros((1, 0))) is None


@pytest.mark.parametrize(("right", "n"), [(-1, 5), (6, 5), (1, 0)])
def test_wilson_refuses_counts_that_cannot_be(right: int, n: int) -> None:
    """More right than asked, or less than none."""
    with pytest.raises(ValueError, match=f"{right} of {n} cannot be"):
        wilson(right, n)


@pytest.mark.parametrize(("lost", "gained", "n"), [(-1, 0, 5), (0, -1, 5), (3, 3, 5), (1, 0, 0)])
def test_tango_refuses_counts_that_cannot_be(lost: int, gained: int, n: int) -> None:
    """More discordant pairs than pairs, or less than none."""
    with pytest.raises(ValueError, match="cannot be"):
        tango(lost, gained, n)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 90.0])
def test_a_level_lies_between_0_and_1(level: float) -> None:
    """A percentage is not a level."""
    with pytest.raises(ValueError, match="level must lie in"):
        z_value(level)


def test_a_share_has_the_standard_error_of_lm_eval() -> None:
    """As the sample standard deviation of the 0/1 values over the root of their number."""
    values = [1.0] * 3 + [0.0] * 7
    assert share_error(0.3, 10) == pytest.approx(float(np.std(values, ddof=1)) / math.sqrt(10))


@pytest.mark.parametrize(
    ("lost", "gained", "n", "level", "low", "high", "digits"),
    [
        # Fagerland, Lydersen, Laake 2014 (Stat. Med. 33:2850), table V: Bentur et al.'s airway reactivity.
        (7, 1, 21, 0.95, -0.517, -0.026, 3),
        # The R package contingencytables 3.0 on Cavo et al.'s complete responses.
        (16, 6, 161, 0.95, -0.1240, -0.0054, 4),
        # The R package PropCIs 0.3, scoreci.mp(25, 28, 618) at 90 %.
        (25, 28, 618, 0.90, -0.0148, 0.0247, 4),
        # PropCIs again, scoreci.mp(60, 20, 1000) at 95 %.
        (60, 20, 1000, 0.95, -0.0584, -0.0231, 4),
    ],
)
def test_tango_gives_published_values(
    lost: int, gained: int, n: int, level: float, low: float, high: float, digits: int
) -> None:
    """To the decimals printed by a paper and by two R packages."""
    found = tango(lost, gained, n, level)
    assert found is not None
    assert limits(found.interval) == pytest.approx((low, high), abs=0.51 * 10**-digits)


def constrained_discordance(x12: float, x21: float, n: float, delta: float) -> float:
    """p12 + p21 at the largest likelihood with p12 - p21 = delta, by the root of the likelihood's slope."""

    def slope(u: float) -> float:
        cells = (
            (x12, max(delta, 0.0) + u, 1),
            (x21, max(-delta, 0.0) + u, 1),
            (n - x12 - x21, 1 - abs(delta) - 2 * u, -2),
        )
        return sum(weight * count / p if p > 0 else weight * math.inf for count, p, weight in cells if count)

    top = (1 - abs(delta)) / 2
    if slope(0.0) <= 0:
        best = 0.0
    elif n - x12 - x21 == 0:
        best = top
    else:
        low, high = 1e-300, top * (1 - 1e-15)
        best = low if slope(low) <= 0 else brentq(slope, low, high, xtol=1e-16) if slope(high) < 0 else high
    return float(2 * best + abs(delta))


def score_limits(lost: float, gained: float, n: float, level: float) -> tuple[float, float]:
    """Where the score statistic crosses ±z, from the multinomial likelihood itself."""
    z = NormalDist().inv_cdf(0.5 + level / 2)

    def statistic(delta: float) -> float:
        variance = n * (constrained_discordance(gained, lost, n, delta) - delta**2)
        return (gained - lost - n * delta) / math.sqrt(variance)

    edge = 1 - 1e-9
    low = -1.0 if lost == n else brentq(lambda d: statistic(d) - z, -edge, edge, xtol=1e-12)
    high = 1.0 if gained == n else brentq(lambda d: statistic(d) + z, -edge, edge, xtol=1e-12)
    return float(low), float(high)


@pytest.mark.parametrize(("lost", "gained", "n"), CELLS)
@pytest.mark.parametrize("level", [0.8, 0.9, 0.99])
def test_tango_inverts_the_score_test(lost: int, gained: int, n: int, level: float) -> None:
    """The limits solve the score equation whose variance is maximised numerically, to 1e-6."""
    found = tango(lost, gained, n, level)
    assert found is not None
    assert limits(found.interval) == pytest.approx(score_limits(lost, gained, n, level), abs=1e-6)
    assert found.value == (gained - lost) / n


@settings(max_examples=40)
@given(st.integers(1, 300), st.data())
def test_tango_inverts_the_score_test_anywhere(n: int, data: st.DataObject) -> None:
    """As above for any counts, a design effect included."""
    lost = data.draw(st.integers(0, n))
    gained = data.draw(st.integers(0, n - lost))
    effect = data.draw(st.sampled_from([1.0, 1.5, 4.0]))
    found = tango(lost, gained, n, 0.9, effect)
    assert found is not None
    assert limits(found.interval) == pytest.approx(
        score_limits(lost / effect, gained / effect, n / effect, 0.9), abs=1e-6
    )


@given(st.integers(2, 400), st.data())
def test_one_more_lost_fact_never_raises_the_interval(n: int, data: st.DataObject) -> None:
    """Losing a fact that was kept, or not gaining one, lowers both limits or leaves them."""
    lost = data.draw(st.integers(0, n - 1))
    gained = data.draw(st.integers(0, n - 1 - lost))
    one, worse = tango(lost, gained, n), tango(lost + 1, gained, n)
    assert one is not None
    assert worse is not None
    assert all(b <= a + 1e-12 for a, b in zip(limits(one.interval), limits(worse.interval), strict=True))
    if gained:
        ungained = tango(lost, gained - 1, n)
        assert ungained is not None
        assert all(b <= a + 1e-12 for a, b in zip(limits(one.interval), limits(ungained.interval), strict=True))


@given(st.integers(1, 400), st.data())
def test_swapping_the_arms_mirrors_tangos_interval(n: int, data: st.DataObject) -> None:
    """Before minus after is after minus before with its sign turned; the value lies inside, in [-1, 1]."""
    lost = data.draw(st.integers(0, n))
    gained = data.draw(st.integers(0, n - lost))
    one, other = tango(lost, gained, n), tango(gained, lost, n)
    assert one is not None
    assert other is not None
    low, high = limits(one.interval)
    assert (low, high) == pytest.approx(tuple(-x for x in limits(other.interval)[::-1]), abs=1e-12)
    assert -1 <= low <= one.value <= high <= 1
    assert low < high


def test_a_design_effect_widens_tangos_interval() -> None:
    """Four facts of one subject that always agree are worth one."""
    one, clustered, fewer = tango(20, 8, 200), tango(20, 8, 200, design_effect=4.0), tango(5, 2, 50)
    assert one is not None
    assert clustered is not None
    assert fewer is not None
    assert clustered.interval == fewer.interval
    assert (clustered.value, clustered.n) == (one.value, 200)
    assert limits(clustered.interval)[0] < limits(one.interval)[0]


def test_values_that_stand_alone_have_no_design_effect() -> None:
    """Singletons, a single cluster, equal values, or no values at all: 1."""
    values = [1.0, 0.0, 0.0, 1.0, -1.0]
    assert design_effect(values, range(5)) == 1.0
    assert design_effect(values, "aaaaa") == 1.0
    assert design_effect([1.0] * 4, "aabb") == 1.0
    assert design_effect([], []) == 1.0
    with pytest.raises(ValueError, match="5 values but 4 clusters"):
        design_effect(values, "aabb")


@pytest.mark.parametrize("k", [2, 5])
def test_repeating_every_fact_multiplies_the_design_effect(k: int) -> None:
    """Facts that stand k times, each with its copies as a cluster, give about k."""
    values = np.random.default_rng(0).integers(-1, 2, 400).astype(float)
    clusters = list(range(400)) * k
    assert design_effect(values.tolist() * k, clusters) == pytest.approx(k, rel=0.01)


def test_the_design_effect_is_never_below_1() -> None:
    """Clusters that cancel out inside do not make an interval narrower."""
    assert design_effect([1.0, -1.0] * 50, [i // 2 for i in range(100)]) == 1.0


def recomputed(treated: Scores, control: Scores, level: float) -> tuple[float, float, float]:
    """DESIGN's formulas, term by term, in plain Python."""
    n, seeds = treated.shape[1], treated.shape[0]
    arms = [treated.tolist(), control.tolist()]

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    d = [mean([run[i] for run in arms[0]]) - mean([run[i] for run in arms[1]]) for i in range(n)]
    difference = mean(d)
    v_item = (sum((x - difference) ** 2 for x in d) + 2) / n**2
    v_run = v_res = 0.0
    for arm in arms:
        accuracies = [mean(run) for run in arm]
        whole = mean(accuracies)
        v_run += sum((a - whole) ** 2 for a in accuracies) / (seeds - 1) / seeds
        facts = [mean([run[i] for run in arm]) for i in range(n)]
        squares = sum((arm[s][i] - facts[i] - accuracies[s] + whole) ** 2 for s in range(seeds) for i in range(n))
        v_res += squares / ((n - 1) * (seeds - 1)) / (n * seeds)
    v = max(v_item, v_item + v_run - v_res)
    df = v**2 / (v_item**2 / (n - 1) + v_run**2 / (2 * (seeds - 1)))
    half = t.ppf(0.5 + level / 2, df) * math.sqrt(v)
    return difference, difference - half, difference + half


def drawn_arm(rng: np.random.Generator, chances: Scores, seeds: int, spread: float) -> Scores:
    """Right or wrong per run and fact; each run's own luck shifts all its log-odds by a normal draw."""
    odds = np.log(chances / (1 - chances)) + rng.normal(0, spread, (seeds, 1))
    return (rng.random((seeds, len(chances))) < 1 / (1 + np.exp(-odds))).astype(float)


@pytest.mark.parametrize(("seeds", "spread"), [(2, 0.0), (3, 0.5), (5, 2.0)])
def test_the_difference_over_seeds_is_designs_formula(seeds: int, spread: float) -> None:
    """Value and limits equal a term-by-term re-computation."""
    rng = np.random.default_rng(seeds)
    chances = rng.uniform(0.05, 0.95, 40)
    treated, control = (drawn_arm(rng, chances, seeds, spread) for _ in range(2))
    found = seeds_difference(treated, control, 0.9)
    assert found is not None
    value, low, high = recomputed(treated, control, 0.9)
    assert found.value == pytest.approx(value, abs=1e-12)
    assert limits(found.interval) == pytest.approx((low, high), rel=1e-9)
    assert found.n == 40


@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_the_interval_over_seeds_covers_the_true_difference(spread: float) -> None:
    """Two arms of one recipe, three seeds each, 900 times: a 90 % interval holds 0 about as often as it says."""
    rng = np.random.default_rng(1)
    chances = rng.beta(2, 1, 120).clip(0.02, 0.98)
    held = 0
    for _ in range(900):
        found = seeds_difference(drawn_arm(rng, chances, 3, spread), drawn_arm(rng, chances, 3, spread))
        assert found is not None
        low, high = limits(found.interval)
        held += low <= 0 <= high
    assert 0.87 <= held / 900 <= 0.97


def test_seeds_that_differ_widen_the_interval() -> None:
    """The same facts and the same mean, but runs apart: wider than runs alike."""
    facts = np.arange(100) < 60
    alike = np.tile(facts, (3, 1)).astype(float)
    apart = np.array([np.arange(100) < k for k in (50, 60, 70)]).astype(float)
    control = np.tile(np.arange(100) < 55, (3, 1)).astype(float)
    same, differing = seeds_difference(alike, control), seeds_difference(apart, control)
    assert same is not None
    assert differing is not None
    assert same.value == pytest.approx(differing.value)
    assert limits(differing.interval)[0] < limits(same.interval)[0]


def test_a_difference_over_seeds_needs_seeds_and_the_same_facts() -> None:
    """One run has no run-to-run variance; arms over other facts are not paired."""
    with pytest.raises(ValueError, match="one run has no run-to-run variance"):
        seeds_difference(np.zeros((1, 5)), np.zeros((3, 5)))
    with pytest.raises(ValueError, match="5 facts against 6"):
        seeds_difference(np.zeros((2, 5)), np.zeros((2, 6)))


def test_an_arm_of_one_run_has_wilsons_interval_and_one_of_several_its_seeds() -> None:
    """The share is the same; runs that differ make it less certain."""
    runs = np.array([np.arange(100) < k for k in (50, 60, 70)]).astype(float)
    one, three = arm_share(runs[1:2]), arm_share(runs)
    assert one == wilson(60, 100)
    assert three is not None
    assert three.value == pytest.approx(0.6)
    low, high = limits(three.interval)
    assert low < 0.5 < 0.7 < high


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_a_share_over_seeds_stays_inside_0_and_1(right: float) -> None:
    """Runs that are all right or all wrong cannot be better or worse than that."""
    found = arm_share(np.full((3, 50), right))
    assert found is not None
    low, high = limits(found.interval)
    assert 0 <= low <= right <= high <= 1
    assert low < high


def test_one_run_after_is_paired_with_one_before() -> None:
    """One checkpoint against one: Tango over the facts lost and gained, the first before run only."""
    after = np.array([[1, 1, 0, 0, 1, 0.0]])
    before = np.array([[1, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0.0]])
    assert paired_difference(after, before) == tango(lost=2, gained=1, n=6)


def test_several_runs_after_are_compared_over_seeds() -> None:
    """A base model of one run is taken as fixed."""
    rng = np.random.default_rng(2)
    after, base = rng.integers(0, 2, (3, 50)).astype(float), rng.integers(0, 2, (1, 50)).astype(float)
    found = paired_difference(after, base)
    assert found == seeds_difference(after, base)
    assert found is not None
    assert found.method == "facts and 3 seeds"


@pytest.mark.parametrize("runs", [1, 3])
def test_facts_of_one_subject_count_less(runs: int) -> None:
    """Subjects whose facts are lost together give a wider interval than facts that stand alone."""
    lost = np.repeat(np.arange(50) < 10, 4)
    after = np.tile(~lost, (runs, 1)).astype(float)
    before = np.ones((1, 200))
    alone = paired_difference(after, before)
    together = paired_difference(after, before, [i // 4 for i in range(200)])
    assert alone is not None
    assert together is not None
    assert alone.value == together.value == -0.2
    (low, high), (wide_low, wide_high) = limits(alone.interval), limits(together.interval)
    assert wide_low < low < high < wide_high


def test_intervals_overlap_where_they_share_a_point() -> None:
    """Touching counts as overlapping; the order does not matter."""
    left, middle, right = Interval(0.0, 0.2), Interval(0.2, 0.3), Interval(0.31, 0.4)
    assert left.overlaps(middle)
    assert middle.overlaps(left)
    assert not middle.overlaps(right)
    assert not right.overlaps(left)


@pytest.mark.parametrize(("lost", "gained", "n"), CELLS)
def test_a_higher_level_is_a_wider_interval(lost: int, gained: int, n: int) -> None:
    """80, 90 and 99 % lie in one another."""
    found = [tango(lost, gained, n, level) for level in (0.8, 0.9, 0.99)]
    inner_to_outer = [limits(estimate.interval) for estimate in found if estimate is not None]
    for (low, high), (wider_low, wider_high) in pairwise(inner_to_outer):
        assert wider_low <= low
        assert high <= wider_high


def shifted_runs(seeds: int) -> Scores:
    """Runs that differ in nothing but their level, so far that facts hardly matter beside them."""
    return np.array([np.arange(4000) < 1000 * (s + 1) for s in range(seeds)]).astype(float)


def test_a_fixed_control_lends_no_degrees_of_freedom() -> None:
    """Where seeds are nearly all the noise, a base model leaves S - 1, and a control of S seeds about 2(S - 1)."""
    runs = shifted_runs(3)
    assert seeds_variance(runs, runs[1:2]).df == pytest.approx(2, rel=0.02)
    assert seeds_variance(runs, runs).df == pytest.approx(4, rel=0.02)


def test_the_parts_of_the_variance_add_up() -> None:
    """Facts, and what seeds add beyond them; a gap that seeds do not explain adds nothing, never less."""
    rng = np.random.default_rng(5)
    treated, control = rng.integers(0, 2, (3, 60)).astype(float), rng.integers(0, 2, (3, 60)).astype(float)
    found = seeds_variance(treated, control)
    assert found.total == found.item + found.beyond
    assert found.beyond == max(0.0, found.run - found.residual) >= 0
    wider = seeds_variance(treated, control, 2.0)
    assert wider.item == pytest.approx(2 * found.item)
    assert wider.run == found.run


def test_few_clusters_take_students_quantile() -> None:
    """Tango's limits at t(4) are those at the level whose normal quantile is as large."""
    level = 2 * NormalDist().cdf(t.ppf(0.95, 4)) - 1
    few, wide = tango(7, 1, 21, 0.90, df=4), tango(7, 1, 21, level)
    assert few is not None
    assert wide is not None
    assert limits(few.interval) == pytest.approx(limits(wide.interval), abs=1e-9)
    assert t_value(0.9, math.inf) == z_value(0.9)
    assert t_value(0.9, 4) == pytest.approx(2.1318, abs=1e-4)


def test_the_limits_are_where_the_statistic_is_the_quantile() -> None:
    """Tango's statistic at the lower limit is +z, at the upper -z."""
    found = tango(25, 28, 618)
    assert found is not None
    low, high = limits(found.interval)
    assert tango_statistic(28, 25, 618, low) == pytest.approx(z_value(0.9), abs=1e-6)
    assert tango_statistic(28, 25, 618, high) == pytest.approx(-z_value(0.9), abs=1e-6)


def test_strata_take_their_own_means() -> None:
    """Clusters that are alike only because their relation is have no design effect once the relations are fixed."""
    rng = np.random.default_rng(6)
    relation = np.repeat([0, 1], 400)
    values = np.where(relation == 0, rng.random(800) < 0.1, rng.random(800) < 0.9).astype(float).tolist()
    clusters = [i // 4 for i in range(800)]
    assert design_effect(values, clusters) > 2
    assert design_effect(values, clusters, relation.tolist()) == pytest.approx(1.0, abs=0.25)


def test_as_many_strata_as_values_say_nothing() -> None:
    """Every value its own stratum leaves no deviation to judge by: 1."""
    assert design_effect([1.0, 0.0, 1.0, 0.0], "aabb", range(4)) == 1.0


def test_an_interval_has_a_json_form() -> None:
    """Its limits and its level."""
    assert Interval(-0.5, 0.5).as_dict() == {"low": -0.5, "high": 0.5, "level": 0.9}
