"""The jobs that a study takes: what each does, writes and needs, and which are done. Pure, but for looking at files.

A job's work is JSON that says all of it, so that any process that sees the directory can do it. Its settings are
what must be equal for what stands in the directory to be its outcome.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slick.files import digest_of, mapping_of, read_json
from slick.knowledge_file import KNOWLEDGE
from slick.runs import differences, results_files
from slick.training import TRAINING
from slick_sft.formats import RECIPE
from slick_sft.study.grid import Grid, Variant
from slick_sft.study.ptrue import RECORD as PTRUE_RECORD
from slick_sft.study.steps import stages_of, steps_of

# The places in a study's directory; the report reads them.
PROBE, SETS, TUNED, SCORES, PTRUE = "probe", "sets", "tuned", "scores", "ptrue"
BASE = "base"
EARLY_STOP, CONVERGENCE = "early_stop", "convergence"
STAGES = (EARLY_STOP, CONVERGENCE)
# A tuned run's directories of weights, by stage.
WEIGHTS = {EARLY_STOP: "early_stop", CONVERGENCE: "model"}
# The splits that models are scored on, and what the scores' names end in.
SCORED = {"test": "", "ood": "-ood"}


@dataclass(frozen=True, slots=True)
class Setup:
    """A study: its grid, and what it is done with.

    model, facts: as the verbs take them. base: the model's fingerprint. splits: split → digest of its facts, for
    those that are studied. known: split → a probe that was made before.
    """

    model: str
    facts: str
    grid: Grid
    seeds: int
    out: Path
    base: Mapping[str, Any]
    splits: Mapping[str, str]
    counts: Mapping[str, int]
    known: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    batch_size: int = 128
    store: str = ""
    no_store: bool = False

    @property
    def scored(self) -> tuple[str, ...]:
        return tuple(split for split in SCORED if split in self.splits)

    @property
    def watched(self) -> tuple[str, ...]:
        """The splits that are watched beside the training rows."""
        return tuple(split for split in self.grid.watch if split in self.splits)

    @property
    def model_key(self) -> Any:
        """What the base model is, wherever it lies; only by its name where its weights are not known."""
        return {n: v for n, v in self.base.items() if n != "name"} if self.base.get("weights") else self.base


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work. name: "kind/…". outs: what it writes, below the study's directory.

    needs: names of the jobs whose outcome it reads. rank: of several that can be done, the lowest is done first.
    steps: optimiser steps that it takes, as far as they are known.
    """

    name: str
    work: Mapping[str, Any]
    outs: tuple[str, ...]
    needs: tuple[str, ...]
    settings: Mapping[str, Any]
    rank: int
    steps: int = 0

    @property
    def kind(self) -> str:
        return self.name.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Arm:
    """One variant with one seed."""

    variant: Variant
    seed: int

    @property
    def name(self) -> str:
        return f"{self.variant.name}-seed{self.seed}"

    @property
    def mixed(self) -> str:
        """Its set's name: versions of a variant are trained on one set."""
        return f"{self.variant.recipe}-seed{self.seed}"


def arms_of(setup: Setup) -> list[Arm]:
    """All arms, the first seed of every variant before the second of any."""
    return [Arm(variant, seed) for seed in range(setup.seeds) for variant in setup.grid.variants]


def score_names(setup: Setup, name: str) -> list[str]:
    """Where a model is scored: a run a split."""
    return [f"{SCORES}/{name}{SCORED[split]}" for split in setup.scored]


def jobs_of(setup: Setup, size: int | None = None) -> list[Job]:
    """Every job of the study, each behind those that it needs. size: |D|, where it is known."""
    probes = [_probe(setup, split) for split in setup.splits]
    by_split = dict(zip(setup.splits, probes, strict=True))
    mixed = _mix(setup, by_split["train"])
    scored_on = [by_split[split] for split in setup.scored]
    jobs = [*probes, mixed, _score(setup, BASE, None, "", scored_on)]
    watched = [by_split[split] for split in setup.watched]
    for arm in arms_of(setup):
        tuned = _tune(setup, arm, mixed, watched, size)
        jobs.append(tuned)
        jobs += [_score(setup, f"{arm.name}-{stage}", tuned, WEIGHTS[stage], scored_on) for stage in STAGES]
    if setup.grid.ptrue:
        jobs.append(_ptrue(setup, by_split["test"]))
    return jobs


def done_jobs(jobs: Sequence[Job], out: Path) -> set[str]:
    """The names of the jobs whose outcome stands in `out`.

    A tuned model counts as long as it is there, or all is done that needs it.
    """
    written = {job.name for job in jobs if is_written(job, out)}
    wanted = {need for job in jobs if job.name not in written for need in job.needs}
    return {
        job.name
        for job in jobs
        if job.name in written and (job.kind != "tune" or job.name not in wanted or has_weights(job, out))
    }


def is_written(job: Job, out: Path) -> bool:
    """Whether a job has written all it was to write; each of its files is written whole or not at all."""
    if job.kind == "score" and _base_won(job, out):
        return True
    return all(_stands(job.kind, out / place) for place in job.outs)


def has_weights(job: Job, out: Path) -> bool:
    """Whether the weights of a tuned run are still there: at CONVERGENCE, and at EARLY_STOP unless the base won."""
    (place,) = job.outs
    wanted = [WEIGHTS[CONVERGENCE]] + ([] if base_won(out / place) else [WEIGHTS[EARLY_STOP]])
    return all((out / place / name).is_dir() for name in wanted)


def base_won(tuned: Path) -> bool:
    """Whether the base itself was the best on dev, so that EARLY_STOP is the base and has no weights of its own."""
    stopped = mapping_of(mapping_of(read_json(tuned / TRAINING)).get("early_stop"))
    return stopped.get("step") == 0


def conflicts(jobs: Sequence[Job], recorded: Mapping[str, Any], out: Path) -> Iterator[tuple[Job, Mapping[str, Any]]]:
    """The jobs in whose place something stands that was made with other settings, and these settings."""
    for job in jobs:
        there = mapping_of(mapping_of(recorded.get(job.name)).get("settings"))
        if any((out / place).exists() for place in job.outs) and there != job.settings:
            yield job, there


def other_sets(setup: Setup) -> dict[str, list[tuple[str, Any, Any]]]:
    """Where a set that stands there is not the one that the grid means by its name: (what, there, now) of it.

    One job mixes all sets and leaves those that are there, so that its settings do not tell.
    """
    found: dict[str, list[tuple[str, Any, Any]]] = {}
    for arm in arms_of(setup):
        place = f"{SETS}/{arm.mixed}/{RECIPE}"
        if (setup.out / place).exists():
            differing = differences(*_set_settings(setup, arm, mapping_of(read_json(setup.out / place))))
            found |= {place: differing} if differing else {}
    return found


def _set_settings(setup: Setup, arm: Arm, recorded: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a set was mixed with by its own record, and what it would be mixed with now."""
    recipe = setup.grid.recipes[arm.variant.recipe]
    there = {"recipe": recorded.get("description"), **{n: recorded.get(n) for n in ("seed", "form", "conversational")}}
    now = {
        # As JSON has it.
        "recipe": json.loads(json.dumps(recipe.as_dict())),
        "seed": arm.seed,
        "form": setup.grid.form,
        "conversational": setup.grid.conversational,
    }
    if setup.grid.size is not None and not recipe.without:
        there["size"], now["size"] = mapping_of(recorded.get("roles")).get("mix"), setup.grid.size
    return there, now


def _probe(setup: Setup, split: str) -> Job:
    place = f"{PROBE}/{split}"
    known = setup.known.get(split)
    work = {
        "kind": "probe",
        "model": setup.model,
        "facts": setup.facts,
        "split": split,
        "limit": setup.grid.limits.get(split, 0),
        "known": known,
        "n_before": n_before_of(split),
        "out": place,
        **_machine(setup),
    }
    settings = {
        "model": setup.model_key,
        "facts": setup.splits[split],
        "n_before": work["n_before"],
        "batch_size": setup.batch_size,
    }
    return Job(f"probe/{split}", work, (place,), (), settings, rank=0 if split == "train" else 1)


def n_before_of(split: str) -> int:
    """Fresh exemplar sets of a split's probe: that measurement serves what is compared with it, the scored splits."""
    return 5 if split in SCORED else 0


def _mix(setup: Setup, train: Job) -> Job:
    recipes = setup.grid.recipes
    sets = {arm.mixed: {"recipe": recipes[arm.variant.recipe].as_dict(), "seed": arm.seed} for arm in arms_of(setup)}
    work = {
        "kind": "mix",
        "facts": setup.facts,
        "knowledge": train.outs[0],
        "sets": {f"{SETS}/{name}": of for name, of in sets.items()},
        "size": setup.grid.size,
        "form": setup.grid.form,
        "conversational": setup.grid.conversational,
    }
    # Not which sets: each stands in a place of its own, so that a grid can grow.
    settings = {
        "train": digest_of(train.settings),
        "size": setup.grid.size,
        "form": setup.grid.form,
        "conversational": setup.grid.conversational,
    }
    return Job("mix/sets", work, tuple(f"{SETS}/{name}" for name in sets), (train.name,), settings, rank=2)


def _tune(setup: Setup, arm: Arm, mixed: Job, watched: Sequence[Job], size: int | None) -> Job:
    training = setup.grid.trainings[arm.variant.version]
    recipe = setup.grid.recipes[arm.variant.recipe]
    place = f"{TUNED}/{arm.name}"
    work = {
        "kind": "tune",
        "model": setup.model,
        "data": f"{SETS}/{arm.mixed}",
        "training": training.as_dict(),
        "arm": arm.variant.name,
        "version": arm.variant.version,
        "seed": arm.seed,
        "watch": {job.name.removeprefix("probe/"): job.outs[0] for job in watched},
        "watch_rows": setup.grid.watch_rows,
        "out": place,
        **_machine(setup),
    }
    settings = {
        "model": setup.model_key,
        "data": digest_of([mixed.settings, recipe.as_dict(), arm.seed]),
        "training": training.as_dict(),
        "watch": {job.name: digest_of(job.settings) for job in watched},
        "watch_rows": setup.grid.watch_rows,
    }
    stages = stages_of(recipe, setup.grid.size or recipe.size or size, setup.out / work["data"] / RECIPE)
    needs = (mixed.name, *(job.name for job in watched))
    return Job(f"tune/{arm.name}", work, (place,), needs, settings, rank=5, steps=steps_of(training, *stages))


def _score(setup: Setup, name: str, tuned: Job | None, weights: str, on: Sequence[Job]) -> Job:
    """tuned: whose weights are scored; None for the base model."""
    names = score_names(setup, name)
    work = {
        "kind": "score",
        "model": setup.model if tuned is None else f"{tuned.outs[0]}/{weights}",
        "below": tuned is not None,
        "runs": dict(zip(names, (job.outs[0] for job in on), strict=True)),
        "form": setup.grid.form,
        "conversational": setup.grid.conversational,
        **_machine(setup),
    }
    settings = {
        "model": setup.model_key if tuned is None else digest_of(tuned.settings),
        "on": [digest_of(job.settings) for job in on],
        "form": setup.grid.form,
        "conversational": setup.grid.conversational,
        "batch_size": setup.batch_size,
    }
    needs = tuple(job.name for job in ([tuned] if tuned else []) + [*on])
    # An arm's scores come before the next arm: what is scored can be removed.
    return Job(f"score/{name}", work, tuple(names), needs, settings, rank=4 if tuned else 3)


def _ptrue(setup: Setup, test: Job) -> Job:
    work = {"kind": "ptrue", "model": setup.model, "knowledge": test.outs[0], "out": PTRUE, **_machine(setup)}
    settings = {"model": setup.model_key, "test": digest_of(test.settings), "batch_size": setup.batch_size}
    return Job(f"ptrue/{BASE}", work, (PTRUE,), (test.name,), settings, rank=3)


def measure_job(setup: Setup) -> Job:
    """Times a little of everything; writes nothing."""
    work = {
        "kind": "measure",
        "model": setup.model,
        "facts": setup.facts,
        "split": "dev",
        "limit": 0,
        "trainings": {version: training.as_dict() for version, training in setup.grid.trainings.items()},
        "arm": "measured",
        "seed": 0,
        **_machine(setup),
    }
    return Job("measure/all", work, (), (), {}, rank=0)


def _machine(setup: Setup) -> dict[str, Any]:
    names = ("device", "batch_size", "store", "no_store")
    return {name: getattr(setup, name) for name in names}


def _base_won(job: Job, out: Path) -> bool:
    """Whether a score at EARLY_STOP is the base's, and so not to be made."""
    model = Path(str(job.work["model"]))
    stage = job.work["below"] and model.name == WEIGHTS[EARLY_STOP]
    return bool(stage) and (out / model.parent / TRAINING).exists() and base_won(out / model.parent)


def _stands(kind: str, place: Path) -> bool:
    """Whether a job of that kind has finished what it writes to `place`."""
    if kind == "probe":
        return (place / KNOWLEDGE).exists() and (bool(results_files(place)) or _adopted(place))
    if kind == "score":
        return bool(results_files(place))
    return (place / {"mix": RECIPE, "tune": TRAINING, "ptrue": PTRUE_RECORD}[kind]).exists()


def _adopted(path: Path) -> bool:
    """Whether it holds the knowledge of a probe that was made before: written whole, and nothing beside it."""
    return [file.name for file in path.iterdir()] == [KNOWLEDGE]


def total_steps(jobs: Iterable[Job]) -> int:
    return sum(job.steps for job in jobs)
