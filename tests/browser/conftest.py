"""One browser and one set of pages for the whole folder; a page that misbehaves fails the test that opened it.

The browser is the system's own (Debian: apt-get install chromium), axe-core comes by `make browser`. What is missing
skips a test, or fails it where SLICK_BROWSER_TESTS=1 says that it must run.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from . import pages
from .watched import DESKTOP, Watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Open = Callable[..., Watched]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


def missing(what: str) -> None:
    """Skips, or fails where the tests must run."""
    if os.environ.get("SLICK_BROWSER_TESTS") == "1":
        pytest.fail(f"SLICK_BROWSER_TESTS=1, but {what}", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, headless. Closed with the folder: while it is open, nothing else may start an event loop."""
    given = os.environ.get("SLICK_CHROMIUM")
    path = shutil.which(given) if given else next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        missing(f"{given or 'Chromium'} is not to be found: apt-get install chromium, or name one with SLICK_CHROMIUM")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed: pip install -e '.[test]'")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        yield started
        started.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, which looks for faults of accessibility."""
    path = Path(sys.prefix) / "browser" / "node_modules" / "axe-core" / "axe.min.js"
    if not path.is_file():
        missing(f"{path} is absent: make browser")
    return path.read_text(encoding="utf-8")


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Opens a page from disk; at the end of the test it must have said, asked for and run nothing.

    scripts: whether the page's own may run. All else are settings of Playwright's contexts.
    """
    found: list[Watched] = []

    def open_page(path: Path, *, scripts: bool = True, **settings: Any) -> Watched:
        settings = {"viewport": DESKTOP, "color_scheme": "light", "locale": "en-GB", **settings}
        context = browser.new_context(java_script_enabled=scripts, **settings)
        # Long, for a busy machine: it only says when to give up.
        context.set_default_timeout(60_000)
        found.append(Watched(context, path))
        return found[-1]

    yield open_page
    complaints = [complaint for each in found for complaint in each.complaints()]
    for each in found:
        each.page.context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="session")
def report(root: Path) -> pages.Made:
    return pages.make_report(root)


@pytest.fixture(scope="session")
def hostile(root: Path) -> pages.Made:
    return pages.make_hostile(root)


@pytest.fixture(scope="session")
def history(root: Path) -> pages.Made:
    return pages.make_history(root)


@pytest.fixture(scope="session")
def hostile_history(root: Path) -> pages.Made:
    folder = root / "hostile"
    folder.mkdir()
    return pages.make_history(folder, pages.HOSTILE)


@pytest.fixture(scope="session")
def study(root: Path) -> pages.StudyMade:
    return pages.make_study(root)


@pytest.fixture(params=["report", "history", "study"])
def made(request: pytest.FixtureRequest) -> pages.Made:
    """Each kind of page."""
    found: pages.Made = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["hostile", "hostile_history"])
def harmful(request: pytest.FixtureRequest) -> pages.Made:
    """Each kind of page that lists facts, made of texts that mean harm."""
    found: pages.Made = request.getfixturevalue(request.param)
    return found
