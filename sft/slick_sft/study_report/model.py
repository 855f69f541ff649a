"""Accuracy as a linear function of the Known and Unknown rows fitted, in and out of distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from slick.dynamics import TRAIN, Measurement
from slick.knowledge import CATEGORIES, KNOWN, Category
from slick.regression import (
    STEPS,
    TERMS,
    Coefficient,
    LinearModel,
    OverFacts,
    Point,
    average_seeds,
    linear_model,
    over_facts,
    with_facts,
)
from slick.statistics import Interval
from slick_reports import wording
from slick_sft.study.jobs import EARLY_STOP
from slick_sft.study_report import paper
from slick_sft.study_report.asked import ALL, KNOWN_FACTS
from slick_sft.study_report.blocks import Cell, Claim, Finding, Section, Table, plain_percent, row
from slick_sft.study_report.data import OOD, STAGES, TEST, Arm, Study, Variant

ID, TITLE = "model", "The linear model"
_SETS = {ALL: CATEGORIES, KNOWN_FACTS: KNOWN}


def section(study: Study) -> Section:
    mixes = list(study.mixes().values())
    every = [*mixes, *study.without().values(), *study.controls().values()]
    fits: dict[str, LinearModel] = {}
    tables = []
    text = [
        "accuracy = b0 + b_kn · N_kn/|D| + b_unk · N_unk/|D|, N the training rows of that kind that are fitted; "
        "one point an epoch and variant, seeds averaged. Intervals: errors clustered by variant (CR2, t with Bell and "
        "McCaffrey's degrees of freedom, at most the variants less one), and the noise of the test facts added. "
        "A p-value of the wild cluster bootstrap, which does not hold that noise and so may say more than the interval "
        "does, stands in report.json alone.",
    ]
    families = {"mixes": mixes} | ({"with controls": every} if len(every) > len(mixes) else {})
    for family, variants in families.items():
        rows = []
        for split in study.splits:
            for group in _SETS:
                fit, widened = fitted(study, variants, split, group)
                fits[f"{family}, {split}, {group}"] = fit
                rows.append(model_row(fit, split, group, published=family == "mixes" and group == ALL))
                if fit.reason:
                    text.append(f"{_NAMES[family]}, {where(split, group)}: no numbers, since {fit.reason}.")
                elif not widened:
                    text.append(
                        f"{_NAMES[family]}, {where(split, group)}: the intervals hold the variants' noise alone; the "
                        "two stages do not tell the facts'."
                    )
        header = (
            "facts",
            "b0",
            "paper",
            "b_kn",
            "paper",
            "b_unk",
            "paper",
            "R²",
            "paper",
            "points",
            "variants",
        )
        tables.append(Table(f"{_NAMES[family]}; coefficients in points", header, tuple(rows)))
    beside = {split: fitted(study, every, split, ALL, terms=(*TERMS, STEPS))[0] for split in study.splits}
    data: dict[str, Any] = {name: fit.as_dict() for name, fit in fits.items()}
    data |= {f"with steps, {split}, {ALL}": fit.as_dict() for split, fit in beside.items()}
    return Section(ID, TITLE, tuple(text), tuple(tables), tuple(_claims(study, fits, beside)), data)


_NAMES = {"mixes": "Mixes of Known and Unknown", "with controls": "The same with D_Known and the controls"}


def where(split: str, group: str) -> str:
    return ("all" if group == ALL else group) + (" test facts" if split == TEST else " facts of other relations")


def fitted(
    study: Study,
    variants: Sequence[Variant],
    split: str,
    group: str,
    *,
    terms: Sequence[str] = TERMS,
    until: Mapping[str, float] | None = None,
) -> tuple[LinearModel, bool]:
    """(the fit, whether its intervals hold the noise of the facts as well).

    terms: as of `linear_model`. until: variant → the last epoch that is a point; all are where it is not given.
    """
    points = [
        point
        for variant in variants
        for arm in variant.arms
        for measured in study.dynamics(arm)
        if measured.step and (point := point_of(study, variant, arm, measured, split, group)) is not None
    ]
    kept = [p for p in average_seeds(points) if until is None or p.epoch <= until[p.variant]]
    fit = linear_model(kept, terms=terms)
    facts = _fact_noise(study, variants, split, group, terms) if fit.fitted else None
    return (with_facts(fit, facts), True) if facts else (fit, False)


def point_of(study: Study, variant: Variant, arm: Arm, measured: Measurement, split: str, group: str) -> Point | None:
    """One measurement as a point; None where the split was not watched."""
    accuracy = measured.share(split, _SETS[group])
    if accuracy is None:
        return None
    known, unknown = (_fitted_share(study, variant, arm, measured, of) for of in (KNOWN, (Category.UNKNOWN,)))
    steps = measured.step / study.longest if study.longest else 0.0
    return Point(variant.name, round(measured.epoch, 6), known, unknown, accuracy, steps)


def _fitted_share(
    study: Study, variant: Variant, arm: Arm, measured: Measurement, categories: Sequence[Category]
) -> float:
    """Rows of these categories that are fitted, over |D|; of D_Known, |D| is its D's."""
    rows = study.rows(arm)
    size = sum(rows.values())
    if variant.recipe.without:
        size = max((sum(study.rows(v.arms[0]).values()) for v in study.mixes().values()), default=size)
    share = measured.share(TRAIN, categories)
    return 0.0 if share is None else share * sum(rows[c] for c in categories) / size


def _fact_noise(
    study: Study, variants: Sequence[Variant], split: str, group: str, terms: Sequence[str]
) -> OverFacts | None:
    """From the scores of both stages, where every fact's answer is on file; as large as the watched facts make it."""
    mask, asked = study.group(split, group)
    points: list[Point] = []
    right = []
    for variant in variants:
        for place, stage in enumerate(STAGES):
            found = [
                point_of(study, variant, arm, at, split, group)
                for arm in variant.arms
                if (at := _at(study, arm, stage))
            ]
            kept = [point for point in found if point is not None]
            if len(kept) == len(variant.arms):
                points += average_seeds([replace(point, epoch=float(place)) for point in kept])
                right.append(study.answers(variant, stage, split).right[:, mask].mean(axis=0))
    if not right or not mask.any():
        return None
    facts = over_facts(points, np.array(right), asked.clusters, terms=terms)
    if facts is None:
        return None
    watched = _watched(study, variants, split, group)
    scale = (facts.facts / watched) ** 0.5 if watched else 1.0
    return OverFacts({name: max(1.0, scale) * error for name, error in facts.errors.items()}, watched or facts.facts)


def _at(study: Study, arm: Arm, stage: str) -> Measurement | None:
    measured = study.dynamics(arm)
    if stage != EARLY_STOP:
        return measured[-1] if measured else None
    return next((m for m in measured if arm.stopped is not None and abs(m.epoch - arm.stopped) < 1e-6), None)


def _watched(study: Study, variants: Sequence[Variant], split: str, group: str) -> int:
    """Facts of the group that a measurement asked."""
    measured = study.dynamics(variants[0].arms[0])
    return measured[-1].counts(split, _SETS[group])[1] if measured else 0


def model_row(fit: LinearModel, split: str, group: str, *, published: bool) -> tuple[Cell, ...]:
    theirs = paper.MODEL.get(split, {}) if published else {}
    cells: list[Cell | str] = [where(split, group)]
    for name in TERMS:
        known = theirs.get(name)
        cells.append(coefficient(fit, name))
        cells.append(Cell(wording.NONE if known is None else _signed(name, known)))
    cells += [Cell(wording.NONE if fit.r2 is None else f"{fit.r2:.2f}")]
    cells += [Cell(f"{theirs['r2']:.2f}" if theirs else wording.NONE), f"{fit.points}", f"{fit.variants}"]
    return row(*cells)


def _signed(name: str, value: float) -> str:
    return plain_percent(value).text if name == "b0" else wording.points(value)


def coefficient(fit: LinearModel, name: str) -> Cell:
    if not fit.fitted:
        return Cell(wording.NONE)
    found = fit[name]
    told = wording.points_interval(found.interval)
    if name == "b0":
        return Cell(_signed(name, found.value), told.replace("+", ""))
    if found.interval is None:
        return Cell(_signed(name, found.value), told)
    way = "fell" if found.interval.high < 0 else "rose" if found.interval.low > 0 else "open"
    return Cell(wording.points(found.value), told, "fell" if way == "fell" else "rose" if way == "rose" else "open")


def _claims(study: Study, fits: dict[str, LinearModel], beside: dict[str, LinearModel]) -> list[Claim]:
    """beside: by split, the fits with a term for the steps taken and, where they were trained, D_Known and controls."""
    claims = []
    for split in study.splits:
        fit = fits[f"mixes, {split}, {ALL}"]
        if not fit.fitted:
            continue
        where = "in distribution" if split == TEST else "out of distribution"
        theirs = paper.MODEL[split]
        known, unknown = fit["b_kn"], fit["b_unk"]
        claims.append(
            Claim(
                f"Unknown rows that are fitted cost accuracy {where}: b_unk is below 0.",
                wording.points(theirs["b_unk"]),
                f"{_told(unknown)}{_with_steps(beside[split], fit)}",
                _sign(unknown.interval, below=True),
            )
        )
        claims.append(
            Claim(
                f"Known rows that are fitted add accuracy {where}: b_kn is above 0.",
                wording.points(theirs["b_kn"]),
                _told(known),
                _sign(known.interval, below=False),
            )
        )
    both = [fits[f"mixes, {split}, {ALL}"] for split in (TEST, OOD) if split in study.splits]
    if len(both) == 2 and all(fit.fitted for fit in both):
        test, ood = both
        claims.append(
            Claim(
                "Out of distribution both effects are smaller.",
                "3.2 and −3.0 against 7.3 and −8.3",
                " against ".join(
                    f"{wording.points(fit['b_kn'].value)} and {wording.points(fit['b_unk'].value)}"
                    for fit in (ood, test)
                ),
                _smaller(ood, test),
            )
        )
    return claims


def _told(found: Coefficient) -> str:
    return f"{wording.points(found.value)} ({wording.points_limits(found.interval)})"


def _with_steps(fit: LinearModel, plain: LinearModel) -> str:
    """b_unk beside what the steps do by themselves: without that term, Unknown rows take some of the blame for it."""
    if not fit.fitted:
        return f"; with a term for the steps taken no numbers, since {fit.reason}"
    more = ", D_Known and the controls" if fit.variants > plain.variants else ""
    return f"; with a term for the steps taken{more} {_told(fit['b_unk'])}"


def _smaller(one: LinearModel, other: LinearModel) -> Finding:
    """Whether both effects of `one` are nearer to 0, beyond both intervals; the reverse differs."""
    ways = set()
    for name in ("b_kn", "b_unk"):
        a, b = one[name], other[name]
        if a.interval is None or b.interval is None or a.interval.overlaps(b.interval):
            return Finding.OPEN
        ways.add(abs(a.value) < abs(b.value))
    return Finding.OPEN if len(ways) > 1 else Finding.AGREES if True in ways else Finding.DIFFERS


def _sign(interval: Interval | None, *, below: bool) -> Finding:
    if interval is None or interval.low <= 0 <= interval.high:
        return Finding.OPEN
    return Finding.AGREES if (interval.high < 0) is below else Finding.DIFFERS
