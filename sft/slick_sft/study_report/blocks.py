"""What a study's report is made of: sections of sentences, tables and pictures, and the claims that they bear out.

All arithmetic is done when these are built, all numbers are written; a renderer only prints them. `data` holds the same
figures at full precision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from markupsafe import Markup

from slick.statistics import Estimate
from slick_reports import wording
from slick_reports.numbers import Direction, direction


@dataclass(frozen=True, slots=True)
class Cell:
    """text, and beneath it its interval; way: what the interval of a difference says."""

    text: str
    under: str = ""
    way: Direction = "open"


@dataclass(frozen=True, slots=True)
class Table:
    """labels: how many columns at the left hold text; `note` stands beneath."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    labels: int = 1
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """key: (CSS class of its colour, shape, name) of each series; shape "" is a dashed line.

    cover: in report.svg too.
    """

    caption: str
    svg: Markup
    key: tuple[tuple[str, str, str], ...] = ()
    note: str = ""
    cover: bool = False


class Finding(StrEnum):
    """What a study says of a claim."""

    AGREES = "agrees"
    DIFFERS = "differs"
    OPEN = "not settled"


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the paper's, or of ours where the paper could not make it, and what is found here."""

    claim: str
    paper: str
    here: str
    finding: Finding
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """missing: why there is nothing to show; all else is empty then."""

    id: str
    title: str
    text: tuple[str, ...] = ()
    blocks: tuple[Table | Picture, ...] = ()
    claims: tuple[Claim, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    missing: str = ""

    @property
    def tables(self) -> tuple[Table, ...]:
        return tuple(block for block in self.blocks if isinstance(block, Table))

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(block for block in self.blocks if isinstance(block, Picture))


@dataclass(frozen=True, slots=True)
class StudyReport:
    """Everything a study's report says. notes: what the person who ran it has to say. level: of every interval.

    banners: warnings that stand above all else.
    """

    title: str
    kicker: str
    headline: str
    findings: tuple[str, ...]
    sections: tuple[Section, ...]
    caveats: tuple[str, ...]
    notes: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]
    level: float
    seeds: int
    banners: tuple[str, ...] = ()

    @property
    def claims(self) -> tuple[Claim, ...]:
        return tuple(claim for section in self.sections for claim in section.claims)


def percent(estimate: Estimate | None) -> Cell:
    """A share with its interval beneath."""
    if estimate is None:
        return Cell(wording.NONE)
    return Cell(wording.percent(estimate.value), wording.percent_interval(estimate.interval))


def points(estimate: Estimate | None) -> Cell:
    """A difference with its interval beneath, marked where that excludes 0."""
    if estimate is None:
        return Cell(wording.NONE)
    return Cell(wording.points(estimate.value), wording.points_interval(estimate.interval), direction(estimate))


def plain_percent(value: float | None) -> Cell:
    """A figure of the paper's, which gives no interval; "–" where it gives none at all."""
    return Cell(wording.percent(value))


def text(value: object) -> Cell:
    return Cell(str(value))


def said(estimate: Estimate | None) -> str:
    """A difference for a sentence: "−12.3 points (−15.0 to −9.2)"."""
    if estimate is None:
        return wording.NONE
    return f"{wording.points(estimate.value)} points ({wording.points_limits(estimate.interval)})"


def share_said(estimate: Estimate | None) -> str:
    """A share for a sentence: "61.2 % (57.0 to 65.3)"."""
    if estimate is None:
        return wording.NONE
    interval = estimate.interval
    limits = f"{wording.percent(interval.low)} to {wording.percent(interval.high)}" if interval else wording.UNDEFINED
    return f"{wording.percent(estimate.value)} % ({limits})"


def found(estimate: Estimate | None, wanted: Direction) -> Finding:
    """Whether a difference bears out that it "fell" or "rose"."""
    way = direction(estimate)
    if way == "open":
        return Finding.OPEN
    return Finding.AGREES if way == wanted else Finding.DIFFERS


def row(*cells: Cell | str) -> tuple[Cell, ...]:
    return tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in cells)


def listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def missing(id: str, title: str, wanted: Sequence[str]) -> Section:
    """A section whose variants were not trained."""
    return Section(id, title, missing=f"Left out: this study trained no {' and no '.join(wanted)}.")
