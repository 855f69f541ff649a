"""The numbers of a report. All arithmetic is done when this object is built; a renderer only prints it.

Shares and differences are fractions; a difference is after minus before, or arm minus control.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from slick.facts import Fact
from slick.knowledge import CATEGORIES
from slick.statistics import Estimate
from slick_reports.curve_numbers import TrainingCurves

# 1: first version.
# 2: verdict; facts still wrong; kinds of wrong answers; learned and forgotten; differences by relation; migration;
#    loss curves; what a run lacks. The counts of `shares` may be expected ones, with decimals.
# 3: training curves. `fails_below` of a verdict is where it would turn, counting and Holm's correction with it.
SCHEMA = 3

ALL = "all"
KNOWN = "Known"
GROUPS = (ALL, KNOWN, *map(str, CATEGORIES))

Direction = Literal["fell", "rose", "open"]


def direction(estimate: Estimate | None) -> Direction:
    """What a difference's interval says: "fell" or "rose" when it excludes 0, else (or undefined) "open"."""
    interval = estimate.interval if estimate else None
    if interval is None:
        return "open"
    if interval.high < 0:
        return "fell"
    return "rose" if interval.low > 0 else "open"


@dataclass(frozen=True, slots=True)
class Side:
    """One model, or the seeds of one arm, on one group of facts. Both None where the group is empty."""

    accuracy: Estimate | None
    abstained: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference of accuracies. lost, gained: facts a seed, so that value = (gained - lost) / n.

    estimate is None for an empty group; its interval is None where it is undefined. lost and gained are None where no
    answers were logged.
    """

    estimate: Estimate | None
    lost: float | None
    gained: float | None


@dataclass(frozen=True, slots=True)
class WrongAnswers:
    """What the wrong answers of one side are, in facts a seed: the four kinds add up to `wrong`.

    abstained: declines to answer. echo: answers another question of the seed's training set; None where no set was
    given. entity: answers another fact of the relation. other: none of these. echo_before: how many wrong answers of
    the model "before" stand in the same sets, which is what chance gives. Where sets were given, all of this is about
    the seeds whose set was given.
    """

    wrong: float
    abstained: float
    entity: float
    other: float
    echo: float | None = None
    echo_before: float | None = None


@dataclass(frozen=True, slots=True)
class Turned:
    """Learning against forgetting: the share of facts that were right before and are wrong now, and the reverse.

    was_right, was_wrong: facts before. An estimate is None where there is no such fact.
    """

    was_right: int
    forgotten: Estimate | None
    was_wrong: int
    learned: Estimate | None


@dataclass(frozen=True, slots=True)
class GroupNumbers:
    """One arm on one group of facts. prior: accuracy of always giving a relation's commonest answer."""

    group: str
    n: int
    prior: float | None
    before: Side
    after: Side
    change: Difference
    against_control: Estimate | None = None
    wrong_before: WrongAnswers | None = None
    wrong_after: WrongAnswers | None = None
    turned: Turned | None = None


@dataclass(frozen=True, slots=True)
class Flip:
    """A fact that is lost, gained or still wrong. after: one answer a seed; in `seeds` of them it is so.

    kind: what its wrong answer is ("abstained", "echo", "entity" or "other"), over seeds the commonest; of a gained
    fact the one before. category_after: by the arm's own probe, where one was given.
    """

    fact: Fact
    category: str | None
    before: str
    after: tuple[str, ...]
    seeds: int
    kind: str = ""
    category_after: str | None = None


@dataclass(frozen=True, slots=True)
class MigrationRow:
    """Where the facts of one category went: counts and shares by category after, best known first.

    kept: the chance that a mere redraw of the exemplar sets keeps this category; None where it is undefined.
    """

    category: str
    n: float
    counts: tuple[float, ...]
    shares: tuple[Estimate | None, ...]
    kept: float | None = None


@dataclass(frozen=True, slots=True)
class Migration:
    """Categories before against categories after, of the facts that both probes hold.

    expected: whether counts are expected ones (exact estimator: a fact near a border counts in part on both sides).
    """

    probe: str
    n: int
    expected: bool
    rows: tuple[MigrationRow, ...]
    down: Estimate | None
    up: Estimate | None


@dataclass(frozen=True, slots=True)
class LossCurve:
    """The training loss of one run, as its tuning run recorded it: (step, loss)."""

    seed: int | None
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class VerdictNumbers:
    """Non-inferiority of one arm. margin: the drop that is too much, a fraction. against: "before" or the control.

    passes_from: any margin above it would PASS; fails_below: any margin below it would FAIL, counting and Holm's
    correction over the arms, which are judged by the same margin, with it; 0 where none would. None where undefined.
    """

    arm: str
    against: str
    group: str
    outcome: str
    margin: float
    estimate: Estimate | None
    sentence: str
    passes_from: float | None
    fails_below: float | None


@dataclass(frozen=True, slots=True)
class Judged:
    """All arms' verdicts and the one they add up to. turns: what would change it."""

    outcome: str
    sentence: str
    verdicts: tuple[VerdictNumbers, ...]
    turns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ArmNumbers:
    """An arm: runs that differ in nothing but their seed. training: what the tuning run recorded of itself.

    lost, gained, still_wrong: None where no answers were logged, so that nothing is known of single facts.
    """

    label: str
    is_control: bool
    seeds: tuple[int | None, ...]
    training: Mapping[str, str | float | int | bool]
    groups: tuple[GroupNumbers, ...]
    lost: tuple[Flip, ...] | None
    gained: tuple[Flip, ...] | None
    still_wrong: tuple[Flip, ...] | None = ()
    migration: Migration | None = None
    loss: tuple[LossCurve, ...] = ()
    training_curves: TrainingCurves | None = None

    @property
    def flips(self) -> dict[str, tuple[Flip, ...]]:
        """Lost, gained and still wrong facts by these words; without those that nothing is known of."""
        lists = {"lost": self.lost, "gained": self.gained, "still wrong": self.still_wrong}
        return {state: flips for state, flips in lists.items() if flips is not None}

    def group(self, name: str) -> GroupNumbers | None:
        return next((row for row in self.groups if row.group == name), None)


@dataclass(frozen=True, slots=True)
class RelationNumbers:
    """One relation: before, and for each arm, in the arms' order, after and the difference to before."""

    relation: str
    n: int
    prior: float | None
    before: Side
    after: tuple[Side, ...]
    changes: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class SelectionLine:
    """A/A: one untouched model, few-shot, under the sets that made the category and under fresh ones."""

    category: str
    n: int
    category_sets: float | None
    fresh_sets: float | None


@dataclass(frozen=True, slots=True)
class SeedsLine:
    """A/A: seeds of the control against each other. spread: standard deviation over seeds.

    largest: the pair furthest apart; `apart` of `pairs` have an interval without 0.
    """

    group: str
    n: int
    accuracies: tuple[float, ...]
    spread: float
    largest: Estimate | None
    pairs: int
    apart: int


@dataclass(frozen=True, slots=True)
class CategoryShare:
    category: str
    n: float
    share: Estimate | None


@dataclass(frozen=True, slots=True)
class Shares:
    """How many facts fall in each category, over all and per relation. source: "probe" or "scored facts".

    expected: whether the counts are expected ones, of the exact estimator (Σu), and not whole numbers.
    """

    source: str
    n: int
    categories: tuple[CategoryShare, ...]
    relations: Mapping[str, tuple[float, ...]]
    expected: bool = False


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A setting that differs where it matters, compared all the same because the user said so."""

    setting: str
    run: str
    before: str
    here: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Where one run comes from; what it did not record is None."""

    role: str
    path: str
    label: str
    seed: int | None
    date: str
    model: Mapping[str, str | None]
    backend: Mapping[str, str | None]
    facts: str | None
    prompts: str | None
    training_set: str | None
    n_facts: int
    n_rows: int
    versions: Mapping[str, str]
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """How every fact was asked and judged, as the "before" run recorded it."""

    form: str
    matching: str
    max_gen_toks: int | None
    chat: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a report says. level: of every interval. n: facts that all runs share, each counted once."""

    title: str
    headline: str
    noise: str
    findings: tuple[str, ...]
    caveats: tuple[str, ...]
    mismatches: tuple[Mismatch, ...]
    notes: tuple[str, ...]
    level: float
    n: int
    before: str
    control: str | None
    arms: tuple[ArmNumbers, ...]
    relations: tuple[RelationNumbers, ...]
    selection: tuple[SelectionLine, ...]
    selection_note: str
    seeds: tuple[SeedsLine, ...]
    seeds_note: str
    shares: Shares | None
    settings: Settings
    runs: tuple[RunRecord, ...]
    command: str
    verdict: Judged | None = None
    schema: int = field(default=SCHEMA)
