"""Pictures as one SVG file."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from slick.statistics import Interval
from slick_reports.html import style_sheet
from slick_sft.study_report.blocks import Picture
from slick_sft.study_report.picture_file import picture_file
from slick_sft.study_report.pictures import Dot, Line, lines_chart

SVG = "{http://www.w3.org/2000/svg}"


def drawn(caption: str, name: str) -> Picture:
    lines = [Line(name, (Dot(0, 0.5, Interval(0.4, 0.6)), Dot(50, 0.3))), Line("the paper", (Dot(0, 0.4),), None)]
    svg = lines_chart("a", caption, lines, x_name="Unknown rows", x_unit=" %")
    return Picture(caption, svg, tuple(line.key for line in lines))


def test_pictures_stand_side_by_side_under_captions_and_keys() -> None:
    """Each keeps its own coordinates; the file is as wide as all, and carries its style."""
    root = ElementTree.fromstring(picture_file([drawn("First", "D"), drawn("Second", "E")], style_sheet()))
    texts = ["".join(t.itertext()) for t in root.iter(f"{SVG}text")]
    assert [t for t in texts if t in ("First", "Second", "D", "E")] == ["First", "D", "Second", "E"]
    inner = [svg for svg in root.iter(f"{SVG}svg") if svg.get("class") == "inner"]
    assert [svg.get("viewBox") for svg in inner] == ["0 0 460 300"] * 2
    assert float(root.get("viewBox", "").split()[2]) > 2 * 460
    assert "--paper" in "".join(style.text or "" for style in root.iter(f"{SVG}style"))


def test_what_a_name_holds_is_text() -> None:
    """Tags in a caption or a series' name are shown, not obeyed."""
    root = ElementTree.fromstring(picture_file([drawn("<script>a</script>", '"><svg onload="x">')], ""))
    assert not list(root.iter(f"{SVG}script"))
    assert not [e for e in root.iter() if e.get("onload")]
    assert '"><svg onload="x">' in ["".join(t.itertext()) for t in root.iter(f"{SVG}text")]


def test_only_our_own_pictures_are_taken() -> None:
    with pytest.raises(ValueError, match="not a picture of ours"):
        picture_file([Picture("x", Markup("<p>"))], "")
