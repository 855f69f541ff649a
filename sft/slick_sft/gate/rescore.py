"""A verdict issued again from stored answers, by a policy that was changed: no model is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from slick.errors import InputError, Mistakes
from slick.files import mapping_of, read_json
from slick_sft.gate.arms import Pair, answers_digest, read_pair
from slick_sft.gate.baselines import GATE, Baseline, located, moment
from slick_sft.gate.decide import decide
from slick_sft.gate.policy import BASE, Policy, policy_of
from slick_sft.gate.report import KIND, SCHEMA, GateReport

AGAIN = "Issued again from stored answers."


def rescore(
    path: Path, policy: Policy | None = None, *, inconclusive: str = "", allow_mismatch: bool = False
) -> GateReport:
    """The verdict on the runs that an earlier one, `gate.json` or its directory, was about.

    policy: None for the earlier one's own; inconclusive: what becomes of an open verdict, if not what it says. What
    the runs are compared with stays as it was, and so do the looks that were planned: the policy may have more, never
    fewer. Raises InputError where the document or its runs cannot be read, or the runs are not what was judged.
    """
    file = path / GATE if path.is_dir() else path
    document = read_json(file)
    if not isinstance(document, Mapping) or document.get("kind") != KIND:
        raise InputError(f"{file}: is no verdict of slick gate; expected its gate.json, or the directory that holds it")
    schema = document.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise InputError(f"{file}: schema version {schema}, this slick reads up to {SCHEMA}; upgrade slick")
    before = policy_of(dict(mapping_of(document.get("policy"))), f"{file} (its policy)")
    looks = document.get("looks")
    policy = policy or before
    policy = replace(
        policy,
        control=before.control,
        looks=max(policy.looks, before.looks, looks if isinstance(looks, int) else 1),
        inconclusive=inconclusive or policy.inconclusive,
    )
    runs = mapping_of(document.get("runs"))
    candidate, control, recorded = (
        [located(str(mapping_of(run).get("path")), file.parent) for run in runs.get(name) or []]
        for name in ("candidate", "control", "ledger")
    )
    probe = document.get("knowledge")
    knowledge = located(str(probe), file.parent) if probe else None
    allowed = allow_mismatch or bool(document.get("mismatches"))
    # A ledger that there was stays, whatever the policy's seeds.
    seeds = 1 if recorded else policy.seeds
    pair = read_pair(candidate, control, knowledge, allow_mismatch=allowed, seeds=seeds, recorded=recorded)
    _check_answers(pair, runs, file)
    dataset = mapping_of(document.get("dataset"))
    excluded = document.get("excluded")
    report = decide(
        pair,
        policy,
        excluded=frozenset(map(str, excluded)) if isinstance(excluded, list) else frozenset(),
        control=str(document.get("control") or ("" if policy.control.kind != BASE else BASE)),
        notes=[*dict.fromkeys([*_kept(document), AGAIN])],
        dataset=dataset,
        baseline=_baseline(document, file),
        look=seen if isinstance(seen := document.get("look"), int) else 1,
    )
    return replace(report, knowledge=str(knowledge) if knowledge else None).based(file.parent)


def _check_answers(pair: Pair, runs: Mapping[str, Any], file: Path) -> None:
    """InputError where a run's answers are not those that the earlier verdict was about."""
    with Mistakes(f"{file}: its runs are not what was judged:") as mistakes:
        for name, read in (("candidate", pair.candidate.runs), ("control", pair.control.runs), ("ledger", pair.ledger)):
            before = {mapping_of(run).get("answers") for run in runs.get(name) or []}
            for run in read:
                if answers_digest(run) not in before:
                    mistakes.add(
                        f"{run.path}: its answers are others than those of the {name}; bring them back, or judge anew, "
                        "with slick gate --runs"
                    )


def _kept(document: Mapping[str, Any]) -> list[str]:
    notes = document.get("kept_notes")
    return list(map(str, notes)) if isinstance(notes, list) else []


def _baseline(document: Mapping[str, Any], file: Path) -> Baseline | None:
    """The baseline that was the control, for its age today."""
    found = mapping_of(document.get("baseline"))
    if not found:
        return None
    try:
        moment(found["date"])
        return Baseline(str(found["name"]), found["date"], ())
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: its baseline is damaged ({error}); judge anew, with slick gate --runs") from error
