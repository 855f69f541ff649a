"""The table of facts: search, sort, filters and pages, by mouse and by keyboard."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from .pages import Made
from .watched import Watched

Open = Callable[..., Watched]

PAGE = 50
_READ = """
const next = [...document.querySelectorAll("button")].find((button) => button.textContent === "Next");
const read = (table) => [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent));
"""
STATES = {"lost": "lost", "gained": "gained", "still_wrong": "still wrong"}


class Facts:
    """The table of facts on a page that is open."""

    def __init__(self, watched: Watched) -> None:
        self.page = watched.page
        self.table = self.page.get_by_role("region", name="Table of facts").locator("table")

    def status(self) -> str:
        return self.page.get_by_role("status").inner_text()

    def counted(self) -> tuple[int, int]:
        """(rows found, rows in all), as the page says."""
        found, whole = re.findall(r"[\d,]+", self.status())
        return int(found.replace(",", "")), int(whole.replace(",", ""))

    def heads(self) -> list[str]:
        return self.table.locator("thead button").all_text_contents()

    def rows(self) -> list[dict[str, str]]:
        """The rows of the page shown, by the heads of their columns."""
        return self._rows("(table) => read(table)")

    def all_rows(self) -> list[dict[str, str]]:
        """The rows of all pages from this one on; the last stays on show."""
        return self._rows(
            "(table) => { const found = read(table);"
            " while (!next.disabled) { next.click(); found.push(...read(table)); } return found }"
        )

    def _rows(self, code: str) -> list[dict[str, str]]:
        cells: list[list[str]] = self.table.evaluate(f"(table) => {{ {_READ} return ({code})(table) }}")
        heads = self.heads()
        return [dict(zip(heads, row, strict=True)) for row in cells]

    @property
    def next(self) -> Any:
        return self.page.get_by_role("button", name="Next")

    @property
    def previous(self) -> Any:
        return self.page.get_by_role("button", name="Previous")

    def head(self, name: str) -> Any:
        return self.table.locator("thead th").filter(has=self.page.get_by_role("button", name=name, exact=True))

    def search(self, text: str) -> None:
        self.page.get_by_role("searchbox", name="Search").fill(text)

    def choose(self, name: str, option: str) -> None:
        self.page.get_by_role("combobox", name=name, exact=True).select_option(label=option)


@pytest.fixture
def facts(opened: Open, report: Made) -> Facts:
    return Facts(opened(report.path))


def expected(document: Any) -> list[dict[str, str]]:
    """The rows that the JSON says there are, in the page's order; answers after tuning are left to another test."""
    kinds = {
        "abstained": "abstained",
        "echo": "echo of a training answer",
        "entity": "another fact’s answer",
        "other": "other",
    }
    return [
        {
            "what": told,
            "arm": arm["label"],
            "category": flip["category"],
            "category now": flip["category_after"] or "–",
            "relation": flip["fact"]["relation"],
            "question": flip["fact"]["question"],
            "accepted": "; ".join(flip["fact"]["answers"]),
            "before": flip["before"],
            "wrong answer": kinds[flip["kind"]],
            "seeds": f"{flip['seeds']} of {len(arm['seeds'])}",
        }
        for state, told in STATES.items()
        for arm in document["arms"]
        for flip in arm[state]
    ]


def natural(text: str) -> list[Any]:
    """Numbers by their size, as the page's own order has them."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text.lower())]


def test_every_fact_of_the_json_is_on_a_page(facts: Facts, report: Made) -> None:
    """Page by page, in its order, cell by cell; the answers after tuning are all there."""
    wanted = expected(report.document)
    assert facts.counted() == (len(wanted), len(wanted))
    assert len(facts.rows()) == PAGE
    found = facts.all_rows()
    flips = [flip for state in STATES for arm in report.document["arms"] for flip in arm[state]]
    for row, flip in zip(found, flips, strict=True):
        after = row.pop("after")
        assert all(answer in after for answer in flip["after"])
    assert found == wanted


def test_pages_turn_and_end(facts: Facts) -> None:
    """Both ways; a button without a page to turn to is off."""
    first, _ = facts.rows(), facts.counted()
    assert facts.previous.is_disabled()
    facts.next.click()
    second = facts.rows()
    assert second != first
    assert "51–100" in facts.page.locator(".tools .soft").inner_text()
    facts.previous.click()
    assert facts.rows() == first
    facts.all_rows()
    assert facts.next.is_disabled()


def test_search_finds_words_in_question_and_answers(facts: Facts, report: Made) -> None:
    """All words, in any order, in small or large letters; what is found is counted for eye and ear."""
    facts.search("p36 QUESTION")
    found = facts.all_rows()
    assert found
    assert all("P36" in row["question"] for row in found)
    wanted = [row for row in expected(report.document) if "P36" in row["question"]]
    assert facts.counted() == (len(wanted), len(expected(report.document)))
    facts.search("no such words")
    assert facts.rows() == []
    assert facts.counted()[0] == 0
    assert facts.next.is_disabled()
    assert facts.previous.is_disabled()
    facts.search("")
    assert facts.counted()[0] == len(expected(report.document))


def test_filters_narrow_to_a_relation_and_a_category(facts: Facts, report: Made) -> None:
    """Each alone, both together, and together with a search; "all" gives everything back."""
    wanted = expected(report.document)
    facts.choose("category", "Unknown")
    assert facts.counted()[0] == sum(row["category"] == "Unknown" for row in wanted) > 0
    assert {row["category"] for row in facts.all_rows()} == {"Unknown"}
    facts.choose("relation", "P19")
    both = [row for row in wanted if (row["category"], row["relation"]) == ("Unknown", "P19")]
    assert facts.counted()[0] == len(both) > 0
    facts.search("OF question")
    assert facts.counted()[0] == len(both)
    facts.search("question 66")
    rows = facts.all_rows()
    assert len(rows) == sum("66" in row["question"] for row in both) > 0
    assert {(row["category"], row["relation"]) for row in rows} == {("Unknown", "P19")}
    facts.search("")
    facts.choose("category", "all")
    facts.choose("relation", "all")
    assert facts.counted()[0] == len(wanted)


@pytest.mark.parametrize("name", ["what", "arm", "wrong answer"])
def test_every_other_filter_narrows_too(facts: Facts, report: Made, name: str) -> None:
    """To the rows that show what was chosen, all of them."""
    wanted = expected(report.document)
    option = wanted[-1][name]
    facts.choose(name, option)
    assert facts.counted()[0] == sum(row[name] == option for row in wanted)
    assert {row[name] for row in facts.rows()} == {option}


def test_a_click_on_a_head_sorts_and_another_turns_the_order(facts: Facts, report: Made) -> None:
    """Numbers in texts by their size; the head says which way, and no other head says anything."""
    facts.head("question").get_by_role("button").click()
    assert facts.head("question").get_attribute("aria-sort") == "ascending"
    up = [row["question"] for row in facts.all_rows()]
    assert up == sorted(up, key=natural)
    assert len(up) == len(expected(report.document))
    facts.head("question").get_by_role("button").click()
    assert facts.head("question").get_attribute("aria-sort") == "descending"
    assert [row["question"] for row in facts.all_rows()] == up[::-1]
    facts.head("relation").get_by_role("button").click()
    assert [th.get_attribute("aria-sort") for th in facts.table.locator("thead th").all()].count("none") == len(
        facts.heads()
    ) - 1


def test_categories_sort_by_how_well_a_fact_is_known(facts: Facts) -> None:
    """HighlyKnown first, not by their letters."""
    facts.head("category").get_by_role("button").click()
    found = [row["category"] for row in facts.all_rows()]
    order = ["HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown"]
    assert found == sorted(found, key=order.index)
    assert len(set(found)) == 4


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_the_keyboard_alone_sorts_searches_and_filters(facts: Facts, key: str) -> None:
    """Tab leads from the search through the filters into the table's heads; what has the focus can be seen."""
    page = facts.page
    page.get_by_role("searchbox").focus()
    page.keyboard.type("P50")
    focused = "() => document.activeElement.closest('label, th')?.textContent.trim().split(' ')[0] ?? ''"
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate(focused) == "category":
            break
    page.keyboard.press("ArrowDown")
    assert {row["category"] for row in facts.rows()} == {"HighlyKnown"}
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate(focused) == "question":
            break
    assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press(key)
    assert facts.head("question").get_attribute("aria-sort") == "ascending"
    found = [row["question"] for row in facts.rows()]
    assert found == sorted(found, key=natural)
    assert page.evaluate(focused) == "question"


def test_the_history_lists_facts_that_flipped(opened: Open, history: Made) -> None:
    """All of the JSON's, with a sign a version; filtered by state, sorted by changes."""
    facts = Facts(opened(history.path))
    flipped = history.document["flipped"]
    signs = str.maketrans({"1": "●", "0": "○", "-": "·"})
    found = {(row["question"], row["versions"], row["state"]) for row in facts.all_rows()}
    assert found == {(f["fact"]["question"], f["path"].translate(signs), f["state"]) for f in flipped}
    facts.choose("state", "lost")
    assert facts.counted() == (history.document["states"]["lost"], len(flipped))
    facts.head("changes").get_by_role("button").click()
    facts.head("changes").get_by_role("button").click()
    changes = [int(row["changes"]) for row in facts.all_rows()]
    assert changes == sorted(changes, reverse=True)
