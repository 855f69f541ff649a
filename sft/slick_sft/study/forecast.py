"""What a study will cost: steps, time and disk, from its jobs and a few seconds of measuring. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from slick_sft.study.jobs import Job, Setup
from slick_sft.study.steps import measurements
from slick_sft.watched import BUDGETS, PASSES

# Of the training facts, |D| by the paper's rule; a guess until the training facts are probed.
PAPER_SHARE = 6142 / 81700
# An exemplar set's share of a probe's cost: 10 make the category, 5 more the fresh measurement.
_SETS = 10
# Where nothing was measured: any numbers do for shares of a bar.
_UNMEASURED_S = 1.0
# A checkpoint is the weights and two moments each; two are kept of a run at work, beside its best weights.
_AT_WORK = 2 * 3 + 2
# A line of a samples file; a probe's holds all prompts of its fact.
_SCORE_ROW_BYTES, _PROBE_SET_BYTES = 1_000, 1_500


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds, measured on this machine by one worker that was alone.

    steps: version → one optimiser step. probe: a fact under one exemplar set. score: an answer. chance: P(True) of a
    fact. start: loading the model. weights: version → bytes of a tuned model.
    """

    steps: Mapping[str, float] = field(default_factory=dict)
    probe: float = 0.0
    score: float = 0.0
    chance: float = 0.0
    start: float = 0.0
    weights: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Forecast:
    """seconds: of each job. wall: of all on the workers. disk: bytes at the end; peak: at the most."""

    seconds: Mapping[str, float]
    wall: float
    disk: int
    peak: int


def guessed_size(setup: Setup) -> int:
    """|D| where neither the grid nor a mixed set says it: the paper's share of the training facts."""
    return max(1, round(setup.counts["train"] * PAPER_SHARE))


def forecast(
    setup: Setup, jobs: Sequence[Job], done: Collection[str], measured: Measured, *, size: int, workers: int, keep: bool
) -> Forecast:
    """What the jobs that are not done will take. keep: whether tuned weights stay."""
    left = [job for job in jobs if job.name not in done]
    seconds = {job.name: _seconds(setup, job, measured, size) for job in left}
    tunings = [job for job in left if job.kind == "tune"]
    weights = [measured.weights.get(_version(setup, job), 0) for job in tunings]
    written = sum(_bytes(setup, job) for job in left)
    kept = 2 * sum(weights) if keep else 0
    at_work = _AT_WORK * sum(sorted(weights, reverse=True)[:workers])
    return Forecast(seconds, makespan(left, seconds, done, workers), written + kept, written + kept + at_work)


def makespan(jobs: Sequence[Job], seconds: Mapping[str, float], done: Collection[str], workers: int) -> float:
    """When the last job would end if each took its seconds and every worker took the next that can be done."""
    ended = dict.fromkeys(done, 0.0)
    waiting = sorted(jobs, key=lambda job: (job.rank, -job.steps))
    free = [0.0] * workers
    while waiting:
        begins = {job.name: max((ended[n] for n in job.needs), default=0.0) for job in waiting if _can(job, ended)}
        if not begins:
            break
        now = min(free)
        job = min((j for j in waiting if j.name in begins), key=lambda j: max(begins[j.name], now))
        worker = free.index(now)
        free[worker] = ended[job.name] = max(begins[job.name], now) + seconds[job.name]
        waiting.remove(job)
    return max(free)


def jobs_by_kind(jobs: Iterable[Job]) -> dict[str, tuple[int, int]]:
    """Kind → how many jobs and optimiser steps, in the order in which kinds appear."""
    found: dict[str, tuple[int, int]] = {}
    for job in jobs:
        n, steps = found.get(job.kind, (0, 0))
        found[job.kind] = (n + 1, steps + job.steps)
    return found


def _can(job: Job, ended: Collection[str]) -> bool:
    return all(need in ended for need in job.needs)


def _seconds(setup: Setup, job: Job, measured: Measured, size: int) -> float:
    counts = setup.counts
    if job.kind == "probe":
        found = counts[job.work["split"]] * (_SETS + job.work["n_before"]) * measured.probe
        return 0.1 if job.work["known"] else found + measured.start
    if job.kind == "score":
        return sum(counts[split] for split in setup.scored) * measured.score + measured.start
    if job.kind == "ptrue":
        return counts["test"] * measured.chance + measured.start
    if job.kind == "tune":
        version = _version(setup, job)
        step = measured.steps.get(version, 0.0)
        training = setup.grid.trainings[version]
        # Each of the rows goes forward once.
        watching = _watching(setup, job, size) * step / training.rows_a_step / PASSES[training.method]
        return job.steps * step + watching + 2 * measured.start
    return _UNMEASURED_S


def _bytes(setup: Setup, job: Job) -> int:
    if job.kind == "probe":
        return int(setup.counts[job.work["split"]] * (_SETS + job.work["n_before"]) * _PROBE_SET_BYTES)
    if job.kind == "score":
        return sum(setup.counts[split] for split in setup.scored) * _SCORE_ROW_BYTES
    return 0


def _version(setup: Setup, job: Job) -> str:
    """The version that a tuning's arm is of."""
    name = str(job.work["arm"])
    return next((variant.version for variant in setup.grid.variants if variant.name == name), "")


def _watching(setup: Setup, job: Job, size: int) -> float:
    """Rows that a tuning reads to watch itself."""
    training = setup.grid.trainings[_version(setup, job)]
    most = setup.grid.watch_rows
    if most is None:
        return BUDGETS[training.method] * job.steps * training.rows_a_step
    sets = [size, *(setup.counts[split] for split in setup.watched)]
    return measurements(training) * sum(min(n, most) if most else n for n in sets)


def duration(seconds: float) -> str:
    """Seconds as one reads them: "40 s", "12 min", "3.5 h", "2.1 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def volume(n: float) -> str:
    """Bytes as one reads them."""
    for unit in ("kB", "MB", "GB"):
        n /= 1000
        if n < 1000:
            return f"{n:.1f} {unit}" if n < 10 else f"{n:.0f} {unit}"
    return f"{n / 1000:.1f} TB"
