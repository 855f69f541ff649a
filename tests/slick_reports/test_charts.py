"""The pictures, read back."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from markupsafe import Markup

from slick_reports import charts
from slick_reports.numbers import Report
from slick_reports.report import build_report
from slick_reports.wording import estimate_percent, estimate_points

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Lab, Study

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def report(study: Study) -> Report:
    return build_report(study.runs, knowledge=study.probe)


def parsed(svg: Markup | None) -> ET.Element:
    assert svg is not None
    return ET.fromstring(svg)


def tooltips(svg: ET.Element) -> list[str]:
    """The tooltips of its marks, in order."""
    return [mark[0].text or "" for mark in svg.iter() if mark.attrib.get("class", "").startswith("mark")]


def all_charts(report: Report) -> list[ET.Element]:
    shares = charts.shares_chart(report.shares) if report.shares else None
    drawn = (charts.accuracy_chart(report), charts.change_chart(report), charts.control_chart(report), shares)
    return [parsed(svg) for svg in drawn]


def test_every_accuracy_is_a_dot_with_its_numbers(report: Report) -> None:
    """Before and each arm, group by group; the tooltip is what the table says."""
    expected = []
    for i, row in enumerate(report.arms[0].groups):
        expected.append(f"before {estimate_percent(row.before.accuracy)}")
        expected += [f"{arm.label} {estimate_percent(arm.groups[i].after.accuracy)}" for arm in report.arms]
    assert tooltips(parsed(charts.accuracy_chart(report))) == expected


def test_every_difference_is_a_dot_filled_where_it_excludes_0(report: Report) -> None:
    """Readable in grey: hollow means that 0 is inside."""
    svg = parsed(charts.change_chart(report))
    marks = [mark for mark in svg.iter() if mark.attrib.get("class", "").startswith("mark")]
    estimates = [arm.groups[i].change.estimate for i in range(6) for arm in report.arms]
    assert [mark[0].text for mark in marks] == [
        f"{arm.label} {estimate_points(arm.groups[i].change.estimate)}" for i in range(6) for arm in report.arms
    ]
    for mark, estimate in zip(marks, estimates, strict=True):
        assert estimate is not None
        assert estimate.interval is not None
        holds_zero = estimate.interval.low <= 0 <= estimate.interval.high
        assert ("hollow" in mark.attrib["class"]) == holds_zero


def test_the_zero_line_is_drawn_once(report: Report) -> None:
    """In both pictures of differences."""
    for svg in (charts.change_chart(report), charts.control_chart(report)):
        assert sum(line.attrib["class"] == "zero" for line in parsed(svg).iter(f"{SVG}line")) == 1


def test_the_control_is_not_set_against_itself(report: Report) -> None:
    """Its row is missing from that picture, and the others keep their signs."""
    told = tooltips(parsed(charts.control_chart(report)))
    assert {text.split()[0] for text in told} == {"half", "unknown"}


def test_without_a_control_there_is_no_such_picture(study: Study) -> None:
    """Nor with the control alone."""
    assert charts.control_chart(build_report([study.base, study.half])) is None
    assert charts.control_chart(build_report([study.base, *study.known])) is None


def test_the_two_pictures_of_one_group_stand_level(report: Report) -> None:
    """A reader's eye goes from accuracy to difference on one line."""

    def rows(svg: Markup) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for group in parsed(svg).iter(f"{SVG}g"):
            if (name := group.attrib.get("class")) and name.startswith("arm"):
                (whisker,) = group.iter(f"{SVG}line")
                found.setdefault(name, []).append(float(whisker.attrib["y1"]))
        return found

    assert rows(charts.accuracy_chart(report)) == rows(charts.change_chart(report))


def test_nothing_is_drawn_outside_the_picture(report: Report) -> None:
    """Every coordinate lies within the view box."""
    for svg in all_charts(report):
        _, _, width, height = map(float, svg.attrib["viewBox"].split())
        for element in svg.iter():
            for name in ("x", "x1", "x2", "cx"):
                assert 0 <= float(element.attrib.get(name, 0)) <= width
            for name in ("y", "y1", "y2", "cy"):
                assert 0 <= float(element.attrib.get(name, 0)) <= height


def test_every_picture_has_its_text_alternative_and_no_style_attribute(report: Report) -> None:
    """The description holds the numbers; the page's policy forbids inline styles."""
    for svg in all_charts(report):
        assert svg.attrib["role"] == "img"
        texts = {child.tag.removeprefix(SVG): child.text or "" for child in svg if child.attrib.get("id")}
        assert texts["title"]
        assert re.search(r"HighlyKnown.*\d", texts["desc"])
        assert not any("style" in element.attrib for element in svg.iter())


def test_shares_are_as_wide_as_they_are_large(report: Report) -> None:
    """One bar for all facts, one a relation."""
    assert report.shares is not None
    svg = parsed(charts.shares_chart(report.shares))
    rects = list(svg.iter(f"{SVG}rect"))
    first = [rect for rect in rects if rect.attrib["y"] == "12"]
    widths = [float(rect.attrib["width"]) for rect in first]
    counts = [row.n for row in report.shares.categories if row.n]
    assert len({round((width + 1) / count, 1) for width, count in zip(widths, counts, strict=True)}) == 1
    assert len({rect.attrib["y"] for rect in rects}) == 1 + len(report.shares.relations)


def test_one_relation_has_no_bar_of_its_own(report: Report) -> None:
    """It would be the same bar twice."""
    assert report.shares is not None
    single = replace(report.shares, relations={"r": tuple(row.n for row in report.shares.categories)})
    svg = parsed(charts.shares_chart(single))
    assert len({rect.attrib["y"] for rect in svg.iter(f"{SVG}rect")}) == 1


def test_empty_groups_are_not_drawn(lab: Lab) -> None:
    """A dot at 0 would be a lie."""
    report = build_report([lab.score("base"), lab.score("arm")])
    assert len(tooltips(parsed(charts.accuracy_chart(report)))) == 2


def test_an_undefined_interval_is_a_hollow_dot_without_a_bar(lab: Lab) -> None:
    """And its tooltip says so."""
    lab.facts = lab.facts[:1]
    runs = [lab.arm("a", seed, lab.wrong_on(0)) for seed in range(2)]
    svg = parsed(charts.change_chart(build_report([lab.score("base"), *runs])))
    assert tooltips(svg) == ["a −100.0 undefined"]
    assert not [line for line in svg.iter(f"{SVG}line") if line.attrib["class"] == "whisker"]


def test_hostile_names_stay_text(hostile: list[Path]) -> None:
    """Pictures parse, and hold no element that was not drawn."""
    known = {"svg", "title", "desc", "g", "line", "text", "circle", "path", "rect"}
    for svg in all_charts(build_report(hostile, control="<script>alert(1)</script>\"'|`")):
        assert {element.tag.removeprefix(SVG) for element in svg.iter()} <= known
