"""The report as JUnit XML, read back with a parser."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slick.errors import InputError
from slick_reports import junit_xml
from slick_reports.output import write_report
from slick_reports.places import place
from slick_reports.report import build_report

if TYPE_CHECKING:
    from conftest import Lab, Study


def test_a_fail_is_a_failure_with_its_sentence_in_attribute_and_body(study: Study) -> None:
    """Some readers show only one of the two. Counts are those of the cases."""
    report = build_report(study.runs, knowledge=study.probe, margin=0.03)
    root = ElementTree.fromstring(junit_xml.render(report))
    suites = {suite.get("name"): suite for suite in root}
    assert list(suites) == ["known", "half", "unknown"]
    (failure,) = suites["unknown"].iter("failure")
    assert report.verdict is not None
    sentence = report.verdict.verdicts[1].sentence
    assert failure.get("message") == sentence
    assert sentence in (failure.text or "")
    assert "difference" in (failure.text or "")
    assert not list(suites["known"].iter("failure"))
    assert {skipped.get("message") for skipped in suites["known"].iter("skipped")} == {
        "not judged: it is the control, which the other arms are judged against"
    }
    assert "not judged: no margin is set for these facts" in {
        s.get("message") for s in suites["unknown"].iter("skipped")
    }
    cases = list(root.iter("testcase"))
    assert root.get("tests") == str(len(cases)) == str(sum(int(s.get("tests") or 0) for s in root))
    assert root.get("failures") == str(len(list(root.iter("failure")))) == "2"
    assert root.get("skipped") == str(len(list(root.iter("skipped"))))
    assert report.command in "".join(root.itertext())


@pytest.mark.parametrize(("margin", "tag"), [(None, "skipped"), (0.05, "skipped"), (0.5, None)])
def test_what_is_not_settled_is_skipped_and_a_pass_is_plain(lab: Lab, margin: float | None, tag: str | None) -> None:
    """Without a margin nothing is judged, and nothing passes."""
    report = build_report([lab.score("base"), lab.score("arm", lab.wrong_on(0, 2))], margin=margin)
    (case,) = ElementTree.fromstring(junit_xml.render(report)).iter("testcase")
    assert (case.get("classname"), case.get("name")) == ("slick.arm", "all")
    assert [child.tag for child in case] == [*([tag] if tag else []), "system-out"]
    assert "n = 40, before 100.0 [" in "".join(case.itertext())


def test_hostile_text_is_text(hostile: list[Path]) -> None:
    """XML has no place for NUL and lone surrogates, whatever they are escaped as."""
    text = junit_xml.render(build_report(hostile, margin=0.1, title="]]><x>\x00\ud800&\u202e"))
    text.encode("utf-8")
    root = ElementTree.fromstring(text)
    assert root.get("name") == "]]><x>\\x00\\ud800&\\u202e"
    assert {child.tag for child in root.iter()} <= {
        *("testsuites", "testsuite", "testcase", "failure", "skipped", "system-out"),
    }
    assert "<script>alert(1)</script>\"'|`" in {suite.get("name") for suite in root}


def test_it_is_written_beside_the_others_and_replaces_no_strangers_file(lab: Lab, tmp_path: Path) -> None:
    """And stands in the command that makes the report again."""
    report = build_report([lab.score("base"), lab.score("arm")])
    out, junit = tmp_path / "r.html", tmp_path / "ci" / "r.xml"
    assert write_report(report, out, junit=junit)[-1] == junit
    assert f"--junit {place(junit)} --out {place(out)}" in junit.read_text(encoding="utf-8")
    write_report(report, out, junit=junit)
    junit.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="is no report of slick"):
        write_report(report, out, junit=junit)
    with pytest.raises(InputError, match="is also a name of --out"):
        write_report(report, out, junit=out.with_suffix(".json"))
