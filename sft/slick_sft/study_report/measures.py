"""Accuracies and differences of a study's variants, over facts and seeds.

Everywhere the facts of one subject are a cluster, which widens an interval by their design effect and leaves Student's
t with the subjects less one, and the relations are strata (`slick.statistics`, `slick.paired`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from slick.paired import Paired, paired
from slick.statistics import LEVEL, Estimate, Interval, design_effect, t_value, wilson
from slick_sft.study_report.asked import Asked
from slick_sft.study_report.data import Study, Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slick.statistics import Scores


def accuracy(study: Study, variant: Variant, stage: str, split: str, group: str) -> Estimate | None:
    """A variant's accuracy on a group of facts; None where the group is empty."""
    mask, asked = study.group(split, group)
    return share(study.answers(variant, stage, split).right[:, mask], asked)


def base_accuracy(study: Study, split: str, group: str) -> Estimate | None:
    mask, asked = study.group(split, group)
    return share(study.base(split).right[:, mask], asked)


def prior(study: Study, split: str, group: str) -> Estimate | None:
    """Accuracy of always giving a relation's commonest answer, on the facts for which it is recorded."""
    asked = study.group(split, group)[1]
    known = ~np.isnan(asked.prior)
    return share(asked.prior[known][None], asked.only(known))


def compared(
    study: Study, one: tuple[Variant, str], other: tuple[Variant, str] | None, split: str, group: str
) -> Paired | None:
    """one minus other, each a variant at a stage; other None: the base model."""
    mask, asked = study.group(split, group)
    untreated = study.base(split) if other is None else study.answers(*other, split)
    return paired(
        study.answers(*one, split).right[:, mask],
        untreated.right[:, mask],
        clusters=asked.clusters,
        strata=asked.relations,
        fixed_control=other is None,
    )


def difference(
    study: Study, one: tuple[Variant, str], other: tuple[Variant, str] | None, split: str, group: str
) -> Estimate | None:
    """As `compared`, cut off at what a difference can be."""
    found = compared(study, one, other, split, group)
    return clipped(found.estimate(), -1.0) if found else None


def share(right: Scores, asked: Asked) -> Estimate | None:
    """The share of `right` (runs × facts, 0 or 1); None for no facts. One run: Wilson's, several: facts and seeds."""
    runs, n = right.shape
    if n == 0:
        return None
    if runs == 1:
        return _of_one_run(right[0].tolist(), asked)
    found = combined([(1.0, right)], asked)
    return clipped(found, 0.0) if found else None


def _of_one_run(right: Sequence[float], asked: Asked) -> Estimate | None:
    """Wilson's interval of as many facts as they count for."""
    n, groups = len(right), len(set(asked.clusters))
    if groups == 1 < n:
        return Estimate(sum(right) / n, None, n, "one subject tells nothing of another")
    effect = design_effect(right, asked.clusters, asked.relations)
    return wilson(sum(right), n, LEVEL, effect, groups - 1.0 if groups < n else math.inf)


def combined(signed: Sequence[tuple[float, Scores]], asked: Asked) -> Estimate | None:
    """A sum of accuracies with signs, such as a difference of two differences: over facts and, of several, seeds.

    All arms answered the same facts and have as many seeds, which are paired. None for fewer than 2 facts.
    """
    values: Scores = np.sum([sign * right for sign, right in signed], axis=0)
    runs, n = values.shape
    if n < 2:
        return None
    nothing = np.zeros((1, n))
    found = paired(values, nothing, clusters=asked.clusters, strata=asked.relations, fixed_control=True)
    assert found is not None
    if runs > 1:
        return replace(found.estimate(), method=f"facts and {runs} seeds")
    # Not the score interval of a checkpoint: values of a sum are not 0 or 1.
    half = t_value(LEVEL, found.item_df) * math.sqrt(found.item)
    interval = Interval(found.value - half, found.value + half) if found.defined else None
    return Estimate(found.value, interval, n, "facts")


def ratio(top: Scores, bottom: Scores, asked: Asked) -> Estimate | None:
    """The share of `top` among `bottom` (right among answered), runs × facts, both 0 or 1; None where bottom is empty.

    One run: Wilson's. Several: linearised, so that facts and seeds both vary.
    """
    whole = float(bottom.mean()) if bottom.size else 0.0
    if whole == 0:
        return None
    if top.shape[0] == 1:
        inside = bottom[0] > 0
        return _of_one_run(top[0][inside].tolist(), asked.only(inside))
    value = float(top.mean()) / whole
    found = combined([(1.0, value + (top - value * bottom) / whole)], asked)
    return clipped(found, 0.0) if found else None


def auroc(scores: NDArray[np.float64], right: NDArray[np.bool_], asked: Asked) -> Estimate | None:
    """The chance that a fact of `right` has a higher score than another one, ties as half; None where either is empty.

    Linearised over facts by DeLong's placement values (1988), so that clusters count as everywhere.
    """
    if not right.any() or right.all():
        return None
    above, below = _placed(scores[right], scores[~right]), 1 - _placed(scores[~right], scores[right])
    value = float(above.mean())
    part = np.empty(len(scores))
    part[right] = (above - value) / float(right.mean())
    part[~right] = (below - value) / float((~right).mean())
    found = combined([(1.0, (value + part)[None])], asked)
    return clipped(found, 0.0) if found else None


def _placed(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each of ours, the share of theirs that lies lower, ties as half."""
    ordered = np.sort(theirs)
    lower, up_to = (np.searchsorted(ordered, ours, side=side) for side in ("left", "right"))
    placed: NDArray[np.float64] = (lower + up_to) / (2 * len(theirs))
    return placed


def clipped(estimate: Estimate, low: float, high: float = 1.0) -> Estimate:
    """A t interval may reach past what a share or a difference can be."""
    interval = estimate.interval
    if interval is None:
        return estimate
    return replace(estimate, interval=Interval(max(interval.low, low), min(interval.high, high), interval.level))
