"""What a study's jobs do, in a worker: each by the verbs' own functions, into a directory of its own.

A job's work is JSON (see `jobs`); its places are below the study's directory.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slick.errors import InputError, Mistakes, RunError
from slick.knowledge import CATEGORIES, KNOWN, Category, Estimator, Knowledge
from slick.prompts import DEFAULT_FORM
from slick.training import TRAINING
from slick_sft.study.jobs import CONVERGENCE, EARLY_STOP, WEIGHTS, base_won

if TYPE_CHECKING:
    from slick.backend import Backend
    from slick.facts import Fact
    from slick.knowledge_file import KnowledgeFile
    from slick_sft.formats import TrainingSet, TrainRow
    from slick_sft.recipe import Recipe
    from slick_sft.recipes import MixRow
    from slick_sft.train import Tuning
    from slick_sft.watched import Watch

Work = Mapping[str, Any]
# Optimiser steps that are timed, behind a first one; and of what a probe asks of a fact, the exemplar sets.
_STEPS = 5
_SETS = 10
# Facts that are asked while measuring.
_MEASURED = 48
# The rate at which steps are timed: they take as long, and no weight moves, whatever the grid's rate would do. Not 0,
# since some schedules divide by it.
_STILL = 1e-30
Record = Mapping[str, Any]


def do_work(work: Work, out: Path) -> Record:
    """Does one job in the study's directory `out`; returns what it found out. Raises as the verbs do."""
    return _KINDS[str(work["kind"])](work, out)


def _probe(work: Work, out: Path) -> Record:
    place = out / work["out"]
    taken: Record = {}
    if work["known"]:
        taken = {"taken_over": _adopt(work, place)}
    else:
        from slick.commands import probe

        probe(
            model=work["model"],
            facts=work["facts"],
            out=place,
            split=work["split"],
            limit=work["limit"],
            estimator=Estimator.EXACT,
            n_before=work["n_before"],
            batch_size=str(work["batch_size"]),
            device=work["device"],
            store=work["store"],
            no_store=work["no_store"],
        )
    counts = _counts(_knowledge(place).knowledge)
    return {"counts": {str(category): counts[category] for category in CATEGORIES}, **taken}


def _adopt(work: Work, place: Path) -> list[str]:
    """Takes over the knowledge of a probe that was made before, of the facts of one split; in what it differs from
    a probe of the study's own."""
    from slick.files import replacing_directory
    from slick.knowledge_file import KNOWLEDGE, write_knowledge
    from slick.reader import read_facts
    from slick_sft.study.taken_over import remarks

    found, wanted = _knowledge(work["known"]), _facts(work)
    known = {k.fact.id: k for k in found.knowledge}
    missing = [fact for fact in wanted if fact.id not in known]
    if missing:
        raise InputError(
            f"--knowledge {work['split']}={work['known']}: lacks {len(missing)} of the {len(wanted)} facts of "
            f"this split, such as {missing[0].question!r}; probe them all, or leave it out"
        )
    if not place.exists():
        with replacing_directory(place) as part:
            write_knowledge(part / KNOWLEDGE, [known[fact.id] for fact in wanted], found.provenance)
    return remarks(found, work["split"], read_facts(work["facts"]))


def _mix(work: Work, out: Path) -> Record:
    """All sets at once: what keeps any from being mixed is told of all of them."""
    from slick.reader import read_facts
    from slick_sft.formats import write_mix
    from slick_sft.held_out import held_out_facts, without_held_out
    from slick_sft.recipe_file import recipe_of
    from slick_sft.recipes import mix, remarks

    read = _knowledge(out / work["knowledge"])
    recipes = {place: recipe_of(of["recipe"], place) for place, of in work["sets"].items()}
    _check_there(read.knowledge, list(recipes.values()))
    kept, held_out = without_held_out(read.knowledge, held_out_facts(read_facts(work["facts"])))
    mixed: dict[str, list[MixRow]] = {}
    with Mistakes("these sets cannot be mixed:") as mistakes:
        for place, recipe in recipes.items():
            try:
                mixed[place] = mix(kept, recipe, work["sets"][place]["seed"], size=work["size"])
            except InputError as error:
                # Of every seed of a recipe the same.
                text = str(error).replace("--size", "the grid's size")
                mistakes.messages += [] if text in mistakes.messages else [text]
    for place, rows in mixed.items():
        if not (out / place).exists():
            write_mix(
                out / place,
                rows,
                recipes[place],
                work["sets"][place]["seed"],
                form=work["form"],
                conversational=work["conversational"],
                provenance=read.provenance,
                held_out=held_out,
                notes=remarks(rows, recipes[place], kept),
            )
    return {"sizes": {place: len(rows) for place, rows in mixed.items()}}


def _check_there(knowledge: Sequence[Knowledge], recipes: Sequence[Recipe]) -> None:
    """InputError where the model knows all of the facts, or none of them, and sets are to hold rows that are not
    there."""
    counts = _counts(knowledge)
    shown = ", ".join(f"{counts[category]} {category}" for category in CATEGORIES)
    for kind, categories, others in (
        ("Unknown", (Category.UNKNOWN,), "it does not know"),
        ("Known", KNOWN, "it knows something of"),
    ):
        asked = sorted({recipe.name for recipe in recipes if _holds(recipe, categories)})
        if asked and not any(counts[category] for category in categories):
            raise InputError(
                f"none of the {len(knowledge)} training facts is {kind} to this model ({shown}), so that no set can "
                f"hold {kind} rows, as {', '.join(asked[:4])}{' …' if len(asked) > 4 else ''} would; study it on facts "
                f"that {others}, or by a grid of variants without {kind} rows"
            )


def _holds(recipe: Recipe, categories: Collection[Category]) -> bool:
    """Whether a set of the recipe must hold rows of these categories."""
    from slick_sft.recipe import members

    return any(share and {*members(pool)} <= {*categories} for pool, share in (recipe.parts or {}).items())


def _tune(work: Work, out: Path) -> Record:
    from slick_sft.formats import read_training_set
    from slick_sft.train import DivergedError, tune
    from slick_sft.watched import read_watch

    place = out / work["out"]
    if (place / TRAINING).exists() and not (place / WEIGHTS[CONVERGENCE]).is_dir():
        # Its weights were removed when all was done that needed them, and now they are needed again.
        shutil.rmtree(place)
    _name_device(place, work["device"])
    data = read_training_set(out / work["data"])
    watch = read_watch([f"{name}={out / probe}" for name, probe in work["watch"].items()], rows=work["watch_rows"])
    try:
        record = tune(_tuning(work, work["training"], data, watch), place)
    except DivergedError as error:
        raise RunError(f"{error.found}; {_mend(work)}") from error
    return {"steps": record["steps"], "early_stop": record.get("early_stop")}


def _mend(work: Work) -> str:
    """What can be done about an arm whose training came to what is no number."""
    if version := work["version"]:
        how = (
            f"lower learning_rate of version {version} in the grid and remove what stands of it (tuned/{version}-*, "
            f"scores/{version}-*), or leave that version out"
        )
    else:
        how = (
            "lower training.learning_rate in the grid and choose another --out, or leave variant "
            f"{work['arm']} out of the grid"
        )
    return f"{how}; the rest of the study goes on, and can be finished without it"


def _name_device(place: Path, device: str) -> None:
    """An arm that was begun where no device was named is gone on with on the study's: the two were compared before."""
    from slick.files import mapping_of, read_json, write_json
    from slick.runs import PROGRESS

    if (place / PROGRESS).exists():
        progress = mapping_of(read_json(place / PROGRESS))
        settings = mapping_of(progress.get("settings"))
        if settings.get("device") == "":
            write_json(place / PROGRESS, {**progress, "settings": {**settings, "device": device}})


def _tuning(work: Work, training: Mapping[str, Any], data: TrainingSet, watch: Watch | None) -> Tuning:
    from slick_sft.arguments import sft_arguments
    from slick_sft.train import LoRA, Tuning

    lora = LoRA(**training["lora"]).check() if training["lora"] else None
    flags = {
        "learning_rate": training["learning_rate"],
        "num_train_epochs": training["epochs"],
        "per_device_train_batch_size": training["batch_size"],
        "seed": work["seed"],
        **training["settings"],
    }
    arguments = sft_arguments(flags, lora=lora is not None)
    return Tuning(work["model"], data, arguments, lora, work["arm"], work["device"], watch=watch)


def _score(work: Work, out: Path) -> Record:
    """One model on every split that it is scored on, loaded once."""
    from slick.score import Score, run_score
    from slick.training import read_training

    model = str(out / work["model"]) if work["below"] else work["model"]
    if work["below"] and Path(model).name == WEIGHTS[EARLY_STOP] and base_won(Path(model).parent):
        return {"base": True}
    training = read_training(model)
    found: dict[str, Any] = {}
    # Answers of a model that is soon removed would never be asked for again.
    with _backend(work, model, out / next(iter(work["runs"])), remember=not work["below"]) as loaded:
        # A study that was moved, or is named by another path, is the same.
        backend = replace(loaded, model={**loaded.model, "name": work["model"]}) if work["below"] else loaded
        for place, probe in work["runs"].items():
            known = _knowledge(out / probe)
            asked = Score(
                facts=[k.fact for k in known.knowledge],
                categories={k.fact.id: k.category for k in known.knowledge},
                priors=known.provenance.get("priors") or {},
                form=str(training.get("form") or work["form"] or DEFAULT_FORM),
                chat=backend.chat(apply=work["conversational"]),
                source=probe,
                training=training,
                knowledge_model=known.provenance.get("model"),
            )
            run = run_score(asked, backend, out / place)
            found[place] = next(iter(run.results["results"].values()))["exact_match,none"]
    return {"accuracy": found}


def _ptrue(work: Work, out: Path) -> Record:
    from slick.provenance import library_versions
    from slick_sft.study.ptrue import write_ptrue

    place = out / work["out"]
    facts = [k.fact for k in _knowledge(out / work["knowledge"]).knowledge]
    with _backend(work, work["model"], place, remember=False) as backend:
        provenance = {"model": dict(backend.model), "backend": backend.provenance(), "versions": library_versions()}
        write_ptrue(place, facts, backend.lm, provenance)
    return {}


def _measure(work: Work, _: Path) -> Record:
    """Times a little of everything: some optimiser steps of each version, a probe, answers. Leaves nothing behind."""
    from tempfile import TemporaryDirectory

    from slick.facts import by_relation

    # Of one relation: its facts share their exemplar sets, as nearly all of a probe's do.
    by_size = sorted(by_relation(_facts(work)).values(), key=len)
    facts = by_size[-1][:_MEASURED]
    with TemporaryDirectory() as place:
        rates, weights = {}, {}
        for version, training in work["trainings"].items():
            tuned = Path(place) / f"tuned-{version}"
            rates[version] = _step_seconds(work, training, facts, tuned)
            weights[version] = sum(f.stat().st_size for f in tuned.rglob("*.safetensors") if f.parent.name == "model")
        return {"steps": rates, "weights": weights, **_answer_seconds(work, facts, Path(place))}


def _step_seconds(work: Work, training: Mapping[str, Any], facts: Sequence[Fact], out: Path) -> float:
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
        tune(_tuning(work, timed, data, None), out, callbacks=[clock])
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
    with _backend(work, work["model"], place, remember=False) as backend:
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


@contextmanager
def _backend(work: Work, model: str, out: Path, *, remember: bool) -> Iterator[Backend]:
    """The model behind slick-hf, with the response store where that is wanted."""
    from slick.options import remembering_backend

    forgetful = work["no_store"] or not remember
    with remembering_backend(
        "slick-hf",
        model,
        (),
        str(work["batch_size"]),
        work["device"],
        store="" if forgetful else work["store"],
        no_store=forgetful,
        out=out,
    ) as backend:
        yield backend


def _facts(work: Work) -> Sequence[Any]:
    from slick.reader import read_facts

    return read_facts(work["facts"], split=work["split"], limit=work["limit"] or None)


def _knowledge(place: Path | str) -> KnowledgeFile:
    from slick.knowledge_file import read_knowledge

    return read_knowledge(place)


def _counts(knowledge: Sequence[Knowledge]) -> Mapping[Category, int]:
    from slick.knowledge import category_counts

    return category_counts(knowledge)


_KINDS: Mapping[str, Callable[[Work, Path], Record]] = {
    "probe": _probe,
    "mix": _mix,
    "tune": _tune,
    "score": _score,
    "ptrue": _ptrue,
    "measure": _measure,
}
