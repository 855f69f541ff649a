"""From a bank to `gate.json`: what each rule says of arms whose true drop is known, and whether the gate keeps to what
it promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slick.knowledge import KNOWN
from slick.paired import paired
from slick.statistics import wilson
from slick.verdict import Outcome

from .bank import Bank
from .gates import Case, Followed, Outcomes, Population, cases_of, followed, judged
from .rules import RULES, Rule

SCHEMA = 1
GATES = 2_000
# Of so many gates one is followed further, where it is open.
FOLLOWED = 4
# The margin of the policy that `slick gate --init` writes. The control against itself is judged at these.
USUAL = 0.02
MARGINS = (0.01, USUAL, 0.03)
# A smaller drop is none that a margin could be set at; an arm counts as planted where half its drop is a margin.
LEAST, PLANTED = 0.0025, 0.02
# Times its true drop that an arm's margin is: the drop is half the margin, the margin, twice the margin.
SITUATIONS = {"half": 2.0, "at": 1.0, "twice": 0.5}
# Facts that a gate asks at first, where open verdicts are followed: all there are, and a small gate's.
SMALL = 300
# Fewer open verdicts in one cell say nothing of it alone.
MANY = 100
BARS = {"pass_at_the_margin": 0.065, "fail_at_the_margin": 0.065, "settled_rightly": 0.75}
_CELL = ("arm", "margin", "seeds", "facts", "settled_rightly")
_SEED = 6
# What a stream of random numbers is for, behind the seed.
_COUNTED, _RESAMPLED, _FOLLOWED, _CHECKPOINTS = range(4)


@dataclass(frozen=True)
class Table:
    """(case, rule, margin) → how the gates ended."""

    cases: Sequence[Case]
    cells: Mapping[tuple[str, str, float], Outcomes]

    def of(self, rule: Rule, situation: str) -> dict[str, Outcomes]:
        """Case → outcomes, of the cases that have this situation."""
        return {
            case.name: self.cells[case.name, rule.name, margin]
            for case in self.cases
            if (margin := margin_of(case, situation)) is not None
        }

    def pooled(self, rule: Rule, situation: str) -> Outcomes:
        return sum(self.of(rule, situation).values(), Counter())


def margin_of(case: Case, situation: str) -> float | None:
    """The margin at which a case is in a situation; None where it cannot be.

    "none": no drop at all, the control against itself, at the usual margin. "usual": whatever the drop, at that margin.
    """
    if situation == "usual":
        return USUAL
    if situation == "none":
        return None if case.paired else USUAL
    least = LEAST if situation == "at" else PLANTED
    return case.drop * SITUATIONS[situation] if case.paired and case.drop >= least else None


def counted(population: Population, cases: Sequence[Case]) -> Table:
    """Gates of which no two share a candidate: few, but independent of one another, but for the controls."""
    return _table(population, cases, _COUNTED, lambda case, seeds, rng: case.disjoint(population, seeds, rng))


def resampled(population: Population, cases: Sequence[Case], gates: int) -> Table:
    """So many gates a case, runs and facts drawn with replacement: what the bank says beyond its few runs."""
    return _table(
        population,
        cases,
        _RESAMPLED,
        lambda case, seeds, rng: (case.draw(population, seeds, population.size, rng) for _ in range(gates)),
    )


def _table(population: Population, cases: Sequence[Case], stage: int, draws: Any) -> Table:
    cells: dict[tuple[str, str, float], Outcomes] = {}
    for place, case in enumerate(cases):
        for seeds in sorted({rule.seeds for rule in RULES}):
            rules = [rule for rule in RULES if rule.seeds == seeds]
            # Every rule of as many seeds judges the same gates.
            found = judged(rules, draws(case, seeds, _rng(stage, place, seeds)), _margins(case))
            cells |= {(case.name, rule, margin): outcomes for (rule, margin), outcomes in found.items()}
    return Table(cases, cells)


def _margins(case: Case) -> list[float]:
    relative = [margin_of(case, situation) for situation in ("usual", *SITUATIONS)]
    return sorted({*(m for m in relative if m is not None), *(() if case.paired else MARGINS)})


def _rng(*path: int) -> np.random.Generator:
    return np.random.default_rng([_SEED, *path])


def result(bank: Bank, gates: int = GATES) -> dict[str, Any]:
    """The whole of `gate.json`."""
    known = bank.of(tuple(map(str, KNOWN)))
    population, cases = Population(known.subjects, known.relations), cases_of(known)
    once, often = counted(population, cases), resampled(population, cases, gates)
    size = _size(often)
    first = max(gates // FOLLOWED, 1)
    asked = _asked(population, cases, first)
    return {
        "what": (
            "fine-tunings of the lab's organism on datasets with 0 to 100 % Unknown rows, judged on the Known test "
            "facts: a miss is a PASS with a true drop of at least the margin, a false alarm a FAIL with a true drop "
            "of at most the margin; an arm's true drop is the mean over all its seeds and facts"
        ),
        "schema": SCHEMA,
        "bank": _bank(bank, known, population),
        "gates": gates,
        "gates_followed": first,
        "usual_margin": USUAL,
        "arms": [_arm(known, population, case) for case in cases],
        "rules": {rule.name: _rule(rule, once, often) for rule in RULES},
        "size": size,
        "one_checkpoint": _checkpoints(population, cases, gates),
        "asked": asked,
        "bars": _bars(once, often, size, asked),
    }


def counted_of(bank: Bank) -> dict[str, Any]:
    """What of `result` needs no resampling: the arms, and each rule's counts."""
    known = bank.of(tuple(map(str, KNOWN)))
    population, cases = Population(known.subjects, known.relations), cases_of(known)
    once = counted(population, cases)
    return {
        "arms": [_arm(known, population, case) for case in cases],
        "rules": {rule.name: _counts(rule, once) for rule in RULES},
    }


def _bank(bank: Bank, known: Bank, population: Population) -> dict[str, Any]:
    return {
        **{name: value for name, value in bank.settings.items() if name != "model"},
        "model": str(bank.settings["model"]["weights"])[:12],
        "tunings": len(bank.runs),
        "facts_asked": len(bank.facts),
        "facts_gated": population.size,
        "subjects": population.subjects,
        "base_accuracy": _rounded(float(known.base.mean())),
    }


def _arm(known: Bank, population: Population, case: Case) -> dict[str, Any]:
    """An arm's truth. Its interval says how far other seeds and facts could have brought it, by the gate's own rule."""
    found = {
        "name": case.name,
        "learning_rate": case.rate,
        "unknown": case.unknown,
        "seeds": len(case.candidate),
        "accuracy": _rounded(float(case.candidate.mean())),
        "true_drop": _rounded(case.drop),
    }
    if not case.paired:
        return {**found, "seeds_sd": _rounded(float(case.control.mean(axis=1).std(ddof=1)))}
    whole = paired(
        case.candidate.astype(float),
        case.control.astype(float),
        clusters=list(known.subjects),
        strata=list(known.relations),
    )
    assert whole is not None
    interval = whole.interval()
    assert interval is not None
    return {
        **found,
        "drop_interval_90": [_rounded(-interval.high), _rounded(-interval.low)],
        "seeds_sd": _rounded(float(case.candidate.mean(axis=1).std(ddof=1))),
        "discordant": _rounded(float((case.candidate != case.control).mean())),
        "variance": {
            "facts": _rounded(whole.item),
            "runs": _rounded(whole.run),
            "residual": _rounded(whole.residual),
        },
        "design_effect": _rounded(whole.effect),
    }


def _rule(rule: Rule, once: Table, often: Table) -> dict[str, Any]:
    situations = {}
    for situation in ("none", *SITUATIONS):
        pooled = often.pooled(rule, situation)
        situations[situation] = {**_shares(pooled), "gates": pooled.total()}
    by_arm = {name: _shares(outcomes) for name, outcomes in often.of(rule, "usual").items()}
    return {**_counts(rule, once), "resampled": situations, "at_the_usual_margin": by_arm}


def _counts(rule: Rule, once: Table) -> dict[str, Any]:
    """miss_rate, false_alarm_rate: where the true drop is the margin, which is the hardest; then the other cells."""
    at, twice = once.pooled(rule, "at"), once.pooled(rule, "twice")
    mild = once.pooled(rule, "none") + once.pooled(rule, "half")
    rates = {
        "miss_rate": (at, Outcome.PASS),
        "false_alarm_rate": (at, Outcome.FAIL),
        "miss_rate_at_twice_the_margin": (twice, Outcome.PASS),
        "false_alarm_rate_at_half_the_margin_or_none": (mild, Outcome.FAIL),
    }
    found: dict[str, Any] = {"title": rule.title, "seeds": rule.seeds}
    for name, (outcomes, wrong) in rates.items():
        k, n = outcomes[wrong], outcomes.total()
        found[name] = _rounded(k / n) if n else None
        found[f"{name}_bounds_95"] = clopper_pearson(k, n)
        found[f"{name}_counts"] = [k, n]
    return found


def _size(often: Table) -> dict[str, Any]:
    """Each planted pair at its own mean drop: rule → case → how often it passes and fails."""
    return {
        rule.name: {name: _shares(outcomes) for name, outcomes in often.of(rule, "at").items()}
        for rule in RULES
        if rule.own
    }


def _checkpoints(population: Population, cases: Sequence[Case], gates: int) -> dict[str, Any]:
    """One pair of checkpoints at the drop of these two, facts alone drawn anew: what a verdict of one seed is about."""
    rules = [rule for rule in RULES if rule.name in ("slick_1", "tango_single_pair")]
    found: dict[str, Counter[Outcome]] = {rule.name: Counter() for rule in rules}
    pairs = 0
    for place, case in enumerate(cases):
        runs = range(len(case.candidate)) if case.paired else ()
        for run in runs:
            one = np.array([run])
            drop = float(case.control[run].mean() - case.candidate[run].mean())
            if drop < LEAST:
                continue
            pairs += 1
            rng = _rng(_CHECKPOINTS, place, run)
            draws = (case.gate(population, one, one, one[:0], population.size, rng) for _ in range(max(gates // 10, 1)))
            for (rule, _), outcomes in judged(rules, draws, [drop]).items():
                found[rule] += outcomes
    return {"pairs": pairs, **{rule: {**_shares(of), "gates": of.total()} for rule, of in found.items()}}


def _asked(population: Population, cases: Sequence[Case], gates: int) -> list[dict[str, Any]]:
    """Open verdicts that were given what they asked for: without a drop they should pass, at twice the margin fail."""
    found = []
    for place, case in enumerate(cases):
        margins = MARGINS if not case.paired else [m for m in [margin_of(case, "twice")] if m is not None]
        right = Outcome.FAIL if case.paired else Outcome.PASS
        for seeds in (3, 5):
            for facts in (population.size, min(SMALL, population.size)):
                for number, margin in enumerate(margins):
                    rng = _rng(_FOLLOWED, place, seeds, facts, number)
                    of = followed(case, population, margin, seeds, facts, gates, rng)
                    found.append(_followed(case, seeds, facts, margin, right, of))
    return found


def _followed(case: Case, seeds: int, facts: int, margin: float, right: Outcome, of: Followed) -> dict[str, Any]:
    settled = of.outcomes.get(right, 0)
    # Where all that is asked for is out of reach, nothing was settled.
    share = wilson(settled, of.open) if of.open else None
    assert share is None or share.interval is not None
    return {
        "arm": case.name,
        "margin": _rounded(margin),
        "seeds": seeds,
        "facts": facts,
        "open": of.open,
        "out_of_reach": of.beyond,
        "asked_facts_median": of.facts,
        "asked_seeds_median": of.seeds,
        "right": str(right),
        "outcomes": {str(outcome): n for outcome, n in sorted(of.outcomes.items())},
        "settled_rightly": _rounded(share.value) if share else None,
        "settled_rightly_interval_90": (
            [_rounded(share.interval.low), _rounded(share.interval.high)] if share and share.interval else None
        ),
    }


def _bars(once: Table, often: Table, size: Mapping[str, Any], asked: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the gate promises of several seeds, and whether it was kept."""
    gates = [rule for rule in RULES if rule.own and rule.seeds > 1]
    passed = {rule.name: once.pooled(rule, "twice") for rule in gates}
    found: dict[str, Any] = {
        "never_pass_at_twice_the_margin": {
            "counts": {name: [of[Outcome.PASS], of.total()] for name, of in passed.items()},
            "resampled": {rule.name: _worst(often.of(rule, "twice"), Outcome.PASS) for rule in gates},
            "met": all(of.total() > 0 and of[Outcome.PASS] == 0 for of in passed.values()),
        }
    }
    for bar, outcome in (("pass_at_the_margin", Outcome.PASS), ("fail_at_the_margin", Outcome.FAIL)):
        worst = max(
            (shares[str(outcome)], rule.name, name) for rule in gates for name, shares in size[rule.name].items()
        )
        found[bar] = {"at_most": BARS[bar], "worst": worst[0], "rule": worst[1], "arm": worst[2]}
        found[bar]["met"] = worst[0] <= BARS[bar]
    cells = [cell for cell in asked if cell["open"] >= MANY]
    worst_cell = min(cells, key=lambda cell: cell["settled_rightly"], default=None)
    found["settled_rightly"] = {
        "at_least": BARS["settled_rightly"],
        "cells": len(cells),
        "pooled": {right: _pooled(cells, right) for right in ("PASS", "FAIL")},
        "worst": worst_cell
        and {name: worst_cell[name] for name in ("arm", "margin", "seeds", "facts", "settled_rightly")},
        "met": worst_cell is not None and worst_cell["settled_rightly"] >= BARS["settled_rightly"],
    }
    return found


def _worst(cases: Mapping[str, Outcomes], outcome: Outcome) -> float | None:
    """The largest share of any case."""
    return max((_rounded(of[outcome] / of.total()) for of in cases.values()), default=None)


def _pooled(cells: Iterable[Mapping[str, Any]], right: str) -> float | None:
    """Over all open verdicts of the cells whose right outcome this is."""
    wanted = [cell for cell in cells if cell["right"] == right]
    opened = sum(cell["open"] for cell in wanted)
    return _rounded(sum(cell["outcomes"].get(right, 0) for cell in wanted) / opened) if opened else None


def _shares(outcomes: Outcomes) -> dict[str, float | None]:
    n = outcomes.total()
    return {str(outcome): _rounded(outcomes[outcome] / n) if n else None for outcome in Outcome}


def clopper_pearson(k: int, n: int, level: float = 0.95) -> list[float] | None:
    """The exact two-sided bounds of a share of k among n; None for n = 0. Clopper and Pearson 1934."""
    if n == 0:
        return None
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return [_rounded(low), _rounded(high)]


def _rounded(value: float) -> float:
    """Four significant digits at least, so that no share becomes 0 or 1 by rounding."""
    return float(f"{value:.4g}")
