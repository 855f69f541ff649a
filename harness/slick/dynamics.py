"""`dynamics.jsonl`: what a model answered rightly while it was trained. Written by `slick tune` beside the model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slick.errors import InputError
from slick.knowledge import CATEGORIES, Category

DYNAMICS = "dynamics.jsonl"
# The watched set of the training rows themselves, and the one that decides which model is kept.
TRAIN = "train"
DEV = "dev"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was right after a number of optimiser steps.

    sets: of each watched set, category → (right, asked), without categories that no asked row has.
    known: which Known facts of dev were right, one bit each, in hexadecimal; "" where no stop rule needs it.
    seconds: what the measurement took.
    """

    step: int
    epoch: float
    sets: Mapping[str, Mapping[Category, tuple[int, int]]]
    seconds: float = 0.0
    known: str = ""

    def counts(self, name: str, categories: Iterable[Category] = CATEGORIES) -> tuple[int, int]:
        """(right, asked) of a set's rows of these categories."""
        found = [self.sets[name][c] for c in categories if c in self.sets.get(name, {})]
        return sum(right for right, _ in found), sum(asked for _, asked in found)

    def share(self, name: str, categories: Iterable[Category] = CATEGORIES) -> float | None:
        """Share of right answers; None where nothing was asked."""
        right, asked = self.counts(name, categories)
        return right / asked if asked else None

    def as_dict(self) -> dict[str, Any]:
        sets = {name: {str(c): list(n) for c, n in of.items()} for name, of in self.sets.items()}
        found = {"step": self.step, "epoch": self.epoch, "sets": sets, "seconds": self.seconds}
        return found | ({"dev_known": self.known} if self.known else {})

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Measurement:
        """Raises KeyError, TypeError, ValueError, OverflowError or AttributeError for a row that is none."""
        sets: dict[str, dict[Category, tuple[int, int]]] = {}
        for name, of in row["sets"].items():
            sets[str(name)] = {Category(category): _pair(pair) for category, pair in of.items()}
        epoch = float(row["epoch"])
        if not math.isfinite(epoch):
            raise ValueError(f"epoch {epoch} cannot be")
        return cls(int(row["step"]), epoch, sets, float(row["seconds"]), str(row.get("dev_known", "")))


def _pair(pair: Sequence[Any]) -> tuple[int, int]:
    right, asked = map(int, pair)
    if not 0 <= right <= asked:
        raise ValueError(f"{right} right of {asked} cannot be")
    return right, asked


def read_dynamics(path: Path) -> list[Measurement]:
    """The measurements of a tuning run's directory, or of its `dynamics.jsonl`, by rising step.

    A last line that a kill cut off is left out. Raises InputError for a file that is missing or damaged elsewhere.
    """
    file = path / DYNAMICS if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); expected what `slick tune` measures") from error
    whole, _, _ = text.rpartition("\n")
    found: list[Measurement] = []
    for number, line in enumerate(whole.split("\n") if whole else [], 1):
        try:
            measured = Measurement.from_dict(json.loads(line))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
            raise InputError(f"{file}:{number}: not a measurement ({type(error).__name__}: {error})") from error
        if found and measured.step <= found[-1].step:
            raise InputError(f"{file}:{number}: step {measured.step} stands behind step {found[-1].step}")
        found.append(measured)
    return found
