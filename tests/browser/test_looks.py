"""Themes, paper, phone, faults of accessibility, and pictures for people to look at."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .pages import Made
from .watched import DESKTOP, PHONE, Watched

Open = Callable[..., Watched]

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
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_no_serious_fault(opened: Open, axe: str, made: Made, scheme: str, viewport: dict[str, int]) -> None:
    """Names, roles, contrast, order of headings, what the keyboard reaches."""
    watched = opened(made.path, color_scheme=scheme, viewport=viewport)
    faults = examine(watched, axe)
    assert [fault for fault in faults if fault.startswith(("serious", "critical"))] == []


def test_axe_is_seen_to_find_a_fault(opened: Open, axe: str, tmp_path: Path) -> None:
    """A check that never fails shows nothing."""
    path = tmp_path / "bad.html"
    path.write_text(
        "<!doctype html><title>bad</title><p style='color:#ccc;background:#fff'>pale</p><input>", encoding="utf-8"
    )
    faults = " ".join(examine(opened(path), axe))
    assert "serious: color-contrast" in faults
    assert "critical: label" in faults


def examine(watched: Watched, axe: str) -> list[str]:
    """What axe finds, as "impact: rule: elements"."""
    watched.page.evaluate(axe)
    found: list[Any] = watched.page.evaluate("async () => (await axe.run()).violations")
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


@pytest.mark.parametrize("look", ["desktop-light", "phone-dark"])
def test_screenshots_are_taken(opened: Open, made: Made, tmp_path: Path, look: str) -> None:
    """Of whole pages, at the widths of a desk and of a phone."""
    path = tmp_path / f"{look}.png"
    photograph(opened, made, look, path)
    assert path.stat().st_size > SOMETHING


LOOKS = [f"{width}-{look}" for width in ("desktop", "phone") for look in ("light", "dark", "grey")]


@pytest.mark.skipif("SLICK_SCREENSHOTS" not in os.environ, reason="SLICK_SCREENSHOTS names no folder for pictures")
def test_an_album_of_screenshots(opened: Open, made: Made) -> None:
    """For people to look at: desk and phone, light, dark and grey, and what a printer gets."""
    album = Path(os.environ["SLICK_SCREENSHOTS"])
    album.mkdir(parents=True, exist_ok=True)
    kind = made.document["kind"].replace(" ", "-")
    for look in LOOKS:
        photograph(opened, made, look, album / f"{kind}-{look}.png")
    margin = dict.fromkeys(("top", "right", "bottom", "left"), "15mm")
    opened(made.path).page.pdf(path=album / f"{kind}-paper.pdf", format="A4", margin=margin)


def photograph(opened: Open, made: Made, look: str, path: Path) -> None:
    width, _, colours = look.partition("-")
    scheme = "dark" if colours == "dark" else "light"
    watched = opened(made.path, viewport=DESKTOP if width == "desktop" else PHONE, color_scheme=scheme)
    if colours == "grey":
        watched.page.evaluate("() => { document.documentElement.style.filter = 'grayscale(1)' }")
    watched.page.screenshot(path=path, full_page=True)
