"""A whole gate: lint, what is planned, the arms trained and scored by worker processes, and the verdict."""

from __future__ import annotations

from dataclasses import replace

from slick.files import make_directory, write_json
from slick.locks import Lock
from slick_sft.gate.arms import read_arm, read_pair
from slick_sft.gate.decide import decide
from slick_sft.gate.jobs import CANDIDATE, CONTROL, HELD_OUT, SCORES, OpenPool, recorded_controls
from slick_sft.gate.looks import look, looks_beside, said
from slick_sft.gate.outputs import set_aside
from slick_sft.gate.plan import Lint, Plan, Say, planned
from slick_sft.gate.policy import BASE, BASELINE
from slick_sft.gate.prepare import LOCK, STATE, settings
from slick_sft.gate.report import GateReport
from slick_sft.gate.self_check import LEAST, Line, self_check
from slick_sft.gate.training import check_looks, score_place, train
from slick_sft.gate.wish import Prepared

SCHEMA = 1


def run_gate(
    ready: Prepared, lint: Lint, open_pool: OpenPool, say: Say, *, plan_only: bool = False
) -> GateReport | None:
    """Does what is not done yet, and judges. say: hears the plan before anything is trained; with plan_only that is
    all. InputError where no look is left, before anything is trained. RunError where a job failed: what is done stays.
    """
    with _Claimed(ready):
        if not plan_only:
            set_aside(ready.wish.out)
        plan, pool_of = planned(ready, lint, open_pool, say)
        check_looks(plan)
        if plan_only:
            return None
        train(plan, pool_of)
        return _judged(plan)


def run_self_check(
    ready: Prepared, lint: Lint, open_pool: OpenPool, say: Say, *, plan_only: bool = False
) -> list[Line] | None:
    """Trains the control with twice the seeds, half of which is set against the other half; with plan_only says what
    it would train, and returns None."""
    seeds = max(LEAST, 2 * ready.wish.policy.seeds)
    with _Claimed(ready):
        plan, pool_of = planned(ready, lint, open_pool, say, control_seeds=tuple(range(seeds)))
        if plan_only:
            return None
        train(plan, pool_of)
        out = ready.wish.out
        arm = read_arm([out / score_place(CONTROL, seed) for seed in plan.seeds[CONTROL]], CONTROL)
        return self_check(arm, ready.wish.policy, excluded=plan.dataset.leaked)


class _Claimed:
    """A gate's directory while one process works in it, its settings recorded."""

    def __init__(self, ready: Prepared) -> None:
        self.ready = ready

    def __enter__(self) -> None:
        out = make_directory(self.ready.wish.out)
        self.lock = Lock.take(out / LOCK)
        write_json(out / STATE, {"schema": SCHEMA, "kind": "slick gate state", "settings": settings(self.ready)})

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def _judged(plan: Plan) -> GateReport:
    wish, out = plan.ready.wish, plan.ready.wish.out
    candidate = [out / score_place(CANDIDATE, seed) for seed in plan.seeds[CANDIDATE]]
    if wish.policy.control.kind == BASELINE:
        assert wish.baseline is not None
        control = [path for path, _ in wish.baseline.runs]
    elif wish.policy.control.kind == BASE:
        control = [out / SCORES / BASE]
    else:
        control = [out / score_place(CONTROL, seed) for seed in plan.seeds[CONTROL]]
    pair = read_pair(
        candidate,
        control,
        out / HELD_OUT,
        allow_mismatch=wish.allow_mismatch,
        seeds=wish.policy.seeds,
        recorded=recorded_controls(out) if CONTROL in plan.seeds else (),
    )
    number = look(pair, wish.policy.looks, *looks_beside(wish.baselines, out))
    report = decide(
        pair,
        wish.policy,
        excluded=plan.dataset.leaked,
        notes=[*said(number, wish.policy.looks), *plan.notes],
        dataset=plan.dataset.as_dict(),
        baseline=wish.baseline,
        look=number,
    )
    return replace(report, knowledge=str(out / HELD_OUT)).based(out)
