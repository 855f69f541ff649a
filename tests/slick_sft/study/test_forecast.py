"""What a study is said to cost: bounds that any schedule keeps, and how numbers read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick_sft.study.forecast import Measured, duration, forecast, guessed_size, jobs_by_kind, makespan, volume
from slick_sft.study.grid import parse_grid, read_grid
from slick_sft.study.jobs import Job, Setup, jobs_of

MEASURED = Measured(
    steps={"": 0.1, "lora": 0.2}, probe=0.001, score=0.002, chance=0.003, start=1.0, weights={"": 4_000, "lora": 100}
)
GATHERED = """
training: {epochs: 2.5, batch_size: 8, settings: {gradient_accumulation_steps: 4}}
watch_rows: 300
variants: [unknown-50]
"""


def setup(grid: str = "small", seeds: int = 3) -> Setup:
    counts = {"train": 1920, "dev": 288, "test": 1584, "ood": 240}
    base = {"name": "m", "weights": "w"}
    return Setup("m", "lab", read_grid(grid), seeds, Path("out"), base, dict.fromkeys(counts, "x"), counts)


@st.composite
def timed(draw: Any) -> tuple[list[Job], dict[str, float]]:
    jobs: list[Job] = []
    for i in range(draw(st.integers(1, 10))):
        needs = draw(st.sets(st.sampled_from([j.name for j in jobs]), max_size=2)) if jobs else set()
        jobs.append(Job(f"j/{i}", {}, (), tuple(sorted(needs)), {}, draw(st.integers(0, 2))))
    return jobs, {job.name: draw(st.floats(0, 100)) for job in jobs}


@given(timed(), st.integers(1, 4))
def test_the_time_lies_between_what_any_schedule_needs(work: tuple[list[Job], dict[str, float]], n: int) -> None:
    """Not below the longest chain or the workers' share, not above all jobs in a row."""
    jobs, seconds = work
    chain: dict[str, float] = {}
    for job in jobs:
        chain[job.name] = seconds[job.name] + max((chain[need] for need in job.needs), default=0.0)
    found = makespan(jobs, seconds, (), n)
    total = sum(seconds.values())
    assert max(total / n, *chain.values()) - 1e-6 <= found <= total + 1e-6


def test_more_workers_take_less_time() -> None:
    """The small grid on the lab's numbers."""
    jobs = jobs_of(setup(), 220)
    walls = [forecast(setup(), jobs, (), MEASURED, size=220, workers=n, keep=False).wall for n in (1, 2, 4)]
    assert walls[0] > 1.8 * walls[1] > 3 * walls[2]


def test_what_is_done_costs_nothing() -> None:
    """Neither time nor disk."""
    jobs = jobs_of(setup(), 220)
    done = {job.name for job in jobs}
    found = forecast(setup(), jobs, done, MEASURED, size=220, workers=2, keep=True)
    assert (found.wall, found.disk, found.peak, dict(found.seconds)) == (0, 0, 0, {})


def test_a_tuning_costs_its_steps_and_what_it_watches() -> None:
    """140 steps of a tenth of a second; 21 times 220 + 288 + 300 + 240 rows forward, a third of a trained row each."""
    jobs = jobs_of(setup(seeds=1), 220)
    found = forecast(setup(seeds=1), jobs, (), MEASURED, size=220, workers=1, keep=False)
    rows = 21 * (220 + 288 + 300 + 240)
    assert found.seconds["tune/unknown-50-seed0"] == pytest.approx(140 * 0.1 + rows * 0.1 / 32 / 3 + 2)


def test_a_step_costs_by_its_rows() -> None:
    """Where it gathers micro-batches, what is watched is measured in rows of the whole step."""
    asked = replace(setup(seeds=1), grid=parse_grid(GATHERED, "grid"))
    found = forecast(asked, jobs_of(asked, 220), (), MEASURED, size=220, workers=1, keep=False)
    rows = 4 * (220 + 288 + 300 + 240)  # before, and after 2 whole epochs and a half
    assert found.seconds["tune/unknown-50-seed0"] == pytest.approx(18 * 0.1 + rows * 0.1 / 32 / 3 + 2)


@pytest.mark.parametrize(
    ("given", "method", "rows", "passes"),
    [
        ("", "full", 4 * (220 + 288 + 1584 + 240), 3),
        ("", "lora", 4 * (220 + 288 + 1584 + 240), 2),
        ("watch_rows: tenth", "full", 0.2 * 18 * 32, 3),
        ("watch_rows: tenth", "lora", 0.13 * 18 * 32, 2),
    ],
)
def test_what_is_watched_is_counted(given: str, method: str, rows: float, passes: int) -> None:
    """All rows, where the grid says nothing; what a tenth buys, where it asks for that; with an adapter a step costs
    two passes forward."""
    text = GATHERED.replace("watch_rows: 300", given).replace("{epochs", f"{{method: {method}, epochs")
    asked = replace(setup(seeds=1), grid=parse_grid(text, "grid"))
    found = forecast(asked, jobs_of(asked, 220), (), MEASURED, size=220, workers=1, keep=False)
    assert found.seconds["tune/unknown-50-seed0"] == pytest.approx(18 * 0.1 + rows * 0.1 / 32 / passes + 2)


def test_kept_weights_take_disk_of_every_arm() -> None:
    """Two models an arm; without them only those that are at work."""
    jobs = jobs_of(setup(), 220)
    costs = [forecast(setup(), jobs, (), MEASURED, size=220, workers=2, keep=keep) for keep in (False, True)]
    assert costs[1].disk - costs[0].disk == 2 * 4_000 * 33
    assert costs[0].peak - costs[0].disk == 2 * 8 * 4_000


def test_versions_cost_what_they_cost() -> None:
    """A LoRA step by its own measure."""
    paper = setup("paper", 1)
    jobs = jobs_of(paper, 1280)
    found = forecast(paper, jobs, (), MEASURED, size=1280, workers=1, keep=False).seconds
    assert found["tune/lora-unknown-50-seed0"] > 1.9 * (found["tune/unknown-50-seed0"] - 2)


def test_size_is_guessed_by_the_papers_share() -> None:
    """Until the training facts are probed."""
    assert guessed_size(setup()) == 144


def test_jobs_are_counted_by_kind() -> None:
    """With their steps."""
    found = jobs_by_kind(jobs_of(setup(seeds=1), 220))
    assert found["tune"] == (11, 8 * 140 + 80 + 40 + 20)
    assert found["probe"] == (4, 0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5000, "83 min"), (6000, "1.7 h"), (200_000, "2.3 days")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    """In the unit that one thinks in."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0.0 kB"), (9_940, "9.9 kB"), (123_000, "123 kB"), (5.5e6, "5.5 MB"), (2e12, "2.0 TB")]
)
def test_volumes_read_well(n: float, text: str) -> None:
    """In decimal units."""
    assert volume(n) == text
