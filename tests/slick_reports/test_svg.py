"""The pieces of the pictures."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from slick_reports.svg import SHAPES, Axis, arm_class, arm_marker, cut, element, label, marker, picture


def test_text_and_attributes_are_escaped_and_markup_is_not() -> None:
    """A label from a file cannot open an element or leave its quotes."""
    found = element("text", "<b>&", element("tspan", "x"), data_name='"><script>')
    assert found == Markup('<text data-name="&#34;&gt;&lt;script&gt;">&lt;b&gt;&amp;<tspan>x</tspan></text>')


def test_invisible_characters_are_spelled_out() -> None:
    """XML could not even hold a NUL."""
    assert element("text", "a\x00\u202e") == Markup("<text>a\\x00\\u202e</text>")


def test_numbers_are_short_and_none_is_left_out() -> None:
    """Two decimals place a point to a hundredth of a pixel."""
    assert element("rect", x=1.0, y=1 / 3, class_=None) == Markup('<rect x="1" y="0.33"></rect>')


def test_a_picture_has_a_text_alternative() -> None:
    """Title and description, named by the image."""
    svg = ET.fromstring(picture("p", 10, 20, "A title", "What it shows", label("x", 1, 2)))
    assert svg.attrib["role"] == "img"
    assert svg.attrib["aria-labelledby"] == "p-title p-desc"
    texts = {child.attrib.get("id"): child.text for child in svg}
    assert (texts["p-title"], texts["p-desc"]) == ("A title", "What it shows")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("hollow", [True, False])
def test_every_shape_is_drawn_with_its_tooltip(shape: str, hollow: bool) -> None:
    """Hollow or filled is a class, so that the page's colours apply."""
    found = ET.fromstring(marker(shape, 10, 10, "tip <x>", hollow=hollow))
    assert found.attrib["class"] == ("mark hollow" if hollow else "mark")
    assert found[0].text == "tip <x>"


def test_neighbouring_arms_differ_in_shape_and_colour() -> None:
    """Also in grey, and beyond the last shape."""
    signs = [(arm_marker(i), arm_class(i)) for i in range(24)]
    assert len(set(signs)) == 24
    assert all(a[0] != b[0] for a, b in pairwise(signs))


def test_long_names_are_cut_to_their_place() -> None:
    """With an ellipsis."""
    assert cut("relation", 8) == "relation"
    assert cut("a relation", 8) == "a relat…"


def test_an_axis_maps_its_ends_and_clamps_what_lies_outside() -> None:
    """Nothing is drawn outside the picture."""
    axis = Axis(-1, 1, 0, 200)
    assert [axis.at(v) for v in (-2, -1, 0, 1, 2)] == [0, 0, 100, 200, 200]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-0.02, 0.02, [-0.02, -0.01, 0, 0.01, 0.02]),
        (-0.48, 0.13, [-0.4, -0.2, 0]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    """And 0 is one of them where it lies inside."""
    assert Axis(low, high, 0, 1).ticks(5) == pytest.approx(ticks)


@given(st.floats(-1, -0.001), st.floats(0.001, 1), st.integers(2, 12))
def test_ticks_lie_inside_hold_0_and_are_few(low: float, high: float, most: int) -> None:
    """For any span of differences."""
    ticks = Axis(low, high, 0, 1).ticks(most)
    assert 1 <= len(ticks) <= most + 1
    assert any(abs(tick) < 1e-12 for tick in ticks)
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
