"""The report in a terminal."""

from __future__ import annotations

from slick.knowledge import Category
from slick.terminal import expected_share, percent, print_table, share
from slick_reports.text import visible
from slick_sft.lint.findings import Level
from slick_sft.lint.report import Report

_RELATIONS = 30


def print_report(report: Report, rows: int) -> None:
    """Prints categories, relations and the worst findings. rows: findings shown at most."""
    n = len(report.of_rows)
    shares = report.shares
    counted = []
    for category in shares:
        by_samples = category in (Category.WEAKLY_KNOWN, Category.UNKNOWN)
        counted.append((str(category), *(expected_share if by_samples else share)(shares[category], n)))
    flagged = sum(bool(k.flagged) for k in report.of_rows)
    counted.append(("flagged", *share(flagged / n, n)))
    print(f"{n} of {report.counted} state a short fact and were probed")
    print_table("", ("", report.unit, "share", "90 % interval"), counted)
    print(
        f"WeaklyKnown and Unknown: expected {report.unit}; flagged: of which samples may well say the one or the other."
    )
    if report.not_probed:
        print(f"{len(report.rows) - n} {report.unit} were not probed; nothing is said of what the model knows of them")
        print_table("", ("", report.unit), [(str(reason), f"{count}") for reason, count in report.not_probed.items()])
    _print_relations(report)
    _print_findings(report, rows)
    for change in report.prediction.changes:
        print(f"Prediction at {change.at}: {100 * change.change:+.1f} ± {100 * change.error:.1f} points on Known facts")
    if report.prediction.source:
        print(f"by {visible(report.prediction.source, 400)}. It is no part of any verdict.")
    if not report.prediction.changes:
        print(f"No prediction: {report.prediction.reason}.")


def _print_relations(report: Report) -> None:
    relations = sorted(report.relations, key=lambda r: (-r.unknown / r.facts, r.relation))
    rows = [
        (visible(r.relation, 80), f"{r.facts}", f"{r.unknown:.1f}", percent(r.unknown / r.facts))
        for r in relations[:_RELATIONS]
    ]
    more = f" (the {_RELATIONS} with most Unknown)" if len(relations) > _RELATIONS else ""
    print(f"{len(relations)} relations{more}")
    print_table("", ("", "facts", "Unknown", "share"), rows)


def _print_findings(report: Report, limit: int) -> None:
    counts = [f"{report.count(level)} {level}s" for level in Level]
    shown = report.by_severity()[:limit]
    print(f"Findings: {', '.join(counts)}")
    for f in shown:
        where = visible(report.where(report.rows[f.row]), 300)
        print(f"  {where}: {f.rule.level}: {visible(f.message, 400)} [{f.rule.id}]")
    if len(report.findings) > len(shown):
        print(f"{len(report.findings) - len(shown)} more findings; --rows N shows more of them, --json FILE has all.")
