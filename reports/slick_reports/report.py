"""The report's front door: runs in, one numbers object out, and that object written in every format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from slick.knowledge import Category
from slick.statistics import LEVEL
from slick_reports import collector, headline, noise
from slick_reports.comparable import check_weights
from slick_reports.compare import Comparison
from slick_reports.curves import training_curves
from slick_reports.gather import TITLE, Gathered, Request, gather
from slick_reports.judging import check_margin, judge
from slick_reports.loss import loss_curves
from slick_reports.migration import migration
from slick_reports.notes import notes
from slick_reports.numbers import ALL, KNOWN, Migration, Report, Shares
from slick_reports.output import write_report
from slick_reports.places import place
from slick_reports.records import records, settings_of, shown_mismatch
from slick_reports.summaries import lacks_samples, summary_report
from slick_reports.text import short
from slick_reports.wording import estimate_points, level, percent

__all__ = ["TITLE", "Report", "build_report", "headline_table", "write_report"]


@collector.paused()
def build_report(
    runs: Sequence[Path],
    *,
    before: Path | None = None,
    knowledge: Path | None = None,
    control: str | None = None,
    labels: Mapping[str, str] | None = None,
    title: str = TITLE,
    allow_mismatch: bool = False,
    after: Sequence[Path] = (),
    training: Mapping[str, Sequence[Path]] | None = None,
    margin: float | None = None,
) -> Report:
    """The numbers of a before-and-after report on score runs.

    runs: the first is "before" (the base model) unless `before` names another; the others are arms, and runs of one
    recipe with several seeds are one arm. knowledge: a probe of the base model; without it the categories come from
    the score runs. control: label of the control arm. labels: run path, as given → label. after: probes of tuned
    models, for the migration matrix. training: an arm's label → its training sets, one a seed or one for all, to tell
    echoes of them. margin: the drop, a fraction, that a verdict is about; without it there is no verdict.
    Raises InputError when a run cannot be read or the runs cannot be compared; allow_mismatch lets different
    settings pass and records them in the report.
    """
    check_margin(margin)
    request = Request(
        runs, before, knowledge, control, labels or {}, title, allow_mismatch, after, training or {}, margin
    )
    if any(lacks_samples(path) for path in (*runs, *((before,) if before else ()))):
        return summary_report(request)
    gathered = gather(request)
    same = (
        check_weights(gathered.before, gathered.arms, gathered.control, allow_mismatch=allow_mismatch)
        if margin is not None
        else []
    )
    comparison = Comparison(
        gathered.before,
        gathered.arms,
        gathered.categories(),
        training=gathered.training,
        after={label: {k.fact.id: k.category for k in probe.knowledge} for label, probe in gathered.after.items()},
    )
    name = gathered.control.label if gathered.control else None
    curves = {arm.label: training_curves(arm) for arm in gathered.arms}
    arms = tuple(
        replace(
            comparison.arm(arm.label, name),
            migration=_migration(gathered, arm.label),
            loss=loss_curves(arm.runs),
            training_curves=curves[arm.label][0],
        )
        for arm in gathered.arms
    )
    probed = gathered.knowledge.knowledge if gathered.knowledge else None
    selection = noise.selection_lines(probed or ())
    seeds = noise.seeds_lines(comparison, gathered.control)
    group = headline.headline_group(arms)
    settings = settings_of(gathered.before)
    return Report(
        title=title,
        headline=headline.headline(arms, name),
        noise=headline.noise(arms, comparison.seeds_met(name)),
        findings=tuple(headline.finding(arm, group, name) for arm in arms),
        caveats=(
            *headline.caveats(arms, name),
            *headline.method(
                settings.matching,
                alike=not gathered.mismatches,
                judge=gathered.before.judge,
                subjects=any(fact.subject for fact in comparison.facts),
            ),
        ),
        mismatches=tuple(map(shown_mismatch, (*gathered.mismatches, *same))),
        notes=(*notes(gathered, comparison), *(note for _, found in curves.values() for note in found)),
        level=LEVEL,
        n=len(comparison.facts),
        before=gathered.before_label,
        control=name,
        arms=arms,
        relations=comparison.relations(),
        selection=selection,
        selection_note=noise.selection_note(probed, selection),
        seeds=seeds,
        seeds_note=noise.seeds_note(gathered.control, seeds),
        shares=_shares(gathered, comparison),
        settings=settings,
        runs=records(gathered),
        command=request.command(),
        verdict=judge(comparison, gathered.arms, gathered.control, margin) if margin is not None else None,
    )


def _migration(gathered: Gathered, label: str) -> Migration | None:
    probe = gathered.after.get(label)
    if probe is None or gathered.knowledge is None:
        return None
    return migration(gathered.knowledge.knowledge, probe.knowledge, place(probe.path))


def _shares(gathered: Gathered, comparison: Comparison) -> Shares | None:
    if gathered.knowledge:
        return noise.knowledge_shares(gathered.knowledge.knowledge)
    scored = zip(comparison.facts, comparison.categories, strict=True)
    return noise.category_shares(((fact, c) for fact, c in scored if c is not None), "scored facts")


def headline_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """(header, rows) for the terminal: each arm on all, Known and HighlyKnown facts."""
    header = ["", "facts", "n", "prior", "before", "after", f"difference [{level(report.level)}]"]
    wanted = (ALL, KNOWN, str(Category.HIGHLY_KNOWN))
    rows = [
        [
            short(arm.label),
            row.group,
            f"{row.n:,}",
            percent(row.prior),
            percent(row.before.accuracy.value if row.before.accuracy else None),
            percent(row.after.accuracy.value if row.after.accuracy else None),
            estimate_points(row.change.estimate),
        ]
        for arm in report.arms
        for row in arm.groups
        if row.group in wanted
    ]
    return header, rows
