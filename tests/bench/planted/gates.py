"""Gates drawn from the bank: two arms whose true drop is known, some of their seeds, facts drawn anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slick.power import Need, need
from slick.verdict import Outcome, judge

from .bank import Bank, Right
from .rules import Draw, Rule, found_by_gate

LEDGER = 8
# What an open verdict asks for is not drawn where it is more answers an arm than these.
MOST_ANSWERS = 4_000_000

Places = NDArray[np.intp]
Rng = np.random.Generator
# How many gates had which outcome.
Outcomes = Counter[Outcome]


class Population:
    """Facts, of which gates draw subjects with replacement, since those of one subject belong together."""

    def __init__(self, subjects: Sequence[str], relations: Sequence[str]) -> None:
        # A fact without a subject stands alone.
        keys = [subject or f"\0{place}" for place, subject in enumerate(subjects)]
        of = np.unique(keys, return_inverse=True)[1]
        self.size = len(keys)
        self.relations = np.array(relations, dtype=object)
        self._order = np.argsort(of, kind="stable")
        self._counts = np.bincount(of)
        self._starts = np.cumsum(self._counts) - self._counts

    @property
    def subjects(self) -> int:
        return len(self._counts)

    def draw(self, n: int, rng: Rng) -> tuple[Places, Places]:
        """(places of n facts, the subject that each belongs to). One that is drawn twice is two subjects."""
        many = int(n * self.subjects / self.size * 1.2) + 20
        groups = rng.integers(self.subjects, size=many)
        while self._counts[groups].sum() < n:
            groups = np.concatenate([groups, rng.integers(self.subjects, size=many)])
        counts = self._counts[groups]
        ends = np.cumsum(counts)
        within = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
        places = self._order[np.repeat(self._starts[groups], counts) + within]
        return places[:n], np.repeat(np.arange(len(groups)), counts)[:n]


@dataclass(frozen=True)
class Case:
    """Two arms of one rate, as the populations that gates draw runs from: seeds × facts.

    paired: the runs of a place have one seed; otherwise both are drawn from one arm, the control against itself.
    ledger: other runs of the control.
    """

    name: str
    rate: float
    unknown: int
    candidate: Right
    control: Right
    ledger: Right
    paired: bool = True

    @property
    def drop(self) -> float:
        """The truth: over all its seeds and facts. Of the control against itself exactly 0."""
        return float(self.control.mean() - self.candidate.mean()) if self.paired else 0.0

    def draw(self, population: Population, seeds: int, n: int, rng: Rng) -> Draw:
        """So many runs an arm and n facts, all drawn with replacement."""
        ours = rng.integers(len(self.candidate), size=seeds)
        theirs = ours if self.paired else rng.integers(len(self.control), size=seeds)
        recorded = rng.choice(len(self.ledger), size=min(LEDGER, len(self.ledger)), replace=False)
        return self.gate(population, ours, theirs, recorded, n, rng)

    def disjoint(self, population: Population, seeds: int, rng: Rng) -> Iterator[Draw]:
        """Gates of which no two share a candidate's run, each with facts drawn anew."""
        runs = len(self.candidate) if self.paired else len(self.candidate) // 2
        for first in range(0, runs - seeds + 1, seeds):
            ours = np.arange(first, first + seeds)
            theirs = ours if self.paired else ours + runs
            others = np.arange(len(self.ledger))
            if not self.paired:
                others = np.setdiff1d(others, np.concatenate([ours, theirs]))
            yield self.gate(population, ours, theirs, others[:LEDGER], population.size, rng)

    def gate(self, population: Population, ours: Places, theirs: Places, recorded: Places, n: int, rng: Rng) -> Draw:
        """A gate of these runs, with n facts drawn anew."""
        places, clusters = population.draw(n, rng)
        return Draw(
            self.candidate[np.ix_(ours, places)].astype(float),
            self.control[np.ix_(theirs, places)].astype(float),
            clusters.tolist(),
            population.relations[places].tolist(),
            self.ledger[np.ix_(recorded, places)].mean(axis=1).tolist() if len(recorded) else (),
        )


def cases_of(bank: Bank) -> list[Case]:
    """Every planted arm against the control of its rate, and every control against itself."""
    found = []
    for rate in dict.fromkeys(rate for rate, _ in bank.arms()):
        seeds = bank.seeds(rate, 0)
        whole = bank.arm(rate, 0, seeds)
        found.append(Case(f"control against itself, rate {rate:g}", rate, 0, whole, whole, whole, paired=False))
        for unknown in (unknown for at, unknown in bank.arms() if at == rate and unknown):
            ours = bank.seeds(rate, unknown)
            rest = [seed for seed in seeds if seed not in ours] or seeds
            candidate, control = bank.arm(rate, unknown, ours), bank.arm(rate, 0, ours)
            name = f"{unknown} % Unknown, rate {rate:g}"
            found.append(Case(name, rate, unknown, candidate, control, bank.arm(rate, 0, rest)))
    return found


def judged(rules: Sequence[Rule], draws: Iterator[Draw], margins: Sequence[float]) -> dict[tuple[str, float], Outcomes]:
    """(rule, margin) → how the gates ended; every rule and margin judges the same gates."""
    found: dict[tuple[str, float], Outcomes] = {(rule.name, m): Counter() for rule in rules for m in margins}
    for draw in draws:
        for rule in rules:
            outcome = rule.read(draw)
            for margin in margins:
                found[rule.name, margin][outcome(margin)] += 1
    return found


@dataclass(frozen=True, slots=True)
class Followed:
    """What became of open verdicts that were given what they asked for, in one independent draw.

    gates: drawn at first; open: of them, without a verdict; beyond: of these, asked for more than was drawn.
    outcomes: of the others. facts, seeds: the median of what was asked for in all.
    """

    gates: int
    open: int
    beyond: int
    outcomes: Mapping[Outcome, int]
    facts: float | None
    seeds: float | None


def followed(case: Case, population: Population, margin: float, seeds: int, n: int, gates: int, rng: Rng) -> Followed:
    """Gates with so many seeds and facts; each that is open is drawn anew, once, with what it asked for."""
    outcomes: Counter[Outcome] = Counter()
    asked: list[tuple[int, int]] = []
    opened = 0
    for _ in range(gates):
        found = found_by_gate(case.draw(population, seeds, n, rng))
        if judge(found, margin).outcome is not Outcome.INCONCLUSIVE:
            continue
        opened += 1
        wanted = need(found, margin)
        facts, runs = wanted.facts or n, wanted.seeds or seeds
        if wanted == Need() or facts * runs > MOST_ANSWERS:
            continue
        asked.append((facts, runs))
        outcomes[judge(found_by_gate(case.draw(population, runs, facts, rng)), margin).outcome] += 1
    medians = np.median(asked, axis=0).tolist() if asked else (None, None)
    return Followed(gates, opened, opened - len(asked), outcomes, *medians)
