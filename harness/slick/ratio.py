"""How much of one difference another explains: the ratio of two differences of arms, with Fieller's interval. Pure.

The question it is for: of what dropping Unknown rows gains (D_Known minus D), how much does training fewer steps gain
by itself (D_Known minus the control that keeps the steps and gives those rows no weight)?
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from slick.statistics import LEVEL, Estimate, Interval, design_effect, seeds_variance, t_value

if TYPE_CHECKING:
    from slick.statistics import Scores


def explained_share(
    best: Scores,
    partial: Scores,
    worst: Scores,
    *,
    clusters: Sequence[Hashable] | None = None,
    level: float = LEVEL,
) -> Estimate | None:
    """(best - partial) / (best - worst): the share of best's advantage over worst that partial lacks.

    best, partial, worst: runs × facts, 0 or 1, the same facts. Fieller's interval (1954), which takes into account that
    both differences rest on the same facts and on the same runs of `best`; it is undefined where the whole advantage
    is below 0, or may be 0, since there is then nothing to have a share of, or any share could be true, and for facts
    of one cluster alone. None for fewer than 2 facts, and for an advantage of exactly 0.
    """
    n = best.shape[1]
    if not n == partial.shape[1] == worst.shape[1]:
        raise ValueError(f"arms over other facts: {n}, {partial.shape[1]} and {worst.shape[1]}")
    part, whole = (_means(best) - _means(arm) for arm in (partial, worst))
    if n < 2 or float(whole.mean()) == 0:
        return None
    top, bottom = float(part.mean()), float(whole.mean())
    share = top / bottom
    v = _covariance(part, whole, (best, partial, worst), clusters)
    groups = n if clusters is None else len(set(clusters))
    df = _df((best, partial, worst), groups)
    t = t_value(level, df)
    a = bottom**2 - t**2 * v[1][1]
    b = top * bottom - t**2 * v[0][1]
    c = top**2 - t**2 * v[0][0]
    # Fieller's `a` is above 0 as well where `bottom` lies clearly below 0, which is no advantage.
    if bottom <= 0 or a <= 0 or groups < 2:
        return Estimate(share, None, n, "Fieller")
    root = math.sqrt(max(b * b - a * c, 0.0))
    return Estimate(share, Interval((b - root) / a, (b + root) / a, level), n, "Fieller")


def _means(arm: Scores) -> Scores:
    found: Scores = arm.mean(axis=0)
    return found


def _covariance(
    part: Scores, whole: Scores, arms: Sequence[Scores], clusters: Sequence[Hashable] | None
) -> list[list[float]]:
    """Of the two differences: that of the facts (clusters widen it), and what the seeds of each arm add."""
    import numpy as np

    n = len(part)
    values = np.stack([part, whole])
    centred = values - values.mean(axis=1, keepdims=True)
    effect = 1.0
    if clusters is not None:
        effect = max(design_effect(row.tolist(), clusters) for row in values)
    found = centred @ centred.T / n**2 * effect
    found[0, 0] += 2 / n**2 * effect
    found[1, 1] += 2 / n**2 * effect
    signs = np.array([[1.0, -1.0, 0.0], [1.0, 0.0, -1.0]])
    found = found + (signs * [_beyond(arm) for arm in arms]) @ signs.T
    return [[float(x) for x in row] for row in found]


def _beyond(arm: Scores) -> float:
    """What an arm's seeds add to the variance of its mean accuracy; 0 for a single run."""
    if arm.shape[0] < 2:
        return 0.0
    return seeds_variance(arm, arm[:1]).beyond


def _df(arms: Sequence[Scores], groups: int) -> float:
    """Those of the fewest seeds where seeds add noise, else those of the facts, or of their clusters."""
    seeds, facts = [arm.shape[0] for arm in arms if arm.shape[0] > 1], float(max(groups - 1, 1))
    if not any(_beyond(arm) for arm in arms):
        return facts
    return min(facts, float(len(seeds) * (min(seeds) - 1)))
