"""The jobs of a gate's directory: where each stands, which are done, and doing the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from slick.errors import InputError, RunError
from slick.runs import results_files
from slick.training import TRAINING
from slick_sft.gate.wish import Prepared
from slick_sft.study.jobs import Job
from slick_sft.study.pool import log_of, tail
from slick_sft.study.schedule import INPUT, Event, Pool, run_jobs
from slick_sft.train import MODEL

LINT, HELD_OUT, SETS, TUNED, SCORES = "lint", "held-out", "sets", "tuned", "scores"
CANDIDATE, CONTROL = "candidate", "control"

# Opens the workers in a gate's directory.
OpenPool = Callable[[Path], AbstractContextManager[Pool]]


def probe_job(ready: Prepared) -> Job:
    wish, held_out = ready.wish, ready.wish.policy.held_out
    work = {
        "kind": "probe",
        "model": wish.model,
        "facts": held_out.facts,
        "split": held_out.split,
        "relations": list(held_out.relations),
        "limit": held_out.limit or 0,
        "n_before": 0,
        "out": HELD_OUT,
        "device": wish.device,
        "batch_size": wish.batch_size,
        "store": wish.store,
        "no_store": wish.no_store,
    }
    return Job("probe/held-out", work, (HELD_OUT,), (), {}, rank=0)


def recorded_controls(out: Path) -> list[Path]:
    """The control's runs that stand in a gate's directory, as --self-check leaves them: a ledger for one seed."""
    return sorted(path for path in (out / SCORES).glob(f"{CONTROL}-seed*") if results_files(path))


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


def do(jobs: Sequence[Job], pool: Pool, out: Path, after: Callable[[Event], None] | None = None) -> None:
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
