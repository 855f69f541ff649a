"""A page in the browser, and a record of all that a report must not do: complain, ask for something, run its data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Dialog, Page

PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 900}

# What hostile texts would set if any of them were run.
SENTINEL = "pwned"
_RECORD = """
window.violations = [];
document.addEventListener("securitypolicyviolation",
  (event) => window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""

# The tables that can be seen, by the name of their region: rows of cells' texts, heads left out.
_TABLES = """() => Object.fromEntries([...document.querySelectorAll("[role=region][aria-label]")]
  .filter((region) => region.querySelector("tbody") && region.checkVisibility())
  .map((region) => [region.getAttribute("aria-label"), [...region.querySelectorAll("tbody tr")].map((row) =>
    [...row.cells].map((cell) => {
      const copy = cell.cloneNode(true);
      copy.querySelectorAll(".under").forEach((under) => under.prepend(" "));
      return copy.textContent;
    }))]))"""


class Watched:
    """A page opened from disk. `page` is Playwright's; `complaints` is empty for a report that behaves."""

    def __init__(self, context: BrowserContext, path: Path) -> None:
        self.url = path.resolve().as_uri()
        self.asked: list[str] = []
        self._said: list[str] = []
        context.add_init_script(_RECORD)
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self._said.append(f"console {message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self._said.append(f"error: {error}"))
        self.page.on("dialog", self._dismiss)
        self.page.on("popup", lambda popup: self._said.append(f"popup: {popup.url}"))
        self.page.on("download", lambda download: self._said.append(f"download: {download.url}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(self.url)

    def _dismiss(self, dialog: Dialog) -> None:
        self._said.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def complaints(self) -> list[str]:
        """Console messages, errors, dialogs, requests but for the page's own, breaches of its policy, data that ran."""
        violations = self.page.evaluate("() => window.violations ?? []")
        ran = self.page.evaluate(f"() => window.{SENTINEL} !== undefined")
        return [
            *self._said,
            *(f"request: {url}" for url in self.asked if url.partition("#")[0] != self.url),
            *(f"policy: {violation}" for violation in violations),
            *(["a text of the data was run"] if ran else []),
        ]

    def tables(self) -> dict[str, list[list[str]]]:
        """The tables that can be seen, by the name of their region; what stands beneath a number follows a space."""
        found: dict[str, list[list[str]]] = self.page.evaluate(_TABLES)
        return found

    def texts(self, selector: str) -> list[str]:
        """The texts of all elements that `selector` finds, seen or not."""
        return self.page.locator(selector).all_text_contents()

    def width(self) -> tuple[int, int]:
        """(of the whole page, of the window) in CSS pixels; the page scrolls sideways where the first is larger."""
        wide, seen = self.page.evaluate(
            "() => [document.scrollingElement.scrollWidth, document.documentElement.clientWidth]"
        )
        return int(wide), int(seen)

    def style(self, selector: str, name: str) -> str:
        """A computed style of the first element that `selector` finds."""
        value: Any = self.page.locator(selector).first.evaluate("(found, name) => getComputedStyle(found)[name]", name)
        return str(value)
