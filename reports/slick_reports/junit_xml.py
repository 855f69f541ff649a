"""The report as JUnit XML, which every CI shows: a suite an arm, a case a group of facts.

A FAIL is a failure. What is INCONCLUSIVE, and a report without a margin, is skipped: nothing was shown, and a page that
says "passed" would claim it. Messages stand in the elements' bodies too, since some readers show only one of the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from slick_reports import wording
from slick_reports.headline import headline_group
from slick_reports.numbers import ArmNumbers, GroupNumbers, Report, VerdictNumbers
from slick_reports.text import visible

MARK = "<!-- slick report -->"


def render(report: Report) -> str:
    """`report` as JUnit XML. Only the verdict's group of facts can fail; the others are told of."""
    suites = [(arm, list(_cases(report, arm))) for arm in report.arms]
    cases = [case for _, found in suites for case in found]
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        MARK,
        f"<testsuites name={attribute(report.title)} {_tally(cases)}>",
    ]
    for arm, found in suites:
        lines += [f"<testsuite name={attribute(arm.label)} {_tally(found)}>", *(text for _, text in found)]
        lines += [f"<system-out>{text_of(_told(report))}</system-out>", "</testsuite>"]
    return "\n".join([*lines, "</testsuites>"]) + "\n"


Case = tuple[str, str]  # ("passed", "failed" or "skipped", XML)


def _cases(report: Report, arm: ArmNumbers) -> Iterator[Case]:
    verdicts = {v.arm: v for v in report.verdict.verdicts} if report.verdict else {}
    judged = verdicts[arm.label].group if arm.label in verdicts else headline_group(report.arms)
    for row in arm.groups:
        if row.n:
            why = "no margin is set for these facts"
            if arm.is_control and verdicts and arm.label not in verdicts:
                why = "it is the control, which the other arms are judged against"
            yield _case(arm, row, verdicts.get(arm.label) if row.group == judged else None, why)


def _case(arm: ArmNumbers, row: GroupNumbers, verdict: VerdictNumbers | None, why: str) -> Case:
    """why: it is not judged, where there is no verdict."""
    figures = (
        f"{row.group}: n = {row.n:,}, before {wording.estimate_percent(row.before.accuracy)} %, after "
        f"{wording.estimate_percent(row.after.accuracy)} %, difference {wording.estimate_points(row.change.estimate)} "
        f"points, answer prior {wording.percent(row.prior)} %, abstained {wording.percent(row.before.abstained)} → "
        f"{wording.percent(row.after.abstained)} %"
    )
    outcome, inner = "passed", ""
    if verdict is None:
        outcome, inner = "skipped", element("skipped", f"not judged: {why}", figures)
    elif verdict.outcome == "FAIL":
        outcome, inner = "failed", element("failure", verdict.sentence, f"{verdict.sentence}\n{figures}", "FAIL")
    elif verdict.outcome != "PASS":
        outcome, inner = "skipped", element("skipped", verdict.sentence, f"{verdict.sentence}\n{figures}")
    out = f"<system-out>{text_of(f'{verdict.sentence if verdict else str()} {figures}'.strip())}</system-out>"
    name = f"slick.{visible(arm.label)}"
    return outcome, f"<testcase classname={attribute(name)} name={attribute(row.group)}>{inner}{out}</testcase>"


def element(tag: str, message: str, body: str, type: str = "") -> str:
    """An element that says the same in its attribute and, longer, in its body."""
    kind = f" type={attribute(type)}" if type else ""
    return f"<{tag} message={attribute(message)}{kind}>{text_of(body)}</{tag}>"


def _tally(cases: list[Case]) -> str:
    outcomes = [outcome for outcome, _ in cases]
    failed, skipped = outcomes.count("failed"), outcomes.count("skipped")
    return f'tests="{len(cases)}" failures="{failed}" errors="0" skipped="{skipped}"'


def _told(report: Report) -> str:
    verdict = f"{report.verdict.sentence}\n" if report.verdict else ""
    return f"{verdict}{report.headline}\n{report.noise}\n{report.command}"


def text_of(text: str) -> str:
    """Text that XML 1.0 can hold: what is invisible is spelled out, line by line."""
    return escape("\n".join(visible(line) for line in text.split("\n")))


def attribute(text: str) -> str:
    """Text in quotes, as an attribute's value."""
    return quoteattr(visible(text))
