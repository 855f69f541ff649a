"""What a reader should know of the comparison besides its numbers: which facts, which runs, which control."""

from __future__ import annotations

from collections.abc import Sequence

from slick.provenance import same_model
from slick_reports.beside import training_digest
from slick_reports.compare import Comparison
from slick_reports.gather import Gathered
from slick_reports.headline import quoted
from slick_reports.inputs import mapping
from slick_reports.places import place
from slick_reports.records import versions_of


def notes(gathered: Gathered, comparison: Comparison) -> list[str]:
    """Facts first, then runs, then the control."""
    return [
        *_facts(gathered, comparison),
        *_runs(gathered),
        *_training_sets(gathered),
        gathered.control_note,
        *_seeds_met(gathered, comparison),
    ]


def _facts(gathered: Gathered, comparison: Comparison) -> list[str]:
    found = []
    runs = list(gathered.runs())
    n = len(comparison.facts)
    if any(len(run.rows) != n for run in runs):
        counts = ", ".join(f"{quoted(place(run.path))} {len(run.rows):,}" for run in runs)
        found.append(f"Compared on the {n:,} facts that all runs share; the runs hold {counts}.")
    if repeated := max(run.n_rows - len(run.rows) for run in runs):
        found.append(f"{repeated:,} rows repeat another row's fact; each fact is counted once.")
    without = sum(category is None for category in comparison.categories)
    if without == n:
        found.append("No fact has a category: give the probe of the base model with --knowledge PROBE_RUN.")
    elif without:
        found.append(f"{without:,} of {n:,} facts have no category and count under “all” only.")
    return found


def _runs(gathered: Gathered) -> list[str]:
    found = []
    if arm := gathered.before.training.get("arm"):
        found.append(f"“Before” is itself a tuned model (arm {quoted(str(arm))}), not a base model.")
    before, *others = gathered.runs()
    model = mapping(before.provenance.get("model"))
    for run in others:
        if model.get("weights") and same_model(model, mapping(run.provenance.get("model"))):
            found.append(f"{quoted(place(run.path))} scores the very weights of “before”: it can show no change.")
    if len({tuple(versions_of(run).items()) for run in gathered.runs()}) > 1:
        found.append("The runs were made with different library versions; they are listed under provenance.")
    return found


def _training_sets(gathered: Gathered) -> list[str]:
    """Whose echoes are not told, or are told on the user's word alone."""
    found = []
    for arm in gathered.arms:
        sets = gathered.training.get(arm.label, ())
        without = [seed for seed, answers in zip(arm.seeds, sets, strict=True) if answers is None] if sets else []
        if without:
            found.append(
                f"{quoted(arm.label)}: no training set was given for {_seeds(without)}, so their wrong answers are not "
                "split into kinds; those of the other seeds are."
            )
        for run, answers in zip(arm.runs, sets, strict=False):
            if answers is not None and training_digest(run) is None:
                found.append(
                    f"{quoted(place(run.path))} does not record what it was trained on; echoes are told by the set "
                    "that was given for it."
                )
    return found


def _seeds(seeds: Sequence[int | None]) -> str:
    told = ", ".join("not recorded" if seed is None else str(seed) for seed in seeds)
    return f"seed{'s' * (len(seeds) > 1)} {told}"


def _seeds_met(gathered: Gathered, comparison: Comparison) -> list[str]:
    """Which seeds met where one side of a comparison with the control has a single run and the other has more."""
    met = comparison.seeds_met(gathered.control.label if gathered.control else None)
    return [
        f"{quoted(label)} against the control: only {_seeds([ours])} against {_seeds([theirs])}, since one of the two "
        "has a single run."
        for label, (ours, theirs) in met.items()
    ]
