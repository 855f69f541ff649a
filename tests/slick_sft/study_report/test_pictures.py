"""slick_sft.study_report.pictures: lines with intervals, readable without colour and by a screen reader."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from slick.statistics import Interval
from slick_sft.study_report.pictures import Dot, Line, legend_sign, lines_chart

OURS = Line("ours", (Dot(0, 0.4, Interval(0.3, 0.5)), Dot(100, 0.2)), 1)
PAPER = Line("the paper", (Dot(0, 0.45), Dot(100, 0.25)), None)
SVG = "{http://www.w3.org/2000/svg}"


def drawn(*lines: Line, y_low: float | None = None) -> ElementTree.Element:
    return ElementTree.fromstring(lines_chart("id", "A title", lines, x_name="rows", x_unit=" %", y_low=y_low))


def test_a_picture_says_what_it_shows() -> None:
    """Title and description hold every number."""
    root = drawn(OURS, PAPER)
    description = root.find(f"{SVG}desc")
    assert description is not None
    assert description.text == "ours: 0 % 40.0 %, 100 % 20.0 %; the paper: 0 % 45.0 %, 100 % 25.0 %"
    assert root.attrib["role"] == "img"


def test_ours_has_signs_and_intervals_and_the_papers_is_dashed() -> None:
    """One whisker, as one point has an interval; the paper's line has the dashed class."""
    text = lines_chart("id", "t", [OURS, PAPER], x_name="rows")
    assert text.count('class="whisker"') == 1
    assert text.count('class="mark"') == 2
    assert text.count('class="curve"') == 1
    assert text.count('class="prior"') == 1
    assert text.count('class="paper-dot"') == 2


def test_every_point_lies_in_the_picture() -> None:
    """Limits included, whatever the axis begins at."""
    for y_low in (None, 0.0):
        for element in drawn(OURS, PAPER, y_low=y_low).iter():
            for name in ("y1", "y2", "cy"):
                if name in element.attrib:
                    assert 0 <= float(element.attrib[name]) <= 300


def test_a_single_point_is_drawn() -> None:
    """No line, no division by zero."""
    text = lines_chart("id", "t", [Line("one", (Dot(5, 0.5),), 0)], x_name="epoch")
    assert 'class="curve"' not in text
    assert text.count('class="mark"') == 1


def test_hostile_names_are_escaped() -> None:
    """A name from a file is text, also in the picture."""
    text = lines_chart("id", "t", [Line("<script>", (Dot(0, 0.1), Dot(1, 0.2)), 0)], x_name="<b>")
    assert "<script>" not in text
    assert "<b>" not in text
    assert not re.search(r"\sstyle=", text)


@pytest.mark.parametrize(
    ("shape", "tag"), [("circle", "circle"), ("square", "path"), ("box", "rect"), ("", "line"), ("unheard", "line")]
)
def test_the_legend_shows_the_sign(shape: str, tag: str) -> None:
    """A category's box, a series' sign, the paper's dashes."""
    assert f"<{tag} " in legend_sign("arm0", shape)


def test_a_line_knows_its_key() -> None:
    """Colour, shape and name, as the legend takes them."""
    assert OURS.key == ("arm1", "square", "ours")
    assert PAPER.key == ("paper", "", "the paper")
