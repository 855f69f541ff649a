"""Whether runs may be subtracted from one another, and where they may not: which setting differs, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slick.errors import InputError
from slick.knowledge import Category
from slick.provenance import same_model
from slick.runs import differences
from slick_reports.arms import Arm
from slick_reports.inputs import Scored, mapping
from slick_reports.numbers import Mismatch
from slick_reports.text import visible

_SETTINGS = ("form", "matching", "max_gen_toks", "chat")


def check_comparable(before: Scored, others: Sequence[Scored], *, allow_mismatch: bool) -> list[Mismatch]:
    """Every difference of a run to `before` that makes their scores incomparable; empty when there is none.

    Raises InputError naming them all unless `allow_mismatch`. Different numbers of shown examples, different
    questions under one fact id, and runs without a common fact raise always.
    """
    for other in others:
        _same_shots(before, other)
        _same_facts(before, other)
    found = [mismatch for other in others for mismatch in _mismatches(before, other)]
    refuse(found, allow_mismatch=allow_mismatch)
    return found


def check_settings(before: Scored, others: Sequence[Scored], *, allow_mismatch: bool) -> list[Mismatch]:
    """As `check_comparable`, of runs without answers: their settings alone."""
    for other in others:
        _same_shots(before, other)
    found = [mismatch for other in others for mismatch in _mismatches(before, other)]
    refuse(found, allow_mismatch=allow_mismatch)
    return found


def check_weights(before: Scored, arms: Sequence[Arm], control: Arm | None, *, allow_mismatch: bool) -> list[Mismatch]:
    """Every run of an arm whose weights are those of "before" or of the control: a verdict on it passes by itself.

    Where weights are not recorded, nothing is found. Raises InputError naming them unless `allow_mismatch`.
    """
    known = [("before", before), *(("the control", run) for run in (control.runs if control else ()))]
    found = [
        Mismatch("weights", str(run.path), "", f"the very weights of {name}, {other.path}: no change could show")
        for arm in arms
        if arm is not control or len(arms) == 1
        for run in arm.runs
        for name, other in known
        if other is not run and _weights(run) and same_model(_weights(other), _weights(run))
    ]
    if found and not allow_mismatch:
        lines = "\n".join(f"  {m.run} has {m.here}" for m in found)
        raise InputError(
            f"--margin: a verdict on these runs would PASS whatever was trained:\n{lines}\n"
            "give the score of the tuned model, or --allow-mismatch (the report then says so)"
        )
    return found


def _weights(run: Scored) -> Mapping[str, Any]:
    """The run's model, where it records weights."""
    model = mapping(run.provenance.get("model"))
    return model if model.get("weights") else {}


def refuse(found: Sequence[Mismatch], *, allow_mismatch: bool) -> None:
    """Raises InputError naming every mismatch, unless they are allowed."""
    if found and not allow_mismatch:
        lines = "\n".join(
            f"  {m.setting}: {m.run} has {m.here}" + (f", before has {m.before}" if m.before else "") for m in found
        )
        raise InputError(
            f"these runs cannot be compared:\n{lines}\n"
            "score the models again with equal settings, or give --allow-mismatch (the report then says so)"
        )


def _mismatches(before: Scored, other: Scored) -> list[Mismatch]:
    here = {name: other.settings.get(name) for name in _SETTINGS}
    there = {name: before.settings.get(name) for name in _SETTINGS}
    found = [Mismatch(name, str(other.path), _shown(a), _shown(b)) for name, a, b in differences(there, here)]
    shared = before.rows.keys() & other.rows.keys()
    if not any(m.setting == "form" or m.setting.startswith("chat") for m in found):
        # Equal settings and another prompt: the chat template or the system text changed.
        differing = sum(before.rows[id].prompt != other.rows[id].prompt for id in shared)
        if differing:
            found.append(
                Mismatch("prompts", str(other.path), "", f"{differing} of {len(shared)} facts asked in other words")
            )
    differing = sum(_differ(before.rows[id].category, other.rows[id].category) for id in shared)
    if differing:
        found.append(
            Mismatch("categories", str(other.path), "", f"{differing} of {len(shared)} facts in another category")
        )
    return found


def _differ(a: Category | None, b: Category | None) -> bool:
    """A run that was scored without a fact's category does not contradict one that has it."""
    return a is not None and b is not None and a != b


def check_knowledge(knowledge: Mapping[str, Any], path: str, before: Scored, *, allow_mismatch: bool) -> list[Mismatch]:
    """As `check_comparable` for a probe's provenance: it must be of the "before" model, under the same matching."""
    found = []
    here, there = mapping(knowledge.get("model")), mapping(before.provenance.get("model"))
    if here and not same_model(there, here):
        found.append(Mismatch("model of the probe", path, _model(there), _model(here)))
    matching = mapping(knowledge.get("settings")).get("matching")
    if matching is not None and matching != before.settings.get("matching"):
        found.append(Mismatch("matching", path, _shown(before.settings.get("matching")), _shown(matching)))
    refuse(found, allow_mismatch=allow_mismatch)
    return found


def _same_shots(before: Scored, other: Scored) -> None:
    a, b = _shots(before), _shots(other)
    if a != b:
        raise InputError(
            f"{other.path}: shows {b} solved examples before the question, {before.path} shows {a}; "
            "a few-shot and a zero-shot score can never be subtracted; score both in the same form"
        )


def _shots(scored: Scored) -> int:
    """The most solved examples that any task of the run showed."""
    shots = [scored.settings.get("n_exemplars"), *mapping(scored.run.results.get("n-shot")).values()]
    return max((n for n in shots if isinstance(n, int)), default=0)


def _same_facts(before: Scored, other: Scored) -> None:
    shared = before.rows.keys() & other.rows.keys()
    if not shared:
        raise InputError(
            f"{other.path}: has no fact in common with {before.path} "
            f"({len(other.rows)} and {len(before.rows)} facts); score both models on the same facts"
        )
    for id in shared:
        a, b = before.rows[id].fact, other.rows[id].fact
        if (a.question, a.answers) != (b.question, b.answers):
            raise InputError(
                f"{other.path}: fact {id} is another question or has other answers than in {before.path} "
                f"({visible(b.question, 80)!r} against {visible(a.question, 80)!r}); score both on the same facts"
            )


def _shown(value: Any) -> str:
    return visible(repr(value), 300)


def _model(model: Mapping[str, Any]) -> str:
    weights = str(model.get("weights") or "weights unknown")[:12]
    return visible(f"{model.get('name', 'not recorded')} ({weights})", 300)
