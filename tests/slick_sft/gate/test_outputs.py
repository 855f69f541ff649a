"""Tests of the gate's outputs: every one says the verdict, keeps foreign text harmless, and stays within limits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.facts import Fact
from slick_reports import wording
from slick_reports.markdown import escape
from slick_sft.gate.arms import read_pair
from slick_sft.gate.decide import decide
from slick_sft.gate.outputs import (
    MARK,
    SUMMARY_BYTES,
    cut,
    junit,
    markdown,
    plain,
    print_report,
    write_files,
    write_summary,
)
from slick_sft.gate.policy import policy_of
from slick_sft.gate.report import GateReport, LostFact

HOSTILE = "<script>alert(1)</script> | [x](http://evil) ::error::x @team \x1b[31m]]> \ud800"


@pytest.fixture
def report(runs: Any) -> GateReport:
    """A FAIL of Known and an open all, with hostile text in a lost fact and a note."""
    rule = policy_of({"margins": {"Known": 2, "Unknown": 30}}, "x")
    pair = read_pair(runs.arm("candidate", [0.5, 0.55]), runs.arm("control", [0.9, 0.95]))
    found = decide(pair, rule, notes=[HOSTILE])
    fact = Fact.create(HOSTILE, [HOSTILE], relation="R", subject="s")
    return replace(found, lost=(LostFact(fact, "HighlyKnown", 1.0, 0.0, (HOSTILE,), (HOSTILE,)), *found.lost))


def test_json_holds_everything_and_is_versioned(report: GateReport, tmp_path: Path) -> None:
    """The document says schema, verdict, groups, runs, policy and lost facts, and is JSON whatever text it holds."""
    write_files(report, json=tmp_path / "gate.json", markdown_file=None, junit_file=None)
    found = json.loads((tmp_path / "gate.json").read_text())
    assert (found["schema"], found["kind"], found["verdict"], found["exit_code"]) == (1, "slick gate", "FAIL", 1)
    assert found["policy"]["margins"] == {"Known": 2.0, "Unknown": 30.0}
    assert [len(found["runs"][side]) for side in ("candidate", "control")] == [2, 2]
    assert found["lost"][0]["fact"]["question"].startswith("<script>")
    known = next(g for g in found["groups"] if g["name"] == "Known")
    assert known["verdict"]["difference"] == pytest.approx(known["candidate"]["share"] - known["control"]["share"])


def test_markdown_says_it_and_holds_nothing_live(report: GateReport) -> None:
    """The hidden marker comes first; no HTML of others, link, mention or control character is left."""
    text = markdown(report)
    assert text.startswith(MARK)
    assert "FAIL" in text
    for live in ("<script", "](http://evil)", "@team", "\x1b"):
        assert live not in text


def test_junit_is_well_formed_and_has_its_text_in_the_body(report: GateReport) -> None:
    """A case a gated group; the failure's body holds the sentence, for readers that drop attributes."""
    root = ElementTree.fromstring(junit(report))
    cases = root.findall(".//testcase")
    assert [case.get("name") for case in cases] == ["Known", "Unknown"]
    failure = cases[0].find("failure")
    assert failure is not None
    assert failure.text is not None
    assert "FAIL: Known" in failure.text
    assert root.get("failures") == str(sum(case.find("failure") is not None for case in cases))


def test_junit_of_open_verdicts_follows_the_policy(runs: Any) -> None:
    """Skipped by default, a failure where the policy fails them, passed only where it lets them pass."""
    pair = read_pair(runs.arm("candidate", [0.9]), runs.arm("control", [0.9]))
    found = {}
    for how in ("report", "fail", "pass"):
        report = decide(pair, policy_of({"margins": {"Known": 1}, "inconclusive": how}, "x"))
        case = ElementTree.fromstring(junit(report)).find(".//testcase")
        assert case is not None
        found[how] = next((tag for tag in ("skipped", "failure") if case.find(tag) is not None), "passed")
    assert found == {"report": "skipped", "fail": "failure", "pass": "passed"}


def test_plain_text_is_a_table(report: GateReport) -> None:
    """The message of a failed test: the sentence, then a line a group."""
    lines = plain(report).split("\n")
    assert lines[0].startswith("FAIL: 1 of 2 gated categories" if "1 of 2" in lines[0] else "FAIL")
    assert any(line.startswith("Known ") and line.endswith("FAIL") for line in lines)
    assert "\x1b" not in plain(report)


def test_the_level_that_is_named_is_the_one_that_was_used(runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """With two looks at 90 % every interval is one of 95 %: in the caption, and of groups that are not gated."""
    rule = policy_of({"margins": {"Known": 8}, "looks": 2}, "x")
    report = decide(read_pair(runs.arm("candidate", [0.8] * 2), runs.arm("control", [0.9] * 2)), rule)
    assert report.judgement.interval_level == pytest.approx(0.95)
    assert "95 % intervals" in markdown(report)
    assert "90 %" not in markdown(report)
    for group in report.groups:
        shown = wording.estimate_points(group.paired.estimate(0.95))
        assert shown in plain(report)
        assert escape(shown) in markdown(report)
    print_report(report)
    assert "95 % intervals" in " ".join(capsys.readouterr().out.split())


def test_a_mismatch_leaves_a_banner_everywhere(report: GateReport) -> None:
    """What was judged only because it was allowed says so in every form."""
    odd = replace(report, mismatches=("steps: 7 against 100",))
    for text in (markdown(odd), junit(odd), plain(odd)):
        assert "--allow-mismatch" in text
        assert "steps: 7 against 100" in text


def test_the_jobs_summary_is_added_and_never_too_long(
    report: GateReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes behind what a step wrote before; what does not fit is cut at a line."""
    file = tmp_path / "summary.md"
    file.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))
    write_summary(report)
    assert file.read_text().startswith(f"before\n{MARK}")
    file.write_text("x" * (SUMMARY_BYTES - 300))
    write_summary(report)
    assert file.stat().st_size < SUMMARY_BYTES
    file.write_text("x" * (SUMMARY_BYTES - 10))
    write_summary(report)
    assert file.stat().st_size < SUMMARY_BYTES


@given(st.lists(st.text(alphabet="aé\U0001f600 ", max_size=40), max_size=30), st.integers(0, 600))
def test_cut_never_exceeds_its_limit(lines: list[str], limit: int) -> None:
    """In bytes, whatever the text; what fits is left alone."""
    text = "".join(f"{line}\n" for line in lines)
    found = cut(text, limit)
    assert len(found.encode()) <= limit
    assert found == text or len(text.encode()) > limit


def test_what_is_cut_within_details_closes_them() -> None:
    """Else the word about the cut would be hidden."""
    text = "head\n<details><summary>Facts</summary>\n\n" + "| a | b |\n" * 50 + "\n</details>\n"
    found = cut(text, 300)
    assert len(found) <= 300
    assert found.index("</details>") < found.index("(cut: more than")
    assert "</details>" not in cut("head\n" * 200, 300)
