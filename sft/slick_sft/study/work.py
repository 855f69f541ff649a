"""What a study's jobs do, in a worker: each by the verbs' own functions, into a directory of its own.

A job's work is JSON (see `jobs`); its places are below the study's directory.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slick.errors import InputError, Mistakes, RunError
from slick.knowledge import CATEGORIES, KNOWN, Category, Estimator, Knowledge
from slick.prompts import DEFAULT_FORM
from slick.training import TRAINING
from slick_sft.study.inputs import Work, backend_of, facts_of, knowledge_of, tuning_of
from slick_sft.study.jobs import CONVERGENCE, EARLY_STOP, WEIGHTS, base_won

if TYPE_CHECKING:
    from slick_sft.recipe import Recipe
    from slick_sft.recipes import MixRow

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
    counts = _counts(knowledge_of(place).knowledge)
    return {"counts": {str(category): counts[category] for category in CATEGORIES}, **taken}


def _adopt(work: Work, place: Path) -> list[str]:
    """Takes over the knowledge of a probe that was made before, of the facts of one split; in what it differs from
    a probe of the study's own."""
    from slick.files import replacing_directory
    from slick.knowledge_file import KNOWLEDGE, write_knowledge
    from slick.reader import read_facts
    from slick_sft.study.taken_over import remarks

    found, wanted = knowledge_of(work["known"]), facts_of(work)
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

    read = knowledge_of(out / work["knowledge"])
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
        record = tune(tuning_of(work, work["training"], data, watch), place)
    except DivergedError as error:
        raise RunError(f"{error.found}; {_mend(work)}") from error
    return {"steps": record["steps"], "early_stop": record.get("early_stop")}


def _mend(work: Work) -> str:
    """What can be done about an arm whose training came to what is no number."""
    if version := work.get("version"):
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
    with backend_of(work, model, out / next(iter(work["runs"])), remember=not work["below"]) as loaded:
        # A study that was moved, or is named by another path, is the same.
        backend = replace(loaded, model={**loaded.model, "name": work["model"]}) if work["below"] else loaded
        for place, probe in work["runs"].items():
            known = knowledge_of(out / probe)
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
    facts = [k.fact for k in knowledge_of(out / work["knowledge"]).knowledge]
    with backend_of(work, work["model"], place, remember=False) as backend:
        provenance = {"model": dict(backend.model), "backend": backend.provenance(), "versions": library_versions()}
        write_ptrue(place, facts, backend.lm, provenance)
    return {}


def _measure(work: Work, _: Path) -> Record:
    from slick_sft.study.measuring import measure

    return measure(work)


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
