"""The numbers of a history: many versions of a model on the same facts. A renderer only prints them.

Shares and differences are fractions; a difference is the later version minus the earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from slick.facts import Fact
from slick.statistics import Estimate
from slick_reports.numbers import Shares, Side

# 1: first version.
SCHEMA = 1

# Of a fact that kept its side from the baseline on.
BEFORE = "moved before the baseline"
STATES = ("lost", "gained", "came back", "fell back", "moved, end not asked", BEFORE)
MAJORITY = (
    "Of several seeds the majority decides: a fact is right where more than half of them have it, so that an even tie "
    "counts as wrong."
)


@dataclass(frozen=True, slots=True)
class GroupLine:
    """One version on one group of facts, by the categories that the facts had first.

    prior: accuracy of always giving a relation's commonest answer, where that is recorded.
    """

    group: str
    n: int
    side: Side
    prior: float | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """One version: its runs differ in nothing but their seed. shares: by its probe, where the ledger has one.

    repeats: scores that asked the same weights again, and are no seeds; sources: of all scores, these too.
    stale: why its numbers may not compare with the newest version's; "" where nothing speaks against it.
    """

    name: str
    at: str
    seeds: tuple[int | None, ...]
    n: int
    groups: tuple[GroupLine, ...]
    shares: Shares | None
    baseline: bool
    stale: tuple[str, ...]
    model: str
    sources: tuple[str, ...]
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One tested comparison: `later` minus `earlier` on the facts that both answered.

    against: "previous" or "baseline". p: two-sided; adjusted: by Holm over all steps of the history; None where it is
    undefined. changed: whether it stands at the history's level. noise: what the interval holds, "facts" (one
    checkpoint against another) or "facts and seeds". seeds: of the earlier and the later run where one met one, None
    for one that records none; else None.
    """

    against: str
    earlier: str
    later: str
    group: str
    n: int
    estimate: Estimate | None
    lost: float
    gained: float
    p: float | None
    adjusted: float | None
    changed: bool
    noise: str = "facts"
    seeds: tuple[int | None, int | None] | None = None


@dataclass(frozen=True, slots=True)
class Flipped:
    """A fact that was right in some version and wrong in another.

    path: one sign a version, "1" right (in more than half of its seeds), "0" wrong, "-" not asked. flips: changes along
    it. first_bad: of a lost fact, the first version from which on it was never right again.
    """

    fact: Fact
    category: str | None
    path: str
    flips: int
    state: str
    first_bad: str | None


@dataclass(frozen=True, slots=True)
class History:
    """Everything that a history says. alpha: the level that all steps together keep. noise: what intervals hold.

    warnings: what may make a group something else than its name says.
    """

    title: str
    headline: str
    noise: str
    warnings: tuple[str, ...]
    series: str
    settings: Mapping[str, str]
    baseline: str
    n: int
    versions: tuple[Version, ...]
    steps: tuple[Step, ...]
    alpha: float
    level: float
    flipped: tuple[Flipped, ...]
    states: Mapping[str, int]
    notes: tuple[str, ...]
    command: str
    schema: int = field(default=SCHEMA)
