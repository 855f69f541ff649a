"""Which job runs next, on whichever workers there are, and what becomes of those that need a failed one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from slick_sft.study.jobs import Job

# What ended a job that did not succeed.
INPUT, RUN, DIED = "input", "run", "died"


@dataclass(frozen=True, slots=True)
class Event:
    """What a worker tells of its job: how far it is, that it is done, or how it failed.

    kind: "progress", "done", or one of INPUT, RUN, DIED. n, total: pieces done and in all, of a "progress".
    record: what a job found out, of a "done". message: why it failed.
    """

    kind: str
    job: str
    n: float = 0
    total: float = 0
    record: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""


class Pool(Protocol):
    """Workers, each at one job at a time."""

    @property
    def free(self) -> int:
        """How many workers wait for a job."""
        ...

    def start(self, job: Job) -> None:
        """Gives a job to a free worker."""
        ...

    def wait(self) -> Event:
        """The next event of any worker; blocks until there is one."""
        ...


class Workers(Pool, Protocol):
    """A pool that says what it is made of."""

    @property
    def size(self) -> int:
        """How many workers there are, busy or not."""
        ...

    @property
    def device(self) -> str:
        """What a job that names no device is done on: "cpu" or "cuda"."""
        ...


@dataclass
class Outcome:
    """How a study's jobs ended. failed: job → its event. left: those that could not be done, since they need one
    that failed, or since input proved wrong."""

    done: set[str]
    failed: dict[str, Event] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


def run_jobs(
    jobs: Sequence[Job],
    done: Collection[str],
    pool: Pool,
    watch: Callable[[Event], object],
) -> Outcome:
    """Does every job that is not done, each when what it needs is done, on all workers.

    A failed job takes down only those that need it, the others go on; but where one failed since its input is
    wrong, nothing new is started, for more of the same would follow. `watch` sees every event, after it counted.
    """
    outcome = Outcome(set(done))
    waiting = sorted((job for job in jobs if job.name not in outcome.done), key=_turn)
    running: set[str] = set()
    while True:
        while pool.free and (job := _next(waiting, outcome.done, stop=_wrong_input(outcome))):
            waiting.remove(job)
            running.add(job.name)
            pool.start(job)
        if not running:
            break
        event = pool.wait()
        if event.kind != "progress":
            running.discard(event.job)
            if event.kind == "done":
                outcome.done.add(event.job)
            else:
                outcome.failed[event.job] = event
        watch(event)
    outcome.left = [job.name for job in waiting]
    return outcome


def _turn(job: Job) -> tuple[int, int]:
    """The longest first among equals: the last to run should be a short one."""
    return (job.rank, -job.steps)


def _next(waiting: Iterable[Job], done: Collection[str], *, stop: bool) -> Job | None:
    if stop:
        return None
    return next((job for job in waiting if all(need in done for need in job.needs)), None)


def _wrong_input(outcome: Outcome) -> bool:
    return any(event.kind == INPUT for event in outcome.failed.values())
