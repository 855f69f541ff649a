"""A gate's report where people look: a terminal, a job's summary, a pull request, JUnit. Foreign text stays text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from slick.errors import EXIT_PASS
from slick.files import replacing, write_json
from slick.verdict import Outcome
from slick_reports import wording
from slick_reports.junit_xml import attribute, element, text_of
from slick_reports.markdown import bullets, escape, sentence, table
from slick_reports.text import visible
from slick_sft.gate.report import HEADER, GateReport, Group, cells

# A hidden line by which a bot finds its own comment again.
MARK = "<!-- slick gate -->"
# A gate's directory holds its verdict as these.
VERDICT = ("gate.json", "gate.md", "gate.xml")
# GitHub takes a summary of 1 MiB a step, and a comment of 65,536 characters.
SUMMARY_BYTES = 1 << 20
COMMENT_BYTES = 65_000
# The columns of the terminal's two tables.
_JUDGED = ("n", "control", "candidate", "difference", "margin", "verdict")
_BESIDE = ("prior", "base, few-shot", "abstained", "lost", "gained")
_LOST = 20
_LOST_TERMINAL = 5
_CLOSED = "\n</details>"
_CUT = "\n\n(cut: more than a summary may hold; the JSON document has all)\n"


def markdown(report: GateReport, *, limit: int = COMMENT_BYTES) -> str:
    """The report as Markdown of at most so many bytes."""
    level = wording.level(report.judgement.interval_level)
    parts = [
        MARK,
        f"## {_SIGNS[report.outcome]} slick gate: {report.outcome}",
        f"**{sentence(report.sentence)}**",
        *_banner(report),
        table([*HEADER], [[escape(cell) for cell in cells(g, report.judgement.interval_level)] for g in report.groups]),
        "Percent of right answers"
        + (" (where it says so, of answers that are right or abstain)" if report.policy.hallucination else "")
        + f", differences in points with {level} intervals, candidate minus control. Control: "
        f"{escape(report.control)}. {len(report.candidates)} candidate and {len(report.controls)} control runs, "
        f"{report.facts:,} facts." + (f" One of {report.judgement.looks} looks." if report.judgement.looks > 1 else ""),
        _dataset(report),
        bullets(report.notes),
        _lost(report),
        f"Runs: {escape(_runs(report), 2000)}",
    ]
    return cut("\n\n".join(part for part in parts if part) + "\n", limit)


def cut(text: str, limit: int) -> str:
    """`text`, ending at a line and with a word about it where it would be longer than `limit` bytes."""
    if len(text.encode("utf-8", "backslashreplace")) <= limit:
        return text
    room, kept = limit - len((_CLOSED + _CUT).encode()), []
    for line in text.splitlines(keepends=True):
        room -= len(line.encode("utf-8", "backslashreplace"))
        if room < 0:
            break
        kept.append(line)
    whole = "".join(kept)
    # Else the word about it is hidden with the rest of the details.
    closed = _CLOSED if whole.count("<details>") > whole.count("</details>") else ""
    return whole + closed + _CUT if limit > len((_CLOSED + _CUT).encode()) else ""


def junit(report: GateReport) -> str:
    """The report as JUnit XML: a case a gated group of facts. What is open is skipped, unless the policy decides."""
    cases = [_case(report, group) for group in report.gated]
    outcomes = [outcome for outcome, _ in cases]
    tally = (
        f'tests="{len(cases)}" failures="{outcomes.count("failed")}" errors="0" skipped="{outcomes.count("skipped")}"'
    )
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name="slick gate" {tally}>',
        f'<testsuite name="slick gate" {tally}>',
        *(text for _, text in cases),
        f"<system-out>{text_of(plain(report))}</system-out>",
        "</testsuite>",
        "</testsuites>",
    ]
    return "\n".join(lines) + "\n"


def plain(report: GateReport) -> str:
    """The report as lines of text without a table's lines, for a test's message or a log."""
    level = report.judgement.interval_level
    rows = [HEADER, *(tuple(visible(cell) for cell in cells(g, level)) for g in report.groups)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    lines = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([report.sentence, *_warnings(report), "", *lines, "", *map(visible, report.notes)]).rstrip()


def print_report(report: GateReport) -> None:
    """The table, the verdict and what else is to be known, for a terminal."""
    from slick.terminal import print_table

    level = report.judgement.interval_level
    title = (
        f"candidate against {visible(report.control)}: {report.facts:,} facts, percent and points, "
        f"{wording.level(level)} intervals"
    )
    rows = [tuple(visible(cell) for cell in cells(group, level)) for group in report.groups]
    # Two, since one of all columns is wider than a terminal.
    for name, columns in ((title, _JUDGED), ("", _BESIDE)):
        chosen = [HEADER.index(column) for column in ("facts", *columns)]
        print_table(name, [HEADER[i] for i in chosen], [[row[i] for i in chosen] for row in rows])
    for line in (*_warnings(report), *_told_lost(report), *map(visible, report.notes)):
        print(line)
    print(report.sentence)


def write_files(
    report: GateReport, *, json: Path | None, markdown_file: Path | None, junit_file: Path | None
) -> list[Path]:
    """Writes the report to the files that are named, and returns them."""
    written = []
    if json:
        write_json(json, report.based(json.parent).as_dict())
        written.append(json)
    for path, text in ((markdown_file, markdown(report)), (junit_file, junit(report))):
        if path:
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
            written.append(path)
    for path in written:
        _aside(path).unlink(missing_ok=True)
    return written


def set_aside(out: Path | None, *files: Path) -> None:
    """Renames an earlier verdict, in a gate's directory and in files that are its own, so that none that could be
    taken for this one's stands there if this is not reached; `write_files` removes what was set aside."""
    for path in (*((out / name for name in VERDICT) if out is not None else ()), *filter(_is_verdict, files)):
        if path.is_file():
            path.replace(_aside(path))


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.before")


def _is_verdict(path: Path) -> bool:
    """Whether a file begins as the gate's do. What it does not know may be anyone's."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b"slick gate" in file.read(300)


def write_summary(report: GateReport) -> None:
    """Adds the report to the file that $GITHUB_STEP_SUMMARY names, if any, and keeps it below what GitHub takes."""
    name = os.environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        return
    path = Path(name)
    there = path.stat().st_size if path.exists() else 0
    text = markdown(report, limit=max(0, SUMMARY_BYTES - there - 1))
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)


_SIGNS = {Outcome.PASS: "✅", Outcome.FAIL: "❌", Outcome.INCONCLUSIVE: "❔"}


def _banner(report: GateReport) -> list[str]:
    if not report.mismatches:
        return []
    lines = "\n".join(f"> - {sentence(text)}" for text in report.mismatches)
    return [
        "> **Warning: these runs differ where it matters, and were judged because --allow-mismatch was given.** The "
        f"verdict may come from this and not from the dataset:\n{lines}"
    ]


def _warnings(report: GateReport) -> list[str]:
    if not report.mismatches:
        return []
    return [
        "WARNING: these runs differ where it matters, and were judged because --allow-mismatch was given:",
        *(f"  {visible(text)}" for text in report.mismatches),
    ]


def _dataset(report: GateReport) -> str:
    return sentence(str(report.dataset["sentence"])) if report.dataset and report.dataset.get("sentence") else ""


def _lost(report: GateReport) -> str:
    if not report.lost:
        return ""
    rows = [
        [
            escape(lost.fact.question),
            escape(lost.category or wording.NONE),
            escape(lost.fact.answers[0]),
            escape(" / ".join(lost.candidate_answers) or wording.NONE),
            f"{wording.percent(lost.control, 0)} → {wording.percent(lost.candidate, 0)}",
        ]
        for lost in report.lost[:_LOST]
    ]
    more = f" (the first {_LOST} of {len(report.lost):,})" if len(report.lost) > _LOST else ""
    shown = table(["question", "category", "right answer", "candidate answers", "right, percent of runs"], rows)
    return f"<details><summary>Facts that fewer runs of the candidate know{more}</summary>\n\n{shown}\n\n</details>"


def _told_lost(report: GateReport) -> list[str]:
    if not report.lost:
        return []
    shown = [
        f"  {visible(lost.fact.question, 120)} {visible(lost.fact.answers[0], 60)}; candidate: "
        f"{visible(' / '.join(lost.candidate_answers), 80)}"
        for lost in report.lost[:_LOST_TERMINAL]
    ]
    return [f"{len(report.lost):,} facts are known by fewer runs of the candidate, such as:", *shown]


def _runs(report: GateReport) -> str:
    def of(runs: Sequence[object]) -> str:
        return ", ".join(str(run["path"]) for run in runs)  # type: ignore[index]

    return f"candidate {of(report.candidates)}; control {of(report.controls)}"


def _case(report: GateReport, group: Group) -> tuple[str, str]:
    verdict = group.verdict
    assert verdict is not None
    shown = cells(group, report.judgement.interval_level)
    figures = "; ".join(f"{n} {c}" for n, c in zip(HEADER[1:], shown[1:], strict=True))
    body = f"{verdict.sentence}\n{figures}"
    outcome, inner = "passed", ""
    open_ = verdict.outcome is Outcome.INCONCLUSIVE
    if verdict.outcome is Outcome.FAIL or (open_ and report.policy.inconclusive == "fail"):
        outcome, inner = "failed", element("failure", verdict.sentence, body, str(verdict.outcome))
    elif open_ and not (report.policy.inconclusive == "pass" and report.exit_code == EXIT_PASS):
        outcome, inner = "skipped", element("skipped", verdict.sentence, body)
    out = f"<system-out>{text_of(body)}</system-out>"
    return outcome, f'<testcase classname="slick.gate" name={attribute(group.name)}>{inner}{out}</testcase>'
