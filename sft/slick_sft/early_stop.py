"""EARLY_STOP: the model at the best dev accuracy, kept while training goes on; and the rules that end it early."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from slick.dynamics import DEV, Measurement
from slick.errors import InputError
from slick.files import replacing_directory
from slick.knowledge import KNOWN

EARLY_STOP = "early_stop"
BEST_DEV = "best-dev"
KNOWN_FALLS = "known-falls"
RULES = (BEST_DEV, KNOWN_FALLS)
PATIENCE = 5
# A fall of the Known facts counts where chance alone would make one as large this rarely, twice in a row.
ALPHA = 0.001

_CANDIDATE = re.compile(r"early-stop-(\d+)")


@dataclass(frozen=True, slots=True)
class Stop:
    """A rule that ends training before its last step.

    best-dev: no better dev accuracy for `patience` epochs. known-falls: fewer Known facts of dev are right than at
    their best so far, beyond noise, at two measurements in a row.
    """

    rule: str
    patience: int = PATIENCE

    def check(self) -> Stop:
        """Itself; raises InputError for a rule that there is not, or no patience."""
        if self.rule not in RULES:
            raise InputError(f"--stop {self.rule}: expected {' or '.join(RULES)}")
        if self.patience < 1:
            raise InputError(f"--patience {self.patience}: expected at least 1 epoch")
        return self

    def says(self, measured: Sequence[Measurement]) -> str:
        """Why training should stop after the last of these measurements; "" where it should not."""
        if self.rule == KNOWN_FALLS:
            return _known_fall(measured)
        best = best_of(measured)
        # The last step of an epoch need not land on a whole number.
        if best is None or measured[-1].epoch - best.epoch < self.patience - 1e-6:
            return ""
        since = "an epoch" if self.patience == 1 else f"{self.patience} epochs"
        return (
            f"dev accuracy was best at epoch {best.epoch:g} ({best.share(DEV):.1%}), {since} before epoch "
            f"{measured[-1].epoch:g}"
        )


def best_of(measured: Sequence[Measurement]) -> Measurement | None:
    """The measurement of the best dev accuracy, the earliest of equals; None where dev was not watched."""
    with_dev = [m for m in measured if m.counts(DEV)[1]]
    return max(with_dev, key=lambda m: (m.counts(DEV)[0], -m.step), default=None)


def _known_fall(measured: Sequence[Measurement]) -> str:
    if len(measured) < 3:
        return ""
    best = max(measured[:-2], key=lambda m: (m.counts(DEV, KNOWN)[0], -m.step))
    falls = [_lost_and_gained(best, m) for m in measured[-2:]]
    if any(chance_of_fall(lost, gained) >= ALPHA for lost, gained in falls):
        return ""
    lost, gained = falls[-1]
    return (
        f"since epoch {best.epoch:g} the model lost {lost} Known facts of dev and gained {gained} "
        f"(p = {chance_of_fall(lost, gained):.2g})"
    )


def _lost_and_gained(before: Measurement, after: Measurement) -> tuple[int, int]:
    a, b = int(before.known or "0", 16), int(after.known or "0", 16)
    return (a & ~b).bit_count(), (b & ~a).bit_count()


def chance_of_fall(lost: int, gained: int) -> float:
    """The chance that of lost + gained facts that changed at least so many would be lost, were both as likely."""
    from scipy.stats import binom

    return float(binom.sf(lost - 1, lost + gained, 0.5))


class Candidates:
    """The models that may become EARLY_STOP, beside the checkpoints; one of them is published at the end.

    A resumed run may go back behind the best model so far, to the checkpoint of an earlier step: until a later
    checkpoint is whole, the best model of before it is kept too.
    """

    def __init__(self, checkpoints: Path, out: Path) -> None:
        self.checkpoints = checkpoints
        self.published = out / EARLY_STOP

    def steps(self) -> set[int]:
        """Those that are kept, by their steps."""
        found = (_CANDIDATE.fullmatch(path.name) for path in self.checkpoints.glob("early-stop-*"))
        return {int(match[1]) for match in found if match}

    def path(self, step: int) -> Path:
        return self.checkpoints / f"early-stop-{step}"

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Keeps the model that `write` puts into a directory."""
        shutil.rmtree(self.path(step), ignore_errors=True)
        with replacing_directory(self.path(step)) as part:
            write(part)

    def keep(self, steps: set[int]) -> None:
        """Removes all others."""
        for step in self.steps() - steps:
            shutil.rmtree(self.path(step))

    def publish(self, step: int) -> None:
        """Makes the model of `step` the run's EARLY_STOP; of step 0, the base, there is none to keep."""
        if step and not self.path(step).is_dir():
            return  # published before the run was killed
        shutil.rmtree(self.published, ignore_errors=True)
        if step:
            self.path(step).replace(self.published)
