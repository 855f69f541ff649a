"""Timing a little of everything that a study does, so that its cost can be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slick.errors import RunError
from slick.knowledge import Estimator
from slick.prompts import DEFAULT_FORM
from slick_sft.study.inputs import Work, backend_of, facts_of, tuning_of

if TYPE_CHECKING:
    from slick.facts import Fact
    from slick_sft.formats import TrainRow

Record = Mapping[str, Any]
# Optimiser steps that are timed, behind a first one; and of what a probe asks of a fact, the exemplar sets.
_STEPS = 5
_SETS = 10
# Facts that are asked while measuring.
_MEASURED = 48
# The rate at which steps are timed: they take as long, and no weight moves, whatever the grid's rate would do. Not 0,
# since some schedules divide by it.
_STILL = 1e-30


def measure(work: Work) -> Record:
    """Times a little of everything: some optimiser steps of each version, a probe, answers. Leaves nothing behind."""
    from tempfile import TemporaryDirectory

    from slick.facts import by_relation

    # Of one relation: its facts share their exemplar sets, as nearly all of a probe's do.
    by_size = sorted(by_relation(facts_of(work)).values(), key=len)
    facts = by_size[-1][:_MEASURED]
    with TemporaryDirectory() as place:
        rates, weights = {}, {}
        for version, training in work["trainings"].items():
            tuned = Path(place) / f"tuned-{version}"
            rates[version] = step_seconds(work, training, facts, tuned)
            weights[version] = sum(f.stat().st_size for f in tuned.rglob("*.safetensors") if f.parent.name == "model")
        return {"steps": rates, "weights": weights, **_answer_seconds(work, facts, Path(place))}


def step_seconds(work: Work, training: Mapping[str, Any], facts: Sequence[Fact], out: Path) -> float:
    """What an optimiser step takes, once it is warm."""
    from statistics import median

    from slick.files import digest_of
    from slick.prompts import completion, form_prompt
    from slick_sft.arguments import rows_a_step
    from slick_sft.formats import TrainingSet
    from slick_sft.study.clock import Clock
    from slick_sft.train import DivergedError, tune

    rows: list[TrainRow] = [
        {"prompt": form_prompt(DEFAULT_FORM, fact.question), "completion": completion(DEFAULT_FORM, fact.answers[0])}
        for fact in facts
    ]
    a_step = rows_a_step({"per_device_train_batch_size": training["batch_size"], **training["settings"]}, processes=1)
    needed = a_step * (_STEPS + 1)
    rows = [rows[i % len(rows)] for i in range(needed)]
    clock = Clock()
    settings = {**training["settings"], "save_strategy": "no"}
    data = TrainingSet(rows, digest_of(rows), "measured")
    timed = {**training, "epochs": 1, "learning_rate": _STILL, "settings": settings}
    try:
        tune(tuning_of(work, timed, data, None), out, callbacks=[clock])
    except DivergedError as error:
        raise RunError(
            f"{error.found}, before anything was learned: by these settings of the grid the model yields no numbers"
        ) from error
    return median(clock.seconds[1:])


def _answer_seconds(work: Work, facts: Sequence[Fact], place: Path) -> Record:
    """What one answer takes, by each way of asking."""
    import time

    from slick.commands import probe
    from slick.files import make_directory
    from slick.prompts import form_prompt
    from slick.sampled import greedy_kwargs
    from slick_sft.study.ptrue import write_ptrue

    make_directory(place)
    found = {}
    begun = time.monotonic()
    with backend_of(work, work["model"], place, remember=False) as backend:
        found["start"] = time.monotonic() - begun
        asked = [(form_prompt(DEFAULT_FORM, fact.question), greedy_kwargs(32)) for fact in facts]
        begun = time.monotonic()
        backend.generate(asked)
        found["score"] = (time.monotonic() - begun) / len(facts)
        begun = time.monotonic()
        write_ptrue(place / "ptrue", facts, backend.lm, {})
        found["chance"] = (time.monotonic() - begun) / len(facts)
    # Of one fact and of many: the difference leaves out what loading takes.
    took = []
    for n in (1, len(facts)):
        begun = time.monotonic()
        probe(
            model=work["model"],
            facts=work["facts"],
            out=place / f"probe-{n}",
            split=work["split"],
            relations=facts[0].relation,
            limit=n,
            estimator=Estimator.EXACT,
            n_before=0,
            batch_size=str(work["batch_size"]),
            device=work["device"],
            no_store=True,
        )
        took.append(time.monotonic() - begun)
    found["probe"] = max(took[1] - took[0], 0.0) / max(len(facts) - 1, 1) / _SETS
    return found
