"""A study so small that it takes seconds: some of the lab's facts, two variants, a handful of steps."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slick.facts import Fact
from slick_sft.study.grid import parse_grid
from slick_sft.study.jobs import Job
from slick_sft.study.pool import log_of
from slick_sft.study.run import Wish
from slick_sft.study.schedule import Event
from slick_sft.study.work import do_work
from slick_sft.study.worker import perform
from slick_tasks.lab import load_facts, organism_path

GRID = """
training: {learning_rate: 3.0e-4, epochs: 2, batch_size: 10}
size: 20
watch_rows: all
variants: [known-only, unknown-50, only-Unknown]
"""
# Of each relation, so many facts by split: enough Unknown and Known ones for a set.
_TAKEN = {"train": 30, "dev": 8, "test": 6}


class Inline:
    """A pool that does its jobs in this process, one at a time. stop_at: raises KeyboardInterrupt in place of it."""

    size = 1

    def __init__(self, out: Path, stop_at: str = "", device: str = "cpu") -> None:
        self.out = out
        self.device = device
        self.stop_at = stop_at
        self.jobs: deque[Job] = deque()
        self.performed: list[str] = []

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def free(self) -> int:
        return 1 - len(self.jobs)

    def start(self, job: Job) -> None:
        self.jobs.append(job)

    def wait(self) -> Event:
        job = self.jobs.popleft()
        if job.name == self.stop_at:
            raise KeyboardInterrupt
        self.performed.append(job.name)
        log = str(log_of(self.out, job.name))
        order = {"job": job.name, "work": json.loads(json.dumps(job.work)), "out": str(self.out), "log": log}
        return Event(**perform(do_work, order, lambda n, total: None))


def some_facts() -> list[Fact]:
    """Of three relations in distribution and one out of it."""
    found: list[Fact] = []
    for relation in ("P17", "P19", "P36"):
        for split, n in _TAKEN.items():
            found += [f for f in load_facts() if (f.relation, f.split) == (relation, split)][:n]
    outside = [f for f in load_facts() if f.split.startswith("ood")]
    found += [f for f in outside if f.relation == outside[0].relation and f.split == "ood"][:6]
    return found + [f for f in outside if f.relation == outside[0].relation and f.split == "ood_dev"]


@pytest.fixture(scope="session")
def facts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("facts") / "facts.jsonl"
    file.write_text("".join(json.dumps(fact.as_dict()) + "\n" for fact in some_facts()))
    return file


@pytest.fixture(scope="session")
def wish(facts_file: Path) -> Callable[..., Wish]:
    """A study of the shipped organism; keywords change it."""

    def make(out: Path, **other: Any) -> Wish:
        usual: dict[str, Any] = {
            "model": str(organism_path()),
            "facts": str(facts_file),
            "grid": parse_grid(GRID, "tiny"),
            "seeds": 1,
            "out": out,
            "known": {},
            "device": "cpu",
            "no_store": True,
        }
        return Wish(**usual | other)

    return make


@pytest.fixture(scope="session")
def inline() -> type[Inline]:
    return Inline
