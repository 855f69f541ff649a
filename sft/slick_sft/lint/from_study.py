"""A prediction from a finished study: how far the accuracy on Known facts moved with a set's share of Unknown rows.

At full fit all rows are fitted, so that the study's linear model (accuracy by the Known and Unknown rows fitted, over
|D|) is a line in the share u of Unknown rows; at EARLY_STOP it is one as far as the same part of each kind is fitted.
So one line a stage is laid through the study's mixes, a point a variant with its seeds averaged: change = a + b u.
Every variant is left out once and foretold by the others: the root mean square of these errors is the prediction's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slick.files import mapping_of
from slick.knowledge import Category
from slick.provenance import same_model
from slick.regression import MIN_VARIANTS
from slick.runs import differences
from slick_reports.text import visible
from slick_sft.arguments import decisive, rows_a_step, sft_arguments
from slick_sft.lint.prediction import Change, Composition, Prediction
from slick_sft.study_report.asked import KNOWN_FACTS
from slick_sft.study_report.data import STAGES, TEST, Study

# (share of Unknown rows, change of the accuracy on Known facts)
Point = tuple[float, float]

# A study's sets hold facts alone: of a dataset with more of other rows, it says nothing.
_FACTS = 0.95
# Rows of the dataset over those of the study's sets, either way.
_TIMES = 2.0
_NAMES = dict(zip(STAGES, ("EARLY_STOP", "full fit"), strict=True))


class FromStudy:
    """A study's lines. Raises InputError where the directory holds no finished study, or is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.study = Study(path)
        self.points = {stage: points_of(self.study, stage) for stage in STAGES}

    def predict(self, dataset: Composition) -> Prediction:
        """The change at both stages, or why this study tells none."""
        reason = self._other_kind(dataset) or self._beyond(dataset)
        if reason:
            return Prediction(reason=f"the study {visible(str(self.path), 200)} {reason}")
        unknown = dataset.shares[str(Category.UNKNOWN)]
        changes = tuple(
            Change(_NAMES[stage], foretold(points, unknown), left_out(points)) for stage, points in self.points.items()
        )
        variants = len(self.points[STAGES[0]])
        source = f"the study {self.path}, {variants} mixes; the error is that of each mix foretold by the others"
        return Prediction(changes, source=source)

    def _other_kind(self, dataset: Composition) -> str:
        """What of model, form and hyperparameters differs, in words; "" where nothing does."""
        if not same_model(mapping_of(self.study.document.get("model")), dataset.model):
            return "is of another model"
        grid = self.study.grid
        theirs = str(grid.get("form") or ""), bool(grid.get("conversational"))
        ours = dataset.form, dataset.conversational
        if not dataset.form:
            return f"asks as {visible(theirs[0])!r}, and no prompt of the dataset shows how it asks"
        if (_bare(*theirs), theirs[1]) != (_bare(*ours), ours[1]):
            kinds = [f"{visible(form)!r}" + (" in chats" if chat else "") for form, chat in (theirs, ours)]
            return f"asks as {kinds[0]}, and the dataset as {kinds[1]}"
        if dataset.training is None:
            return "says nothing of a training that is not known; name its policy with --policy"
        there = mapping_of(mapping_of(grid.get("trainings")).get(self.study.version))
        found = differences(training_of(there), dataset.training)
        told = ", ".join(f"{name} {old!r} and not {new!r}" for name, old, new in found[:4])
        return f"trained otherwise than the policy says: {visible(told, 300)}" if found else ""

    def _beyond(self, dataset: Composition) -> str:
        """Why the dataset lies outside of what the study has seen; "" where it does not."""
        shares = [share for share, _ in self.points[STAGES[0]]]
        if len(shares) < MIN_VARIANTS:
            return f"holds {len(shares)} mixes whose Known facts were scored, expected at least {MIN_VARIANTS}"
        if dataset.probed < _FACTS * dataset.rows:
            return (
                f"trained on facts alone, and {dataset.rows - dataset.probed:,} of the dataset's {dataset.rows:,} rows "
                "could not be probed"
            )
        size = self.study.size
        if size and not size / _TIMES <= dataset.rows <= size * _TIMES:
            return f"trained on {size:,} rows, and the dataset has {dataset.rows:,}: more than {_TIMES:g} times apart"
        unknown = dataset.shares[str(Category.UNKNOWN)]
        if not min(shares) <= unknown <= max(shares):
            return (
                f"saw {100 * min(shares):.0f} to {100 * max(shares):.0f} % of Unknown rows, and the dataset has "
                f"{100 * unknown:.1f} %"
            )
        return ""


def points_of(study: Study, stage: str) -> list[Point]:
    """One point a plain mix of the study; none where its Known facts were not scored."""
    if TEST not in study.splits:
        return []
    mask = study.asked(TEST).mask(KNOWN_FACTS)
    if not mask.any():
        return []
    before = float(study.base(TEST).right[:, mask].mean())
    return [
        (share, float(study.answers(variant, stage, TEST).right[:, mask].mean()) - before)
        for share, variant in study.mixes().items()
    ]


def foretold(points: Sequence[Point], share: float) -> float:
    """The least-squares line through at least two shares, at `share`."""
    n = len(points)
    x, y = (math.fsum(of) / n for of in zip(*points, strict=True))
    spread = math.fsum((a - x) ** 2 for a, _ in points)
    return y + (share - x) * math.fsum((a - x) * (b - y) for a, b in points) / spread


def left_out(points: Sequence[Point]) -> float:
    """The root mean square error of every point foretold by the others; of at least three shares."""
    errors = [y - foretold([*points[:i], *points[i + 1 :]], x) for i, (x, y) in enumerate(points)]
    return math.sqrt(math.fsum(error**2 for error in errors) / len(errors))


def training_of(tuning: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a training, from a policy's or a grid's own words for it: method, adapter, TRL's arguments."""
    given = {
        "learning_rate": tuning.get("learning_rate"),
        "num_train_epochs": tuning.get("epochs"),
        "per_device_train_batch_size": tuning.get("batch_size"),
    }
    settings = [f"{name}={_json(value)}" for name, value in (tuning.get("settings") or {}).items()]
    method = str(tuning.get("method") or "full")
    arguments = sft_arguments(given, settings=settings, lora=method != "full")
    lora = tuning.get("lora") or {}
    adapter = {"r": lora.get("r", tuning.get("lora_r")), "alpha": lora.get("lora_alpha", tuning.get("lora_alpha"))}
    found = {"method": method, "batch_size": rows_a_step(arguments, 1), **decisive(arguments)}
    return found | (adapter if method != "full" else {})


def _json(value: Any) -> str:
    return json.dumps(value)


def _bare(form: str, conversational: bool) -> str:
    """A form without what is trimmed from it: a space at its end, and in chats the line's end."""
    return form.rstrip("\n ") if conversational else form.rstrip(" ")
