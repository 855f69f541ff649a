"""From what `slick tune` measured beside a model to the training curves of the arm whose runs scored it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import stdev
from typing import TypeVar

from slick.dynamics import DEV, DYNAMICS, TRAIN, Measurement, read_dynamics
from slick.errors import InputError
from slick.files import digest_of
from slick.knowledge import CATEGORIES, KNOWN, Category
from slick.statistics import Estimate, Interval, t_value, wilson
from slick.training import read_training, tuning_run_of
from slick_reports.arms import Arm
from slick_reports.curve_numbers import CurvePoint, LearningCurve, TrainingCurves
from slick_reports.headline import quoted
from slick_reports.inputs import Scored, mapping
from slick_reports.places import place, placed

# Points of a curve that the numbers keep; a picture 460 wide shows no more.
POINTS = 200
# Names, within a tuning run's directory, of its last model and of the one that dev chose.
_LAST, _CHOSEN = "model", "early_stop"
_ROWS: Mapping[str, Sequence[Category]] = {"Known": KNOWN, "Unknown": (Category.UNKNOWN,)}
_FACTS: Mapping[str, Sequence[Category]] = {str(category): (category,) for category in CATEGORIES}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trained:
    """A scored run whose model's training was measured."""

    seed: int | None
    scored: float | None
    measured: Sequence[Measurement]


def training_curves(arm: Arm) -> tuple[TrainingCurves | None, tuple[str, ...]]:
    """(the arm's curves, notes on what is missing of them); (None, ()) where no run records a measurement.

    Of several seeds those epochs are kept that all measured runs have: a mean over ever fewer seeds would jump.
    """
    runs, notes = [], []
    for run in arm.runs:
        try:
            found = _trained(run)
        except InputError as error:
            notes.append(f"{quoted(place(run.path))} has no training curves: {placed(str(error))}.")
            continue
        if found:
            runs.append(found)
    curves = tuple(_curves([run.measured for run in runs])) if runs else ()
    if runs and not curves:
        notes.append(f"The seeds of {quoted(arm.label)} were measured at different epochs, so they have no curve.")
    if not curves:
        return None, tuple(notes)
    return TrainingCurves(tuple(run.seed for run in runs), tuple(run.scored for run in runs), curves), tuple(notes)


def _trained(run: Scored) -> Trained | None:
    """None where training measured nothing. InputError where it did, and what it measured is not to be had.

    The model's path comes from the run's own file. It is followed to a file of one name, beside a record that equals
    the one that the run holds, and nothing but counts is taken from it.
    """
    if not mapping(run.training.get("dynamics")).get("measurements"):
        return None
    name = str(mapping(run.provenance.get("model")).get("name") or "")
    places = list(dict.fromkeys(_tuning_runs(run, name)))
    if not places:
        raise InputError(
            f"its model {quoted(place(name))} is not there (a relative path counts from here, or from above the run), "
            f"nor is the {DYNAMICS} beside it"
        )
    made = next((found for found in places if _made(found, run)), None)
    if made is None:
        raise InputError(f"{place(places[0])} holds another tuning run than the one that was scored")
    measured = read_dynamics(made / DYNAMICS)
    return Trained(run.seed, _scored_epoch(Path(name).name, run, measured), measured)


def _tuning_runs(run: Scored, name: str) -> Iterator[Path]:
    """Where the run that made a model of this name may lie: a score is often read elsewhere than it was made."""
    for base in (Path(), *run.path.absolute().parents):
        # A study removes the weights once they are scored; what was measured stays.
        for model in (base / name, (base / name).parent):
            try:
                place = tuning_run_of(str(model))
            except OSError:  # no system has a name as long
                continue
            if place:
                yield place


def _made(place: Path, run: Scored) -> bool:
    """Whether the tuning run in `place` is the one whose record the score holds."""
    record = read_training(str(place))
    return digest_of({key: record.get(key) for key in run.training}) == digest_of(dict(run.training))


def _scored_epoch(model: str, run: Scored, measured: Sequence[Measurement]) -> float | None:
    if model == _CHOSEN:
        epoch = mapping(run.training.get("early_stop")).get("epoch")
        return float(epoch) if isinstance(epoch, (int, float)) and math.isfinite(epoch) else None
    return measured[-1].epoch if model == _LAST and measured else None


def _curves(runs: Sequence[Sequence[Measurement]]) -> Iterator[LearningCurve]:
    """The training rows first, then dev, then other sets by name."""
    by_epoch = [{round(measured.epoch, 6): measured for measured in run} for run in runs]
    epochs = thinned(sorted(set.intersection(*(set(run) for run in by_epoch))), POINTS)
    names = {name for run in runs for measured in run for name in measured.sets}
    for name in sorted(names, key=lambda name: (name != TRAIN, name != DEV, name)):
        for group, categories in (_ROWS if name == TRAIN else _FACTS).items():
            points = []
            for epoch in epochs:
                share = share_of([run[epoch].counts(name, categories) for run in by_epoch])
                points += [CurvePoint(epoch, share)] if share else []
            if len(points) > 1:
                yield LearningCurve(name, group, tuple(points))


def thinned(items: Sequence[T], most: int) -> list[T]:
    """At most so many, by equal steps, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    step = -(-(len(items) - 1) // (most - 1))
    return [*items[: len(items) - 1 : step], items[-1]]


def share_of(counts: Sequence[tuple[int, int]]) -> Estimate | None:
    """The share of right answers, over seeds their mean. counts: (right, asked) of each; None where one asked nothing.

    One seed: Wilson's interval, the noise of which rows were asked. Several: Wilson's about the mean and Student's of
    the seeds' spread, each as far as it reaches, added as squares (Zou and Donner 2008); what of the spread is the
    rows' own counts twice, so that the interval is wide enough rather than too narrow.
    """
    if not counts or any(asked == 0 for _, asked in counts):
        return None
    shares = [right / asked for right, asked in counts]
    mean, n = math.fsum(shares) / len(shares), min(asked for _, asked in counts)
    rows = wilson(min(mean * n, n), n)
    assert rows is not None
    if len(shares) == 1 or rows.interval is None:
        return rows
    level = rows.interval.level
    spread = t_value(level, len(shares) - 1) * stdev(shares) / math.sqrt(len(shares))
    low = mean - math.hypot(mean - rows.interval.low, spread)
    high = mean + math.hypot(rows.interval.high - mean, spread)
    inside = Interval(max(0.0, low), min(1.0, high), level)
    return replace(rows, value=mean, interval=inside, method=f"rows and {len(shares)} seeds")
