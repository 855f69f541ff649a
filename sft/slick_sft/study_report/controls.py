"""What Unknown rows do by themselves: D against D without them, and against the control that gives them no weight."""

from __future__ import annotations

from typing import Any

from slick.ratio import explained_share
from slick.statistics import Estimate
from slick_reports import wording
from slick_sft.study.jobs import CONVERGENCE
from slick_sft.study_report import paper
from slick_sft.study_report.asked import ALL, KNOWN_FACTS
from slick_sft.study_report.baselines import beside
from slick_sft.study_report.blocks import (
    Cell,
    Claim,
    Section,
    Table,
    found,
    missing,
    percent,
    plain_percent,
    points,
    row,
    said,
)
from slick_sft.study_report.data import STAGE_NAMES, STAGES, TEST, Study, Variant, share_name
from slick_sft.study_report.measures import accuracy, difference
from slick_sft.study_report.protocol import record_of

ID, TITLE = "controls", "What Unknown rows do, and what fewer steps do"


def section(study: Study) -> Section:
    mixes, without, controls = study.mixes(), study.without(), study.controls()
    shares = [share for share in mixes if share in without or share in controls]
    if not shares:
        return missing(ID, TITLE, ["D_Known (…-without-unknown) beside its D", "control (…-zero-weight)"])
    text = [
        "D_Known is D without its Unknown rows, as in the paper; at equal epochs it also takes fewer steps. The "
        "control takes D's rows in D's order and as many steps, but its Unknown rows have weight 0 in the loss: it "
        "differs from D in what Unknown rows do by themselves, and in two things more: a step of which every row has "
        "weight 0 changes nothing, and is none of its effective steps; and in each of the others its Known rows pull "
        "harder than they do in D, since the loss is a mean over the tokens that have weight.",
    ]
    compared = [v for share in shares for v in (mixes[share], without.get(share), controls.get(share)) if v]
    text.append(beside(study, compared, TEST, KNOWN_FACTS))
    data: dict[str, Any] = {}
    tables = []
    for group in (KNOWN_FACTS, ALL):
        rows = []
        for stage in reversed(STAGES):
            for share in shares:
                trio = mixes[share], without.get(share), controls.get(share)
                figures = _figures(study, trio, stage, group)
                data.setdefault(group, {}).setdefault(stage, {})[share_name(share)] = figures
                rows.append(_row(figures, stage, share, published=group == ALL))
        tables.append(_table(rows, group, published=group == ALL))
    for share in shares:
        text += _steps(share, mixes[share], without.get(share), controls.get(share), data)
    missing_ones = [
        what for what, family in (("D_Known", without), ("the control", controls)) if not set(shares) & set(family)
    ]
    text += [f"Not trained in this study: {what}." for what in missing_ones]
    return Section(ID, TITLE, tuple(text), tuple(tables), tuple(_claims(shares, data)), data)


Trio = tuple[Variant, Variant | None, Variant | None]


def _figures(study: Study, trio: Trio, stage: str, group: str) -> dict[str, Estimate | None]:
    mix, without, control = trio
    found: dict[str, Estimate | None] = {
        "d": accuracy(study, mix, stage, TEST, group),
        "d_known": accuracy(study, without, stage, TEST, group) if without else None,
        "control": accuracy(study, control, stage, TEST, group) if control else None,
        "control_minus_d": difference(study, (control, stage), (mix, stage), TEST, group) if control else None,
        "d_known_minus_d": difference(study, (without, stage), (mix, stage), TEST, group) if without else None,
        "fewer_steps": None,
    }
    if without and control:
        mask, asked = study.group(TEST, group)
        arms = [study.answers(v, stage, TEST).right[:, mask] for v in (without, control, mix)]
        found["fewer_steps"] = explained_share(arms[0], arms[1], arms[2], clusters=asked.clusters)
    return found


def _row(figures: dict[str, Estimate | None], stage: str, share: float, *, published: bool) -> tuple[Cell, ...]:
    percent_of = round(100 * share)
    known = (paper.SHARES[stage].get(percent_of), paper.WITHOUT[stage].get(percent_of))
    cells = [percent(figures["d"]), *([plain_percent(known[0])] if published else [])]
    cells += [percent(figures["control"]), percent(figures["d_known"])]
    cells += [plain_percent(known[1])] if published else []
    cells += [points(figures["control_minus_d"]), points(figures["d_known_minus_d"]), _ratio(figures["fewer_steps"])]
    return row(STAGE_NAMES[stage], share_name(share), *cells)


def _ratio(estimate: Estimate | None) -> Cell:
    """A ratio, which may lie outside 0 to 100 %."""
    if estimate is None:
        return Cell(wording.NONE)
    if estimate.interval is None:
        return Cell(wording.UNDEFINED)
    value, low, high = (_signed(x) for x in (estimate.value, estimate.interval.low, estimate.interval.high))
    return Cell(f"{value} %", f"[{low}, {high}]")


def _signed(share: float) -> str:
    """A ratio in percent; it may be negative, and a small one never becomes 0."""
    return wording.points(share).removeprefix("+")


def _table(rows: list[tuple[Cell, ...]], group: str, *, published: bool) -> Table:
    paper_too = ["paper"] if published else []
    header = ["stage", "Unknown rows", "D", *paper_too, "control", "D_Known", *paper_too]
    header += ["control − D", "D_Known − D", "of it only fewer steps"]
    what = "all test facts" if group == ALL else "Known test facts"
    note = (
        "The last column is (D_Known − control) / (D_Known − D) with Fieller's interval: undefined where D_Known is "
        "not better than D, or may not be at all."
    )
    return Table(
        f"Accuracy in percent on {what}, differences in points", tuple(header), tuple(rows), labels=2, note=note
    )


def _steps(
    share: float, mix: Variant, without: Variant | None, control: Variant | None, data: dict[str, Any]
) -> list[str]:
    """How many steps each took, and what of D_Known's advantage that is."""
    if without is None or control is None:
        return []
    counts = [f"{v.steps:,.0f}" if v.steps is not None else wording.NONE for v in (mix, control, without)]
    figures = data[KNOWN_FACTS][CONVERGENCE][share_name(share)]
    told, advantage = figures["fewer_steps"], figures["d_known_minus_d"]
    if told is None or advantage is None or advantage.value <= 0:
        share_told = f"D_Known has no advantage there of which a share could be told ({said(advantage)})"
    elif told.interval is None:
        share_told = "D_Known's advantage may be 0, so what share of it is only fewer steps is undefined"
    else:
        value, low, high = (_signed(x) for x in (told.value, told.interval.low, told.interval.high))
        share_told = f"{value} % ({low} to {high}) of D_Known's advantage is only fewer steps"
    return [
        f"{share_name(share)} Unknown: D and its control took {counts[0]} and {counts[1]} steps{_effective(control)}, "
        f"D_Known {counts[2]}; on Known facts at CONVERGENCE {share_told}."
    ]


def _effective(control: Variant) -> str:
    """How many of a control's steps had something to learn, the mean over seeds."""
    empty = [record_of(arm).get("steps_without_targets") for arm in control.arms]
    counted = [n for n in empty if isinstance(n, int)]
    if control.steps is None or len(counted) < len(empty):
        return " (how many of the control's were effective is not recorded)"
    return f" (the control's: {control.steps - sum(counted) / len(counted):,.4g} effective ones)"


def _claims(shares: list[float], data: dict[str, Any]) -> list[Claim]:
    claims = []
    for share in shares:
        figures = data[KNOWN_FACTS][CONVERGENCE][share_name(share)]
        published = {at: of.get(round(100 * share)) for at, of in (("D", paper.SHARES[CONVERGENCE]),)}
        other = paper.WITHOUT[CONVERGENCE].get(round(100 * share))
        if figures["control"] is not None:
            claims.append(
                Claim(
                    f"At {share_name(share)} Unknown, the control with as many steps knows more Known facts than D.",
                    "not run",
                    said(figures["control_minus_d"]),
                    found(figures["control_minus_d"], "rose"),
                    ours=True,
                )
            )
        if figures["d_known"] is not None:
            told = said(figures["d_known_minus_d"])
            whole = data[ALL][CONVERGENCE][share_name(share)]["d_known_minus_d"]
            claims.append(
                Claim(
                    f"At {share_name(share)} Unknown, D_Known is better than D at CONVERGENCE (all facts).",
                    f"{wording.percent(other)} % against {wording.percent(published['D'])} %",
                    f"{said(whole)}; Known facts {told}",
                    found(whole, "rose"),
                )
            )
    return claims
