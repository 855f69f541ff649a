"""Every variant of the study, also those that stand in no comparison of shares."""

from __future__ import annotations

from collections.abc import Sequence

from slick.knowledge import Category
from slick_reports import wording
from slick_sft.study.jobs import CONVERGENCE, EARLY_STOP
from slick_sft.study_report import fitted
from slick_sft.study_report.asked import ALL, KNOWN_FACTS
from slick_sft.study_report.blocks import Cell, Section, Table, percent, points, row
from slick_sft.study_report.data import TEST, Study, Variant
from slick_sft.study_report.measures import accuracy, difference

ID, TITLE = "variants", "Every variant"


def section(study: Study) -> Section:
    rows = [_row(study, variant) for variant in study.variants.values()]
    header = (
        "variant",
        "method",
        "rows",
        "Unknown",
        "steps",
        "fitted at CONVERGENCE, Known / Unknown",
        "EARLY_STOP: epoch",
        "Known facts",
        "CONVERGENCE: Known facts",
        "all facts",
        "Known facts − base",
    )
    note = (
        "Test facts, accuracy in percent, the difference to the untuned base model in points. Rows, steps and epochs "
        "are given by seed where they differ. Fitted: the share of the Known and of the Unknown rows that are answered "
        "rightly after the last epoch, in percent, the mean over seeds with the lowest and the highest in brackets."
    )
    text = ["Rows, steps and outcomes of all variants, in the grid's order."]
    text += [f"{name} stands in no comparison of shares: {why}." for name, why in study.beside.items()]
    return Section(
        ID,
        TITLE,
        tuple(text),
        (Table("All variants", header, tuple(rows), labels=2, note=note),),
        data={
            "beside": study.beside,
            "size": study.size,
            "fitted": {
                name: {kind: fitted.at_end(study, v, of) for kind, of in fitted.KINDS.items()}
                for name, v in study.variants.items()
            },
            "unfinished": fitted.note(study),
        },
    )


def _row(study: Study, variant: Variant) -> tuple[Cell, ...]:
    counts = [study.rows(arm) for arm in variant.arms]
    return row(
        variant.name,
        variant.method,
        _by_seed([sum(of.values()) for of in counts]),
        _by_seed([of[Category.UNKNOWN] for of in counts]),
        _by_seed([arm.steps for arm in variant.arms]),
        fitted.known_and_unknown(study, variant),
        _by_seed([arm.stopped for arm in variant.arms]),
        percent(accuracy(study, variant, EARLY_STOP, TEST, KNOWN_FACTS)),
        percent(accuracy(study, variant, CONVERGENCE, TEST, KNOWN_FACTS)),
        percent(accuracy(study, variant, CONVERGENCE, TEST, ALL)),
        points(difference(study, (variant, CONVERGENCE), None, TEST, KNOWN_FACTS)),
    )


def _by_seed(values: Sequence[float | None]) -> str:
    told = [wording.NONE if value is None else f"{value:,g}" for value in values]
    return told[0] if len(set(told)) == 1 else ", ".join(told)
