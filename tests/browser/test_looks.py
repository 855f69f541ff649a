"""Themes, paper, phone, faults of accessibility, and pictures for people to look at."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from .pages import Made
from .watched import DESKTOP, PHONE, Watched

Open = Callable[..., Watched]

# The folder in which people want to see how pages look.
ALBUM = os.environ.get("SLICK_SCREENSHOTS")
LOOKS = ("desktop-light", "phone-dark", "desktop-dark", "desktop-grey", "phone-light", "phone-grey", "paper")
# An image of so many bytes shows something.
SOMETHING = 20_000
SMALL_PHONE = {"width": 320, "height": 640}


def brightness(watched: Watched, selector: str = "body", name: str = "backgroundColor") -> float:
    """0 (black) to 255 (white)."""
    parts = watched.style(selector, name).removeprefix("rgb(").removesuffix(")").split(",")
    return sum(map(float, parts)) / 3


def is_dark(watched: Watched) -> bool:
    paper, ink = brightness(watched), brightness(watched, name="color")
    assert abs(paper - ink) > 120
    return paper < ink


def test_the_theme_follows_the_system(opened: Open, made: Made) -> None:
    """Without a click, and while the page is open."""
    watched = opened(made.path, color_scheme="dark")
    assert is_dark(watched)
    watched.page.emulate_media(color_scheme="light")
    assert not is_dark(watched)


@pytest.mark.parametrize("system", ["light", "dark"])
@pytest.mark.parametrize("kind", ["report", "history"])
def test_the_switch_goes_round_the_themes(opened: Open, request: pytest.FixtureRequest, kind: str, system: str) -> None:
    """From the system's to light, to dark and back, whatever the system has; by keyboard too."""
    watched = opened(request.getfixturevalue(kind).path, color_scheme=system)
    button = watched.page.get_by_role("button", name="Theme:")
    seen = []
    for act in (button.click, button.click, lambda: button.press("Enter")):
        seen.append((button.inner_text(), is_dark(watched)))
        act()
    assert seen == [("Theme: auto", system == "dark"), ("Theme: light", False), ("Theme: dark", True)]
    assert (button.inner_text(), is_dark(watched)) == ("Theme: auto", system == "dark")


def test_paper_is_white_and_has_nothing_to_press(opened: Open, made: Made) -> None:
    """Also where the screen is dark; every table is printed whole, none is cut at a scroll bar."""
    watched = opened(made.path, color_scheme="dark")
    watched.page.emulate_media(media="print")
    assert brightness(watched) == 255
    assert brightness(watched, name="color") == 0
    for selector in ("nav", "button", "input", "select"):
        for each in watched.page.locator(selector).all():
            assert each.is_hidden() or each.evaluate("(found) => found.closest('thead') !== null")
    cut = watched.page.evaluate(
        "() => [...document.querySelectorAll('.scroll')].filter((e) => e.checkVisibility()"
        " && getComputedStyle(e).overflowX !== 'visible').length"
    )
    assert cut == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_parts_of_a_bar_are_told_apart_in_grey(opened: Open, report: Made, scheme: str) -> None:
    """Four categories, or four kinds of wrong answers, from the darkest to the lightest or the other way."""
    page = opened(report.path, color_scheme=scheme).page
    for name in ("cat", "kind"):
        colours = page.evaluate(
            "(name) => { const style = getComputedStyle(document.documentElement);"
            " return [0, 1, 2, 3].map((i) => style.getPropertyValue(`--${name}${i}`)) }",
            name,
        )
        greys = [0.299 * int(c[1:3], 16) + 0.587 * int(c[3:5], 16) + 0.114 * int(c[5:7], 16) for c in colours]
        steps = [b - a for a, b in pairwise(greys)]
        assert all(step > 30 for step in steps) or all(step < -30 for step in steps), (name, greys)


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_no_serious_fault(opened: Open, axe: str, made: Made, viewport: dict[str, int]) -> None:
    """Names, roles, order of headings, what the keyboard reaches; contrast, in light and in dark."""
    watched = opened(made.path, viewport=viewport)
    faults = examine(watched, axe)
    watched.page.emulate_media(color_scheme="dark")
    assert is_dark(watched)
    faults += examine(watched, axe, "color-contrast")
    assert [fault for fault in faults if fault.startswith(("serious", "critical"))] == []


def test_axe_is_seen_to_find_a_fault(opened: Open, axe: str, tmp_path: Path) -> None:
    """A check that never fails shows nothing."""
    path = tmp_path / "bad.html"
    path.write_text(
        "<!doctype html><title>bad</title><p style='color:#ccc;background:#fff'>pale</p><input>", encoding="utf-8"
    )
    watched = opened(path)
    faults = " ".join(examine(watched, axe))
    assert "serious: color-contrast" in faults
    assert "critical: label" in faults
    assert "label" not in " ".join(examine(watched, axe, "color-contrast"))


def examine(watched: Watched, axe: str, *rules: str) -> list[str]:
    """What axe finds, as "impact: rule: elements"; by all of its rules if none is named."""
    # axe gives no judgement on a text over a gradient, which the edge of a wide table has.
    watched.page.evaluate("() => document.querySelectorAll('.scroll').forEach((e) => { e.style.background = 'none' })")
    watched.page.evaluate(axe)
    # What only readers without scripts see is not on show, and takes most of the time.
    found: list[Any] = watched.page.evaluate(
        "async (only) => (await axe.run({ exclude: ['.js .static'] }, { resultTypes: ['violations'], ...only }))"
        ".violations",
        {"runOnly": list(rules)} if rules else {},
    )
    return [
        f"{fault['impact']}: {fault['id']}: {'; '.join(node['html'][:160] for node in fault['nodes'][:5])}"
        for fault in found
    ]


@pytest.mark.parametrize("viewport", [PHONE, SMALL_PHONE], ids=["360", "320"])
@pytest.mark.parametrize("scripts", [True, False], ids=["with its script", "without scripts"])
def test_on_a_phone_the_page_does_not_scroll_sideways(
    opened: Open, made: Made, viewport: dict[str, int], scripts: bool
) -> None:
    """Wide tables and time lines scroll in a place of their own, which the keyboard reaches."""
    watched = opened(made.path, viewport=viewport, scripts=scripts)
    wide, seen = watched.width()
    assert wide <= seen == viewport["width"]
    out = watched.page.evaluate(
        "() => [...document.querySelectorAll('main *')].filter((e) => e.checkVisibility() && !e.closest('.scroll')"
        " && !e.closest('svg') && !e.closest('.sr') && e.getBoundingClientRect().right > innerWidth + 1)"
        ".map((e) => e.outerHTML.slice(0, 120))"
    )
    assert out == []
    assert watched.page.locator(".scroll:not([tabindex='0'])").count() == 0


def test_on_a_desk_a_fact_is_a_row_that_is_seen_whole(opened: Open, report: Made) -> None:
    """Its last column too, without scrolling sideways; an answer stands on one line with how often it was given."""
    watched = opened(report.path, viewport=DESKTOP)
    facts = watched.page.get_by_role("region", name="Table of facts")
    assert facts.get_by_role("columnheader").last.text_content() == "wrong answer"
    assert facts.evaluate("(region) => region.scrollWidth <= region.clientWidth")
    wide, seen = watched.width()
    assert wide <= seen
    answers = [text for text in facts.locator("td.answers").all_inner_texts() if "×" in text]
    assert answers
    assert all("\N{NO-BREAK SPACE}×" in text and " ×" not in text for text in answers)


def test_on_a_phone_a_fact_is_a_card(opened: Open, report: Made) -> None:
    """All of it is seen without scrolling sideways, each answer beside its name, and it stays a table to the ear."""
    page = opened(report.path, viewport=PHONE).page
    facts = page.get_by_role("region", name="Table of facts")
    assert facts.evaluate("(region) => region.scrollWidth <= region.clientWidth")
    first = facts.get_by_role("row").nth(1)
    cells = first.get_by_role("cell")
    names = facts.get_by_role("columnheader").all_text_contents()
    assert cells.count() == len(names) > 9
    told = [cell.evaluate("(cell) => getComputedStyle(cell, '::before').content") for cell in cells.all()]
    assert told == [f'"{name}"' for name in names]
    page.get_by_role("button", name="category", exact=True).click()
    assert "HighlyKnown" in first.inner_text()


def test_on_a_phone_a_rows_name_stays_in_view(opened: Open, report: Made) -> None:
    """However far its numbers are scrolled."""
    page = opened(report.path, viewport=PHONE).page
    numbers = page.locator(".scroll", has=page.get_by_role("rowheader", name="HighlyKnown")).first
    numbers.evaluate("(region) => { region.scrollLeft = region.scrollWidth }")
    assert numbers.evaluate("(region) => region.scrollLeft") > 100
    box = numbers.get_by_role("rowheader", name="HighlyKnown").bounding_box()
    assert box is not None
    assert 0 <= box["x"] < 30


@pytest.mark.parametrize("look", LOOKS if ALBUM else LOOKS[:2])
def test_screenshots_are_taken(opened: Open, made: Made, tmp_path: Path, look: str) -> None:
    """Of whole pages at the widths of a desk and of a phone; with SLICK_SCREENSHOTS=DIR all looks, for people."""
    folder = Path(ALBUM) if ALBUM else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{made.document['kind'].replace(' ', '-')}-{look}"
    width, _, colours = look.partition("-")
    scheme = "dark" if colours == "dark" else "light"
    page = opened(made.path, viewport=PHONE if width == "phone" else DESKTOP, color_scheme=scheme).page
    if colours == "grey":
        page.evaluate("() => { document.documentElement.style.filter = 'grayscale(1)' }")
    if width == "paper":
        path = path.with_suffix(".pdf")
        page.pdf(path=path, format="A4", margin=dict.fromkeys(("top", "right", "bottom", "left"), "15mm"))
    else:
        path = path.with_suffix(".png")
        page.screenshot(path=path, full_page=True)
    assert path.stat().st_size > SOMETHING
