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
    """changes: at EARLY_STOP and at full fit; none where `reason` says why there is no prediction. source: whose
    prediction it is, in words."""

    changes: tuple[Change, ...] = ()
    reason: str = ""
    source: str = ""

    def as_dict(self) -> dict[str, Any]:
        changes = [{"at": c.at, "change": c.change, "error": c.error} for c in self.changes]
        return {"changes": changes, "reason": self.reason or None} | ({"source": self.source} if self.source else {})


@dataclass(frozen=True, slots=True)
class Composition:
    """What a prediction is made from. model: its fingerprint; form: what the dataset's prompts put around a question;
    rows: those that are learnt from; shares: of the probed ones, expected, by category. training: what decides how they
    will be trained on, by name; None where that is not known."""

    model: Mapping[str, Any]
    form: str
    rows: int
    probed: int
    shares: Mapping[str, float]
    conversational: bool = False
    training: Mapping[str, Any] | None = None


class Study(Protocol):
    """A study that was made before."""

    def predict(self, dataset: Composition) -> Prediction | None:
        """None where the study is of another model, form or hyperparameters, or a prediction with the reason."""


def predict(dataset: Composition, studies: Sequence[Study] = ()) -> Prediction:
    """The prediction of the first study that has one."""
    reasons = []
    for study in studies:
        found = study.predict(dataset)
        if found is not None and found.changes:
            return found
        reasons += [found.reason] if found is not None and found.reason else []
    if studies:
        return Prediction(reason="; ".join(reasons) or "no study is of this model, form and hyperparameters")
    return Prediction(reason="no study of this model, form and hyperparameters was given")
