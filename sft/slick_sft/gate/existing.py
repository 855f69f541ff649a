"""A gate on score runs that exist: nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from slick.errors import InputError
from slick_sft.gate.arms import read_arm, read_pair
from slick_sft.gate.baselines import Baseline
from slick_sft.gate.decide import decide
from slick_sft.gate.looks import look, looks_beside, said
from slick_sft.gate.policy import Policy
from slick_sft.gate.report import GateReport
from slick_sft.gate.self_check import Line, self_check


def judge_runs(
    paths: list[Path],
    control: list[Path],
    policy: Policy,
    baseline: Baseline | None,
    baselines: Path,
    knowledge: Path | None,
    out: Path | None,
    *,
    allow_mismatch: bool,
) -> GateReport:
    """The verdict on these score runs, its look counted beside the baselines and in `out`.

    control: may stand last among two `paths`, or be the baseline. Raises InputError for what cannot be judged.
    """
    if baseline and control:
        raise InputError("--control and a baseline: give one of them")
    if baseline:
        control = [path for path, _ in baseline.runs]
    elif not control and len(paths) == 2:
        paths, control = paths[:1], paths[1:]
    if not control or not paths:
        raise InputError(
            f"--runs: found {len(paths)} candidate run{'s' * (len(paths) != 1)} and no control; expected "
            "slick gate --runs CANDIDATE CONTROL, or --control RUN for each run of the control"
        )
    pair = read_pair(paths, control, knowledge, allow_mismatch=allow_mismatch, seeds=policy.seeds)
    number = look(pair, policy.looks, *looks_beside(baselines, out))
    name = str(policy.control) if baseline or policy.control.kind == "base" else "the runs given as --control"
    report = decide(pair, policy, control=name, notes=said(number, policy.looks), baseline=baseline, look=number)
    return replace(report, knowledge=str(knowledge) if knowledge else None)


def check_runs(paths: Sequence[Path], policy: Policy) -> list[Line]:
    """What these runs of a control say of the margins that can be shown."""
    if not paths:
        raise InputError("--self-check: give a DATASET to train controls on, or four --control runs or more")
    return self_check(read_arm(paths, "control"), policy)
