"""The jobs of a study: which there are, what they need, and which are done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slick_sft.study.grid import parse_grid, read_grid
from slick_sft.study.jobs import (
    Job,
    Setup,
    arms_of,
    conflicts,
    done_jobs,
    jobs_of,
    measure_job,
    other_sets,
    total_steps,
)

BASE = {"name": "model", "weights": "w", "adapter": None, "tokenizer": "t", "chat_template": None}
SPLITS = {"train": "a", "dev": "b", "test": "c", "ood": "d"}
COUNTS = {"train": 400, "dev": 60, "test": 90, "ood": 30}


def setup(out: Path = Path("out"), grid: str = "small", seeds: int = 2, **other: Any) -> Setup:
    usual: dict[str, Any] = {"base": BASE, "splits": SPLITS, "counts": COUNTS}
    read = read_grid(grid) if grid in ("small", "paper") else parse_grid(grid, "grid")
    return Setup("model", "lab", read, seeds, out, **usual | other)


def names(jobs: Sequence[Job], kind: str) -> list[str]:
    return [job.name for job in jobs if job.kind == kind]


@pytest.mark.parametrize("grid", ["small", "paper"])
def test_every_job_comes_behind_what_it_needs(grid: str) -> None:
    """Names are unique, and no two jobs write to one place."""
    jobs = jobs_of(setup(grid=grid))
    seen: set[str] = set()
    for job in jobs:
        assert job.name not in seen
        assert set(job.needs) <= seen
        seen.add(job.name)
    places = [place for job in jobs for place in job.outs]
    assert len(places) == len(set(places))
    assert all(json.loads(json.dumps(job.work)) == job.work for job in jobs)


def test_an_arm_is_tuned_once_and_scored_twice() -> None:
    """At EARLY_STOP and at CONVERGENCE, in and out of distribution; the base model as well."""
    jobs = jobs_of(setup(grid="{variants: [known-only]}", seeds=1))
    assert names(jobs, "tune") == ["tune/known-only-seed0"]
    assert names(jobs, "score") == [
        "score/base",
        "score/known-only-seed0-early_stop",
        "score/known-only-seed0-convergence",
    ]
    outs = {job.name: job.outs for job in jobs}
    assert outs["score/known-only-seed0-early_stop"] == (
        "scores/known-only-seed0-early_stop",
        "scores/known-only-seed0-early_stop-ood",
    )
    assert names(jobs, "ptrue") == ["ptrue/base"]


def test_facts_without_an_out_of_distribution_split_are_scored_on_test_alone() -> None:
    """Nothing asks for what is not there."""
    splits = {split: of for split, of in SPLITS.items() if split != "ood"}
    jobs = jobs_of(setup(splits=splits, grid="{variants: [natural], ptrue: false}", seeds=1))
    assert names(jobs, "probe") == ["probe/train", "probe/dev", "probe/test"]
    assert all("ood" not in place for job in jobs for place in job.outs)
    assert names(jobs, "ptrue") == []


def test_versions_of_a_variant_are_trained_on_one_set() -> None:
    """LoRA and full see the same rows in the same order."""
    grid = "{variants: [unknown-50], versions: {lora: {method: lora, variants: [unknown-50]}}}"
    jobs = {job.name: job for job in jobs_of(setup(grid=grid, seeds=1))}
    assert jobs["mix/sets"].outs == ("sets/unknown-50-seed0",)
    assert jobs["tune/lora-unknown-50-seed0"].work["data"] == jobs["tune/unknown-50-seed0"].work["data"]
    assert jobs["tune/lora-unknown-50-seed0"].work["training"]["lora"]["r"] == 16


def test_d_known_takes_fewer_steps() -> None:
    """As many epochs over fewer rows; the other arms take the same steps."""
    grid = "{training: {epochs: 3, batch_size: 10}, variants: [%s]}"
    jobs = {
        job.name: job.steps
        for job in jobs_of(
            setup(grid=grid % "unknown-90, unknown-90-zero-weight, unknown-90-without-unknown", seeds=1), 100
        )
    }
    assert jobs["tune/unknown-90-seed0"] == jobs["tune/unknown-90-zero-weight-seed0"] == 30
    assert jobs["tune/unknown-90-without-unknown-seed0"] == 3


def test_the_small_grid_is_small() -> None:
    """Its steps on the lab's sets of 220 rows, all seeds."""
    assert total_steps(jobs_of(setup(seeds=3), 220)) == 3 * (8 * 140 + 80 + 40 + 20)


def test_a_grown_study_keeps_the_settings_of_what_was_there() -> None:
    """More variants, more seeds, another place of the model: the same jobs with the same settings."""
    before = {job.name: job.settings for job in jobs_of(setup(grid="{variants: [unknown-50]}"))}
    moved = setup(grid="{variants: [unknown-75, unknown-50]}", seeds=3, base={**BASE, "name": "elsewhere"})
    after = {job.name: job.settings for job in jobs_of(moved, 100)}
    assert {name: after[name] for name in before} == before


def test_what_a_job_depends_on_is_in_its_settings() -> None:
    """The facts of one split change what is made of them, and nothing else."""
    before = {job.name: job.settings for job in jobs_of(setup())}
    after = {job.name: job.settings for job in jobs_of(setup(splits={**SPLITS, "train": "other"}))}
    changed = {name for name in before if before[name] != after[name]}
    kept = {"probe/dev", "probe/test", "probe/ood", "score/base", "ptrue/base"}
    assert changed == set(before) - kept


def written(tmp_path: Path, *, best: int = 3) -> tuple[Setup, list[Job]]:
    """A study of one arm whose every outcome stands there, empty but for what is looked at."""
    of = setup(tmp_path, grid="{variants: [known-only]}", seeds=1)
    jobs = jobs_of(of)
    for job in jobs:
        for place in job.outs:
            (tmp_path / place).mkdir(parents=True)
            for name in ("results_1.json", "knowledge.parquet", "recipe.json", "ptrue.json"):
                (tmp_path / place / name).write_text("{}")
    tuned = tmp_path / "tuned" / "known-only-seed0"
    (tuned / "training.json").write_text(json.dumps({"early_stop": {"step": best}}))
    for name in ("model", "early_stop"):
        (tuned / name).mkdir()
    return of, jobs


def test_done_is_what_stands_there(tmp_path: Path) -> None:
    """Each job by the file that it writes last."""
    _, jobs = written(tmp_path)
    assert done_jobs(jobs, tmp_path) == {job.name for job in jobs}
    for job, file in (
        ("probe/dev", "probe/dev/knowledge.parquet"),
        ("mix/sets", "sets/known-only-seed0/recipe.json"),
        ("tune/known-only-seed0", "tuned/known-only-seed0/training.json"),
        ("score/base", "scores/base-ood/results_1.json"),
        ("ptrue/base", "ptrue/ptrue.json"),
    ):
        content = (tmp_path / file).read_text()
        (tmp_path / file).unlink()
        assert {other.name for other in jobs} - done_jobs(jobs, tmp_path) == {job}
        (tmp_path / file).write_text(content)


def test_a_tuning_is_done_without_its_weights_once_they_are_scored(tmp_path: Path) -> None:
    """Where a score is missing and the weights are gone, it is to be tuned again."""
    _, jobs = written(tmp_path)
    tuned = tmp_path / "tuned" / "known-only-seed0"
    shutil.rmtree(tuned / "model")
    assert done_jobs(jobs, tmp_path) == {job.name for job in jobs}
    shutil.rmtree(tmp_path / "scores" / "known-only-seed0-convergence")
    assert {job.name for job in jobs} - done_jobs(jobs, tmp_path) == {
        "tune/known-only-seed0",
        "score/known-only-seed0-convergence",
    }


def test_where_the_base_was_best_there_is_no_early_stop_to_score(tmp_path: Path) -> None:
    """Its scores are the base's, and its weights are not missed."""
    _, jobs = written(tmp_path, best=0)
    shutil.rmtree(tmp_path / "tuned" / "known-only-seed0" / "early_stop")
    for name in ("", "-ood"):
        shutil.rmtree(tmp_path / "scores" / f"known-only-seed0-early_stop{name}")
    assert done_jobs(jobs, tmp_path) == {job.name for job in jobs}


def test_only_what_stands_there_can_conflict(tmp_path: Path) -> None:
    """Outcomes of other settings, or of none that are known; a place that is free takes any."""
    _, jobs = written(tmp_path)
    recorded: dict[str, Any] = {job.name: {"settings": dict(job.settings)} for job in jobs}
    assert list(conflicts(jobs, recorded, tmp_path)) == []
    recorded["probe/dev"]["settings"]["batch_size"] = 7
    del recorded["ptrue/base"]
    assert [job.name for job, _ in conflicts(jobs, recorded, tmp_path)] == ["probe/dev", "ptrue/base"]
    shutil.rmtree(tmp_path / "probe" / "dev")
    assert [job.name for job, _ in conflicts(jobs, recorded, tmp_path)] == ["ptrue/base"]


MINE = r"""{form: "{question}\n", size: 30, variants: [{name: mine, unknown: 0.5}, unknown-50-without-unknown]}"""


def mixed(out: Path, name: str, recipe: dict[str, Any], rows: int = 30) -> Path:
    """A set's record."""
    place = out / "sets" / name
    place.mkdir(parents=True)
    record = {"description": recipe, "seed": 0, "form": "{question}\n", "conversational": False, "roles": {"mix": rows}}
    (place / "recipe.json").write_text(json.dumps(record))
    return place


def test_a_set_of_a_changed_recipe_is_another(tmp_path: Path) -> None:
    """By what its own record says of recipe, seed, form and size; a set that is not there can be any."""
    assert other_sets(setup(tmp_path, grid=MINE)) == {}
    mixed(tmp_path, "mine-seed0", {"name": "mine", "unknown": 0.5})
    # Of what was taken out, it is not known how many rows are left.
    mixed(tmp_path, "unknown-50-without-unknown-seed0", {"unknown": 0.5, "without": ["Unknown"]}, rows=15)
    assert other_sets(setup(tmp_path, grid=MINE)) == {}
    place = "sets/mine-seed0/recipe.json"
    for before, after, differing in (
        ("0.5", "0.9", ("recipe.unknown", 0.5, 0.9)),
        ("size: 30", "size: 40", ("size", 30, 40)),
    ):
        assert other_sets(setup(tmp_path, grid=MINE.replace(before, after))) == {place: [differing]}
    other_form = other_sets(setup(tmp_path, grid=MINE.replace("{question}", "Q: {question}")))
    assert other_form[place] == [("form", "{question}\n", "Q: {question}\n")]


def test_a_set_that_says_nothing_of_its_recipe_is_another(tmp_path: Path) -> None:
    """What cannot be compared is not trained on."""
    (mixed(tmp_path, "mine-seed0", {}) / "recipe.json").write_text("{}")
    (differing,) = other_sets(setup(tmp_path, grid=MINE)).values()
    assert differing[-2:] == [("seed", None, 0), ("size", None, 30)]


def test_arms_come_seed_by_seed() -> None:
    """A study that is stopped half-way has all variants of its first seeds."""
    assert [arm.seed for arm in arms_of(setup(grid="{variants: [natural, known-only]}"))] == [0, 0, 1, 1]


def test_measuring_needs_nothing_and_writes_nothing() -> None:
    """It comes before everything else, of every version."""
    job = measure_job(replace(setup(grid="paper")))
    assert (job.outs, job.needs) == ((), ())
    assert set(job.work["trainings"]) == {"", "lora"}
