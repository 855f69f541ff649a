"""A verdict issued again from stored answers, by a policy that was changed: no model is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from slick.errors import InputError
from slick.files import mapping_of, read_json
from slick_sft.gate.arms import read_pair
from slick_sft.gate.baselines import GATE, located
from slick_sft.gate.decide import decide
from slick_sft.gate.policy import BASE, Policy, policy_of
from slick_sft.gate.report import KIND, SCHEMA, GateReport


def rescore(path: Path, policy: Policy | None = None, *, allow_mismatch: bool = False) -> GateReport:
    """The verdict on the runs that an earlier one, `gate.json` or its directory, was about.

    policy: None for the earlier one's own. What the runs are compared with stays as it was. Raises InputError where
    the document or its runs cannot be read.
    """
    file = path / GATE if path.is_dir() else path
    document = read_json(file)
    if not isinstance(document, Mapping) or document.get("kind") != KIND:
        raise InputError(f"{file}: is no verdict of slick gate; expected its gate.json, or the directory that holds it")
    schema = document.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise InputError(f"{file}: schema version {schema}, this slick reads up to {SCHEMA}; upgrade slick")
    before = policy_of(dict(mapping_of(document.get("policy"))), f"{file} (its policy)")
    policy = replace(policy, control=before.control) if policy else before
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
    dataset = mapping_of(document.get("dataset"))
    excluded = document.get("excluded")
    report = decide(
        pair,
        policy,
        excluded=frozenset(map(str, excluded)) if isinstance(excluded, list) else frozenset(),
        control=str(document.get("control") or ("" if policy.control.kind != BASE else BASE)),
        notes=["Issued again from stored answers."],
        dataset=dataset,
    )
    return with_paths_of(replace(report, knowledge=str(probe) if probe else None), document)


def with_paths_of(report: GateReport, document: Mapping[str, object]) -> GateReport:
    """The report, its runs named as the document names them, so that it can take its place."""
    runs = mapping_of(document.get("runs"))

    def named(name: str, records: tuple[Mapping[str, object], ...]) -> tuple[Mapping[str, object], ...]:
        paths = [str(mapping_of(run).get("path")) for run in runs.get(name) or []]
        return tuple(
            {**record, "path": next((p for p in paths if str(record["path"]).endswith(p)), record["path"])}
            for record in records
        )

    return replace(
        report,
        candidates=named("candidate", report.candidates),
        controls=named("control", report.controls),
        ledger=named("ledger", report.ledger),
    )
