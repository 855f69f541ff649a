"""Which job runs when: needs first, failures take down only what needs them, wrong input stops the rest."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from slick_sft.study.jobs import Job
from slick_sft.study.schedule import DIED, INPUT, RUN, Event, run_jobs


def job(name: str, *needs: str, rank: int = 0, steps: int = 0) -> Job:
    return Job(name, {}, (), needs, {}, rank, steps)


class Scripted:
    """A pool whose jobs end in the order in which they began, as `ends` says; all else is done."""

    def __init__(self, size: int, ends: dict[str, str] | None = None, before: tuple[str, ...] = ()) -> None:
        self.size = size
        self.ends = ends or {}
        self.before = before
        self.running: deque[Job] = deque()
        self.started: list[str] = []
        self.ended: list[str] = []

    @property
    def free(self) -> int:
        return self.size - len(self.running)

    def start(self, job: Job) -> None:
        assert self.free > 0
        assert set(job.needs) <= {*self.ended, *self.before}
        self.started.append(job.name)
        self.running.append(job)

    def wait(self) -> Event:
        name = self.running.popleft().name
        kind = self.ends.get(name, "done")
        if kind == "done":
            self.ended.append(name)
        return Event(kind, name, message=kind)


def ignore(_: Event) -> None:
    pass


@st.composite
def graphs(draw: Any) -> tuple[list[Job], dict[str, str]]:
    """Jobs that need earlier ones, and how some of them fail."""
    jobs: list[Job] = []
    for i in range(draw(st.integers(1, 12))):
        needs = draw(st.sets(st.sampled_from([j.name for j in jobs]), max_size=3)) if jobs else set()
        jobs.append(job(f"j/{i}", *sorted(needs), rank=draw(st.integers(0, 3)), steps=draw(st.integers(0, 5))))
    ends = draw(st.dictionaries(st.sampled_from([j.name for j in jobs]), st.sampled_from([RUN, DIED]), max_size=3))
    return jobs, ends


@given(graphs(), st.integers(1, 4))
def test_every_job_runs_once_unless_it_needs_a_failed_one(graph: tuple[list[Job], dict[str, str]], size: int) -> None:
    """However jobs need each other, and on however many workers."""
    jobs, ends = graph
    pool = Scripted(size, ends)
    outcome = run_jobs(jobs, set(), pool, ignore)
    lost = set(ends)
    for one in jobs:
        if set(one.needs) & lost:
            lost.add(one.name)
    assert len(pool.started) == len(set(pool.started))
    assert outcome.done == {one.name for one in jobs} - lost
    assert set(outcome.failed) | set(outcome.left) == lost
    assert set(outcome.failed) <= set(ends)


def test_what_is_done_is_not_done_again() -> None:
    """Done jobs are never started, and those that need them may begin at once."""
    pool = Scripted(1, before=("a",))
    outcome = run_jobs([job("a"), job("b", "a")], {"a"}, pool, ignore)
    assert pool.started == ["b"]
    assert outcome.done == {"a", "b"}


def test_lower_ranks_come_first_and_among_equals_the_longest() -> None:
    """So that models are scored, and removed, before further ones are trained."""
    pool = Scripted(1)
    jobs = [job("tune/short", rank=5, steps=1), job("tune/long", rank=5, steps=9), job("score/x", rank=4)]
    run_jobs(jobs, set(), pool, ignore)
    assert pool.started == ["score/x", "tune/long", "tune/short"]


def test_wrong_input_starts_nothing_new() -> None:
    """What runs is waited for; the rest is left."""
    pool = Scripted(2, {"a": INPUT})
    outcome = run_jobs([job("a"), job("b"), job("c"), job("d", "a")], set(), pool, ignore)
    assert pool.started == ["a", "b"]
    assert outcome.done == {"b"}
    assert outcome.failed["a"].message == INPUT
    assert outcome.left == ["c", "d"]


def test_every_event_is_seen_once_it_counts() -> None:
    """Progress too, and a failure with its message."""

    class Talking(Scripted):
        told = False

        def wait(self) -> Event:
            if not self.told:
                self.told = True
                return Event("progress", self.running[0].name, 1, 2)
            return super().wait()

    seen: list[tuple[str, str]] = []
    run_jobs([job("a"), job("b")], set(), Talking(1, {"b": RUN}), lambda event: seen.append((event.kind, event.job)))
    assert seen == [("progress", "a"), ("done", "a"), (RUN, "b")]
