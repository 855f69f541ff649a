"""Which training rows are fitted when: Known against Unknown, epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from slick.dynamics import TRAIN
from slick.knowledge import KNOWN, Category
from slick_reports import wording
from slick_sft.study_report import paper
from slick_sft.study_report.blocks import (
    Cell,
    Claim,
    Picture,
    Section,
    Table,
    found,
    listed,
    missing,
    plain_percent,
    row,
)
from slick_sft.study_report.data import Arm, Study, Variant, share_name
from slick_sft.study_report.pictures import Dot, Line, lines_chart
from slick_sft.study_report.waiting import sooner, wait_of

ID, TITLE = "training", "Known rows are fitted before Unknown ones"
_GROUPS = {"Known": KNOWN, "Unknown": (Category.UNKNOWN,)}


@dataclass(frozen=True, slots=True)
class Fitted:
    """Share of rows fitted, the mean over seeds, at each epoch; lowest and highest seed."""

    mean: dict[float, float]
    low: dict[float, float]
    high: dict[float, float]


def section(study: Study) -> Section:
    mixes = {share: v for share, v in study.mixes().items() if 0 < share < 1}
    if not mixes:
        return missing(ID, TITLE, ["mix of both Known and Unknown rows"])
    curves = {share: {name: fitted(study, v, name) for name in _GROUPS} for share, v in mixes.items()}
    if not any(of.mean for each in curves.values() for of in each.values()):
        return Section(ID, TITLE, missing="Left out: nothing was measured while the models were trained.")
    chosen = 0.5 if 0.5 in mixes else min(mixes, key=lambda share: abs(share - 0.5))
    claims = [_claim(study, variant, share) for share, variant in mixes.items()]
    text = (
        "A row is fitted when the model answers its question rightly (greedily, in the training form). Shares are "
        "means over seeds, with the lowest and the highest seed in brackets.",
        "Which rows come first is told by how long a row that the base model had wrong stays wrong, on average, the "
        "last epoch at most. The interval is over seeds, each with rows of its own, and never narrower than the rows' "
        "own noise.",
    )
    data = {share_name(share): curves[share] for share in mixes}
    return Section(
        ID,
        TITLE,
        text,
        (_picture(curves[chosen], chosen), _table(curves[chosen], chosen)),
        tuple(claim for claim in claims if claim),
        data,
    )


def fitted(study: Study, variant: Variant, group: str) -> Fitted:
    """By epoch; only epochs that every seed measured."""
    runs = [_by_epoch(study, arm, group) for arm in variant.arms]
    epochs = sorted(set.intersection(*(set(run) for run in runs))) if runs else []
    return Fitted(
        {e: sum(run[e] for run in runs) / len(runs) for e in epochs},
        {e: min(run[e] for run in runs) for e in epochs},
        {e: max(run[e] for run in runs) for e in epochs},
    )


def _by_epoch(study: Study, arm: Arm, group: str) -> dict[float, float]:
    shares = {round(m.epoch, 6): m.share(TRAIN, _GROUPS[group]) for m in study.dynamics(arm)}
    return {epoch: share for epoch, share in shares.items() if share is not None}


def half_fitted(study: Study, arm: Arm, group: str) -> float | None:
    """The epoch at which half of the rows that the base model had wrong are first fitted, interpolated.

    The first epoch, 0, where the base model had none wrong; None where half is never reached.
    """
    shares = sorted(_by_epoch(study, arm, group).items())
    if not shares:
        return None
    if shares[0][1] == 1:
        return shares[0][0]
    half = (1 + shares[0][1]) / 2
    for before, after in pairwise(shares):
        if after[1] >= half:
            return before[0] + (half - before[1]) / (after[1] - before[1]) * (after[0] - before[0])
    return None


def _claim(study: Study, variant: Variant, share: float) -> Claim | None:
    waits = [[wait_of(study.dynamics(arm), of) for of in _GROUPS.values()] for arm in variant.arms]
    pairs = [(known, unknown) for known, unknown in waits if known is not None and unknown is not None]
    gap = sooner(pairs)
    if gap is None:
        return None
    means = [sum(wait.epochs for wait in side) / len(pairs) for side in zip(*pairs, strict=True)]
    halves = [[_epoch(half_fitted(study, arm, group)) for arm in variant.arms] for group in _GROUPS]
    limits = f"{_number(gap.interval.low)} to {_number(gap.interval.high)}" if gap.interval else wording.UNDEFINED
    told = (
        f"a row that the base model had wrong stays wrong for {_number(means[0])} epochs if Known and "
        f"{_number(means[1])} if Unknown, {_number(gap.value)} more ({limits}); half of them are fitted at epoch "
        f"{listed(halves[0])} and {listed(halves[1])}, by seed"
    )
    return Claim(
        f"At {share_name(share)} Unknown, Known rows are fitted before Unknown ones.",
        "at 50 %: 59 % of Known and 1 % of Unknown at epoch 1, 93 % and 55 % at epoch 20",
        told,
        found(gap, "rose"),
    )


def _epoch(value: float | None) -> str:
    return "never" if value is None else _number(value)


def _number(value: float) -> str:
    """Epochs; a little of one never becomes 0, and a minus is one."""
    told = f"{value:.1f}" if abs(value) >= 0.05 or value == 0 else f"{value:.1g}"
    return told.replace("-", "−")


def _picture(curves: dict[str, Fitted], share: float) -> Picture:
    lines = [
        Line(f"{name} rows", tuple(Dot(e, y) for e, y in of.mean.items()), place)
        for place, (name, of) in enumerate(curves.items())
        if of.mean
    ]
    if share == 0.5:
        lines += [
            Line(f"the paper, {name}", tuple(Dot(e, pair[i]) for e, pair in paper.CURVE.items()), None)
            for i, name in enumerate(_GROUPS)
        ]
    caption = f"Training rows fitted, %, {share_name(share)} Unknown"
    svg = lines_chart(ID, caption, lines, x_name="epoch", y_low=0.0)
    return Picture(caption, svg, tuple(line.key for line in lines), cover=True)


def _table(curves: dict[str, Fitted], share: float) -> Table:
    every = sorted(set(curves["Known"].mean) | set(curves["Unknown"].mean))
    # About a dozen lines; the first, the last, and the paper's own epochs among them.
    chosen = [e for e in every if e in (0, every[-1]) or e in paper.CURVE or e % max(1, len(every) // 10) == 0]
    rows = []
    for epoch in chosen:
        published = paper.CURVE.get(int(epoch)) if share == 0.5 and epoch == int(epoch) else None
        cells: list[Cell | str] = []
        for i, of in enumerate(curves.values()):
            cells += [_cell(of, epoch), plain_percent(published[i] if published else None)]
        rows.append(row(f"{epoch:g}", *cells))
    header = ("epoch", "Known fitted", "paper", "Unknown fitted", "paper")
    return Table(f"Training rows fitted in percent, {share_name(share)} Unknown", header, tuple(rows))


def _cell(of: Fitted, epoch: float) -> str:
    if epoch not in of.mean:
        return wording.NONE
    low, high = wording.percent(of.low[epoch]), wording.percent(of.high[epoch])
    told = wording.percent(of.mean[epoch])
    return told if low == high else f"{told} [{low}, {high}]"
