"""Plots: every figure in the description, everything inside the picture."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.statistics import Estimate, Interval
from slick_reports.plots import (
    Bar,
    Frame,
    Mark,
    Point,
    Series,
    Slope,
    _apart,
    bars_plot,
    line_plot,
    matrix_plot,
    sideways,
    slope_plot,
)

SVG = "{http://www.w3.org/2000/svg}"


def parse(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def estimate(value: float) -> Estimate:
    return Estimate(value, Interval(max(0, value - 0.1), min(1, value + 0.1)), 100, "Wilson")


def test_a_line_breaks_where_a_point_says_so() -> None:
    """A gap is a version that was not measured, or other facts."""
    points = [Point(0, 0.1), Point(1, 0.2, gap=True), Point(2, 0.3, Interval(0.2, 0.4), "third")]
    root = parse(line_plot("a", "T", "D", [Series("s", "arm0", "circle", points)], Frame(x=(0, 2))))
    (path,) = [p for p in root.iter(f"{SVG}path") if p.get("class") == "line"]
    assert (path.get("d") or "").count("L") == 1
    assert len(list(root.iter(f"{SVG}circle"))) == 3
    assert "third" in "".join(root.itertext())
    assert [line.get("class") for line in root.iter(f"{SVG}line")].count("whisker thin") == 1


def test_series_with_intervals_stand_beside_each_other() -> None:
    """None hides another's; a series without intervals stays at its places."""
    points = [Point(0.5, 0.5, Interval(0.4, 0.6))]
    series = [Series(name, "arm0", "circle", points) for name in "abc"] + [
        Series("d", "arm0", "circle", [Point(0.5, 1)])
    ]
    circles = list(parse(line_plot("a", "T", "D", series, Frame())).iter(f"{SVG}circle"))
    middle = Frame().across.at(0.5)
    assert [float(c.get("cx") or 0) for c in circles] == pytest.approx([middle - 5, middle, middle + 5, middle])
    assert [sideways(list("abcdefg"), name) for name in "ag"] == pytest.approx([-6, 6])
    assert sideways(["a"], "a") == sideways("abc", "z") == 0


def test_a_mark_has_a_tooltip() -> None:
    """It needs no script."""
    root = parse(line_plot("a", "T", "D", [], Frame(), [Mark(0.5, "fell <here>")]))
    assert "fell <here>" in "".join(root.itertext())


@pytest.mark.parametrize("n", [1, 2, 20, 200])
def test_labels_of_many_versions_do_not_crowd(n: int) -> None:
    """As many as there is room for, the first among them."""
    labels = [(float(i), f"version-{i}") for i in range(n)]
    root = parse(line_plot("a", "T", "D", [], Frame(width=460, x=(0, n - 1), x_labels=labels)))
    shown = [t.text for t in root.iter(f"{SVG}text") if (t.text or "").startswith("version")]
    assert shown[0] == "version-0"
    assert len(shown) <= 6


def test_one_point_has_an_axis() -> None:
    """No division by an axis of no length."""
    text = line_plot("a", "T", "D", [Series("s", "arm0", "square", [Point(5, 0.5)])], Frame(x=(5, 5), y=(0.5, 0.5)))
    assert "nan" not in text
    assert "inf" not in text


def test_slopes_name_their_groups_and_figures() -> None:
    """Before and after, in the description and at the end of the line."""
    slopes = [Slope("HighlyKnown", 0, estimate(0.9), estimate(0.5)), Slope("<b>", 1, estimate(0.5), estimate(0.5))]
    root = parse(slope_plot("s", "T", slopes))
    description = next(root.iter(f"{SVG}desc")).text
    assert description == (
        "HighlyKnown: before 90.0 [80.0, 100.0], after 50.0 [40.0, 60.0]; "
        "<b>: before 50.0 [40.0, 60.0], after 50.0 [40.0, 60.0]"
    )
    assert "HighlyKnown 50.0" in "".join(root.itertext())


@given(st.lists(st.floats(0, 300), max_size=8))
def test_names_keep_apart_and_inside(wanted: list[float]) -> None:
    """And in their order."""
    found = _apart(wanted, 15, 20, 224)
    ordered = sorted(zip(wanted, found, strict=True))
    assert all(20 <= place <= 224 + 1e-9 for place in found)
    assert all(b[1] - a[1] >= 15 - 1e-9 for a, b in pairwise(ordered) if a[0] != b[0])


def test_a_matrix_shows_its_cells_in_figures_and_by_darkness() -> None:
    """Text is light on a dark cell."""
    root = parse(matrix_plot("m", "T", "D", ["a", "b"], [[(1.0, "10", "a to a"), (0.0, "0", "a to b")]] * 2))
    rects = list(root.iter(f"{SVG}rect"))
    assert [r.get("fill-opacity") for r in rects[:2]] == ["0.95", "0.05"]
    assert [r.get("class") for r in rects] == ["heat same", "heat", "heat", "heat same"]
    assert [t.get("class") for t in root.iter(f"{SVG}text") if t.text in ("10", "0")][:2] == ["over", "on"]


def test_a_long_head_of_a_matrix_takes_two_lines() -> None:
    """Side by side, "HighlyKnown" and "MaybeKnown" would touch; beside its row it stands whole."""
    cells = [[(0.5, "1", "t")] * 2] * 2
    root = parse(matrix_plot("m", "T", "D", ["HighlyKnown", "Unknown"], cells))
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert [text for text in texts if text in ("Highly", "Known", "HighlyKnown", "Unknown")] == [
        *("Known", "Highly", "HighlyKnown", "Unknown", "Unknown")
    ]


def test_bars_hold_shares_of_their_own_total() -> None:
    """An empty bar says nothing."""
    root = parse(bars_plot("b", "T", [Bar("one", [3, 1]), Bar("none", [0, 0])], ["x", "y"], "kind"))
    widths = [float(r.get("width") or 0) for r in root.iter(f"{SVG}rect")]
    assert widths == pytest.approx([218, 72])
    assert next(root.iter(f"{SVG}desc")).text == "one: x 75.0 %, y 25.0 %; none: nothing"


def test_no_picture_has_a_style_of_its_own() -> None:
    """The page's policy would refuse it."""
    text = matrix_plot("m", "T", "D", ["a"], [[(0.5, "1", "t")]]) + bars_plot("b", "T", [Bar("o", [1])], ["x"], "cat")
    assert not re.search(r"\bstyle=|\bfill=|\bstroke=", text)
