"""Accuracy by the share of Unknown rows, at EARLY_STOP and at CONVERGENCE, in and out of distribution."""

from __future__ import annotations

from slick.statistics import Estimate
from slick_sft.study.jobs import CONVERGENCE, EARLY_STOP
from slick_sft.study_report import paper, trend
from slick_sft.study_report.asked import ALL, KNOWN_FACTS
from slick_sft.study_report.baselines import beside
from slick_sft.study_report.blocks import (
    Cell,
    Claim,
    Picture,
    Section,
    Table,
    found,
    listed,
    missing,
    percent,
    plain_percent,
    row,
    said,
    share_said,
)
from slick_sft.study_report.data import OOD, STAGE_NAMES, STAGES, TEST, Study, Variant, share_name
from slick_sft.study_report.measures import accuracy, base_accuracy, clipped, combined, difference
from slick_sft.study_report.pictures import Dot, Line, lines_chart

ID, TITLE = "shares", "Accuracy by share of Unknown rows"
_GROUPS = (ALL, KNOWN_FACTS, "HighlyKnown")
Found = dict[str, dict[str, dict[str, dict[str, Estimate | None]]]]


def section(study: Study) -> Section:
    mixes = study.mixes()
    if len(mixes) < 2:
        return missing(ID, TITLE, ["two mixes of different shares of Unknown rows"])
    measured: Found = {
        split: {
            stage: {
                group: {
                    share_name(share): accuracy(study, variant, stage, split, group) for share, variant in mixes.items()
                }
                for group in _GROUPS
            }
            for stage in STAGES
        }
        for split in study.splits
    }
    blocks: list[Table | Picture] = []
    for split in study.splits:
        blocks.append(_table(study, mixes, measured, split))
        blocks += [_picture(study, mixes, measured, split, group) for group in (ALL, KNOWN_FACTS)]
    low, high = min(mixes), max(mixes)
    text = [
        f"The same sizes, relations and steps; from {share_name(low)} to {share_name(high)} of the rows are of "
        "facts that the base model does not know. Intervals are over facts, those of one subject together, and over "
        "seeds where there are several.",
    ]
    if untuned := [variant.name for variant in mixes.values() if variant.untuned]:
        text.append(
            f"At EARLY_STOP epoch 0 won in every run of {listed(untuned)}: the figures there are the untuned base "
            "model's."
        )
    return Section(
        ID, TITLE, tuple(text), tuple(blocks), tuple(_claims(study, mixes, measured)), {"accuracy": measured}
    )


def _table(study: Study, mixes: dict[float, Variant], measured: Found, split: str) -> Table:
    here = split == TEST
    header = ["Unknown rows"]
    for stage in STAGES:
        header += [f"{STAGE_NAMES[stage]}, all facts", *(["paper"] if here else []), "Known facts", "HighlyKnown facts"]
    rows = [
        row(
            "base model, untuned",
            *(
                cell
                for _ in STAGES
                for cell in _cells({g: base_accuracy(study, split, g) for g in _GROUPS}, None, paper_too=here)
            ),
        )
    ]
    for share in mixes:
        cells: list[Cell] = []
        for stage in STAGES:
            of = {group: measured[split][stage][group][share_name(share)] for group in _GROUPS}
            cells += _cells(of, paper.SHARES[stage].get(round(100 * share)), paper_too=here)
        rows.append(row(share_name(share), *cells))
    n = {group: int(study.asked(split).mask(group).sum()) for group in _GROUPS}
    note = (
        f"n = {n[ALL]:,} facts, of which {n[KNOWN_FACTS]:,} Known and {n['HighlyKnown']:,} HighlyKnown. "
        f"{beside(study, mixes.values(), split, ALL)} {beside(study, mixes.values(), split, KNOWN_FACTS)}"
    )
    where = "test facts" if here else "facts of relations that are never trained on"
    return Table(f"Accuracy in percent on {where}", tuple(header), tuple(rows), note=note)


def _cells(of: dict[str, Estimate | None], published: float | None, *, paper_too: bool) -> list[Cell]:
    first, *others = (percent(of[group]) for group in _GROUPS)
    return [first, *([plain_percent(published)] if paper_too else []), *others]


def _picture(study: Study, mixes: dict[float, Variant], measured: Found, split: str, group: str) -> Picture:
    lines = []
    for place, stage in enumerate(STAGES):
        dots = [
            Dot(100 * share, e.value, e.interval, f"{variant.name} at {STAGE_NAMES[stage]}")
            for share, variant in mixes.items()
            if (e := measured[split][stage][group][share_name(share)]) is not None
        ]
        if dots:
            lines.append(Line(STAGE_NAMES[stage], tuple(dots), place))
    if split == TEST and group == ALL:
        lines += [
            Line(f"the paper, {STAGE_NAMES[stage]}", tuple(Dot(x, y) for x, y in paper.SHARES[stage].items()), None)
            for stage in STAGES
        ]
    base = base_accuracy(study, split, group)
    where = "all" if group == ALL else group
    place_name = "" if split == TEST else " of other relations"
    caption = f"Accuracy on {where} facts{place_name}, %"
    if not lines:
        lines = [Line("base model", (Dot(0, base.value if base else 0.0),), 0)]
    svg = lines_chart(f"{ID}-{split}-{group}", caption, lines, x_name="Unknown rows", x_unit=" %")
    note = f"The base model: {share_said(base)}." if base else ""
    return Picture(caption, svg, tuple(each.key for each in lines), note, cover=(split, group) == (TEST, KNOWN_FACTS))


def _claims(study: Study, mixes: dict[float, Variant], measured: Found) -> list[Claim]:
    low, high = min(mixes), max(mixes)
    ends = f"from {share_name(low)} to {share_name(high)} Unknown"
    first, last = mixes[low], mixes[high]
    falls = {
        (split, group, stage): difference(study, (last, stage), (first, stage), split, group)
        for split in study.splits
        for group in (ALL, KNOWN_FACTS)
        for stage in STAGES
    }
    claims = [
        Claim(
            f"At CONVERGENCE, accuracy falls {ends}.",
            "42.6 % to 25.8 %",
            said(falls[TEST, ALL, CONVERGENCE]),
            found(falls[TEST, ALL, CONVERGENCE], "fell"),
        ),
        _known(mixes, measured, falls[TEST, KNOWN_FACTS, CONVERGENCE], ends),
        trend.claim(study, mixes),
    ]
    more = _more_at_convergence(study, first, last)
    claims.append(
        Claim(
            "Unknown rows cost less at EARLY_STOP than at CONVERGENCE.",
            "6.4 points against 16.8",
            f"{said(falls[TEST, ALL, EARLY_STOP])} against {said(falls[TEST, ALL, CONVERGENCE])}, a difference of "
            f"{said(more)}",
            found(more, "fell"),
        )
    )
    if OOD in study.splits:
        away = falls[OOD, KNOWN_FACTS, CONVERGENCE] or falls[OOD, ALL, CONVERGENCE]
        claims.append(
            Claim(
                f"Known facts of relations that were never trained on are lost too, {ends}.",
                "b_unk = −3.0 out of distribution",
                said(away),
                found(away, "fell"),
            )
        )
    return claims


def _known(mixes: dict[float, Variant], measured: Found, fall: Estimate | None, ends: str) -> Claim:
    names = [share_name(share) for share in mixes]
    first, last = (measured[TEST][CONVERGENCE][KNOWN_FACTS][name] for name in (names[0], names[-1]))
    told = f"{share_said(first)} to {share_said(last)}, a difference of {said(fall)}"
    if first and last and first.interval and last.interval:
        apart = not first.interval.overlaps(last.interval)
        told += f"; the intervals are {'apart' if apart else 'not apart'}"
    return Claim(f"At CONVERGENCE, accuracy on Known facts falls {ends}.", "not given", told, found(fall, "fell"))


def _more_at_convergence(study: Study, first: Variant, last: Variant) -> Estimate | None:
    """How much further accuracy falls at CONVERGENCE than at EARLY_STOP; below 0 where it does."""
    right = {(v.name, s): study.answers(v, s, TEST).right for v in (first, last) for s in STAGES}
    if len({of.shape for of in right.values()}) > 1:
        return None
    signed = [
        (1.0, right[last.name, CONVERGENCE]),
        (-1.0, right[first.name, CONVERGENCE]),
        (-1.0, right[last.name, EARLY_STOP]),
        (1.0, right[first.name, EARLY_STOP]),
    ]
    estimate = combined(signed, study.asked(TEST))
    return clipped(estimate, -2.0, 2.0) if estimate else None
