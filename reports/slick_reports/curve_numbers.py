"""The numbers of an arm's training curves: what was right while the model was trained, by epoch."""

from __future__ import annotations

from dataclasses import dataclass

from slick.statistics import Estimate


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What was right at one measurement. share: over several seeds their mean; n: rows asked, of a seed's."""

    epoch: float
    share: Estimate


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """One group of one watched set, from before the first step on.

    watched: "train" are the training rows, "dev" the facts that decide which model is kept; any other name is the
    user's. group: "Known" or "Unknown" of the training rows, else a category.
    """

    watched: str
    group: str
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True)
class TrainingCurves:
    """The curves of an arm. seeds: of the runs that were measured, in the arm's order.

    scored: for each of them, the epoch of the model that was scored; None where that is not recorded.
    """

    seeds: tuple[int | None, ...]
    scored: tuple[float | None, ...]
    curves: tuple[LearningCurve, ...]

    def watched(self) -> tuple[str, ...]:
        """The sets, in their order."""
        return tuple(dict.fromkeys(curve.watched for curve in self.curves))

    def of(self, watched: str) -> tuple[LearningCurve, ...]:
        return tuple(curve for curve in self.curves if curve.watched == watched)
