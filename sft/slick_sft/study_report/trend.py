"""Whether accuracy falls as the share of Unknown rows rises: a straight line's slope, and every step."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from slick.paired import Paired
from slick.statistics import Estimate
from slick.verdict import holm
from slick_reports import wording
from slick_sft.study.jobs import CONVERGENCE
from slick_sft.study_report.asked import ALL, KNOWN_FACTS
from slick_sft.study_report.blocks import Claim, Finding, found, said
from slick_sft.study_report.data import TEST, Study, Variant
from slick_sft.study_report.measures import combined, compared

ALPHA = 0.05


def claim(study: Study, mixes: dict[float, Variant]) -> Claim:
    """Agrees where the slope of Known facts is below 0 and no step is shown to rise; differs where either rises."""
    slopes = {group: slope(study, mixes, CONVERGENCE, group) for group in (KNOWN_FACTS, ALL)}
    up = rises(study, mixes, CONVERGENCE, KNOWN_FACTS)
    mask, _ = study.group(TEST, KNOWN_FACTS)
    arms = [study.answers(variant, CONVERGENCE, TEST).right[:, mask] for variant in mixes.values()]
    values = [float(right.mean()) for right in arms if right.size]
    steps = [b > a for a, b in pairwise(values)]
    told = (
        f"Known facts: {' → '.join(wording.percent(value) for value in values)}; straight line over the shares "
        f"{said(slopes[KNOWN_FACTS])} from no row to every row, all facts {said(slopes[ALL])}"
    )
    if any(steps):
        told += f"; {sum(steps)} of {len(steps)} steps go up, {len(up)} of them beyond its noise"
    finding = found(slopes[KNOWN_FACTS], "fell")
    return Claim(
        "The more rows are Unknown, the lower the accuracy at CONVERGENCE.",
        "42.6 → 42.2 → 41.2 → 38.8 → 36.5 → 31.7 → 25.8",
        told,
        Finding.DIFFERS if up else finding,
    )


def slope(study: Study, mixes: dict[float, Variant], stage: str, group: str) -> Estimate | None:
    """Least squares' slope of accuracy over the share of Unknown rows, from none to all; over facts and seeds.

    The slope is a sum of the variants' accuracies with weights, so that facts and seeds are paired over all of them.
    None where variants have other numbers of seeds, or the group has fewer than 2 facts.
    """
    mask, asked = study.group(TEST, group)
    right = [study.answers(variant, stage, TEST).right[:, mask] for variant in mixes.values()]
    if len({of.shape for of in right}) != 1 or len(mixes) < 2:
        return None
    shares = np.array(list(mixes)) - np.mean(list(mixes))
    weights = shares / float((shares**2).sum())
    return combined(list(zip(weights.tolist(), right, strict=True)), asked)


def rises(study: Study, mixes: dict[float, Variant], stage: str, group: str) -> list[float]:
    """The shares to which accuracy rises from the one before, after Holm's correction over all steps at 5 %."""
    steps: dict[float, Paired | None] = {
        after: compared(study, (mixes[after], stage), (mixes[before], stage), TEST, group)
        for before, after in pairwise(mixes)
    }
    stands = holm({str(share): pair.p_different() if pair else None for share, pair in steps.items()}, ALPHA)
    return [share for share, pair in steps.items() if pair and pair.value > 0 and str(share) in stands]
