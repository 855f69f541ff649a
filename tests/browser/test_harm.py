"""Questions, answers, relations, labels, model names and paths that were written to do harm."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from slick_reports.text import short

from .pages import HOSTILE, Made
from .watched import SENTINEL, Watched

Open = Callable[..., Watched]

INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\u202a-\u202e\u2066-\u2069\u200e\u200f\u2028\ud800-\udfff]")


@pytest.mark.parametrize("scripts", [True, False], ids=["with its script", "without scripts"])
def test_harmful_texts_are_shown_and_run_nothing(opened: Open, harmful: Made, scripts: bool) -> None:
    """Each is text on the page, with what is invisible spelled out; none is an element, a request or a dialog."""
    watched = opened(harmful.path, scripts=scripts)
    watched.page.evaluate("() => document.querySelectorAll('details').forEach((each) => { each.open = true })")
    text = watched.page.locator("main").inner_text()
    shown = " ".join(text.split())
    # A text of 100,000 characters is cut, and its length is said with what was added to it.
    lost = [hostile for hostile in HOSTILE if " ".join(short(hostile)[:200].split()) not in shown]
    assert [hostile[:60] for hostile in lost] == []
    assert not INVISIBLE.search(text)
    assert "x" * 300 not in text
    assert watched.page.locator("img, iframe, object, embed, base, link, form, audio, video, [style]").count() == 0
    assert watched.page.locator("style").count() == 1
    assert watched.page.evaluate(f"() => window.{SENTINEL} === undefined")
    assert watched.complaints() == []


def test_harmful_texts_stay_text_when_the_table_is_used(opened: Open, harmful: Made) -> None:
    """Searched for, filtered by, sorted by every column, turned page by page."""
    watched = opened(harmful.path)
    page = watched.page
    for name in ("</script>", "onerror", "{{ 7", "\u202e", "\\", "javascript:"):
        page.get_by_role("searchbox").fill(name)
    page.get_by_role("searchbox").fill("")
    for select in page.locator(".tools select").all():
        for place in range(1, select.locator("option").count()):
            select.select_option(index=place)
        select.select_option(index=0)
    for head in page.locator("table.app thead button").all():
        head.click()
        head.click()
    assert page.locator("table.app tbody *:not(tr, td, bdi)").count() == 0
    assert watched.complaints() == []


def test_a_label_that_is_markup_is_a_name_to_a_screen_reader(opened: Open, hostile: Made) -> None:
    """In a region's name, which is an attribute, quotes end nothing."""
    watched = opened(hostile.path)
    label = hostile.document["arms"][0]["label"]
    assert f"<script>window.{SENTINEL}=1<" in label
    assert f"Numbers of {label}" in watched.tables()


def test_a_text_of_100_000_characters_does_not_widen_the_page(opened: Open, harmful: Made) -> None:
    """On a phone as on a desk."""
    for width in (360, 1280):
        wide, seen = opened(harmful.path, viewport={"width": width, "height": 740}).width()
        assert wide <= seen
