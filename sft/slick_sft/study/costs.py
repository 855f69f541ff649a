"""What of a study is left, and what it takes, as the user is told before it begins."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slick.files import mapping_of, read_json
from slick_sft.formats import RECIPE
from slick_sft.study.forecast import Forecast, Measured, duration, forecast, guessed_size, jobs_by_kind, volume
from slick_sft.study.jobs import SETS, Job, Setup, arms_of, jobs_of
from slick_sft.study.steps import settled

_KINDS = {
    "probe": "probe (exact)",
    "mix": "mix",
    "tune": "tune, with dynamics",
    "score": "score",
    "ptrue": "P(True)",
}


def measured_of(found: Mapping[str, Any], versions: Collection[str]) -> Measured | None:
    """What `study.json` has of it; None where nothing was measured, or a version was not."""
    if not found or not set(versions) <= {*found["steps"]}:
        return None
    return Measured(**{name: found[name] for name in ("steps", "probe", "score", "chance", "start", "weights")})


def known_size(setup: Setup) -> int | None:
    """|D|, from the grid or from a set that was mixed; None where neither is there yet."""
    if setup.grid.size:
        return setup.grid.size
    for arm in arms_of(setup):
        recipe, place = setup.grid.recipes[arm.variant.recipe], setup.out / SETS / arm.mixed / RECIPE
        plain = not (recipe.without or recipe.replay or recipe.patch or recipe.size)
        if plain and place.exists():
            return int(mapping_of(read_json(place))["size"])
    return None


@dataclass(frozen=True, slots=True)
class Costs:
    """What is left of a study, and what it takes. guessed: |D| is not known yet. settled: the steps are, once it is."""

    setup: Setup
    jobs: Sequence[Job]
    left: Sequence[Job]
    expected: Forecast
    workers: int
    size: int
    guessed: bool
    settled: bool

    def headline(self) -> str:
        """One line before the work begins."""
        setup = self.setup
        about = "about " if self.guessed else ""
        about_steps = about if self.settled else "about "
        tunings = [job for job in self.left if job.kind == "tune"]
        steps = f"{about_steps}{sum(job.steps for job in tunings):,} steps"
        done = len(self.jobs) - len(self.left)
        return (
            f"{len(setup.grid.variants)} variants × {setup.seeds} seeds on sets of {about}{self.size:,} rows: "
            f"{len(tunings)} tunings of {steps}, {len(self.left)} jobs to do"
            + (f" ({done} done already)" if done else "")
            + f"; about {duration(self.expected.wall)} on {self.workers} worker{'s' * (self.workers > 1)}, "
            f"{volume(self.expected.disk)} of disk ({volume(self.expected.peak)} while it runs)"
        )

    def print_plan(self) -> None:
        from slick.terminal import print_table

        rows = []
        for kind, (n, steps) in jobs_by_kind(self.left).items():
            seconds = sum(self.expected.seconds[job.name] for job in self.left if job.kind == kind)
            rows.append((_KINDS[kind], f"{n:,}", f"{steps:,}" if steps else "", duration(seconds)))
        print_table("What is to be done", ("", "jobs", "steps", "time of one worker"), rows)
        print(self.headline())
        counts = ", ".join(f"{n:,} {split}" for split, n in self.setup.counts.items())
        print(f"facts: {counts}")
        if self.guessed:
            print("|D| is known once the training facts are probed; it is guessed here by the paper's share of them.")
        if not self.settled:
            print("Of some sets what the model knows decides how many steps they take: known once they are mixed.")
        print("Times are rough: one burst of some seconds, on a machine that may have other work to do.")


def costs_of(setup: Setup, done: Collection[str], measured: Measured, workers: int, *, keep: bool) -> Costs:
    """What the jobs that are not done take on so many workers. keep: whether tuned weights stay."""
    known = known_size(setup)
    size = known or guessed_size(setup)
    jobs = jobs_of(setup, size)
    expected = forecast(setup, jobs, done, measured, size=size, workers=workers, keep=keep)
    left = [job for job in jobs if job.name not in done]
    recipes = {f"tune/{arm.name}": (arm, setup.grid.recipes[arm.variant.recipe]) for arm in arms_of(setup)}
    told = (recipes[job.name] for job in left if job.kind == "tune")
    sure = all(settled(recipe, setup.out / SETS / arm.mixed / RECIPE) for arm, recipe in told)
    return Costs(setup, jobs, left, expected, workers, size, known is None, sure)
