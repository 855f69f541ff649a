"""The arms of a gate, trained and scored by worker processes."""

from __future__ import annotations

import shutil
from pathlib import Path

from slick.errors import InputError
from slick.files import digest_of, replacing
from slick_sft.gate.against import arm_of
from slick_sft.gate.dataset import lines
from slick_sft.gate.jobs import CANDIDATE, CONTROL, HELD_OUT, SCORES, SETS, TUNED, OpenPool, do, done_jobs
from slick_sft.gate.looks import asked_of, check_left, keys_of, looks_beside
from slick_sft.gate.plan import Plan
from slick_sft.gate.policy import BASE
from slick_sft.gate.wish import lora_of
from slick_sft.gate.work import tuning_of
from slick_sft.study.jobs import Job
from slick_sft.study.schedule import Event
from slick_sft.train import MODEL


def tune_place(arm: str, seed: int) -> str:
    return f"{TUNED}/{arm}-seed{seed}"


def score_place(arm: str, seed: int) -> str:
    return f"{SCORES}/{arm}-seed{seed}"


def jobs_of(plan: Plan) -> list[Job]:
    """The trainings, each before its score; and the base model's score, where it is the control."""
    jobs = []
    for seed in sorted({seed for seeds in plan.seeds.values() for seed in seeds}):
        for arm, seeds in plan.seeds.items():
            if seed in seeds:
                tuned = _tune_job(plan, arm, seed)
                jobs += [tuned, _score_job(plan, score_place(arm, seed), tuned)]
    if plan.ready.wish.policy.control.kind == BASE and CANDIDATE in plan.seeds:
        jobs.append(_score_job(plan, f"{SCORES}/{BASE}", None))
    return jobs


def _tune_job(plan: Plan, arm: str, seed: int) -> Job:
    wish, place = plan.ready.wish, tune_place(arm, seed)
    work = {
        "kind": "tune",
        "model": wish.model,
        "data": f"{SETS}/{arm}.jsonl",
        "arguments": {**plan.ready.arguments, "seed": seed},
        "lora": lora_of(wish.policy),
        "four_bit": wish.policy.tuning.method == "qlora",
        "arm": arm,
        "device": wish.device,
        "out": place,
    }
    return Job(f"tune/{arm}-seed{seed}", work, (place,), (), {}, rank=2, steps=plan.steps)


def _score_job(plan: Plan, place: str, tuned: Job | None) -> Job:
    wish = plan.ready.wish
    work = {
        "kind": "score",
        "model": f"{tuned.outs[0]}/{MODEL}" if tuned else wish.model,
        "below": tuned is not None,
        "runs": {place: HELD_OUT},
        "form": plan.dataset.form,
        "conversational": plan.dataset.conversational,
        "device": wish.device,
        "batch_size": wish.batch_size,
        "store": wish.store,
        "no_store": wish.no_store,
    }
    # A score comes before the next training: what is scored can be removed.
    return Job(f"score/{Path(place).name}", work, (place,), (tuned.name,) if tuned else (), {}, rank=1)


def train(plan: Plan, open_pool: OpenPool) -> None:
    """Trains and scores what is not there yet."""
    wish, out = plan.ready.wish, plan.ready.wish.out
    _write_sets(plan)
    jobs = jobs_of(plan)
    by_name = {job.name: job for job in jobs}

    def prune(event: Event) -> None:
        job = by_name.get(event.job)
        if event.kind == "done" and job and job.needs and not wish.keep_models:
            shutil.rmtree(out / by_name[job.needs[0]].outs[0] / MODEL, ignore_errors=True)

    if done_jobs(jobs, out) >= by_name.keys():
        return
    with open_pool(out) as pool:
        do(jobs, pool, out, prune)


def check_looks(plan: Plan) -> None:
    """InputError where no look is left for what is to be trained: known by the arms' recipes before they are."""
    wish, out = plan.ready.wish, plan.ready.wish.out
    _write_sets(plan)
    recipes = {arm: tuning_of(_tune_job(plan, arm, seeds[0]).work, out).arm_key() for arm, seeds in plan.seeds.items()}
    if wish.baseline:
        control = keys_of(arm_of(wish.baseline))
    else:
        # Of a base model on the hub nothing is known yet that its score could be told by.
        control = {str(key) for key in (recipes.get(CONTROL), plan.ready.base.get("weights")) if key}
    asked = asked_of(plan.seeds[CANDIDATE], [fact.id for fact in plan.ready.held_out])
    check_left({recipes[CANDIDATE]}, control, asked, wish.policy.looks, *looks_beside(wish.baselines, out))


def _write_sets(plan: Plan) -> None:
    for arm, rows in ((CANDIDATE, plan.dataset.candidate), (CONTROL, plan.dataset.control)):
        _write_set(plan.ready.wish.out / SETS / f"{arm}.jsonl", lines(rows))


def _write_set(path: Path, text: str) -> None:
    """Rows of an arm; written once, since a training that goes on must find them unchanged."""
    if path.exists():
        if digest_of(path.read_text(encoding="utf-8")) != digest_of(text):
            raise InputError(f"{path}: holds other rows than the dataset gives now; choose another --out")
        return
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
