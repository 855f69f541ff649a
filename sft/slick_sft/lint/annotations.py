"""The findings as workflow commands, which GitHub shows at the row's own file and line."""

from __future__ import annotations

from collections.abc import Iterator

from slick_reports.text import visible
from slick_sft.lint.findings import Level
from slick_sft.lint.report import Report

# GitHub shows ten errors and ten warnings of a step, and cuts off a job's others; the worst come first.
LIMIT = 50
_COMMANDS = {Level.ERROR: "error", Level.WARNING: "warning", Level.NOTE: "notice"}


def annotate(report: Report, limit: int = LIMIT) -> Iterator[str]:
    """One command a finding, the worst first, and one for what is left out or was not probed."""
    chosen = report.by_severity()[:limit]
    for finding in chosen:
        row = report.rows[finding.row]
        line = row.row.line
        message = f"turn {row.turn}: {finding.message}" if row.turn else finding.message
        message = message if line else f"row {row.row.number}: {message}"
        yield command(
            _COMMANDS[finding.rule.level], message, file=report.path(row.source), line=line, title=finding.rule.title
        )
    if left := len(report.findings) - len(chosen):
        yield command("notice", f"{left} more findings are not shown here", title="slick lint")
    for reason, n in report.not_probed.items():
        yield command("notice", f"{n} of {report.counted} were not probed: {reason}", title="slick lint")


def command(name: str, message: str, *, file: str = "", line: int | None = None, title: str = "") -> str:
    """A workflow command; nothing in its texts can end it or begin another."""
    properties = {"file": file, "line": str(line) if line else "", "title": title}
    listed = ",".join(f"{key}={_property(value)}" for key, value in properties.items() if value)
    return f"::{name} {listed}::{_data(visible(message))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
