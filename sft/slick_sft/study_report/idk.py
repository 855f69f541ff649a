"""Unknown rows that answer "I don't know": accuracy of what is answered, how much is, and what is right of all."""

from __future__ import annotations

from slick.statistics import Estimate
from slick_sft.study.jobs import CONVERGENCE
from slick_sft.study_report import paper
from slick_sft.study_report.asked import ALL, KNOWN_FACTS
from slick_sft.study_report.blocks import Cell, Claim, Section, Table, found, missing, percent, plain_percent, row, said
from slick_sft.study_report.data import STAGE_NAMES, STAGES, TEST, Study, Variant, share_name
from slick_sft.study_report.measures import combined, difference, ratio
from slick_sft.study_report.measures import share as share_of

ID, TITLE = "idk", "“I don't know” in place of Unknown answers"
Figures = dict[str, Estimate | None]


def section(study: Study) -> Section:
    mixes, relabelled = study.mixes(), study.relabelled()
    shares = [share for share in relabelled if share in mixes]
    if not shares:
        return missing(ID, TITLE, ["mix with Unknown rows relabelled (…-idk) beside the plain one"])
    figures = {
        share_name(share): {
            stage: {
                name: _figures(study, v, stage) for name, v in (("plain", mixes[share]), ("idk", relabelled[share]))
            }
            for stage in STAGES
        }
        for share in shares
    }
    rows = [
        _row(figures[share_name(share)][stage][name], stage, share, name)
        for share in shares
        for stage in STAGES
        for name in ("plain", "idk")
    ]
    header = ("stage", "set", "right of the answered", "paper", "answered", "paper", "right of all", "paper")
    text = (
        "An answer that abstains is counted as not right. Accuracy of the answered alone rewards silence, so the share "
        "answered and what is right of all facts stand beside it.",
    )
    table = Table("All test facts, in percent", header, tuple(rows), labels=2)
    claims = [
        claim
        for share in shares
        for claim in _claims(study, share, mixes[share], relabelled[share], figures[share_name(share)])
    ]
    return Section(ID, TITLE, text, (table,), tuple(claims), figures)


def _figures(study: Study, variant: Variant, stage: str) -> Figures:
    answers = study.answers(variant, stage, TEST)
    answered, asked = 1 - answers.abstained, study.asked(TEST)
    return {
        "accuracy": ratio(answers.right * answered, answered, asked),
        "coverage": share_of(answered, asked),
        "right": share_of(answers.right, asked),
    }


def _row(figures: Figures, stage: str, share: float, name: str) -> tuple[Cell, ...]:
    published = paper.IDK[stage][name] if share == 0.5 else None
    theirs = [None, None, None] if published is None else [published[0], published[1], published[0] * published[1]]
    cells: list[Cell | str] = [STAGE_NAMES[stage], f"{share_name(share)}{', relabelled' if name == 'idk' else ''}"]
    for figure, known in zip(("accuracy", "coverage", "right"), theirs, strict=True):
        cells += [percent(figures[figure]), plain_percent(known)]
    return row(*cells)


def _claims(
    study: Study, share: float, mix: Variant, relabelled: Variant, figures: dict[str, dict[str, Figures]]
) -> list[Claim]:
    at = figures[CONVERGENCE]
    known = difference(study, (relabelled, CONVERGENCE), (mix, CONVERGENCE), TEST, KNOWN_FACTS)
    whole = difference(study, (relabelled, CONVERGENCE), (mix, CONVERGENCE), TEST, ALL)
    return [
        Claim(
            f"At {share_name(share)} Unknown, relabelling raises the accuracy of what is answered, at CONVERGENCE.",
            "61.8 % against 38.8 %",
            f"{percent(at['idk']['accuracy']).text} % against {percent(at['plain']['accuracy']).text} %, "
            f"{said(_more_accurate(study, relabelled, mix))}",
            found(_more_accurate(study, relabelled, mix), "rose"),
        ),
        Claim(
            f"At {share_name(share)} Unknown, relabelling costs right answers of all facts, at CONVERGENCE.",
            "34.4 % against 38.8 % (accuracy times share answered)",
            f"{said(whole)}; Known facts {said(known)}",
            found(whole, "fell"),
        ),
    ]


def _more_accurate(study: Study, one: Variant, other: Variant) -> Estimate | None:
    """The difference of the accuracies of the answered, linearised so that facts and seeds both vary."""
    parts = []
    for sign, variant in ((1.0, one), (-1.0, other)):
        answers = study.answers(variant, CONVERGENCE, TEST)
        answered = 1 - answers.abstained
        whole = float(answered.mean())
        if whole == 0:
            return None
        right = answers.right * answered
        value = float(right.mean()) / whole
        parts.append((sign, value + (right - value * answered) / whole))
    return combined(parts, study.asked(TEST)) if parts[0][1].shape == parts[1][1].shape else None
