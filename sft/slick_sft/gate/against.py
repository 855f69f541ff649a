"""A baseline as the control of a training: whether it can be one, told before anything is trained."""

from __future__ import annotations

from collections.abc import Collection

from slick.errors import InputError
from slick.files import mapping_of
from slick.paired import LEDGER_RUNS
from slick_sft.arguments import public, rows_a_step
from slick_sft.gate.arms import Arm, read_arm, training_differences
from slick_sft.gate.baselines import Baseline
from slick_sft.gate.wish import Prepared, lora_of, planned_steps
from slick_sft.lint.training import learns


def check_baseline(ready: Prepared, baseline: Baseline) -> None:
    """InputError where the baseline was trained otherwise than the candidate will be, has too few runs for the
    policy's seeds, or was asked none of the facts that are held out."""
    _check_training(ready, baseline)
    _check_runs(baseline, ready.wish.policy.seeds)
    arm = arm_of(baseline)
    asked = asked_by(arm)
    shared = [fact for fact in ready.held_out if fact.id in asked]
    if not shared:
        raise InputError(
            f"the baseline {baseline.name!r} was asked {len(asked):,} facts, and none of the {len(ready.held_out):,} "
            "that the policy holds out: nothing could be compared; name its facts under held_out, or bless a run that "
            "was asked these"
        )


def check_asked_alike(baseline: Baseline, form: str, *, conversational: bool) -> None:
    """InputError where the candidate would be asked in another form than the baseline was."""
    settings = arm_of(baseline).runs[0].settings
    chat = mapping_of(settings.get("chat")).get("template")
    found = [
        f"  {name}: the baseline has {there!r}, this dataset {here!r}"
        for name, there, here in (("form", settings.get("form"), form), ("chat template", chat, conversational))
        if there is not None and there != here
    ]
    if found:
        listed = "\n".join(found)
        raise InputError(
            f"the baseline {baseline.name!r} was asked otherwise:\n{listed}\n"
            "set form in the policy to the baseline's, or bless a run that was asked as this dataset asks"
        )


def arm_of(baseline: Baseline) -> Arm:
    """The baseline's runs."""
    return read_arm([path for path, _ in baseline.runs], f"baseline {baseline.name}")


def asked_by(arm: Arm) -> Collection[str]:
    """The ids of the facts that every run of the arm was asked."""
    first, *others = arm.runs
    return {id for id in first.rows if all(id in run.rows for run in others)}


def _check_training(ready: Prepared, baseline: Baseline) -> None:
    planned = {
        "base": dict(ready.base),
        "method": ready.wish.policy.tuning.method,
        "learning_rate": ready.arguments["learning_rate"],
        "batch_size": rows_a_step(ready.arguments, 1),
        "settings": {"arguments": public(ready.arguments), "lora": lora_of(ready.wish.policy, peft=True)},
        "steps": planned_steps(ready.arguments, sum(map(learns, ready.lint.rows))),
    }
    if not baseline.training:
        raise InputError(
            f"the baseline {baseline.name!r} does not say how it was trained, so it cannot be the control of a "
            "training; bless a run that slick tune and slick score made"
        )
    found = training_differences(planned, baseline.training)
    if found and not ready.wish.allow_mismatch:
        listed = "\n".join(f"  {name}: the baseline has {old!r}, this policy {new!r}" for name, old, new in found)
        raise InputError(
            f"the baseline {baseline.name!r} was trained otherwise:\n{listed}\n"
            "train alike (max_steps under tuning.settings fixes the steps), or bless a run of this policy"
        )


def _check_runs(baseline: Baseline, seeds: int) -> None:
    """One trained run against several says nothing of its seeds, unless these are a ledger for it."""
    runs = len(baseline.runs)
    if (runs == 1) == (seeds == 1) or (seeds == 1 and runs >= LEDGER_RUNS):
        return
    raise InputError(
        f"the baseline {baseline.name!r} has {runs} run{'s' * (runs != 1)}, and the policy trains {seeds} "
        f"seed{'s' * (seeds != 1)}: one trained run says nothing of its seeds. Bless a gate of several seeds, or set "
        f"seeds: 1 against a baseline of one run (about two checkpoints) or of at least {LEDGER_RUNS} (a ledger)"
    )
