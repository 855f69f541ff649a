"""A whole gate: lint, what is planned, the arms trained and scored by worker processes, and the verdict."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slick.errors import InputError, RunError
from slick.facts import Fact, facts_digest
from slick.files import digest_of, make_directory, mapping_of, read_json, replacing, write_json
from slick.knowledge import Category
from slick.knowledge_file import read_knowledge
from slick.locks import Lock
from slick.provenance import check_model, fingerprint, same_model
from slick.runs import differences, results_files
from slick.training import TRAINING
from slick_sft.arguments import Arguments, public, rows_a_step, sft_arguments
from slick_sft.gate.arms import read_arm, read_pair, training_differences
from slick_sft.gate.baselines import Baseline
from slick_sft.gate.dataset import Dataset, dataset_of, lines
from slick_sft.gate.decide import decide
from slick_sft.gate.looks import look
from slick_sft.gate.outputs import remove_verdict
from slick_sft.gate.policy import BASE, BASELINE, ZERO_WEIGHT, Policy, gated_groups, knows
from slick_sft.gate.report import GateReport
from slick_sft.gate.self_check import LEAST, Line, expected, self_check
from slick_sft.study.jobs import Job
from slick_sft.study.pool import log_of, tail
from slick_sft.study.schedule import INPUT, Event, Pool, run_jobs
from slick_sft.train import MODEL

if TYPE_CHECKING:
    from slick_sft.lint.report import Report
    from slick_sft.lint.run import Ready

STATE, LOCK = "gate-state.json", "gate.lock"
LINT, HELD_OUT, SETS, TUNED, SCORES = "lint", "held-out", "sets", "tuned", "scores"
CANDIDATE, CONTROL = "candidate", "control"
SCHEMA = 1

# Opens the workers in a gate's directory.
OpenPool = Callable[[Path], AbstractContextManager[Pool]]
# Lints what was read, into a directory.
Lint = Callable[["Ready", Path], "Report"]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for. baseline: the control, where the policy's is one. keep_models: tuned weights stay."""

    datasets: Sequence[Path]
    model: str
    policy: Policy
    out: Path
    baseline: Baseline | None = None
    relation_column: str = ""
    device: str = ""
    batch_size: int = 128
    store: str = ""
    no_store: bool = False
    keep_models: bool = False
    allow_mismatch: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A gate whose input was found good: the dataset was read, the held-out facts, the settings of the training."""

    wish: Wish
    lint: Ready
    held_out: Sequence[Fact]
    arguments: Arguments
    base: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be trained. seeds: by arm. expected: what the policy's margins need, by the noise that it expects."""

    ready: Prepared
    dataset: Dataset
    seeds: Mapping[str, tuple[int, ...]]
    expected: Sequence[Line]
    notes: Sequence[str]

    @property
    def steps(self) -> int:
        """Optimiser steps of one training."""
        return planned_steps(self.ready.arguments, len(self.dataset.candidate))

    def sentences(self) -> list[str]:
        """The plan, and what of it cannot lead to a verdict."""
        wish = self.ready.wish
        trainings = sum(len(seeds) for seeds in self.seeds.values())
        arms = " and ".join(
            f"{name} with seed{'s' * (len(of) != 1)} {', '.join(map(str, of))}" for name, of in self.seeds.items()
        )
        found = [
            self.dataset.sentence,
            f"To train: {arms}: {trainings} trainings of {self.steps:,} steps on {len(self.dataset.candidate):,} rows, "
            f"each scored on {len(self.ready.held_out):,} held-out facts. Control: {wish.policy.control}.",
        ]
        at = f"if {100 * wish.policy.noise.discordant:g} % of facts differ between two runs and seeds lie "
        at += f"{100 * wish.policy.noise.seeds_sd:g} points apart beyond that"
        found += [f"{line.sentence} ({at})" for line in self.expected]
        if any(not line.defended for line in self.expected):
            found.append("Warning: the policy asks for less than so many facts and seeds are expected to show.")
        return [*found, *self.notes]


def prepare(wish: Wish) -> Prepared:
    """Looks at all input, without a model being loaded. InputError for anything wrong with it."""
    from slick.reader import read_facts
    from slick_sft.lint.run import Wish as LintWish
    from slick_sft.lint.run import prepare as prepare_lint

    policy = wish.policy
    if not policy.held_out.facts:
        raise InputError("held_out.facts: missing in the policy; a gate that trains needs facts to ask, such as lab")
    check_model(wish.model)
    base = fingerprint(wish.model)
    held_out = read_facts(
        policy.held_out.facts, split=policy.held_out.split or None, limit=policy.held_out.limit or None
    )
    tuning = policy.tuning
    arguments = sft_arguments(
        {
            "learning_rate": tuning.learning_rate,
            "num_train_epochs": tuning.epochs,
            "per_device_train_batch_size": tuning.batch_size,
        },
        settings=[f"{name}={_yaml(value)}" for name, value in tuning.settings.items()],
        lora=tuning.method != "full",
    )
    lint = prepare_lint(LintWish(wish.datasets, wish.relation_column, held_out=held_out))
    ready = Prepared(wish, lint, held_out, arguments, base)
    _check_template(ready)
    if wish.baseline:
        _check_baseline(ready, wish.baseline)
    check_state(ready)
    return ready


def planned_steps(arguments: Mapping[str, Any], rows: int) -> int:
    """Optimiser steps over so many rows."""
    if int(arguments.get("max_steps", -1)) > 0:
        return int(arguments["max_steps"])
    return math.ceil(float(arguments["num_train_epochs"]) * -(-rows // rows_a_step(arguments, 1)))


def run_gate(
    ready: Prepared, lint: Lint, open_pool: OpenPool, say: Say, *, plan_only: bool = False
) -> GateReport | None:
    """Does what is not done yet, and judges. say: hears the plan before anything is trained; with plan_only that is
    all. RunError where a job failed: what is done stays."""
    with _Claimed(ready):
        if not plan_only:
            remove_verdict(ready.wish.out)
        plan, pool_of = _planned(ready, lint, open_pool, say)
        if plan_only:
            return None
        _train(plan, pool_of)
        return _judged(plan)


def run_self_check(ready: Prepared, lint: Lint, open_pool: OpenPool, say: Say) -> list[Line]:
    """Trains the control with twice the seeds, half of which is set against the other half."""
    seeds = max(LEAST, 2 * ready.wish.policy.seeds)
    with _Claimed(ready):
        plan, pool_of = _planned(ready, lint, open_pool, say, control_seeds=tuple(range(seeds)))
        _train(plan, pool_of)
        out = ready.wish.out
        arm = read_arm([out / _score_place(CONTROL, seed) for seed in plan.seeds[CONTROL]], CONTROL)
        return self_check(arm, ready.wish.policy)


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


def settings(ready: Prepared) -> dict[str, Any]:
    """What must be equal for what stands in a gate's directory to be of this gate. Seeds and margins may change."""
    policy, base = ready.wish.policy, ready.base
    return {
        "model": {n: v for n, v in base.items() if n != "name"} if base.get("weights") else dict(base),
        "datasets": [source.digest for source in ready.lint.sources],
        "relation_column": ready.wish.relation_column,
        "held_out": facts_digest(ready.held_out),
        "form": policy.form,
        "tuning": {
            **policy.tuning.as_dict(),
            "arguments": {n: v for n, v in public(ready.arguments).items() if n != "seed"},
        },
        "batch_size": ready.wish.batch_size,
        "device": ready.wish.device,
    }


def check_state(ready: Prepared) -> None:
    """InputError where the directory holds something else, or a gate of other settings."""
    out = ready.wish.out
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, expected a directory for the gate; choose another --out")
    if not (out / STATE).exists():
        if out.is_dir() and any(path.name != LOCK for path in out.iterdir()):
            raise InputError(f"{out}: is not empty and holds no gate; choose another --out")
        return
    there = mapping_of(mapping_of(read_json(out / STATE)).get("settings"))
    found = differences(there, settings(ready))
    if found:
        shown = "; ".join(f"{name}: there {str(old)[:80]}, now {str(new)[:80]}" for name, old, new in found[:4])
        raise InputError(f"{out}: holds a gate of other settings ({shown}); choose another --out")


def _yaml(value: Any) -> str:
    import json

    return json.dumps(value)


def _check_template(ready: Prepared) -> None:
    """Conversations need a chat template: to be trained on, and for the base model to be asked alike."""
    bare = bool(ready.base.get("weights")) and ready.base.get("chat_template") is None
    if not bare or not ready.lint.conversational:
        return
    if not ready.arguments.get("chat_template_path"):
        raise InputError(
            f"the dataset holds conversations, and {ready.wish.model} has no chat template: give one in the policy, "
            "tuning: {settings: {chat_template_path: FILE.jinja}}"
        )
    if ready.wish.policy.control.kind == BASE:
        raise InputError(
            f"control: base: {ready.wish.model} has no chat template, so it cannot be asked as the tuned models are; "
            "take control: zero-weight"
        )


def _check_baseline(ready: Prepared, baseline: Baseline) -> None:
    """What a baseline was trained with must be what the candidate will be; told before anything is trained."""
    rows = len(ready.lint.rows)
    planned = {
        "base": dict(ready.base),
        "method": ready.wish.policy.tuning.method,
        "learning_rate": ready.arguments["learning_rate"],
        "batch_size": rows_a_step(ready.arguments, 1),
        "settings": {"arguments": public(ready.arguments), "lora": _lora(ready.wish.policy, peft=True)},
        "steps": planned_steps(ready.arguments, rows),
    }
    found = training_differences(planned, baseline.training)
    if not baseline.training:
        raise InputError(
            f"the baseline {baseline.name!r} does not say how it was trained, so it cannot be the control of a "
            "training; bless a run that slick tune and slick score made"
        )
    if found and not ready.wish.allow_mismatch:
        listed = "\n".join(f"  {name}: the baseline has {old!r}, this policy {new!r}" for name, old, new in found)
        raise InputError(
            f"the baseline {baseline.name!r} was trained otherwise:\n{listed}\n"
            "train alike (max_steps under tuning.settings fixes the steps), or bless a run of this policy"
        )


def _lora(policy: Policy, *, peft: bool = False) -> dict[str, Any] | None:
    from slick_sft.train import LoRA

    if policy.tuning.method == "full":
        return None
    lora = LoRA(policy.tuning.lora_r, policy.tuning.lora_alpha)
    found = {"r": lora.r, "lora_alpha": lora.lora_alpha, "lora_dropout": lora.lora_dropout}
    return lora.as_peft() if peft else found


def _planned(
    ready: Prepared, lint: Lint, open_pool: OpenPool, say: Say, *, control_seeds: tuple[int, ...] | None = None
) -> tuple[Plan, OpenPool]:
    """Lints, asks the base model the held-out facts, and says what will be trained."""
    wish = ready.wish
    dataset = dataset_of(lint(ready.lint, wish.out / LINT), ready.held_out, wish.policy.form)
    seeds, notes = _seeds(wish.policy, dataset, control_seeds)
    with open_pool(wish.out) as pool:
        _do([_probe_job(ready)], pool, wish.out)
    known = read_knowledge(wish.out / HELD_OUT)
    if not same_model(mapping_of(known.provenance.get("model")), ready.base):
        raise InputError(f"{wish.out / HELD_OUT}: is the knowledge of another model; choose another --out")
    categories = [k.category for k in known.knowledge if k.fact.id not in dataset.leaked]
    counts = {group: _count(categories, group) for group in gated_groups(wish.policy)}
    if empty := [group for group, n in counts.items() if n == 0]:
        shown = ", ".join(f"{categories.count(c)} {c}" for c in Category)
        raise InputError(
            f"the policy gates {', '.join(empty)}, and none of the {len(categories)} held-out facts is in it ({shown}):"
            " nothing could be judged; take it out of the policy, or ask other facts"
        )
    plan = Plan(ready, dataset, seeds, expected(wish.policy, counts), notes)
    for text in plan.sentences():
        say(text)
    return plan, open_pool


def _count(categories: Sequence[Category], group: str) -> int:
    wanted = knows(group)
    return sum(not wanted or str(category) in wanted for category in categories)


def _seeds(
    policy: Policy, dataset: Dataset, control_seeds: tuple[int, ...] | None
) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """The seeds of every arm that is to be trained, and what is to be known of them."""
    ours = tuple(range(policy.seeds))
    notes = [] if dataset.form_found else ["No prompt of the dataset shows how it asks; facts are asked as slick does."]
    if control_seeds is not None:
        return {CONTROL: control_seeds}, notes
    if policy.control.kind != ZERO_WEIGHT:
        return {CANDIDATE: ours}, notes
    unprobed = len(dataset.report.rows) - sum(dataset.report.categories.values())
    if unprobed:
        notes.append(
            f"The {unprobed:,} rows that could not be probed are in both arms: the verdict does not speak of them "
            "(control: base would)."
        )
    if dataset.control != dataset.candidate:
        if not any(row["weight"] for row in dataset.control):
            raise InputError(
                "every row that there is to learn from is Unknown to the model, so that a control without them would "
                "train nothing; set control: base in the policy"
            )
        return {CANDIDATE: ours, CONTROL: ours}, notes
    notes.append(
        "No row is Unknown to the model, so that control and candidate have the same rows: they are trained with "
        "different seeds, and a PASS says that a loss by chance would have been seen."
    )
    return {CANDIDATE: ours, CONTROL: tuple(seed + policy.seeds for seed in ours)}, notes


def _probe_job(ready: Prepared) -> Job:
    wish, held_out = ready.wish, ready.wish.policy.held_out
    work = {
        "kind": "probe",
        "model": wish.model,
        "facts": held_out.facts,
        "split": held_out.split,
        "limit": held_out.limit or 0,
        "known": None,
        "n_before": 0,
        "out": HELD_OUT,
        "device": wish.device,
        "batch_size": wish.batch_size,
        "store": wish.store,
        "no_store": wish.no_store,
    }
    return Job("probe/held-out", work, (HELD_OUT,), (), {}, rank=0)


def _tune_place(arm: str, seed: int) -> str:
    return f"{TUNED}/{arm}-seed{seed}"


def _score_place(arm: str, seed: int) -> str:
    return f"{SCORES}/{arm}-seed{seed}"


def jobs_of(plan: Plan) -> list[Job]:
    """The trainings, each before its score; and the base model's score, where it is the control."""
    jobs = []
    for seed in sorted({seed for seeds in plan.seeds.values() for seed in seeds}):
        for arm, seeds in plan.seeds.items():
            if seed in seeds:
                tuned = _tune_job(plan, arm, seed)
                jobs += [tuned, _score_job(plan, _score_place(arm, seed), tuned)]
    if plan.ready.wish.policy.control.kind == BASE and CANDIDATE in plan.seeds:
        jobs.append(_score_job(plan, f"{SCORES}/{BASE}", None))
    return jobs


def _tune_job(plan: Plan, arm: str, seed: int) -> Job:
    wish, place = plan.ready.wish, _tune_place(arm, seed)
    work = {
        "kind": "tune",
        "model": wish.model,
        "data": f"{SETS}/{arm}.jsonl",
        "arguments": {**plan.ready.arguments, "seed": seed},
        "lora": _lora(wish.policy),
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


def done_jobs(jobs: Sequence[Job], out: Path) -> set[str]:
    """The names of the jobs whose outcome stands in `out`; a training is done as well when its score is."""
    scored = {job.name for job in jobs if job.work["kind"] != "tune" and results_files(out / job.outs[0])}
    wanted = {need for job in jobs if job.name not in scored for need in job.needs}
    tuned = {
        job.name
        for job in jobs
        if job.work["kind"] == "tune"
        and (out / job.outs[0] / TRAINING).exists()
        and (job.name not in wanted or (out / job.outs[0] / MODEL).is_dir())
    }
    return scored | tuned


def _train(plan: Plan, open_pool: OpenPool) -> None:
    """Trains and scores what is not there yet."""
    wish, out = plan.ready.wish, plan.ready.wish.out
    for arm, rows in ((CANDIDATE, plan.dataset.candidate), (CONTROL, plan.dataset.control)):
        _write_set(out / SETS / f"{arm}.jsonl", lines(rows))
    jobs = jobs_of(plan)
    by_name = {job.name: job for job in jobs}

    def prune(event: Event) -> None:
        job = by_name.get(event.job)
        if event.kind == "done" and job and job.needs and not wish.keep_models:
            shutil.rmtree(out / by_name[job.needs[0]].outs[0] / MODEL, ignore_errors=True)

    if done_jobs(jobs, out) >= by_name.keys():
        return
    with open_pool(out) as pool:
        _do(jobs, pool, out, prune)


def _write_set(path: Path, text: str) -> None:
    """Rows of an arm; written once, since a training that goes on must find them unchanged."""
    if path.exists():
        if digest_of(path.read_text(encoding="utf-8")) != digest_of(text):
            raise InputError(f"{path}: holds other rows than the dataset gives now; choose another --out")
        return
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _do(jobs: Sequence[Job], pool: Pool, out: Path, after: Callable[[Event], None] | None = None) -> None:
    """All jobs that are not done. Raises what a failed one has to say: InputError where its input was wrong."""
    from tqdm import tqdm

    done = done_jobs(jobs, out)
    with tqdm(total=len(jobs), initial=len(done), desc="Gate", unit="job", disable=len(jobs) == 1) as bar:

        def watch(event: Event) -> None:
            if event.kind == "done":
                if after:
                    after(event)
                bar.update()

        outcome = run_jobs(jobs, done, pool, watch)
    if not outcome.failed:
        return
    told = []
    for name, event in outcome.failed.items():
        log = log_of(out, name)
        told.append(f"{name}: {event.message}" + ("" if event.kind == INPUT else f"\n  its log: {log}"))
        told[-1] += tail(log) if event.kind == "died" else ""
    if any(event.kind == INPUT for event in outcome.failed.values()):
        raise InputError("\n".join(told))
    raise RunError(
        "no verdict: a job failed; what is done stays, and repeating the command goes on:\n" + "\n".join(told)
    )


def _judged(plan: Plan) -> GateReport:
    wish, out = plan.ready.wish, plan.ready.wish.out
    candidate = [out / _score_place(CANDIDATE, seed) for seed in plan.seeds[CANDIDATE]]
    if wish.policy.control.kind == BASELINE:
        assert wish.baseline is not None
        control = [path for path, _ in wish.baseline.runs]
    elif wish.policy.control.kind == BASE:
        control = [out / SCORES / BASE]
    else:
        control = [out / _score_place(CONTROL, seed) for seed in plan.seeds[CONTROL]]
    pair = read_pair(candidate, control, out / HELD_OUT, allow_mismatch=wish.allow_mismatch)
    look(pair, out, wish.policy.looks)
    notes = [*plan.notes, *(wish.baseline.notes(wish.policy.baseline_days) if wish.baseline else [])]
    report = decide(pair, wish.policy, excluded=plan.dataset.leaked, notes=notes, dataset=plan.dataset.as_dict())
    return replace(
        report,
        knowledge=HELD_OUT,
        candidates=tuple(map(_below(out), report.candidates)),
        controls=tuple(map(_below(out), report.controls)),
    )


def _below(out: Path) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """A run's record, its path from the gate's directory where it lies there, which may be moved."""

    def record(run: Mapping[str, Any]) -> Mapping[str, Any]:
        path = Path(str(run["path"]))
        return {**run, "path": path.relative_to(out).as_posix() if path.is_relative_to(out) else str(path)}

    return record
