"""Why b_kn is not on the paper's side, where it is not: reasons, each tested by a rule that was fixed beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from slick.dynamics import TRAIN
from slick.files import mapping_of
from slick.knowledge import KNOWN
from slick.regression import STEPS, TERMS, Coefficient, LinearModel
from slick.statistics import Estimate
from slick_reports import wording
from slick_sft.study.jobs import EARLY_STOP
from slick_sft.study_report import paper
from slick_sft.study_report.asked import ALL, KNOWN_FACTS
from slick_sft.study_report.blocks import Cell, Section, Table, listed, percent, points, row, said
from slick_sft.study_report.data import TEST, Study, Variant
from slick_sft.study_report.measures import base_accuracy, clipped, combined, difference
from slick_sft.study_report.model import coefficient, fitted, where

ID = "why"
# Of the Known rows; with so many fitted, what is still to be learned of them is over.
FITTED = 0.95


class Standing(StrEnum):
    """Whether a reason stands by the figures."""

    STANDS = "stands"
    PART = "may be part of it"
    NOT = "does not stand"
    OPEN = "cannot be told"


RULE = (
    "The rule, fixed before any of these fits was made: a reason stands where the interval of b_kn in its fit is above "
    "0; it may be part of the answer where the interval is no longer below 0 and no longer holds the first fit's value "
    "either; it does not stand where the interval is still below 0; else it cannot be told, as where the interval is "
    "merely wider. Several reasons are tested, each at its own level."
)


@dataclass(frozen=True, slots=True)
class Reason:
    """name: as the sentence has it. fit: of the model in which it is tested; None where it is tested without one.

    told: b_kn in that fit, or what the test is about.
    """

    name: str
    split: str
    fit: LinearModel | None
    standing: Standing
    told: str = ""


def section(study: Study) -> Section | None:
    """None where b_kn is above 0 on every split, or nothing can be fitted."""
    mixes = list(study.mixes().values())
    first = {split: fitted(study, mixes, split, ALL)[0] for split in study.splits}
    asked = {split: fit for split, fit in first.items() if fit.fitted and not _above(fit["b_kn"])}
    if not asked:
        return None
    reasons = {split: _reasons(study, mixes, split, fit["b_kn"]) for split, fit in asked.items()}
    gains = form_gains(study)
    if TEST in asked:
        form = gains.get(ALL)
        steps = next(r.told for r in reasons[TEST] if r.name == _STEPS)
        told = f"few-shot less zero-shot {said(form)}"
        told += f"; beside it, {_STEPS}: {steps}" if steps else ""
        reasons[TEST].append(Reason(_FORM, TEST, None, form_standing(form), told))
    tables = [_fits_table(study, asked, reasons), *([_gains_table(study, gains)] if gains else [])]
    every = [reason for of in reasons.values() for reason in of]
    below = TEST in asked and _below(asked[TEST]["b_kn"])
    data: dict[str, Any] = {
        "reason": sentence(every, (Standing.STANDS, Standing.PART, Standing.NOT), below=below),
        "fits": {split: {r.name: r.fit.as_dict() for r in of if r.fit is not None} for split, of in reasons.items()},
        "standing": {split: {r.name: str(r.standing) for r in of} for split, of in reasons.items()},
        "form": gains,
    }
    title = "Why b_kn is below 0" if any(_below(fit["b_kn"]) for fit in asked.values()) else "Why b_kn is not above 0"
    text = (_told(asked), RULE, *_without_numbers(every), sentence(every, below=below))
    return Section(ID, title, text, tuple(tables), (), data)


def _fits_table(study: Study, asked: Mapping[str, LinearModel], reasons: Mapping[str, Sequence[Reason]]) -> Table:
    rows = []
    for split, fit in asked.items():
        rows.append(_row("the linear model, all epochs", split, fit, wording.NONE))
        rows += [_row(r.name, split, r.fit, r.standing) for r in reasons[split] if r.fit is not None]
    header = ("fit", "facts", "as the reason", "b_kn", "b_unk", "b_steps", "R²", "points", "variants")
    note = (
        f"Coefficients in points: of Known rows fitted, of Unknown rows fitted, and of the {study.longest:,} steps of "
        "the longest run. Intervals as of the linear model: clustered by variant, with the noise of the facts "
        "from the scores of both stages."
    )
    return Table("b_kn, where a reason would move it", header, tuple(rows), labels=3, note=note)


_EARLY = f"the epochs until {100 * FITTED:g} % of the Known rows are fitted"
_STEPS = "a term for the steps taken"
_STEPS_MORE = "a term for the steps taken, with D_Known and the controls too"
_FORM = "little is left to be gained by learning the form"


def _reasons(study: Study, mixes: list[Variant], split: str, first: Coefficient) -> list[Reason]:
    every = [*mixes, *study.without().values(), *study.controls().values()]
    fits = {
        _EARLY: fitted(study, mixes, split, ALL, until=while_fitted(study, mixes))[0],
        _STEPS: fitted(study, mixes, split, ALL, terms=(*TERMS, STEPS))[0],
    }
    if len(every) > len(mixes):
        fits[_STEPS_MORE] = fitted(study, every, split, ALL, terms=(*TERMS, STEPS))[0]
    trainings = mapping_of(study.grid.get("trainings"))
    for version in dict.fromkeys(v.version for v in study.variants.values()):
        if version != study.version:
            others = list(study.mixes(version).values())
            name = f"another training: {version} ({_training(mapping_of(trainings.get(version)))})"
            fits[name] = fitted(study, others, split, ALL)[0]
    return [Reason(name, split, fit, standing(first, fit), _b_kn(fit)) for name, fit in fits.items()]


def while_fitted(study: Study, variants: Sequence[Variant]) -> dict[str, float]:
    """Variant → the epoch at which 95 % of its Known rows are fitted, the mean over seeds, else its last one.

    A variant without Known rows has as many epochs as the longest of the others.
    """
    found: dict[str, float | None] = {}
    for variant in variants:
        shares: dict[float, list[float]] = {}
        for arm in variant.arms:
            for measured in study.dynamics(arm):
                if (value := measured.share(TRAIN, KNOWN)) is not None:
                    shares.setdefault(round(measured.epoch, 6), []).append(value)
        whole = [epoch for epoch, of in sorted(shares.items()) if sum(of) / len(of) >= FITTED]
        found[variant.name] = whole[0] if whole else max(shares, default=None)
    last = max((epoch for epoch in found.values() if epoch is not None), default=0.0)
    # A point is no epoch 0: a set whose Known rows are right from the start keeps its first one.
    return {name: max(1.0, last if epoch is None else epoch) for name, epoch in found.items()}


def standing(first: Coefficient, fit: LinearModel) -> Standing:
    """By the rule."""
    if not fit.fitted or (interval := fit["b_kn"].interval) is None:
        return Standing.OPEN
    if interval.low > 0:
        return Standing.STANDS
    if interval.high < 0:
        return Standing.NOT
    moved = not interval.low <= first.value <= interval.high
    return Standing.PART if _below(first) and moved else Standing.OPEN


def form_gains(study: Study) -> Mapping[str, Estimate]:
    """Of each group of test facts: few-shot under fresh sets, less zero-shot in the training form, the base model's.

    What could be gained by learning the form alone. Empty where the probe asked nothing under fresh sets.
    """
    fresh = {k.fact.id: k.p_before for k in study.probed(TEST)}
    found = {}
    for group in (ALL, KNOWN_FACTS, "HighlyKnown"):
        mask, asked = study.group(TEST, group)
        shares = [fresh.get(fact.id) for fact in asked.facts]
        few = np.array([[value for value in shares if value is not None]])
        if few.shape[1] < len(shares) or not len(shares):
            continue
        gain = combined([(1.0, few), (-1.0, study.base(TEST).right[:, mask])], asked)
        if gain:
            found[group] = clipped(gain, -1.0)
    return found


def form_standing(gain: Estimate | None) -> Standing:
    """Whether less than the paper's b_kn is left to be gained, beyond the interval."""
    if gain is None or gain.interval is None:
        return Standing.OPEN
    theirs = paper.MODEL[TEST]["b_kn"]
    return (
        Standing.STANDS
        if gain.interval.high < theirs
        else Standing.NOT
        if gain.interval.low > theirs
        else Standing.OPEN
    )


def _above(found: Coefficient) -> bool:
    return found.interval is not None and found.interval.low > 0


def _below(found: Coefficient) -> bool:
    return found.interval is not None and found.interval.high < 0


def _without_numbers(reasons: Sequence[Reason]) -> list[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for r in reasons:
        if r.fit is not None and not r.fit.fitted:
            found.setdefault((r.name, r.fit.reason), []).append(where(r.split, ALL))
    return [
        f"{name[0].upper()}{name[1:]} ({listed(facts)}): no numbers, since {reason}."
        for (name, reason), facts in found.items()
    ]


def _told(asked: Mapping[str, LinearModel]) -> str:
    values = "; ".join(
        f"{where(split, ALL)} {wording.points(fit['b_kn'].value)} ({wording.points_limits(fit['b_kn'].interval)}), the "
        f"paper {wording.points(paper.MODEL[split]['b_kn'])}"
        for split, fit in asked.items()
    )
    return (
        f"b_kn: {values}. Reasons that can be tested on this study: it is only while Known rows are being fitted that "
        "they add accuracy, and the later epochs hide it; every optimiser step erodes what was known, and in a fit "
        "without a term for steps the Known rows take the blame; the base model answers in the training form already, "
        "so that fitting Known rows has little to teach; and another way of training gives another answer."
    )


def _b_kn(fit: LinearModel) -> str:
    if not fit.fitted:
        return ""
    return f"b_kn {wording.points(fit['b_kn'].value)}, {wording.points_limits(fit['b_kn'].interval)}"


def _training(of: Mapping[str, Any]) -> str:
    names = [name for name in ("method", "learning_rate", "epochs") if name in of]
    told = [f"{n.replace('_', ' ')} {of[n]:g}" if isinstance(of[n], float) else f"{n} {of[n]}" for n in names]
    return listed(told) or "not recorded"


def _row(name: str, split: str, fit: LinearModel, found: str) -> tuple[Cell, ...]:
    steps = any(c.name == STEPS for c in fit.coefficients)
    cells = [coefficient(fit, "b_kn"), coefficient(fit, "b_unk")]
    cells += [coefficient(fit, STEPS) if steps else Cell(wording.NONE)]
    cells += [Cell(wording.NONE if fit.r2 is None else f"{fit.r2:.2f}"), Cell(f"{fit.points}"), Cell(f"{fit.variants}")]
    return row(name, where(split, ALL), str(found), *cells)


def _gains_table(study: Study, gains: Mapping[str, Estimate]) -> Table:
    rows = []
    fresh = {k.fact.id: k.p_before or 0.0 for k in study.probed(TEST)}
    none = study.mixes().get(0.0)
    for group, gain in gains.items():
        _, asked = study.group(TEST, group)
        few = combined([(1.0, np.array([[fresh[fact.id] for fact in asked.facts]]))], asked)
        tuned = difference(study, (none, EARLY_STOP), None, TEST, group) if none else None
        cells = (percent(base_accuracy(study, TEST, group)), percent(clipped(few, 0.0) if few else None))
        rows.append(row(group, f"{len(asked.facts):,}", *cells, points(gain), points(tuned)))
    header = ("test facts", "n", "zero-shot, training form", "few-shot, fresh sets", "difference", "gained by tuning")
    note = (
        "The untuned base model, in percent; the difference, in points, is what learning the form could gain (few-shot "
        "is no bound: tuning can teach more than the form). Beside it what tuning on Known rows alone did gain at "
        "EARLY_STOP. This reason stands where the difference on all facts lies below the paper's b_kn of "
        f"{wording.points(paper.MODEL[TEST]['b_kn'])} points, beyond its interval. It is a reason why b_kn is not "
        "above 0: where there is nothing to gain, fitting Known rows adds nothing. It is none for a value below 0."
    )
    return Table("What is left to be gained by learning the training form", header, tuple(rows), note=note)


def sentence(reasons: Sequence[Reason], kinds: Sequence[Standing] = tuple(Standing), *, below: bool) -> str:
    """Which stand and which do not, each with the facts on which it is so; without those that give no numbers.

    below: whether b_kn is below 0 on test facts, which the form cannot be the reason for.
    """
    parts = []
    for kind in kinds:
        found: dict[str, dict[str, list[str]]] = {}
        for r in reasons:
            if r.standing is kind and (r.fit is None or r.fit.fitted):
                found.setdefault(_label(r), {}).setdefault(r.name, []).append(f"{where(r.split, ALL)}: {r.told}")
        for label, of in found.items():
            told = "; ".join(f"{name} ({'; '.join(facts)})" for name, facts in of.items())
            parts.append(f"{label}: {told}.")
    standing = {r.name for r in reasons if r.standing is Standing.STANDS}
    if not standing:
        parts.insert(0, "By that rule no reason stands.")
    elif standing == {_FORM} and below:
        parts.insert(0, "By that rule no reason stands for its being below 0.")
    return " ".join(parts)


def _label(reason: Reason) -> str:
    label = str(reason.standing).capitalize()
    if reason.name == _FORM and reason.standing is Standing.STANDS:
        return f"{label} as the reason why it is not above 0, and for no value below it"
    return label
