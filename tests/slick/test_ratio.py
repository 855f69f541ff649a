"""slick.ratio: the share of one difference that another explains, with Fieller's interval."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from slick.ratio import explained_share

Scores = NDArray[np.float64]


def arm(rng: np.random.Generator, seeds: int, chances: Scores, less: float, sd: float = 0.01) -> Scores:
    luck = rng.normal(0, sd, (seeds, 1))
    return (rng.random((seeds, len(chances))) < chances - less + luck).astype(float)


def arms(
    rng: np.random.Generator, share: float, *, seeds: int = 3, n: int = 600, whole: float = 0.2
) -> tuple[Scores, Scores, Scores]:
    """(best, partial, worst): best is better by `whole`, and by share · whole than partial."""
    chances = rng.choice([0.3, 0.9], n)
    return arm(rng, seeds, chances, 0), arm(rng, seeds, chances, share * whole), arm(rng, seeds, chances, whole)


def test_the_share_is_a_ratio_of_differences() -> None:
    """Of 30 points, 12 are lacking: 40 %."""
    n = np.arange(100)
    best, partial, worst = ((n < k).astype(float)[None] for k in (80, 68, 50))
    found = explained_share(best, partial, worst)
    assert found is not None
    assert found.value == pytest.approx(0.4)
    assert found.interval is not None
    assert found.interval.low < 0.4 < found.interval.high


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_interval_covers_the_share(share: float) -> None:
    """A 90 % interval over 400 studies of three seeds."""
    rng = np.random.default_rng(int(share * 10))
    held = 0
    for _ in range(400):
        found = explained_share(*arms(rng, share))
        assert found is not None
        assert found.interval is not None
        held += found.interval.low <= share <= found.interval.high
    assert held / 400 >= 0.86


def test_an_advantage_that_may_be_0_has_no_share() -> None:
    """Undefined, since any share could be true; the value alone would mislead."""
    rng = np.random.default_rng(3)
    found = explained_share(*arms(rng, 0.5, whole=0.005, n=200))
    assert found is not None
    assert found.interval is None


def test_a_disadvantage_has_no_share() -> None:
    """Undefined too where `best` is clearly the worse one: Fieller's limits exist there, and are a share of nothing."""
    rng = np.random.default_rng(6)
    best, partial, worst = arms(rng, 0.5)
    found = explained_share(worst, partial, best)
    assert found is not None
    assert found.interval is None


def test_no_advantage_at_all_has_no_ratio() -> None:
    """None: nothing to divide by."""
    same = np.ones((2, 40))
    assert explained_share(same, same, same) is None
    assert explained_share(np.ones((2, 1)), np.zeros((2, 1)), np.zeros((2, 1))) is None


def test_the_arms_must_share_their_facts() -> None:
    """Other numbers of facts are not paired."""
    with pytest.raises(ValueError, match="arms over other facts: 5, 6 and 5"):
        explained_share(np.zeros((2, 5)), np.zeros((2, 6)), np.zeros((2, 5)))


def test_clusters_widen_the_interval() -> None:
    """Facts of one subject that move together count less."""
    rng = np.random.default_rng(4)
    best, partial, worst = (np.repeat(a, 4, axis=1) for a in arms(rng, 0.5, n=200))
    alone = explained_share(best, partial, worst)
    together = explained_share(best, partial, worst, clusters=[i // 4 for i in range(800)])
    assert alone is not None
    assert together is not None
    assert alone.interval is not None
    assert together.interval is not None
    assert together.value == alone.value
    assert together.interval.low < alone.interval.low < alone.interval.high < together.interval.high


def test_one_run_an_arm_rests_on_facts_alone() -> None:
    """Single checkpoints have an interval too; runs that differ make it wider."""
    rng = np.random.default_rng(5)
    found = explained_share(*arms(rng, 0.5, seeds=1))
    assert found is not None
    assert found.interval is not None


def test_facts_of_one_cluster_alone_have_no_interval() -> None:
    """They tell nothing of another draw; few clusters take Student's quantile of their number less one."""
    rng = np.random.default_rng(5)
    same = arms(rng, 0.5, seeds=1, n=200)
    alone = explained_share(*same, clusters=[0] * 200)
    assert alone is not None
    assert alone.interval is None
    few, many = (explained_share(*same, clusters=clusters) for clusters in ([i % 4 for i in range(200)], range(200)))
    assert few is not None
    assert many is not None
    assert many.interval is not None
    assert few.interval is None or few.interval.high - few.interval.low > many.interval.high - many.interval.low
