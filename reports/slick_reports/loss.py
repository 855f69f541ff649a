"""The training loss that tuning runs recorded of themselves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, TypeGuard

from slick_reports.inputs import Scored, mapping
from slick_reports.numbers import LossCurve

# Points of a curve; a picture 460 wide shows no more.
POINTS = 200


def loss_curves(runs: Iterable[Scored]) -> tuple[LossCurve, ...]:
    """One curve a run that recorded its loss, thinned to POINTS by means over equal stretches."""
    found = []
    for run in runs:
        points = _points(run.training.get("loss"))
        if len(points) > 1:
            found.append(LossCurve(run.seed, _thinned(points)))
    return tuple(found)


def _points(recorded: Any) -> list[tuple[float, float]]:
    """(step, loss), by rising step; entries that are none are left out, since others may have written the file."""
    pairs = []
    for entry in recorded if isinstance(recorded, list) else []:
        step, loss = mapping(entry).get("step"), mapping(entry).get("loss")
        if _is_number(step) and _is_number(loss):
            pairs.append((float(step), float(loss)))
    return sorted(pairs)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _thinned(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    if len(points) <= POINTS:
        return tuple(points)
    edges = [round(i * len(points) / POINTS) for i in range(POINTS + 1)]
    return tuple(_mean(points[a:b]) for a, b in pairwise(edges))


def _mean(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    steps, losses = zip(*points, strict=True)
    return math.fsum(steps) / len(points), math.fsum(losses) / len(points)
