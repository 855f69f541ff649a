"""Full fine-tuning against LoRA: what is learned against what is forgotten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from slick.dynamics import TRAIN
from slick.knowledge import KNOWN
from slick.statistics import LEVEL, Estimate, Interval, t_value
from slick_reports import wording
from slick_sft.study.jobs import CONVERGENCE
from slick_sft.study_report.asked import KNOWN_FACTS
from slick_sft.study_report.baselines import beside
from slick_sft.study_report.blocks import Claim, Picture, Section, Table, found, missing, percent, points, row, said
from slick_sft.study_report.data import TEST, Arm, Study, Variant
from slick_sft.study_report.measures import accuracy, difference
from slick_sft.study_report.pictures import Dot, Line, lines_chart
from slick_sft.study_report.protocol import record_of

ID, TITLE = "lora", "Full fine-tuning against LoRA"


def section(study: Study) -> Section:
    pairs = _pairs(study)
    if not pairs:
        return missing(ID, TITLE, ["recipe both in full and by LoRA"])
    rows, claims, lines = [], [], []
    data = {}
    for place, (full, lora) in enumerate(pairs):
        paths = {v.name: path(study, v) for v in (full, lora)}
        for variant, at in ((full, 2 * place), (lora, 2 * place + 1)):
            known = accuracy(study, variant, CONVERGENCE, TEST, KNOWN_FACTS)
            lost = difference(study, (variant, CONVERGENCE), None, TEST, KNOWN_FACTS)
            learned = paths[variant.name][-1][0] if paths[variant.name] else None
            rows.append(row(variant.name, variant.method, wording.percent(learned), percent(known), points(lost)))
            data[variant.name] = {"learned": learned, "known": known, "lost": lost, "path": paths[variant.name]}
            if paths[variant.name]:
                dots = tuple(Dot(100 * x, y) for x, y in paths[variant.name])
                lines.append(Line(variant.name, dots, at))
        claims.append(_claim(study, full, lora, paths))
    header = ("variant", "method", "training rows fitted", "Known test facts", "change to the base model")
    table = Table("At CONVERGENCE, in percent and points", header, tuple(rows), labels=2)
    text = (
        "Learned: the share of training rows fitted. Forgotten: Known test facts that are no longer answered rightly. "
        "In the picture a run goes from left to right with its epochs; what lies higher at the same place forgot less "
        "for as much that was learned.",
        "A gap between the two is one at these learning rates; another rate learns and forgets otherwise.",
        beside(study, [variant for pair in pairs for variant in pair], TEST, KNOWN_FACTS),
    )
    blocks: tuple[Table | Picture, ...] = (table,)
    if lines:
        caption = "Known test facts right, %, against training rows fitted, %"
        svg = lines_chart(ID, caption, lines, x_name="training rows fitted", x_unit=" %")
        blocks = (Picture(caption, svg, tuple(line.key for line in lines)), table)
    return Section(ID, TITLE, text, blocks, tuple(claims), data)


def _pairs(study: Study) -> list[tuple[Variant, Variant]]:
    """The variants of one recipe that were trained in full and by LoRA."""
    full = {v.recipe.name: v for v in study.variants.values() if v.method == "full" and v.version == study.version}
    return [(full[v.recipe.name], v) for v in study.variants.values() if v.method == "lora" and v.recipe.name in full]


def path(study: Study, variant: Variant) -> list[tuple[float, float]]:
    """(share of training rows fitted, share of Known test facts right) by epoch, the mean over seeds."""
    return _path(study, variant.arms)


def _path(study: Study, arms: Sequence[Arm]) -> list[tuple[float, float]]:
    runs = [{round(m.epoch, 6): (m.share(TRAIN), m.share(TEST, KNOWN)) for m in study.dynamics(arm)} for arm in arms]
    found = []
    for epoch in sorted(set.intersection(*(set(run) for run in runs))):
        pairs = [run[epoch] for run in runs]
        learned = [a for a, _ in pairs if a is not None]
        kept = [b for _, b in pairs if b is not None]
        if len(learned) == len(kept) == len(runs):
            found.append((sum(learned) / len(learned), sum(kept) / len(kept)))
    return found


def at_equal(found: list[tuple[float, float]], learned: float) -> float | None:
    """What was kept when so much was first learned, interpolated; None where it never was."""
    before: tuple[float, float] | None = None
    for x, y in found:
        if x >= learned:
            if before is None or x == before[0]:
                return y
            return before[1] + (learned - before[0]) / (x - before[0]) * (y - before[1])
        before = (x, y)
    return None


def gap_at_equal(study: Study, full: Variant, lora: Variant) -> Estimate | None:
    """What LoRA keeps less what full keeps, in each seed when both have learned what either does in the end.

    Over seeds, the watched facts held; undefined for a single seed. None where a seed has no such place.
    """
    gaps = []
    for pair in zip(full.arms, lora.arms, strict=False):
        paths = [_path(study, [arm]) for arm in pair]
        if not all(paths):
            return None
        kept = [at_equal(each, min(of[-1][0] for of in paths)) for each in paths]
        if kept[0] is None or kept[1] is None:
            return None
        gaps.append(kept[1] - kept[0])
    return over_seeds(gaps)


def over_seeds(values: list[float]) -> Estimate | None:
    """The mean with Student's t over seeds; undefined where they do not tell how far they lie apart."""
    if not values:
        return None
    n, mean = len(values), fmean(values)
    error = stdev(values) / math.sqrt(n) if n > 1 else 0.0
    half = t_value(LEVEL, n - 1) * error if error > 0 else 0.0
    return Estimate(mean, Interval(mean - half, mean + half) if half > 0 else None, n, f"{n} seeds")


def _at_rate(variant: Variant) -> str:
    """ " at a rate of 2e-3", which such a comparison hangs on; of seeds that were trained at several, each."""
    rates = {record_of(arm).get("learning_rate") for arm in variant.arms}
    told = [rate_said(float(rate)) for rate in sorted(rates, key=str) if isinstance(rate, int | float)]
    return f" at a rate of {' or '.join(told)}" if told else " (rate not recorded)"


def rate_said(rate: float) -> str:
    """ "2e-3"."""
    digits, power = f"{rate:.6e}".split("e")
    return f"{float(digits):g}e{int(power)}"


def _claim(study: Study, full: Variant, lora: Variant, paths: dict[str, list[tuple[float, float]]]) -> Claim:
    gap = difference(study, (lora, CONVERGENCE), (full, CONVERGENCE), TEST, KNOWN_FACTS)
    told = f"LoRA less full, Known test facts at CONVERGENCE: {said(gap)}"
    ends = [paths[v.name][-1][0] for v in (full, lora) if paths[v.name]]
    if len(ends) == 2:
        level = min(ends)
        kept = [at_equal(paths[v.name], level) for v in (full, lora)]
        told += (
            f"; when {wording.percent(level)} % of the rows are fitted, full keeps {wording.percent(kept[0])} % and "
            f"LoRA {wording.percent(kept[1])} % of what was watched, by seed {said(gap_at_equal(study, full, lora))}"
        )
    return Claim(
        f"{full.recipe.name}: at CONVERGENCE, LoRA{_at_rate(lora)} has forgotten less than full fine-tuning"
        f"{_at_rate(full)}.",
        "not in the paper",
        told,
        found(gap, "rose"),
        ours=True,
    )
