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

# 1: first version.
SCHEMA = 1

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

    estimate is None for an empty group; its interval is None where it is undefined.
    """

    estimate: Estimate | None
    lost: float
    gained: float


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


@dataclass(frozen=True, slots=True)
class Flip:
    """A fact whose answer changed sides. after: one answer a seed; in `seeds` of them it is lost (or gained)."""

    fact: Fact
    category: str | None
    before: str
    after: tuple[str, ...]
    seeds: int


@dataclass(frozen=True, slots=True)
class ArmNumbers:
    """An arm: runs that differ in nothing but their seed. training: what the tuning run recorded of itself."""

    label: str
    is_control: bool
    seeds: tuple[int | None, ...]
    training: Mapping[str, str | float | int | bool]
    groups: tuple[GroupNumbers, ...]
    lost: tuple[Flip, ...]
    gained: tuple[Flip, ...]

    def group(self, name: str) -> GroupNumbers | None:
        return next((row for row in self.groups if row.group == name), None)


@dataclass(frozen=True, slots=True)
class RelationNumbers:
    """One relation: before, and after for each arm in the arms' order."""

    relation: str
    n: int
    prior: float | None
    before: Side
    after: tuple[Side, ...]


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
    n: int
    share: Estimate | None


@dataclass(frozen=True, slots=True)
class Shares:
    """How many facts fall in each category, over all and per relation. source: "probe" or "scored facts"."""

    source: str
    n: int
    categories: tuple[CategoryShare, ...]
    relations: Mapping[str, tuple[int, ...]]


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
    schema: int = field(default=SCHEMA)
