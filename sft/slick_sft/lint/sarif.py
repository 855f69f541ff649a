"""The findings as SARIF 2.1.0, for code scanning."""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import quote

from slick import __version__
from slick.files import digest_of
from slick_reports.text import visible
from slick_sft.lint.examine import Examined
from slick_sft.lint.findings import RULES, Finding
from slick_sft.lint.report import Report

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
# What code scanning takes of one run at most; the worst come first.
LIMIT = 25_000
_BASE = "SRCROOT"


def as_sarif(report: Report) -> dict[str, Any]:
    """The SARIF log of one run."""
    chosen = report.by_severity()[:LIMIT]
    seen: Counter[str] = Counter()
    results = []
    for finding in chosen:
        mark = _fingerprint(report, finding)
        seen[mark] += 1
        results.append(_result(report, finding, f"{mark}:{seen[mark]}"))
    said = [f"{n} {report.unit} were not probed: {reason}" for reason, n in report.not_probed.items()]
    if left := len(report.findings) - len(chosen):
        said.append(f"{left} more findings are left out here; --json has all of them")
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "slick lint",
                        "version": __version__,
                        "rules": [
                            {
                                "id": rule.id,
                                "shortDescription": {"text": rule.title},
                                "fullDescription": {"text": rule.help},
                                "help": {"text": rule.help},
                                "defaultConfiguration": {"level": str(rule.level)},
                            }
                            for rule in RULES
                        ],
                    }
                },
                "originalUriBaseIds": {_BASE: {"description": {"text": "The root of the checked out repository."}}},
                "columnKind": "unicodeCodePoints",
                "artifacts": [{"location": _artifact(report.path(source))} for source in report.sources],
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "toolExecutionNotifications": [{"level": "note", "message": {"text": text}} for text in said],
                    }
                ],
                "results": results,
            }
        ],
    }


def _result(report: Report, finding: Finding, mark: str) -> dict[str, Any]:
    row = report.rows[finding.row]
    result: dict[str, Any] = {
        "ruleId": finding.rule.id,
        "ruleIndex": RULES.index(finding.rule),
        "level": str(finding.rule.level),
        "message": {"text": _said(finding.message)},
        "locations": [_location(report, row)],
        "partialFingerprints": {"slickLint/v1": mark},
        "properties": {"row": row.row.number, **({"turn": row.turn} if row.turn else {})},
    }
    if (k := report.known(row)) is not None:
        result["properties"] |= {"category": str(k.category), "pCorrectGreedy": k.p_greedy}
    if finding.related:
        result["relatedLocations"] = [
            {"id": i, "message": {"text": _place(report.rows[j])}, **_location(report, report.rows[j])}
            for i, j in enumerate(finding.related, 1)
        ]
    return result


def _place(row: Examined) -> str:
    return f"row {row.row.number}" + (f" turn {row.turn}" if row.turn else "")


def _location(report: Report, row: Examined) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": _artifact(report.path(row.source))}
    # A file in columns has no lines.
    if row.row.line:
        physical["region"] = {"startLine": row.row.line}
    return {"physicalLocation": physical}


def _artifact(path: str) -> dict[str, Any]:
    uri = quote(path.encode("utf-8", "surrogatepass"), safe="/")
    # A path outside of the repository is named by its file: an absolute one would say whose machine it was.
    outside = path.startswith("/") or ".." in path.split("/")
    return {"uri": uri.rsplit("/", 1)[-1] if outside else uri, "uriBaseId": _BASE}


def _fingerprint(report: Report, finding: Finding) -> str:
    """The same for the same row, wherever in the file it stands."""
    row = report.rows[finding.row]
    return digest_of([finding.rule.id, report.path(row.source), row.exchange.user, row.exchange.answers])[:32]


def _said(text: str) -> str:
    """A message with nothing that a viewer would take for a link."""
    return visible(text).replace("](", "] (")
