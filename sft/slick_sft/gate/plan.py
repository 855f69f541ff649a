"""What a gate will train, and what so many facts and seeds can show: said before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slick.errors import InputError
from slick.files import mapping_of
from slick.knowledge import Category
from slick.knowledge_file import read_knowledge
from slick.provenance import same_model
from slick_sft.gate.against import arm_of, asked_by, check_asked_alike
from slick_sft.gate.dataset import Dataset, dataset_of
from slick_sft.gate.jobs import CANDIDATE, CONTROL, HELD_OUT, LINT, OpenPool, do, probe_job, recorded_controls
from slick_sft.gate.policy import ZERO_WEIGHT, Policy, gated_groups, knows
from slick_sft.gate.self_check import Line, expected
from slick_sft.gate.wish import Prepared, planned_steps

if TYPE_CHECKING:
    from slick_sft.lint.report import Report
    from slick_sft.lint.run import Ready

# Lints what was read, into a directory.
Lint = Callable[["Ready", Path], "Report"]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be trained. seeds: by arm. expected: what the policy's margins need, by the noise that it expects."""

    ready: Prepared
    dataset: Dataset
    seeds: Mapping[str, tuple[int, ...]]
    expected: Sequence[Line]
    notes: Sequence[str]

    @property
    def steps(self) -> int:
        """Optimiser steps of one training."""
        return planned_steps(self.ready.arguments, len(self.dataset.candidate))

    def sentences(self) -> list[str]:
        """The plan, and what of it cannot lead to a verdict."""
        wish = self.ready.wish
        trainings = sum(len(seeds) for seeds in self.seeds.values())
        arms = " and ".join(
            f"{name} with seed{'s' * (len(of) != 1)} {', '.join(map(str, of))}" for name, of in self.seeds.items()
        )
        found = [
            self.dataset.sentence,
            f"To train: {arms}: {trainings} trainings of {self.steps:,} steps on {len(self.dataset.candidate):,} rows, "
            f"each scored on {len(self.ready.held_out):,} held-out facts. Control: {wish.policy.control}.",
        ]
        at = f"if {100 * wish.policy.noise.discordant:g} % of facts differ between two runs and seeds lie "
        at += f"{100 * wish.policy.noise.seeds_sd:g} points apart beyond that"
        found += [f"{line.sentence} ({at})" for line in self.expected]
        if any(not line.defended for line in self.expected):
            found.append("Warning: the policy asks for less than so many facts and seeds are expected to show.")
        return [*found, *self.notes]


def planned(
    ready: Prepared, lint: Lint, open_pool: OpenPool, say: Say, *, control_seeds: tuple[int, ...] | None = None
) -> tuple[Plan, OpenPool]:
    """Lints, asks the base model the held-out facts, and says what will be trained."""
    wish = ready.wish
    dataset = dataset_of(lint(ready.lint, wish.out / LINT), ready.held_out, wish.policy.form)
    seeds, notes = _seeds(wish.policy, dataset, control_seeds)
    with open_pool(wish.out) as pool:
        do([probe_job(ready)], pool, wish.out)
    known = read_knowledge(wish.out / HELD_OUT)
    if not same_model(mapping_of(known.provenance.get("model")), ready.base):
        raise InputError(f"{wish.out / HELD_OUT}: is the knowledge of another model; choose another --out")
    asked = {k.fact.id for k in known.knowledge} - dataset.leaked
    if wish.baseline:
        check_asked_alike(wish.baseline, dataset.form, conversational=dataset.conversational)
        asked = asked.intersection(asked_by(arm_of(wish.baseline)))
    categories = [k.category for k in known.knowledge if k.fact.id in asked]
    counts = {group: _count(categories, group) for group in gated_groups(wish.policy)}
    if empty := [group for group, n in counts.items() if n == 0]:
        shown = ", ".join(f"{categories.count(c)} {c}" for c in Category)
        raise InputError(
            f"the policy gates {', '.join(empty)}, and none of the {len(categories)} held-out facts"
            f"{' that the baseline was asked as well' if wish.baseline else ''} is in it ({shown}):"
            " nothing could be judged; take it out of the policy, or ask other facts"
        )
    lines = expected(wish.policy, counts, _recorded(ready, seeds))
    plan = Plan(ready, dataset, seeds, lines, [*dataset.notes, *notes])
    for text in plan.sentences():
        say(text)
    return plan, open_pool


def _recorded(ready: Prepared, seeds: Mapping[str, tuple[int, ...]]) -> int:
    """How many runs of the control's recipe there will be to judge one seed by."""
    if ready.wish.baseline:
        return len(ready.wish.baseline.runs)
    planned = {f"{CONTROL}-seed{seed}" for seed in seeds.get(CONTROL, ())}
    return len(planned | {path.name for path in recorded_controls(ready.wish.out)}) if planned else 0


def _count(categories: Sequence[Category], group: str) -> int:
    wanted = knows(group)
    return sum(not wanted or str(category) in wanted for category in categories)


def _seeds(
    policy: Policy, dataset: Dataset, control_seeds: tuple[int, ...] | None
) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """The seeds of every arm that is to be trained, and what is to be known of them."""
    ours = tuple(range(policy.seeds))
    notes = [] if dataset.form_found else ["No prompt of the dataset shows how it asks; facts are asked as slick does."]
    if control_seeds is not None:
        return {CONTROL: control_seeds}, notes
    if policy.control.kind != ZERO_WEIGHT:
        return {CANDIDATE: ours}, notes
    unit = dataset.report.unit
    unprobed = len(dataset.report.rows) - sum(dataset.report.categories.values())
    if unprobed:
        notes.append(
            f"The {unprobed:,} {unit} that could not be probed are in both arms: the verdict does not speak of them "
            "(control: base would)."
        )
    if dataset.control != dataset.candidate:
        if not any(row["weight"] for row in dataset.control):
            raise InputError(
                f"all {unit} that there are to learn from are Unknown to the model, so that a control without them "
                "would train nothing; set control: base in the policy"
            )
        return {CANDIDATE: ours, CONTROL: ours}, notes
    notes.append(
        f"None of the {unit} is Unknown to the model, so that control and candidate have the same rows: they are "
        "trained with different seeds, and a PASS says that a loss by chance would have been seen."
    )
    return {CANDIDATE: ours, CONTROL: tuple(seed + policy.seeds for seed in ours)}, notes
