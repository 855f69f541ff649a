"""Following the jobs of a study: what a terminal shows of them, and what is done as each ends."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Collection, Sequence
from typing import Any

from slick_sft.study.forecast import Forecast
from slick_sft.study.jobs import TUNED, WEIGHTS, Job, Setup, arms_of
from slick_sft.study.schedule import Event
from slick_sft.study.state import State

# Of the message of a failed job, so many are shown at once; all of it stands at the end.
_LINES = 8


class Watcher:
    """Follows a stage's jobs: one bar for all, what is done in `study.json`, models removed when they are scored.

    keep: whether they stay.
    """

    def __init__(
        self,
        setup: Setup,
        state: State,
        label: str,
        jobs: Sequence[Job],
        expected: Forecast,
        done: Collection[str],
        *,
        keep: bool,
    ) -> None:
        self.keep = keep
        self.setup = setup
        self.state = state
        self.label = label
        self.jobs = jobs
        self.seconds = {job.name: expected.seconds[job.name] for job in jobs}
        self.done = set(done)
        self.shares: dict[str, float] = {}
        self.begun: dict[str, float] = {}
        self.bar: Any = None

    def __enter__(self) -> Watcher:
        from tqdm import tqdm

        shape = "{desc}: {percentage:3.0f}%|{bar}| {postfix} [{elapsed}<{remaining}]"
        pause = 0.5 if sys.stderr.isatty() else 30
        total = sum(self.seconds.values())
        self.bar = tqdm(
            total=total, desc=self.label, bar_format=shape, mininterval=pause, miniters=0, disable=not self.jobs
        )
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def __call__(self, event: Event) -> None:
        self.begun.setdefault(event.job, time.monotonic())
        share = 1.0 if event.kind == "done" else event.n / event.total if event.total else 0.0
        # A job of several bars begins anew with each; its share stands still then.
        self.shares[event.job] = max(self.shares.get(event.job, 0.0), min(share, 1.0))
        if event.kind == "done":
            self.done.add(event.job)
            self.state.note_done(event.job, time.monotonic() - self.begun[event.job], event.record)
            prune(self.setup, self.done, keep=self.keep)
        elif event.kind != "progress":
            self.bar.write(f"failed: {event.job}: {_beginning(event.message)}", file=sys.stderr)
        self._show()

    def _show(self) -> None:
        steps = sum(job.steps for job in self.jobs)
        taken = sum(job.steps * self.shares.get(job.name, 0.0) for job in self.jobs)
        text = f"{sum(job.name in self.done for job in self.jobs)}/{len(self.jobs)} jobs"
        self.bar.set_postfix_str(text + (f", {taken:,.0f}/{steps:,} steps" if steps else ""), refresh=False)
        past = sum(self.seconds[name] * share for name, share in self.shares.items())
        self.bar.update(min(past, self.bar.total or 0) - self.bar.n)


def _beginning(message: str) -> str:
    """All of a message, or its first lines; the first alone may say no more than that mistakes follow."""
    lines = message.splitlines()
    return "\n".join(lines[:_LINES] + ["  …"] * (len(lines) > _LINES))


def prune(setup: Setup, done: Collection[str], *, keep: bool) -> None:
    """Removes the weights of the arms whose scores are done, unless they are to be kept."""
    if keep:
        return
    for arm in arms_of(setup):
        if all(f"score/{arm.name}-{stage}" in done for stage in WEIGHTS):
            for name in WEIGHTS.values():
                shutil.rmtree(setup.out / TUNED / arm.name / name, ignore_errors=True)
