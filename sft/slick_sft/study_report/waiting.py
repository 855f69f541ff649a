"""How long rows stay wrong in training: a mean over rows with its noise, for Known and Unknown ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from slick.dynamics import TRAIN, Measurement
from slick.knowledge import Category
from slick.statistics import LEVEL, Estimate, Interval, t_value

# Of one run by epoch: share of the rows that are wrong, of those that were wrong before the first step.
Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Wait:
    """The mean number of epochs that a row which the base model had wrong stays wrong; to the last epoch at most.

    variance: of that mean over rows. rows: that were wrong; with none, the wait is 0.
    """

    epochs: float
    variance: float
    rows: int


def wait_of(measured: Sequence[Measurement], categories: Sequence[Category]) -> Wait | None:
    """Of one run's training rows of these categories; None where fewer than two measurements asked any."""
    counts = [(m.epoch, *m.counts(TRAIN, categories)) for m in measured if m.counts(TRAIN, categories)[1]]
    if len(counts) < 2:
        return None
    _, right, asked = counts[0]
    wrong = asked - right
    if wrong == 0:
        return Wait(0.0, 0.0, 0)
    # A row that was right before and is lost counts as one more that is wrong, up to all that were.
    curve = [(epoch, min(1.0, (n - k) / wrong)) for epoch, k, n in counts]
    mean, variance = _moments(curve)
    return Wait(mean, variance / wrong, wrong)


def _moments(curve: Curve) -> tuple[float, float]:
    """(mean, variance) of how long a row stays wrong: ∫S and 2∫tS - (∫S)², S straight between two epochs."""
    start = curve[0][0]
    mean = square = 0.0
    for (a, s), (b, t) in pairwise(curve):
        step, begun = b - a, a - start
        mean += step * (s + t) / 2
        # ∫ 2τS over the step, S = s + (t - s)(τ - begun)/step.
        square += 2 * (begun * step * (s + t) / 2 + step**2 * (s / 6 + t / 3))
    return mean, max(0.0, square - mean**2)


def sooner(pairs: Sequence[tuple[Wait, Wait]]) -> Estimate | None:
    """How many epochs sooner the first kind is fitted than the second, the mean over seeds; None for no seeds.

    Rows are drawn anew with every seed, so that seeds hold the rows' noise; where they lie closer together than that
    (or there is one), the rows' own counts (DESIGN, "Several seeds per arm": max(V_row, V_run)). Undefined where no
    row tells anything.
    """
    if not pairs:
        return None
    gaps = [second.epochs - first.epochs for first, second in pairs]
    seeds, rows = len(gaps), sum(wait.rows for pair in pairs for wait in pair)
    mean = math.fsum(gaps) / seeds
    item = math.fsum(wait.variance for pair in pairs for wait in pair) / seeds**2
    run = math.fsum((gap - mean) ** 2 for gap in gaps) / (seeds - 1) / seeds if seeds > 1 else 0.0
    total = max(item, run)
    if total <= 0 or rows < 3:
        return Estimate(mean, None, rows, "rows and seeds")
    doubt = item**2 / (rows - 1) + (run**2 / (seeds - 1) if seeds > 1 else 0.0)
    half = t_value(LEVEL, total**2 / doubt) * math.sqrt(total)
    return Estimate(mean, Interval(mean - half, mean + half), rows, f"rows and {seeds} seed{'s' * (seeds != 1)}")
