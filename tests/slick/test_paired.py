"""slick.paired: differences of arms, their intervals and p-values, over facts, clusters, seeds and a ledger."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2, norm, t

from slick.paired import Ledger, Noise, Paired, paired
from slick.statistics import Interval, seeds_difference, tango, z_value

Scores = NDArray[np.float64]


def arms(lost: int, gained: int, n: int) -> tuple[Scores, Scores]:
    """(candidate, control) of one run each: so many facts lost and gained, half of the others right."""
    candidate, control = np.zeros((1, n)), np.zeros((1, n))
    control[0, :lost] = 1
    candidate[0, lost : lost + gained] = 1
    candidate[0, lost + gained :: 2] = control[0, lost + gained :: 2] = 1
    return candidate, control


def counted(lost: int, gained: int, n: int) -> Paired:
    found = paired(*arms(lost, gained, n))
    assert found is not None
    return found


def seeded(rng: np.random.Generator, seeds: int, n: int, share: float = 0.6) -> Scores:
    return (rng.random((seeds, n)) < share).astype(float)


def limits(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    return interval.low, interval.high


@pytest.mark.parametrize(("lost", "gained", "n"), [(0, 0, 1), (0, 0, 40), (7, 1, 21), (16, 6, 161), (30, 0, 30)])
@pytest.mark.parametrize("level", [0.8, 0.9, 0.99])
def test_one_checkpoint_against_one_has_tangos_interval(lost: int, gained: int, n: int, level: float) -> None:
    """The counts are those of the answers; no discordant pair still leaves an interval that is not ±0."""
    found, expected = counted(lost, gained, n), tango(lost, gained, n, level)
    assert (found.lost, found.gained, found.n, found.noise) == (lost, gained, n, Noise.CHECKPOINTS)
    assert expected is not None
    assert found.interval(level) == expected.interval
    low, high = limits(found.interval(level))
    assert low < high


def test_no_facts_have_no_difference() -> None:
    """None, never 0 ± 0."""
    assert paired(np.zeros((1, 0)), np.zeros((1, 0))) is None
    assert paired(np.zeros((3, 0)), np.zeros((3, 0))) is None


def test_several_seeds_have_the_interval_of_designs_formula() -> None:
    """Value, limits and degrees of freedom as `seeds_difference` has them, in every level."""
    rng = np.random.default_rng(0)
    candidate, control = seeded(rng, 3, 80), seeded(rng, 3, 80)
    found = paired(candidate, control)
    assert found is not None
    assert found.noise is Noise.SEEDS
    for level in (0.8, 0.9, 0.975):
        expected = seeds_difference(candidate, control, level)
        assert expected is not None
        assert limits(found.interval(level)) == pytest.approx(limits(expected.interval), abs=1e-12)
    assert found.value == pytest.approx((found.gained - found.lost) / found.n)


def test_unequal_numbers_of_seeds_count_as_the_fewer() -> None:
    """Three candidate runs against five: compared, with the degrees of freedom of three."""
    rng = np.random.default_rng(1)
    found = paired(seeded(rng, 3, 80), seeded(rng, 5, 80))
    assert found is not None
    assert found.seeds == 3
    assert found.run_df == 4
    assert found.value == pytest.approx((found.gained - found.lost) / found.n)


@pytest.mark.parametrize("runs", [(1, 3), (3, 1)])
def test_one_trained_run_never_meets_several(runs: tuple[int, int]) -> None:
    """It says nothing of its seeds, so the comparison is refused, with what to give instead."""
    rng = np.random.default_rng(2)
    with pytest.raises(ValueError, match=r"says nothing of its seeds; give several of both, or one of each"):
        paired(seeded(rng, runs[0], 20), seeded(rng, runs[1], 20))


def test_a_base_model_is_the_only_single_control() -> None:
    """It was not trained, so it has no seeds: fixed, and half of the degrees of freedom are gone."""
    rng = np.random.default_rng(3)
    found = paired(seeded(rng, 3, 80), seeded(rng, 1, 80), fixed_control=True)
    assert found is not None
    assert (found.seeds, found.run_df, found.noise) == (3, 2, Noise.SEEDS)


def test_the_facts_must_be_the_same() -> None:
    """Arms over other numbers of facts are not paired."""
    with pytest.raises(ValueError, match="5 facts against 6"):
        paired(np.zeros((1, 5)), np.zeros((1, 6)))


def test_a_ledger_stands_in_for_seeds() -> None:
    """V = V_item + 2 s²: term by term, with Satterthwaite's degrees of freedom."""
    candidate, control = arms(20, 10, 200)
    ledger = Ledger.of([0.50, 0.52, 0.49, 0.53, 0.51])
    found = paired(candidate, control, ledger=ledger)
    assert found is not None
    sd = float(np.std([0.50, 0.52, 0.49, 0.53, 0.51], ddof=1))
    d = candidate[0] - control[0]
    item = (float(((d - d.mean()) ** 2).sum()) + 2) / 200**2
    v = item + 2 * sd**2
    df = v**2 / (item**2 / 199 + (2 * sd**2) ** 2 / 4)
    half = t.ppf(0.95, df) * math.sqrt(v)
    assert limits(found.interval(0.9)) == pytest.approx((-0.05 - half, -0.05 + half), abs=1e-12)
    assert found.noise is Noise.LEDGER


@pytest.mark.parametrize("accuracies", [[], [0.5], [0.5, 0.6, 0.7]])
def test_a_short_ledger_is_refused(accuracies: list[float]) -> None:
    """Three runs do not tell how far runs lie apart."""
    with pytest.raises(ValueError, match="expected at least 4 runs"):
        Ledger.of(accuracies)


@pytest.mark.parametrize("seeds", [1, 3])
def test_facts_of_one_subject_count_less(seeds: int) -> None:
    """Subjects whose facts are lost together: a design effect near their size, G - 1 degrees of freedom for facts."""
    lost = np.repeat(np.arange(50) < 10, 4)
    candidate, control = np.tile(~lost, (seeds, 1)).astype(float), np.ones((seeds, 200))
    alone, together = paired(candidate, control), paired(candidate, control, clusters=[i // 4 for i in range(200)])
    assert alone is not None
    assert together is not None
    assert together.effect == pytest.approx(4, rel=0.05)
    assert together.item_df == 49
    (low, high), (wide_low, wide_high) = limits(alone.interval()), limits(together.interval())
    assert wide_low < low < high < wide_high


def test_few_clusters_take_students_quantile() -> None:
    """Tango with t(G - 1): five subjects are few."""
    candidate, control = arms(20, 10, 200)
    clusters = [i % 5 for i in range(200)]
    found = paired(candidate, control, clusters=clusters)
    assert found is not None
    expected = tango(20, 10, 200, 0.9, found.effect, 4)
    assert expected is not None
    assert found.interval() == expected.interval
    assert limits(found.interval())[0] < limits(counted(20, 10, 200).interval())[0]


def test_facts_that_stand_alone_have_the_published_interval() -> None:
    """Clusters of one fact each change nothing at all."""
    candidate, control = arms(20, 10, 200)
    assert paired(candidate, control, clusters=range(200)) == counted(20, 10, 200)


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_subject_alone_has_no_interval(seeds: int) -> None:
    """Nothing tells how far another subject would lie: undefined, and no p-value."""
    found = paired(np.ones((seeds, 6)), np.zeros((seeds, 6)), clusters=["a"] * 6)
    assert found is not None
    assert found.interval() is None
    assert found.chance_above(-0.1) is None
    assert found.estimate().interval is None


def test_a_single_fact_over_seeds_has_no_interval() -> None:
    """One fact has no fact-to-fact variance."""
    found = paired(np.ones((3, 1)), np.zeros((3, 1)))
    assert found is not None
    assert found.interval() is None


@given(st.integers(1, 300), st.data())
def test_the_p_value_never_says_more_than_the_interval(n: int, data: st.DataObject) -> None:
    """Below alpha only where the upper limit of the two-sided 1 - 2 alpha interval lies below the difference."""
    lost = data.draw(st.integers(0, n))
    gained = data.draw(st.integers(0, n - lost))
    difference = data.draw(st.floats(-0.9, 0.9))
    found = counted(lost, gained, n)
    chance = found.chance_above(difference)
    high = limits(found.interval(0.9))[1]
    assert chance is not None
    assert 0 <= chance <= 1
    assert chance >= 0.05 or high < difference + 1e-9


@given(st.integers(400, 4000), st.data())
def test_where_many_differ_the_p_value_and_the_interval_say_the_same(n: int, data: st.DataObject) -> None:
    """With many facts lost and many gained, nothing is counted."""
    lost = data.draw(st.integers(n // 4, n // 2))
    gained = data.draw(st.integers(n // 4, n // 2))
    difference = data.draw(st.floats(-0.1, 0.1))
    found = counted(lost, gained, n)
    chance, high = found.chance_above(difference), limits(found.interval(0.9))[1]
    assert chance is not None
    if abs(high - difference) > 1e-9:
        assert (chance < 0.05) is (high < difference)


def test_the_p_value_over_seeds_is_students() -> None:
    """At the upper limit it is half of what the level leaves, whatever the level."""
    rng = np.random.default_rng(4)
    found = paired(seeded(rng, 4, 60, 0.5), seeded(rng, 4, 60))
    assert found is not None
    for level in (0.5, 0.9, 0.99):
        assert found.chance_above(limits(found.interval(level))[1]) == pytest.approx((1 - level) / 2, abs=1e-9)
        assert found.chance_above(limits(found.interval(level))[0]) == pytest.approx((1 + level) / 2, abs=1e-9)


@given(st.integers(0, 60), st.integers(0, 60))
def test_a_difference_of_checkpoints_is_tested_as_mcnemar_does(lost: int, gained: int) -> None:
    """Without clusters the two-sided p-value against 0 is that of (gained - lost)/√(gained + lost)."""
    found = counted(lost, gained, 200).p_different()
    expected = 1.0 if lost == gained else 2 * norm.sf(abs(gained - lost) / math.sqrt(gained + lost))
    assert found == pytest.approx(expected, abs=1e-9)


def test_a_difference_over_seeds_is_tested_as_its_interval_says() -> None:
    """Below 10 % exactly where the 90 % interval excludes 0; undefined where that is."""
    rng = np.random.default_rng(6)
    for share in (0.4, 0.55, 0.6, 0.7):
        found = paired(seeded(rng, 3, 60, share), seeded(rng, 3, 60))
        assert found is not None
        low, high = limits(found.interval(0.9))
        p = found.p_different()
        assert p is not None
        assert (p < 0.1) is not (low <= 0 <= high)
    alone = paired(np.ones((3, 1)), np.zeros((3, 1)))
    assert alone is not None
    assert alone.p_different() is None


def test_more_facts_and_more_seeds_lower_the_spread() -> None:
    """Facts lower their own part and seeds theirs; as it is, it is the interval's."""
    runs = np.array([np.arange(600) < k for k in (200, 300, 400)]).astype(float)
    found = paired(runs, runs)
    assert found is not None
    error, df = found.spread()
    assert error**2 == pytest.approx(found.item + found.beyond)
    assert found.spread(facts=6000)[0] ** 2 == pytest.approx(found.item / 10 + found.beyond)
    assert found.spread(seeds=30)[0] ** 2 == pytest.approx(found.item + found.beyond / 10)
    assert found.spread(seeds=30)[1] > df


def test_checkpoints_have_as_many_degrees_of_freedom_as_the_normal() -> None:
    """So that planning and judging take one quantile."""
    found = counted(200, 180, 2000)
    assert found.chance_above(limits(found.interval(0.9))[1]) == pytest.approx(0.05, abs=1e-7)
    assert found.df == math.inf
    assert z_value(0.9) == pytest.approx(1.6449, abs=1e-4)


def test_a_paired_difference_has_a_json_form() -> None:
    """Plain numbers, null for infinite degrees of freedom."""
    found = json.loads(json.dumps(counted(20, 10, 200).as_dict(), allow_nan=False))
    assert (found["lost"], found["gained"], found["facts"], found["df"]) == (20, 10, 200, None)
    assert found["difference"] == pytest.approx(-0.05)


def test_a_plan_takes_the_seeds_for_noisier_than_they_look() -> None:
    """The 60 % upper limit of their variance: twice for two seeds an arm, hardly more for many; facts stay."""
    few, many = (Paired(0.0, 100, 0, 0, Noise.SEEDS, 1e-4, 99.0, run=1e-4, run_df=df, seeds=2) for df in (2.0, 2000.0))
    assert few.cautious().run == pytest.approx(1e-4 * 2 / chi2.ppf(0.4, 2))
    assert 1.9e-4 < few.cautious().run < 2e-4
    assert many.cautious().run == pytest.approx(1e-4, rel=0.02)
    assert few.cautious().item == few.item
    assert counted(20, 10, 200).cautious() == counted(20, 10, 200)
