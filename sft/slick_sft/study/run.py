"""A study from its first job to its last: what is there already, what it will cost, and then the work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slick.errors import InputError, RunError
from slick.facts import facts_digest, of_split, sample_facts
from slick.files import make_directory
from slick.locks import Lock
from slick.provenance import check_model, fingerprint
from slick_sft.study.conditions import check_alike, conditions_now
from slick_sft.study.costs import costs_of, known_size, measured_of
from slick_sft.study.forecast import Measured
from slick_sft.study.grid import SPLITS, Grid
from slick_sft.study.jobs import (
    Setup,
    done_jobs,
    jobs_of,
    measure_job,
)
from slick_sft.study.pool import log_of, tail
from slick_sft.study.schedule import INPUT, Event, Outcome, Pool, Workers, run_jobs
from slick_sft.study.state import LOCK, State
from slick_sft.study.taken_over import check_known
from slick_sft.study.watcher import Watcher, prune

# Opens the workers: (directory, how many, threads of each).
OpenPool = Callable[[Path, int, int], AbstractContextManager[Workers]]
# What is done one after the other: once the sets are mixed, |D| is known, and with it what the rest will take.
_STAGES = {"Probing": ("probe", "mix"), "Tuning": ("score", "tune", "ptrue")}
_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for. known: split → a probe that was made before."""

    model: str
    facts: str
    grid: Grid
    seeds: int
    out: Path
    known: Mapping[str, str]
    device: str = ""
    batch_size: int = 128
    store: str = ""
    no_store: bool = False
    keep_models: bool = False


def set_up(wish: Wish) -> Setup:
    """The study that was asked for, with model and facts looked at. InputError for what is wrong with either."""
    from slick.reader import read_facts

    if wish.seeds < 1:
        raise InputError(f"--seeds {wish.seeds}: expected at least 1")
    check_model(wish.model)
    base = fingerprint(wish.model)
    facts = read_facts(wish.facts)
    splits = {split: of_split(facts, split) for split in SPLITS}
    if missing := [split for split in SPLITS[:-1] if not splits[split]]:
        there = sorted({fact.split or "(none)" for fact in facts})
        raise InputError(
            f"--facts {wish.facts}: has no facts of split {', '.join(missing)}; found {', '.join(there)}. A study "
            "trains on train, draws exemplars from and stops early by dev, and scores on test (and on ood, if any)"
        )
    chosen = {
        split: sample_facts(of, limit, 0) if (limit := wish.grid.limits.get(split)) else of
        for split, of in splits.items()
        if of
    }
    _note(check_known(wish.known, base, facts))
    return Setup(
        model=wish.model,
        facts=wish.facts,
        grid=wish.grid,
        seeds=wish.seeds,
        out=wish.out,
        base=base,
        splits={split: facts_digest(of) for split, of in chosen.items()},
        counts={split: len(of) for split, of in chosen.items()},
        known=wish.known,
        device=wish.device,
        batch_size=wish.batch_size,
        store=wish.store,
        no_store=wish.no_store,
    )


def plan_study(wish: Wish, open_pool: OpenPool, workers: int, threads: int) -> None:
    """Prints what the study would take. Leaves nothing behind, but measures for some seconds where it is new.

    InputError for what would be refused of the study itself.
    """
    from tempfile import TemporaryDirectory

    setup = set_up(wish)
    state = State.read(wish.out)
    jobs = jobs_of(setup, known_size(setup))
    state.check(setup, jobs)
    done = done_jobs(jobs, wish.out)
    measured = measured_of(state.measured, setup.grid.trainings)
    if len(done) < len(jobs):
        with TemporaryDirectory() as place, open_pool(Path(place), workers, state.threads or threads) as pool:
            setup, workers = _placed(setup, pool), pool.size
            _note(check_alike(setup, state.conditions, conditions_now(setup)))
            measured = measured or measured_of(_measure(setup, pool, Path(place)), setup.grid.trainings)
    costs = costs_of(setup, done, measured or Measured(), workers, keep=wish.keep_models)
    costs.print_plan()


def run_study(wish: Wish, open_pool: OpenPool, workers: int, threads: int) -> State:
    """Does what of the study is not done, and returns its record.

    Raises InputError before anything is written for wrong input, or later where a job finds it wrong, and RunError
    where jobs failed: what is done stays, and is not done again.
    """
    setup = set_up(wish)
    state = State.read(wish.out)
    state.check(setup, jobs_of(setup))
    make_directory(wish.out)
    lock = Lock.take(wish.out / LOCK)
    try:
        _work(wish, setup, state, open_pool, workers, state.threads or threads)
    finally:
        lock.release()
    return state


def _work(wish: Wish, setup: Setup, state: State, open_pool: OpenPool, workers: int, threads: int) -> None:
    out, keep = wish.out, wish.keep_models
    if not state.begun:
        # Whatever becomes of the workers, the directory is this study's.
        state.begin(setup, jobs_of(setup), threads)
    done = done_jobs(jobs_of(setup), out)
    if len(done) < len(jobs_of(setup)):
        with open_pool(out, workers, threads) as pool:
            setup = _begun(setup, state, pool, threads)
            measured = measured_of(state.measured, setup.grid.trainings)
            if measured is None:
                state.note_measured(_measure(setup, pool, out))
                measured = measured_of(state.measured, setup.grid.trainings)
                assert measured is not None
            said = ""
            for label, kinds in _STAGES.items():
                costs = costs_of(setup, done, measured, pool.size, keep=keep)
                chosen = [job for job in costs.left if job.kind in kinds]
                if chosen and (headline := costs.headline()) != said:
                    print(headline, flush=True)
                    said = headline
                with Watcher(setup, state, label, chosen, costs.expected, done, keep=keep) as watcher:
                    outcome = run_jobs(chosen, done, pool, watcher)
                _raise_failed(out, outcome)
                done = outcome.done
    else:
        state.begin(setup, jobs_of(setup), threads)
    prune(setup, done, keep=keep)
    state.finish(setup)


def _begun(setup: Setup, state: State, pool: Workers, threads: int) -> Setup:
    """The study on its workers' device, recorded as begun. InputError where what stands there is of another."""
    placed = _placed(setup, pool)
    now = conditions_now(placed)
    _note(check_alike(placed, state.conditions, now))
    state.begin(placed, jobs_of(placed), threads, now)
    return placed


def _placed(setup: Setup, pool: Workers) -> Setup:
    return replace(setup, device=setup.device or pool.device)


def _note(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"slick: note: {note}", file=sys.stderr)


def _measure(setup: Setup, pool: Pool, out: Path) -> Mapping[str, Any]:
    """What things take on this machine; RunError or InputError where they cannot even be begun."""
    print("Measuring what a step and an answer take …", file=sys.stderr, flush=True)
    found: dict[str, Any] = {}

    def watch(event: Event) -> None:
        found.update(event.record)

    _raise_failed(out, run_jobs([measure_job(setup)], set(), pool, watch))
    return found


def _raise_failed(out: Path, outcome: Outcome) -> None:
    """Raises what the failed jobs have to say: InputError where any input was wrong."""
    failed = outcome.failed
    if not failed:
        return
    lines = []
    for name, event in list(failed.items())[:_SHOWN]:
        log = log_of(out, name)
        lines.append(f"{name}: {event.message}" + (f"\n  its log: {log}" if event.kind != INPUT else ""))
        if event.kind == "died":
            lines[-1] += tail(log)
    if len(failed) > _SHOWN:
        lines.append(f"… and {len(failed) - _SHOWN} more")
    if any(event.kind == INPUT for event in failed.values()):
        raise InputError("\n".join(lines))
    left = f", and {len(outcome.left)} jobs that need it could not be done" if outcome.left else ""
    what = "a job" if len(failed) == 1 else f"{len(failed)} jobs"
    raise RunError(
        f"{what} of the study failed{left}; what is done stays, and repeating the command tries again:\n"
        + "\n".join(lines)
    )
