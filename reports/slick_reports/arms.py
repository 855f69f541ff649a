"""Runs become arms: equal but for their seed is one arm. Which arm is the control, and what an arm is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slick.errors import InputError
from slick.provenance import same_model
from slick_reports.inputs import Scored, mapping
from slick_reports.places import place
from slick_reports.text import short


@dataclass(frozen=True, slots=True)
class Arm:
    """Runs that differ in nothing but their seed, in the order of their seeds."""

    label: str
    runs: tuple[Scored, ...]

    @property
    def seeds(self) -> tuple[int | None, ...]:
        return tuple(run.seed for run in self.runs)

    @property
    def training(self) -> Mapping[str, Any]:
        return self.runs[0].training


def group_arms(runs: Sequence[Scored], labels: Mapping[str, str]) -> list[Arm]:
    """Arms in the order in which their first runs were given. labels: run path → the user's label for its arm.

    Raises InputError for one model given twice, and for two labels of one arm.
    """
    groups: dict[object, list[Scored]] = {}
    for run in runs:
        groups.setdefault(_arm_key(run), []).append(run)
    arms = []
    for group in groups.values():
        _no_seed_twice(group)
        ordered = sorted(group, key=lambda run: (run.seed is None, run.seed or 0))
        arms.append(Arm(_label(group, labels), tuple(ordered)))
    return _distinct(arms)


def _arm_key(run: Scored) -> object:
    """Equal for runs of one arm. A checkpoint within a tuning run shares its record, so it is told apart by name."""
    key = run.training.get("arm_key")
    if not isinstance(key, str) or not key or run.seed is None:
        return str(run.path)
    name = Path(str(mapping(run.provenance.get("model")).get("name", ""))).name
    return key, name if name.startswith("checkpoint-") else ""


def _no_seed_twice(group: Sequence[Scored]) -> None:
    first: dict[int | None, Scored] = {}
    for run in group:
        other = first.setdefault(run.seed, run)
        if other is run:
            continue
        a, b = (mapping(r.provenance.get("model")) for r in (other, run))
        kind = "the same model" if same_model(a, b) else "two models of one recipe and one seed"
        raise InputError(
            f"{other.path} and {run.path}: are {kind} (seed {run.seed}), so they cannot be two seeds of one arm; "
            "give one of them"
        )


def _label(group: Sequence[Scored], labels: Mapping[str, str]) -> str:
    given = {labels[str(run.path)] for run in group if str(run.path) in labels}
    if len(given) > 1:
        raise InputError(f"--label: {', '.join(map(repr, sorted(given)))} name one arm (its seeds); give it one label")
    if given:
        return given.pop()
    recorded = group[0].training.get("arm")
    return recorded if isinstance(recorded, str) and recorded else group[0].run.name


def _distinct(arms: Sequence[Arm]) -> list[Arm]:
    """The arms with labels that tell them apart: where two are equal, the directory is named as well."""
    times = Counter(arm.label for arm in arms)
    named = [
        replace(arm, label=f"{arm.label} ({place(arm.runs[0].path)})") if times[arm.label] > 1 else arm for arm in arms
    ]
    if len({arm.label for arm in named}) < len(named):
        raise InputError("two arms bear the same label; give them different ones with --label RUN=LABEL")
    return named


def find_control(arms: Sequence[Arm], wanted: str | None) -> tuple[Arm | None, str]:
    """The control arm, and a note that says how it was found or why there is none.

    The arm called `wanted`, else the one arm whose training set holds no Unknown rows. InputError when no arm
    is called so.
    """
    if wanted is not None:
        for arm in arms:
            if arm.label == wanted:
                return arm, f"The control is “{short(arm.label)}”, as chosen."
        raise InputError(f"--control {wanted!r}: no such arm; the arms are {', '.join(repr(a.label) for a in arms)}")
    candidates = [arm for arm in arms if unknown_share(arm.training) == 0]
    # Among the arms without Unknown rows, the mix of all Known facts goes before those of one category.
    candidates = [arm for arm in candidates if recipe_name(arm.training) == "known-only"] or candidates
    if len(candidates) == 1:
        return candidates[0], f"The control is “{short(candidates[0].label)}”, the arm trained without Unknown facts."
    if candidates:
        names = ", ".join(f"“{short(arm.label)}”" for arm in candidates)
        return None, f"No control: {names} were all trained without Unknown facts; choose one with --control LABEL."
    return None, "No control: no arm records a training set without Unknown facts; choose one with --control LABEL."


def recipe_name(training: Mapping[str, Any]) -> object:
    """What the recipe of the training set is called, as its mix recorded it; None if it did not."""
    recipe = mapping(training.get("recipe"))
    return recipe.get("name") or recipe.get("recipe")


def unknown_share(training: Mapping[str, Any]) -> float | None:
    """The share of Unknown rows in the training set, in [0, 1], as its recipe recorded it; None if it did not."""
    share = mapping(training.get("recipe")).get("unknown")
    return float(share) if isinstance(share, (int, float)) and not isinstance(share, bool) else None


_TRAINING = ("method", "rows_trained", "steps", "epochs", "learning_rate", "batch_size")


def plain_training(training: Mapping[str, object]) -> dict[str, str | float | int | bool]:
    """The part of a tuning record that tells arms apart; what it does not hold is left out."""
    recipe = mapping(training.get("recipe"))
    found = {"recipe": recipe_name(training), "unknown_share": recipe.get("unknown")}
    found |= {name: training.get(name) for name in _TRAINING}
    return {name: value for name, value in found.items() if isinstance(value, (str, float, int, bool))}
