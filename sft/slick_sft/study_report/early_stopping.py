"""EARLY_STOP: which epoch won, and whether filtering out Unknown rows loses anything there, as a verdict."""

from __future__ import annotations

from slick.verdict import Judgement, Outcome, judge_all
from slick_reports import wording
from slick_sft.study.jobs import EARLY_STOP
from slick_sft.study_report.blocks import Cell, Claim, Finding, Section, Table, missing, percent, points, row
from slick_sft.study_report.data import ALL, KNOWN_FACTS, TEST, Study, Variant, share_name
from slick_sft.study_report.measures import accuracy, base_accuracy, compared, difference

ID, TITLE = "early_stop", "At EARLY_STOP, does filtering lose anything?"
# What a loss must exceed to matter, fixed before any study was read: DESIGN's middle margin.
MARGIN = 0.03


def section(study: Study) -> Section:
    mixes, without = study.mixes(), study.without()
    none = mixes.get(0.0)
    pairs = {share: (v, without.get(share, none)) for share, v in mixes.items() if share > 0}
    trained = {share: (mix, other) for share, (mix, other) in pairs.items() if other is not None}
    if not trained:
        return missing(ID, TITLE, ["mix with Unknown rows beside one without"])
    judged = judge(study, trained)
    winners = [
        f"{variant.name} {_epochs(variant)}" for variant in {v.name: v for p in trained.values() for v in p}.values()
    ]
    base = sum(arm.base_won for variant in study.variants.values() for arm in variant.arms)
    arms = sum(len(variant.arms) for variant in study.variants.values())
    text = (
        "EARLY_STOP is the epoch of the best dev accuracy, the untuned base model (epoch 0) among the candidates. "
        + (
            f"Epoch 0 won in {base} of {arms} runs of this study: there, no tuning at all was best on dev."
            if base
            else f"Epoch 0 won in none of the {arms} runs of this study."
        ),
        f"Epochs that won, by seed: {'; '.join(winners)}.",
        f"Filtered minus unfiltered, margin {wording.points(MARGIN).removeprefix('+')} points. {judged.sentence}",
    )
    rows = [_row(study, share, mix, other) for share, (mix, other) in trained.items()]
    header = ("Unknown rows", "D, all facts", "filtered", "filtered − D", "D, Known facts", "filtered", "filtered − D")
    base_told = percent(base_accuracy(study, TEST, ALL))
    note = f"The base model: {base_told.text} {base_told.under} % of all facts."
    table = Table("EARLY_STOP: accuracy in percent, differences in points", header, tuple(rows), note=note)
    claim = Claim(
        "At EARLY_STOP, dropping Unknown rows loses nothing.",
        "43.0 % with and without at 50 %; 40.5 % against 39.7 % at 90 %",
        f"{judged.outcome} at a margin of {wording.points(MARGIN).removeprefix('+')} points",
        {Outcome.PASS: Finding.AGREES, Outcome.FAIL: Finding.DIFFERS}.get(judged.outcome, Finding.OPEN),
    )
    stopped = {name: [arm.stopped for arm in v.arms] for name, v in study.variants.items()}
    return Section(
        ID, TITLE, text, (table,), (claim,), {"verdict": judged.as_dict(), "epochs": stopped, "base_won": base}
    )


def judge(study: Study, trained: dict[float, tuple[Variant, Variant]]) -> Judgement:
    """Whether the filtered sets are no worse than the unfiltered ones, all test facts."""
    return judge_all(
        {
            f"{share_name(share)} Unknown": (
                compared(study, (other, EARLY_STOP), (mix, EARLY_STOP), TEST, ALL),
                MARGIN,
            )
            for share, (mix, other) in trained.items()
        }
    )


def _row(study: Study, share: float, mix: Variant, other: Variant) -> tuple[Cell, ...]:
    cells = []
    for group in (ALL, KNOWN_FACTS):
        cells += [percent(accuracy(study, v, EARLY_STOP, TEST, group)) for v in (mix, other)]
        cells.append(points(difference(study, (other, EARLY_STOP), (mix, EARLY_STOP), TEST, group)))
    return row(share_name(share), *cells)


def _epochs(variant: Variant) -> str:
    return ", ".join("not recorded" if arm.stopped is None else f"{arm.stopped:g}" for arm in variant.arms)
