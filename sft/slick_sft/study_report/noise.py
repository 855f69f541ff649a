"""What is noise: the A/A lines of a study, two measurements of the same thing set beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from slick.knowledge import CATEGORIES, FLAGGED, Category, Knowledge, unknown_noise
from slick.paired import paired
from slick.redraw import chance_kept
from slick.statistics import LEVEL, Estimate, Interval
from slick_reports import wording
from slick_reports.numbers import direction
from slick_sft.study.jobs import CONVERGENCE
from slick_sft.study_report.asked import ALL, KNOWN_FACTS, Asked, asked_of
from slick_sft.study_report.blocks import Cell, Section, Table, percent, points, row, share_said, text
from slick_sft.study_report.data import STAGE_NAMES, STAGES, TEST, Study, Variant
from slick_sft.study_report.measures import clipped, combined, share

if TYPE_CHECKING:
    from slick.statistics import Scores

ID, TITLE = "noise", "What is noise"


@dataclass(frozen=True, slots=True)
class Selection:
    """One untouched model, few-shot, on the facts of one category (None: all of them).

    chosen: P_Correct(T=0) under the sets that made the category; fresh: under further sets; gap: fresh minus chosen.
    flagged: the share of facts that samples may well put elsewhere; None by samples themselves. kept: the share that
    another draw of as many sets is predicted to leave in their category; None where it is undefined.
    """

    category: Category | None
    n: int
    chosen: Estimate | None
    fresh: Estimate | None
    gap: Estimate | None
    flagged: Estimate | None
    kept: Estimate | None


@dataclass(frozen=True, slots=True)
class Seeds:
    """Seeds of one variant against each other. spread: their standard deviation, by the chi-square distribution.

    largest: the pair furthest apart; `apart` of `pairs` have an interval without 0.
    """

    accuracies: tuple[float, ...]
    spread: Estimate
    largest: Estimate
    pairs: int
    apart: int


def section(study: Study) -> Section:
    text: list[str] = []
    tables: list[Table] = []
    knowledge = study.probed(TEST)
    lines = selection(knowledge)
    if lines:
        tables.append(_selection_table(lines))
    text += selection_told(knowledge, lines)
    variants = controls_of(study)
    seeds = {
        (v.name, stage, group): line
        for v in variants
        for stage in reversed(STAGES)
        for group in (KNOWN_FACTS, ALL)
        if (line := seed_line(*_answers(study, v, stage, group))) is not None
    }
    if seeds:
        tables.append(_seeds_table(seeds))
    text += _seeds_told(study, seeds)
    by_seed: dict[str, dict[str, dict[str, Seeds]]] = {}
    for (name, stage, group), line in seeds.items():
        by_seed.setdefault(name, {}).setdefault(stage, {})[group] = line
    return Section(ID, TITLE, tuple(text), tuple(tables), (), {"selection": lines, "seeds": by_seed})


def selection(knowledge: Sequence[Knowledge]) -> tuple[Selection, ...]:
    """All facts, then a line a category; empty where nothing was asked under fresh sets, nor flagged."""
    fresh = [k for k in knowledge if k.before_total]
    if not fresh and not any(k.chances for k in knowledge):
        return ()
    kept = dict(zip((k.fact.id for k in knowledge), chance_kept(knowledge), strict=True))
    groups = [(category, [k for k in knowledge if category in (None, k.category)]) for category in (None, *CATEGORIES)]
    return tuple(_line(category, group, kept) for category, group in groups if group)


def _line(category: Category | None, group: Sequence[Knowledge], kept: Mapping[str, float | None]) -> Selection:
    both = [k for k in group if k.before_total]
    chosen = np.array([[k.p_greedy for k in both]])
    fresh = np.array([[k.p_before or 0.0 for k in both]])
    asked = asked_of(both)
    gap = combined([(1.0, fresh), (-1.0, chosen)], asked)
    flags = [k.flagged for k in group]
    chances = [kept[k.fact.id] for k in group]
    return Selection(
        category,
        len(group),
        _mean(chosen, asked),
        _mean(fresh, asked),
        clipped(gap, -1.0) if gap else None,
        share(np.array([flags], dtype=float), asked_of(group)) if None not in flags else None,
        _mean(np.array([chances], dtype=float), asked_of(group)) if None not in chances else None,
    )


def _mean(values: Scores, asked: Asked) -> Estimate | None:
    found = combined([(1.0, values)], asked)
    return clipped(found, 0.0) if found else None


def _selection_table(lines: Sequence[Selection]) -> Table:
    rows = [
        row(
            str(line.category) if line.category else "all",
            f"{line.n:,}",
            percent(line.chosen),
            percent(line.fresh),
            points(line.gap),
            percent(line.flagged),
            percent(line.kept),
        )
        for line in lines
    ]
    header = (
        "category",
        "facts",
        "right under its sets",
        "under fresh sets",
        "difference",
        "flagged",
        "kept by other sets",
    )
    note = (
        "Few-shot, one untouched model, in percent and points: the differences are selection, for the answers of the "
        "first column put the facts into their categories. Flagged: "
        f"{FLAGGED[0]:g} < u < {FLAGGED[1]:g}, so that samples might well find another category than the exact "
        "estimator. Kept: predicted for another draw of as many exemplar sets, from how the answers to each fact "
        "differ between sets. Intervals are over facts, the sets held."
    )
    return Table("Category sets against fresh sets: test facts", header, tuple(rows), note=note)


def selection_told(knowledge: Sequence[Knowledge], lines: Sequence[Selection]) -> list[str]:
    found = []
    top = next((line for line in lines if line.category is Category.HIGHLY_KNOWN), None)
    if top and top.gap:
        found.append(
            f"HighlyKnown test facts are answered rightly under all sets that chose them, and {share_said(top.fresh)} "
            "under fresh ones, by the same untouched model. So no table here subtracts an answer that made a category: "
            "before and after are both asked zero-shot, in the training form."
        )
    elif not any(k.before_total for k in knowledge):
        found.append("Category sets against fresh sets: not measured, since the probe drew no fresh exemplar sets.")
    told = [k.u for k in knowledge if k.u is not None]
    if told and len(told) == len(knowledge):
        expected = _mean(np.array([told]), asked_of(knowledge))
        noise = wording.size(unknown_noise(knowledge) / len(knowledge))
        whole = next(line.flagged for line in lines if line.category is None)
        found.append(
            f"By the exact estimator {share_said(whole)} of the facts are flagged, and {share_said(expected)} are "
            f"expected to be Unknown; samples alone would move that share by {noise} points (standard deviation)."
        )
    elif knowledge:
        found.append("The probe sampled, so that it flags no facts: its categories hold the noise of its samples.")
    return found


def controls_of(study: Study) -> list[Variant]:
    """The controls and the set without Unknown rows; where none of these was trained, every plain mix."""
    none = study.mixes().get(0.0)
    return [*study.controls().values(), *([none] if none else [])] or list(study.mixes().values())


def _answers(study: Study, variant: Variant, stage: str, group: str) -> tuple[Scores, Asked]:
    mask, asked = study.group(TEST, group)
    return study.answers(variant, stage, TEST).right[:, mask], asked


def seed_line(right: Scores, asked: Asked) -> Seeds | None:
    """right: seeds × facts. None for a single seed, or no facts."""
    seeds, n = right.shape
    if seeds < 2 or n == 0:
        return None
    pairs = [
        found.estimate()
        for i, j in combinations(range(seeds), 2)
        if (found := paired(right[[j]], right[[i]], clusters=asked.clusters, strata=asked.relations)) is not None
    ]
    accuracies = right.mean(axis=1)
    return Seeds(
        tuple(accuracies.tolist()),
        spread_of([(float(accuracies.var(ddof=1)), seeds - 1)], n),
        max(pairs, key=lambda pair: abs(pair.value)),
        len(pairs),
        sum(direction(pair) != "open" for pair in pairs),
    )


def spread_of(variances: Sequence[tuple[float, int]], n: int) -> Estimate:
    """The standard deviation pooled over (variance, degrees of freedom); undefined where nothing varies."""
    from scipy.special import chdtri

    df = sum(each for _, each in variances)
    value = math.sqrt(math.fsum(variance * each for variance, each in variances) / df)
    low, high = (value * math.sqrt(df / float(chdtri(df, p))) for p in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Estimate(value, Interval(low, high) if value > 0 else None, n, "chi-square over seeds")


def _seeds_table(seeds: Mapping[tuple[str, str, str], Seeds]) -> Table:
    rows = [
        row(
            name,
            STAGE_NAMES[stage],
            group,
            text(", ".join(wording.percent(a) for a in line.accuracies)),
            _spread(line.spread),
            points(line.largest),
            f"{line.apart} of {line.pairs}",
        )
        for (name, stage, group), line in seeds.items()
    ]
    header = ("variant", "stage", "facts", "by seed", "spread", "furthest pair", "pairs apart")
    note = (
        "Accuracy in percent, spread (standard deviation over seeds) and difference in points. A pair is apart where "
        "its interval, of these two checkpoints, excludes 0; with the facts' noise alone about 1 in 10 would be."
    )
    return Table("Seeds of the controls against each other", header, tuple(rows), labels=3, note=note)


def _spread(estimate: Estimate) -> Cell:
    interval = estimate.interval
    under = f"[{wording.size(interval.low)}, {wording.size(interval.high)}]" if interval else wording.UNDEFINED
    return Cell(wording.size(estimate.value), under)


def _seeds_told(study: Study, seeds: Mapping[tuple[str, str, str], Seeds]) -> list[str]:
    if not seeds:
        return ["Seeds against each other: not measured, since there is one seed; repeat the command with --seeds 3."]
    pairs, apart = (sum(getattr(line, name) for line in seeds.values()) for name in ("pairs", "apart"))
    lines = [
        line
        for variant in study.variants.values()
        if (line := seed_line(*_answers(study, variant, CONVERGENCE, KNOWN_FACTS))) is not None
    ]
    pooled = spread_of([(line.spread.value**2, len(line.accuracies) - 1) for line in lines], 0) if lines else None
    found = [
        "Seeds of one variant differ in nothing but chance: which rows are drawn, and in which order. Of the "
        f"{pairs} comparisons of two seeds of a control (on Known and on all facts, at both stages) {apart} have an "
        f"interval without 0, where about {pairs / 10:.0f} would by the facts' noise alone; what is beyond that is "
        "run-to-run noise, which every interval over seeds in this report holds.",
    ]
    if pooled:
        cell = _spread(pooled)
        found.append(
            f"Over all {len(lines)} variants, accuracy on Known facts at CONVERGENCE spreads by {cell.text} points "
            f"(standard deviation over seeds; {cell.under.strip('[]').replace(', ', ' to ')})."
        )
    return found
