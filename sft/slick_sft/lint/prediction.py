"""What a dataset would do to the accuracy on known facts, where a study of the same kind can tell.

Never part of a verdict. A study's linear model holds for its model, its training form and its hyperparameters; for
anything else there is no prediction, and this says so rather than to guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Change:
    """A predicted change of the accuracy on known facts, a fraction. error: the study's leave-one-variant-out error."""

    at: str
    change: float
    error: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """changes: at EARLY_STOP and at full fit; none where `reason` says why there is no prediction."""

    changes: tuple[Change, ...] = ()
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        changes = [{"at": c.at, "change": c.change, "error": c.error} for c in self.changes]
        return {"changes": changes, "reason": self.reason or None}


@dataclass(frozen=True, slots=True)
class Composition:
    """What a prediction is made from. model: its fingerprint; form: the dataset's; shares: expected, by category."""

    model: Mapping[str, Any]
    form: str
    rows: int
    probed: int
    shares: Mapping[str, float]


class Study(Protocol):
    """A study that was made before."""

    def predict(self, dataset: Composition) -> Prediction | None:
        """None where the study is of another model, form or hyperparameters."""


def predict(dataset: Composition, studies: Sequence[Study] = ()) -> Prediction:
    """The prediction of the first study that has one."""
    for study in studies:
        if (found := study.predict(dataset)) is not None:
            return found
    if studies:
        return Prediction(reason="no study is of this model, form and hyperparameters")
    return Prediction(reason="no study of this model, form and hyperparameters was given")
