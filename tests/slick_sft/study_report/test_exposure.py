"""slick_sft.study_report.exposure: the rank correlation of exposures and category, with its interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from slick_sft.study_report.exposure import rank_correlation


def drawn(n: int, strength: float, seed: int) -> tuple[list[int], list[int]]:
    rng = np.random.default_rng(seed)
    exposures = rng.integers(0, 9, n)
    ranks = np.clip(np.round(strength * exposures / 3 + rng.normal(0, 1, n)), 0, 3).astype(int)
    return exposures.tolist(), ranks.tolist()


def test_the_correlation_is_scipys() -> None:
    """With ties, of which there are many."""
    exposures, ranks = drawn(200, 0.8, 1)
    found = rank_correlation(exposures, ranks, range(200), draws=50)
    assert found is not None
    assert found.value == pytest.approx(spearmanr(exposures, ranks).statistic)
    assert found.interval is not None
    assert found.interval.low < found.value < found.interval.high


def test_the_interval_covers_the_truth() -> None:
    """90 % intervals of 80 samples of 120 facts; the truth is that of very many."""
    truth = spearmanr(*drawn(200_000, 0.6, 0)).statistic
    held = 0
    for seed in range(80):
        exposures, ranks = drawn(120, 0.6, seed + 1)
        found = rank_correlation(exposures, ranks, range(120), draws=200)
        assert found is not None
        assert found.interval is not None
        held += found.interval.low <= truth <= found.interval.high
    assert held / 80 >= 0.84


def test_facts_of_one_subject_are_drawn_together() -> None:
    """Each fact four times over makes the interval no narrower, and the same seed gives the same limits."""
    exposures, ranks = drawn(60, 0.6, 3)
    once = rank_correlation(exposures, ranks, range(60), draws=500)
    many = rank_correlation(
        np.repeat(exposures, 4).tolist(), np.repeat(ranks, 4).tolist(), np.repeat(range(60), 4).tolist(), draws=500
    )
    assert once is not None
    assert many is not None
    assert once.interval == many.interval


def test_what_never_varies_has_no_correlation() -> None:
    """None; and one subject alone has a value without an interval."""
    assert rank_correlation([1, 1, 1], [0, 1, 2], range(3)) is None
    assert rank_correlation([0, 1, 2], [3, 3, 3], range(3)) is None
    found = rank_correlation([0, 1, 2], [0, 1, 3], ["S"] * 3)
    assert found is not None
    assert (found.value, found.interval) == (pytest.approx(1.0), None)
