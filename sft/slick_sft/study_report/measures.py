"""Accuracies and differences of a study's variants, over facts and seeds; facts of one subject are a cluster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from slick.paired import Paired, paired
from slick.statistics import LEVEL, Estimate, Interval, arm_share, seeds_difference, t_value, wilson
from slick_sft.study_report.data import Study, Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slick.statistics import Scores


def accuracy(study: Study, variant: Variant, stage: str, split: str, group: str) -> Estimate | None:
    """A variant's accuracy on a group of facts; None where the group is empty."""
    mask = study.asked(split).mask(group)
    return arm_share(study.answers(variant, stage, split).right[:, mask]) if mask.any() else None


def base_accuracy(study: Study, split: str, group: str) -> Estimate | None:
    mask = study.asked(split).mask(group)
    return arm_share(study.base(split).right[:, mask]) if mask.any() else None


def prior(study: Study, split: str, group: str) -> float | None:
    """Accuracy of always giving a relation's commonest answer, on the facts for which it is recorded."""
    values = study.asked(split).prior[study.asked(split).mask(group)]
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else None


def compared(
    study: Study, one: tuple[Variant, str], other: tuple[Variant, str] | None, split: str, group: str
) -> Paired | None:
    """one minus other, each a variant at a stage; other None: the base model."""
    asked = study.asked(split)
    mask = asked.mask(group)
    untreated = study.base(split) if other is None else study.answers(*other, split)
    inside = np.flatnonzero(mask)
    return paired(
        study.answers(*one, split).right[:, mask],
        untreated.right[:, mask],
        clusters=[asked.clusters[i] for i in inside],
        strata=[asked.relations[i] for i in inside],
        fixed_control=other is None,
    )


def difference(
    study: Study, one: tuple[Variant, str], other: tuple[Variant, str] | None, split: str, group: str
) -> Estimate | None:
    """As `compared`, cut off at what a difference can be."""
    found = compared(study, one, other, split, group)
    return clipped(found.estimate(), -1.0) if found else None


def combined(signed: Sequence[tuple[float, Scores]]) -> Estimate | None:
    """A sum of accuracies with signs, such as a difference of two differences: over facts and, of several, seeds.

    All arms answered the same facts and have as many seeds, which are paired. None for fewer than 2 facts.
    """
    values: NDArray[np.float64] = np.sum([sign * right for sign, right in signed], axis=0)
    runs, n = values.shape
    if n < 2:
        return None
    if runs > 1:
        return seeds_difference(values, np.zeros((1, n)))
    mean = float(values.mean())
    error = math.sqrt((float(((values - mean) ** 2).sum()) + 2) / n**2)
    half = t_value(LEVEL, n - 1) * error
    return Estimate(mean, Interval(mean - half, mean + half), n, "facts")


def ratio(top: Scores, bottom: Scores) -> Estimate | None:
    """The share of `top` among `bottom` (right among answered), runs × facts, both 0 or 1; None where bottom is empty.

    One run: Wilson's. Several: linearised, so that facts and seeds both vary.
    """
    whole = float(bottom.mean())
    if whole == 0:
        return None
    if top.shape[0] == 1:
        return wilson(int(top.sum()), int(bottom.sum()))
    share = float(top.mean()) / whole
    found = seeds_difference(share + (top - share * bottom) / whole, np.zeros((1, top.shape[1])))
    return clipped(found, 0.0) if found else None


def clipped(estimate: Estimate, low: float, high: float = 1.0) -> Estimate:
    """A t interval may reach past what a share or a difference can be."""
    interval = estimate.interval
    if interval is None:
        return estimate
    return replace(estimate, interval=Interval(max(interval.low, low), min(interval.high, high), interval.level))
