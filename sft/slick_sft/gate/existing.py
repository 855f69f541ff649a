"""A gate on score runs that exist: nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from slick.errors import InputError
from slick.knowledge_file import read_knowledge
from slick.paired import LEDGER_RUNS
from slick.rows import shown
from slick_sft.gate.arms import Pair, read_arm, read_pair
from slick_sft.gate.baselines import Baseline
from slick_sft.gate.decide import decide
from slick_sft.gate.looks import look, looks_beside, said
from slick_sft.gate.policy import BASE, Policy
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
        _check_one_candidate(paths, baseline)
        control = [path for path, _ in baseline.runs]
    elif not control and len(paths) == 2:
        paths, control = paths[:1], paths[1:]
    if not control or not paths:
        raise InputError(
            f"--runs: found {len(paths)} candidate run{'s' * (len(paths) != 1)} and no control; expected "
            "slick gate --runs CANDIDATE CONTROL, or --control RUN for each run of the control"
        )
    pair = read_pair(paths, control, knowledge, allow_mismatch=allow_mismatch, seeds=policy.seeds)
    check_seeds(pair, policy)
    number = look(pair, policy.looks, *looks_beside(baselines, out))
    name = str(policy.control) if baseline or policy.control.kind == "base" else "the runs given as --control"
    report = decide(pair, policy, control=name, notes=said(number, policy.looks), baseline=baseline, look=number)
    return replace(report, knowledge=str(knowledge) if knowledge else None)


def check_seeds(pair: Pair, policy: Policy) -> None:
    """InputError for fewer runs an arm than the policy's seeds, and for unequal numbers; a base model has no seeds."""
    counts = [len(pair.candidate.runs)]
    if not (pair.control.untrained or policy.control.kind == BASE):
        counts.append(len(pair.control.runs))
    found = " and ".join(f"{n} of the {arm}" for n, arm in zip(counts, ("candidate", "control"), strict=False))
    if min(counts) < policy.seeds:
        raise InputError(
            f"the policy judges by {policy.seeds} seeds an arm, and there are fewer runs ({found}): give a run for "
            f"each seed, or set seeds: {min(counts)} in the policy"
            + (", and the verdict is about these checkpoints, not about training again" if min(counts) == 1 else "")
        )
    if len(set(counts)) > 1:
        raise InputError(
            f"the arms have unequal numbers of runs ({found}): give as many of both, --control RUN --control RUN …; "
            f"one candidate run against {LEDGER_RUNS} or more of the control: seeds: 1 in the policy"
        )


def _check_one_candidate(paths: Sequence[Path], baseline: Baseline) -> None:
    """InputError where runs may be of several models: with a baseline as control, none of them is taken for one."""
    if len(paths) < 2:
        return
    keys = {run.training.get("arm_key") for run in read_arm(paths, "candidate").runs}
    if len(keys) > 1 or not all(isinstance(key, str) and key for key in keys):
        raise InputError(
            f"--runs: the control is the baseline {shown(baseline.name)}, so that all of {', '.join(map(str, paths))} "
            "are the candidate's, and they do not record that one recipe made them; give runs that differ in nothing "
            "but their seeds, or one; a control of your own needs a policy without the baseline"
        )


def check_runs(paths: Sequence[Path], policy: Policy, knowledge: Path | None = None) -> list[Line]:
    """What these runs of a control say of the margins that can be shown. knowledge: the probe of the base model, for
    the facts' categories."""
    if not paths:
        raise InputError("--self-check: give a DATASET to train controls on, or four --control runs or more")
    return self_check(read_arm(paths, "control"), policy, read_knowledge(knowledge) if knowledge else None)
