"""EARLY_STOP: which epoch won, and whether filtering out Unknown rows loses anything there, as a verdict."""

from __future__ import annotations

from collections.abc import Mapping

from slick.dynamics import DEV
from slick.verdict import Judgement, Outcome, Verdict, judge_all
from slick_reports import wording
from slick_sft.study.jobs import EARLY_STOP
from slick_sft.study_report import fitted
from slick_sft.study_report.asked import ALL, KNOWN_FACTS
from slick_sft.study_report.blocks import (
    Cell,
    Claim,
    Finding,
    Section,
    Table,
    listed,
    missing,
    percent,
    points,
    row,
    said,
)
from slick_sft.study_report.data import TEST, Study, Variant, share_name
from slick_sft.study_report.measures import accuracy, base_accuracy, compared, difference

ID, TITLE = "early_stop", "At EARLY_STOP, does filtering lose anything?"
# What a loss must exceed to matter, fixed before any study was read: DESIGN's middle margin.
MARGIN = 0.03
# The facts on which that is judged; the claim goes by the first.
GATED = (ALL, KNOWN_FACTS)

Pairs = dict[float, tuple[Variant, Variant]]


def section(study: Study) -> Section:
    filtered, others = pairs(study)
    if not filtered and not others:
        return missing(ID, TITLE, ["mix with Unknown rows beside one without"])
    told_apart = {share: pair for share, pair in filtered.items() if not all(v.untuned for v in pair)}
    judged = {group: judge(study, told_apart, group) for group in GATED} if told_apart else {}
    text = [*_epochs_told(study, filtered | others)]
    if judged:
        text.append(f"D without its Unknown rows (D_Known) minus D, margin {margin()} points. {judged[ALL].sentence}")
        text.append(f"The same on Known facts alone, of which a loss is a larger part: {judged[KNOWN_FACTS].sentence}")
        text.append(
            "PASS says that a loss as large as the margin is ruled out, not that there is none: where an interval "
            "lies below 0, dropping the rows does lose something."
        )
    elif not filtered:
        text.append("No D_Known (…-without-unknown) was trained, so that what filtering loses is not judged.")
    if same := [share_name(share) for share in filtered if share not in told_apart]:
        text.append(
            f"At {listed(same)} Unknown epoch 0 won in every run of D and of D_Known: both are the base model itself, "
            "and there is nothing to judge."
        )
    tables = [_verdicts(judged)] if judged else []
    base = percent(base_accuracy(study, TEST, ALL))
    note = f"The base model: {base.text} {base.under} % of all facts."
    if filtered:
        tables.append(_table(study, filtered, "EARLY_STOP: accuracy in percent, differences in points", note))
    if others:
        caption = (
            "The same against the set of Known rows alone, which has D's size and other rows: no filtered set, and no "
            "part of the verdict"
        )
        tables.append(_table(study, others, caption, "" if filtered else note, name="known-only"))
    claims = [claim(judged)] if judged else []
    data = {
        "verdict": judged[ALL].as_dict() if judged else None,
        "verdict_known": judged[KNOWN_FACTS].as_dict() if judged else None,
        "epochs": {name: [arm.stopped for arm in v.arms] for name, v in study.variants.items()},
        "base_won": _base_won(study),
    }
    return Section(ID, TITLE, tuple(text), tuple(tables), tuple(claims), data)


def pairs(study: Study) -> tuple[Pairs, Pairs]:
    """(each D with its D_Known, each other D with the set of Known rows alone), by share of Unknown rows.

    Only the first is filtering: at 100 % nothing is left of D, and what is compared there holds other rows.
    """
    mixes, without = study.mixes(), study.without()
    none = mixes.get(0.0)
    filtered = {share: (mix, without[share]) for share, mix in mixes.items() if share > 0 and share in without}
    others = {share: (mix, none) for share, mix in mixes.items() if none and share > 0 and share not in without}
    return filtered, others


def judge(study: Study, filtered: Pairs, group: str = ALL) -> Judgement:
    """Whether the filtered sets are no worse than the unfiltered ones by the margin, on a group of the test facts."""
    return judge_all(
        {
            f"{share_name(share)} Unknown": (
                compared(study, (other, EARLY_STOP), (mix, EARLY_STOP), TEST, group),
                MARGIN,
            )
            for share, (mix, other) in filtered.items()
        }
    )


def margin() -> str:
    """ "3.0"."""
    return wording.points(MARGIN).removeprefix("+")


def claim(judged: Mapping[str, Judgement]) -> Claim:
    """Its finding is the verdict on all facts; the text names each real loss, and gives the verdict on Known facts."""
    return Claim(
        f"At EARLY_STOP, dropping Unknown rows loses less than {margin()} points (all facts).",
        "43.0 % with and without at 50 %; 40.5 % against 39.7 % at 90 %",
        f"{judged[ALL].outcome} at a margin of {margin()} points{_losses(judged[ALL])}; Known facts alone: "
        f"{judged[KNOWN_FACTS].outcome}{_losses(judged[KNOWN_FACTS])}",
        {Outcome.PASS: Finding.AGREES, Outcome.FAIL: Finding.DIFFERS}.get(judged[ALL].outcome, Finding.OPEN),
    )


def _losses(judged: Judgement) -> str:
    """The shares at which something is lost, beyond the interval."""
    lost = [
        f"at {v.name} {said(v.estimate)}"
        for v in judged.verdicts
        if v.estimate and v.estimate.interval and v.estimate.interval.high < 0
    ]
    return f", with a real loss {listed(lost)}" if lost else ""


def _verdicts(judged: Mapping[str, Judgement]) -> Table:
    rows = []
    for group, of in judged.items():
        cells = [_verdict(verdict) for verdict in of.verdicts]
        rows.append(row(f"{'all' if group == ALL else group} facts", str(of.outcome), *cells))
    header = ("test facts", "in all", *(verdict.name for verdict in judged[ALL].verdicts))
    caption = f"Verdicts on D_Known − D at EARLY_STOP, margin {margin()} points"
    return Table(caption, header, tuple(rows), labels=2, note="The claim goes by the first row.")


def _verdict(verdict: Verdict) -> Cell:
    difference = points(verdict.estimate)
    return Cell(f"{verdict.outcome} {difference.text}", difference.under, difference.way)


def _base_won(study: Study) -> int:
    return sum(arm.base_won for variant in study.variants.values() for arm in variant.arms)


def _epochs_told(study: Study, trained: Pairs) -> tuple[str, str]:
    winners = [f"{name} {_epochs(v)}" for name, v in {v.name: v for pair in trained.values() for v in pair}.items()]
    base, arms = _base_won(study), sum(len(variant.arms) for variant in study.variants.values())
    return (
        f"EARLY_STOP is the epoch of the best accuracy on the n = {fitted.watched(study, DEV)} dev facts that were "
        "measured after each, the untuned base model (epoch 0) among the candidates. "
        + (
            f"Epoch 0 won in {base} of {arms} runs of this study: there, no tuning at all was best on dev."
            if base
            else f"Epoch 0 won in none of the {arms} runs of this study."
        ),
        f"Epochs that won, by seed: {'; '.join(winners)}.",
    )


def _table(study: Study, trained: Pairs, caption: str, note: str, name: str = "D_Known") -> Table:
    rows = [_row(study, share, mix, other) for share, (mix, other) in sorted(trained.items())]
    header = ["Unknown rows"]
    for facts in ("all facts", "Known facts"):
        header += [f"D, {facts}", name, f"{name} − D"]
    return Table(caption, tuple(header), tuple(rows), note=note)


def _row(study: Study, share: float, mix: Variant, other: Variant) -> tuple[Cell, ...]:
    cells = []
    for group in (ALL, KNOWN_FACTS):
        cells += [percent(accuracy(study, v, EARLY_STOP, TEST, group)) for v in (mix, other)]
        cells.append(points(difference(study, (other, EARLY_STOP), (mix, EARLY_STOP), TEST, group)))
    return row(share_name(share), *cells)


def _epochs(variant: Variant) -> str:
    return ", ".join("not recorded" if arm.stopped is None else f"{arm.stopped:g}" for arm in variant.arms)
