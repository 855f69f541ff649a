"""slick_sft.study_report.waiting: how long rows stay wrong in training, and which kind is fitted sooner."""

from __future__ import annotations

import numpy as np
import pytest

from slick.dynamics import TRAIN, Measurement
from slick.knowledge import KNOWN, Category
from slick.statistics import Estimate
from slick_sft.study_report.blocks import Finding, found
from slick_sft.study_report.waiting import Wait, sooner, wait_of

UNKNOWN = (Category.UNKNOWN,)


def measured(known: list[int], unknown: list[int], n: int = 40) -> list[Measurement]:
    """A measurement an epoch: so many of n rows of each kind are right."""
    kinds = {Category.HIGHLY_KNOWN: known, Category.UNKNOWN: unknown}
    return [
        Measurement(5 * e, float(e), {TRAIN: {c: (of[e], n) for c, of in kinds.items() if of}})
        for e in range(max(len(known), len(unknown)))
    ]


def waits(known: list[int], unknown: list[int], n: int = 40) -> tuple[Wait, Wait]:
    run = measured(known, unknown, n)
    pair = wait_of(run, KNOWN), wait_of(run, UNKNOWN)
    assert pair[0] is not None
    assert pair[1] is not None
    return pair[0], pair[1]


def test_a_wait_is_the_mean_over_rows_that_were_wrong() -> None:
    """Of 20 wrong rows half are fitted between epochs 0 and 1 and half between 1 and 2; variance as of such times."""
    found = wait_of(measured([20, 30, 40], []), KNOWN)
    assert found is not None
    assert found.epochs == pytest.approx(1.0)
    assert found.rows == 20
    assert found.variance == pytest.approx((2**2 / 12) / 20)


def test_a_row_that_is_never_fitted_waits_until_the_last_epoch() -> None:
    """No row is fitted in three epochs: three epochs each, and no spread."""
    found = wait_of(measured([], [0, 0, 0, 0]), UNKNOWN)
    assert found == Wait(3.0, 0.0, 40)


def test_rows_that_were_right_before_do_not_wait() -> None:
    """Nor do those count that are lost on the way, where none was wrong; rows that nobody asked have no wait."""
    assert wait_of(measured([40, 38, 40], []), KNOWN) == Wait(0.0, 0.0, 0)
    assert wait_of(measured([1, 2], []), UNKNOWN) is None
    assert wait_of(measured([1], []), KNOWN) is None


@pytest.mark.parametrize(
    ("known", "unknown", "expected"),
    [
        ([40, 40], [0, 24], Finding.AGREES),
        ([40, 40], [0, 4], Finding.AGREES),
        ([20, 36, 40], [0, 2, 10], Finding.AGREES),
        ([20, 30, 40], [20, 30, 40], Finding.OPEN),
        ([0, 4, 10], [0, 24, 40], Finding.DIFFERS),
    ],
)
def test_what_is_fitted_first_is_told_by_an_interval(known: list[int], unknown: list[int], expected: Finding) -> None:
    """Also of two seeds that are alike, and of rows that were right before or are never fitted: no width of 0."""
    for seeds in (1, 2):
        estimate = sooner([waits(known, unknown)] * seeds)
        assert estimate is not None
        assert found(estimate, "rose") is expected
        assert estimate.interval is not None
        assert estimate.interval.low < estimate.value < estimate.interval.high


def test_seeds_that_disagree_settle_nothing() -> None:
    """One seed fits Known rows first and the other Unknown ones."""
    estimate = sooner([waits([0, 30, 40], [0, 4, 10]), waits([0, 4, 10], [0, 30, 40])])
    assert found(estimate, "rose") is Finding.OPEN


def test_without_noise_nothing_is_defined() -> None:
    """All rows of both kinds alike in time: a value, and no interval of no width; no seeds, no value."""
    assert sooner([(Wait(0.0, 0.0, 0), Wait(2.0, 0.0, 40))]) == Estimate(2.0, None, 40, "rows and seeds")
    assert sooner([]) is None


def test_the_interval_covers_the_truth() -> None:
    """90 % intervals of 200 studies of three seeds, 30 rows of each kind, exponential times in 12 epochs."""
    rng = np.random.default_rng(2)
    ends = np.arange(13)

    def right(rate: float) -> list[int]:
        times = rng.exponential(1 / rate, 30)
        return [int((times <= end).sum()) for end in ends]

    # The truth, by the same straight lines between epochs, of very many rows.
    curves = {rate: np.exp(-rate * ends) for rate in (0.5, 0.2)}
    truth = float(np.trapezoid(curves[0.2]) - np.trapezoid(curves[0.5]))
    held = 0
    for _ in range(200):
        estimate = sooner([waits(right(0.5), right(0.2), 30) for _ in range(3)])
        assert estimate is not None
        assert estimate.interval is not None
        held += estimate.interval.low <= truth <= estimate.interval.high
    assert held / 200 >= 0.86
