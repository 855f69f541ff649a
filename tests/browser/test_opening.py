"""What a page does when it is opened from disk: nothing but show itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .pages import TESTS, Made
from .watched import Watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Open = Callable[..., Watched]

COMMITTED = sorted(
    path for folder in ("examples", "studies") for path in (TESTS.parent / "reports" / folder).rglob("*.html")
)


def test_a_page_asks_for_nothing_and_complains_of_nothing(opened: Open, made: Made) -> None:
    """One request, for itself; no console message, no error, no breach of its policy."""
    watched = opened(made.path)
    assert watched.page.title() == made.document["title"]
    assert watched.asked == [watched.url]
    assert watched.complaints() == []


def test_the_watch_sees_what_a_bad_page_does(browser: Browser, tmp_path: Path) -> None:
    """A check that never fails shows nothing: this page breaks its policy, asks, complains, and runs its data."""
    path = tmp_path / "bad.html"
    path.write_text(
        "<!doctype html><meta http-equiv='Content-Security-Policy' content=\"img-src 'none'\"><title>bad</title>"
        "<link rel=stylesheet href=other.css><img src=x.png>"
        "<script>window.pwned=1; alert(2); throw Error('3')</script>",
        encoding="utf-8",
    )
    watched = Watched(browser.new_context(), path)
    told = "\n".join(watched.complaints())
    for expected in ("request: ", "other.css", "policy: img-src", "dialog: 2", "error: 3", "console error", "was run"):
        assert expected in told
    watched.page.context.close()


def test_links_lead_within_the_page(opened: Open, made: Made) -> None:
    """Each of the contents brings its heading into view and asks for nothing."""
    watched = opened(made.path)
    for link in watched.page.locator("nav a").all():
        link.click()
        target = watched.page.locator(f"[id='{watched.page.url.partition('#')[2]}']")
        box = target.bounding_box()
        assert box is not None
        assert 0 <= box["y"] < 900


def test_nothing_moves(opened: Open, made: Made) -> None:
    """No animation and no transition, so that a wish for reduced motion has nothing to change."""
    watched = opened(made.path, reduced_motion="no-preference")
    assert watched.page.evaluate("() => document.getAnimations().length") == 0
    moving = watched.page.evaluate(
        "() => [...document.querySelectorAll('*')].filter((e) => { const s = getComputedStyle(e);"
        " return s.transitionDuration !== '0s' || s.animationName !== 'none' || s.scrollBehavior === 'smooth' }).length"
    )
    assert moving == 0


@pytest.mark.parametrize("path", COMMITTED, ids=[path.parent.name for path in COMMITTED])
def test_committed_reports_open_too(opened: Open, path: Path) -> None:
    """Whatever version of the tool made them."""
    watched = opened(path)
    assert watched.asked == [watched.url]
    assert watched.page.locator("h1").is_visible()
