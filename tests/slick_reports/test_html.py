"""The page, read back with a parser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slick.facts import Fact
from slick.knowledge import Category
from slick.statistics import wilson
from slick_reports import html
from slick_reports.numbers import CategoryShare, Flip, Report, Shares
from slick_reports.report import build_report
from slick_reports.text import short
from slick_reports.wording import percent, percent_interval, points, points_interval
from slick_reports.wrong import TOLD, Kind

if TYPE_CHECKING:
    from conftest import Lab, Study

VOID = {"meta", "br", "img", "link", "input", "hr"}
ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "section", "aside", "nav", "figure"),
    *("figcaption", "h1", "h2", "h3", "p", "ul", "li", "dl", "dt", "dd", "div", "span", "strong", "a", "bdi", "code"),
    *("script", "pre", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"),
    *("svg", "desc", "g", "line", "text", "circle", "path", "rect"),
}


class Page(HTMLParser):
    """Elements, attributes and texts of a page; `open` must be empty at its end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.cells: list[list[str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if "td" in self.open or "th" in self.open:
            self.cells[-1][-1] += data

    @property
    def text(self) -> str:
        return "".join(self.texts)


@pytest.fixture(scope="module")
def report(study: Study) -> Report:
    return build_report(study.runs, knowledge=study.probe)


@pytest.fixture(scope="module")
def page(report: Report) -> Page:
    return Page(html.render(report))


def test_the_page_is_well_formed_and_holds_no_unforeseen_element(page: Page) -> None:
    """Every element is closed in order; there is no image, no form, nothing from elsewhere, and one script."""
    assert page.open == []
    assert page.tags <= ALLOWED


def test_the_page_loads_nothing(page: Page) -> None:
    """Links lead within it; no attribute names another place but SVG's namespace."""
    for tag, name, value in page.attributes:
        if name == "href":
            assert value.startswith("#"), tag
        assert name not in ("src", "srcset", "style", "action", "data")
        assert not name.startswith("on")
        assert "//" not in value or name == "xmlns"


def crowded(report: Report, arms: int, facts: int, relations: int) -> Report:
    """As many arms, each of which lost, gained and never knew so many facts of the most expensive text there is."""
    worst = ("<&" * 100, "\u202e" * 200, '"' * 200, "\U000e0041" * 200)
    row = report.relations[0]

    def flip(i: int) -> Flip:
        text = worst[i % len(worst)]
        fact = Fact(f"{i % relations}{text}", "", f"{i}{text}", (text,) * 9, "", f"id {i}")
        return Flip(fact, "Unknown", text, (text,), 1, "other")

    flips = tuple(flip(i) for i in range(facts))
    named = [replace(report.arms[0], label=f"{i}{worst[i % 4]}") for i in range(arms)]
    return replace(
        report,
        arms=tuple(replace(arm, lost=flips, gained=flips, still_wrong=flips) for arm in named),
        relations=tuple(
            replace(row, relation=f"{i}{worst[i % 4]}", n=i, after=row.after * arms, changes=row.changes * arms)
            for i in range(relations)
        ),
        shares=Shares(
            "probe",
            4,
            tuple(CategoryShare(str(category), 1, wilson(1, 4)) for category in Category),
            {f"{i}{worst[i % 4]}": (1.0, 1.0, 1.0, 1.0) for i in range(relations)},
        ),
    )


@pytest.mark.parametrize(("arms", "facts", "relations"), [(20, 20_000, 24), (20, 400, 4_000), (1, 20_000, 2_000)])
def test_a_page_stays_below_two_megabytes(lab: Lab, arms: int, facts: int, relations: int) -> None:
    """20,000 facts in 20 versions, whatever their texts; what finds no room is counted."""
    report = crowded(build_report([lab.score("base"), lab.score("tuned", lab.wrong_on(0))]), arms, facts, relations)
    text = html.render(report)
    assert len(text.encode("utf-8", "backslashreplace")) < 2_000_000
    found = re.search(r"([0-9,]+) rows found no room on this page", text)
    assert found is not None
    (data,) = re.findall(r'id="facts-data"[^>]*>(.*?)</script>', text, re.DOTALL)
    rows = json.loads(data)["rows"]
    assert len(rows) > 0
    assert len(rows) + int(found.group(1).replace(",", "")) == 3 * arms * facts
    cut = re.search(r"The ([0-9,]+) largest of ([0-9,]+) relations", text)
    assert (cut is None) == (relations == 24)
    assert cut is None or cut.group(2) == f"{relations:,}"
    assert ("Too many relations for a bar of each" in text) == (relations > 100)


def test_links_within_the_page_lead_somewhere(page: Page) -> None:
    """Every target is there, and no id stands twice."""
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for _, name, value in page.attributes:
        if name == "href":
            assert value[1:] in ids
        if name in ("aria-labelledby",):
            assert set(value.split()) <= set(ids)


def test_the_policy_allows_this_style_and_this_script_and_nothing_else(report: Report) -> None:
    """The hashes are those of the elements' very texts."""
    text = html.render(report)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    (code,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest, script = (base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in (style, code))
    policy = next(v for _, n, v in Page(text).attributes if n == "content" and "default-src" in v)
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; script-src 'sha256-{script}'; img-src 'none'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_the_policy_stands_before_anything_it_governs(report: Report) -> None:
    """A policy that comes after the style would not apply to it."""
    text = html.render(report)
    assert text.index("Content-Security-Policy") < text.index("<style>") < text.index("<body>")


def test_the_page_serves_light_dark_phone_and_print(report: Report) -> None:
    """By its style alone."""
    text = html.render(report)
    for needed in ("width=device-width", "prefers-color-scheme: dark", "max-width: 40rem", "@media print"):
        assert needed in text


def test_headline_and_noise_come_first(report: Report, page: Page) -> None:
    """Before any table or picture."""
    assert report.headline in page.text
    assert page.text.index(report.headline) < page.text.index(report.noise) < page.text.index("At a glance")


def test_every_number_of_every_arm_is_on_the_page(report: Report, page: Page) -> None:
    """As the numbers object has it: the page computes nothing."""
    groups = {row.group for row in report.arms[0].groups}
    rows = iter([cells for cells in page.cells if cells[0] in groups and len(cells) in (9, 10)])
    for arm in report.arms:
        for row in arm.groups:
            cells = next(rows)
            before, after, change = row.before.accuracy, row.after.accuracy, row.change.estimate
            assert before is not None
            assert after is not None
            assert change is not None
            assert cells[:3] == [row.group, f"{row.n:,}", percent(row.prior)]
            assert cells[3] == percent(before.value) + percent_interval(before.interval)
            assert cells[4] == percent(after.value) + percent_interval(after.interval)
            assert cells[5].startswith(points(change.value))
            assert cells[5].endswith(points_interval(change.interval))
            assert len(cells) == (9 if arm.is_control else 10)


def test_a_difference_that_excludes_0_is_marked_for_eye_and_ear(report: Report, page: Page) -> None:
    """By a sign, a word for screen readers, and only then by colour."""
    fell = next(cells for cells in page.cells if cells[0] == "Known" and "▼" in cells[5])
    assert "(the interval excludes 0)" in fell[5]


def test_every_lost_gained_and_still_wrong_fact_is_listed_with_both_answers(report: Report, page: Page) -> None:
    """In lists that open without a script."""
    lists = [flips for arm in report.arms for flips in (arm.lost, arm.gained, arm.still_wrong)]
    flips = [flip for flips in lists for flip in flips[: html.LIST_LIMIT]]
    listed = [cells for cells in page.cells if cells[0] in set(Category) and len(cells) in (7, 8) and "?" in cells[2]]
    assert len(listed) == len(flips)
    for cells, flip in zip(listed, flips, strict=True):
        assert cells[:5] == [flip.category, flip.fact.relation, flip.fact.question, flip.fact.answers[0], flip.before]
        assert all(answer in cells[5] for answer in flip.after)
        assert cells[6] == TOLD[Kind(flip.kind)]
    assert ("details", "open", "") not in page.attributes
    assert "details" in page.tags


def test_a_long_list_is_cut_and_says_where_the_rest_is(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """All facts stand in the JSON."""
    monkeypatch.setattr(html, "LIST_LIMIT", 3)
    text = Page(html.render(report, stem="mine")).text
    assert f"The first 3 are shown; all {len(report.arms[0].lost)} stand in mine.json." in text


def test_both_noise_lines_are_shown(report: Report, page: Page) -> None:
    """With their tables."""
    assert report.selection_note in page.text
    assert report.seeds_note in page.text
    seeds = next(cells for cells in page.cells if cells[0] == "Known" and "of 3" in cells[-1])
    assert seeds[2] == ", ".join(percent(value) for value in report.seeds[1].accuracies)


def test_provenance_and_command_are_shown(report: Report, page: Page) -> None:
    """Fingerprints shortened to 12 digits."""
    for run in report.runs:
        weights = run.model["weights"]
        assert weights is not None
        assert weights[:12] in page.text
        assert weights not in page.text
    assert report.command in page.text


def test_an_empty_group_is_a_dash(lab: Lab) -> None:
    """Never 0.0."""
    lab.categories = {fact.id: Category.UNKNOWN for fact in lab.facts}
    page = Page(html.render(build_report([lab.score("base"), lab.score("arm")])))
    row = next(cells for cells in page.cells if cells[0] == "MaybeKnown" and len(cells) == 9)
    assert row == ["MaybeKnown", "0", "–", "–", "–", "–", "–", "–", "–"]


def test_an_undefined_interval_says_so(lab: Lab) -> None:
    """Never ±0."""
    lab.facts = lab.facts[:1]
    runs = [lab.arm("a", seed, lab.wrong_on(0)) for seed in range(2)]
    page = Page(html.render(build_report([lab.score("base"), *runs])))
    row = next(cells for cells in page.cells if cells[0] == "all")
    assert row[5] == "−100.0undefined"


def test_allowed_mismatches_leave_a_banner(lab: Lab) -> None:
    """Above everything that they may have caused."""
    runs = [lab.score("base"), lab.score("arm", max_gen_toks=8)]
    text = Page(html.render(build_report(runs, allow_mismatch=True))).text
    assert "These runs are not fit to be compared" in text
    assert "max_gen_toks: " in text
    assert text.index("These runs are not fit") < text.index("At a glance")
    assert "not fit to be compared" not in Page(html.render(build_report([lab.score("b"), lab.score("c")]))).text


def test_hostile_text_is_shown_and_does_nothing(hostile: list[Path], hostile_texts: tuple[str, ...]) -> None:
    """Questions, answers, relations, labels, model names and paths: as text, with what is invisible spelled out."""
    report = replace(build_report(hostile), title="</title><script>alert(0)</script>")
    text = html.render(report)
    page = Page(text)
    assert page.open == []
    assert page.tags <= ALLOWED
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    # One block of data and one script, both ours; what else was written as one is text.
    assert [value for tag, name, value in page.attributes if tag == "script"] == [
        "application/json",
        "facts-data",
        "flips",
    ]
    assert text.lower().count("<script") == 2
    for hostile_text in hostile_texts:
        assert short(hostile_text.strip()) in page.text
    assert "<img src=x onerror=alert(2)>" in page.text
    assert "y" * 300 not in text
    text.encode("utf-8")
    assert not re.search("[\x00-\x08\x0e-\x1f\u202a-\u202e\u2066-\u2069\u200e\u200f\u2028\ud800-\udfff]", text)


def test_templates_in_text_are_not_evaluated(lab: Lab) -> None:
    """A question is data, not a template."""
    lab.facts = [type(f).create("{{ 7 * 7 }}?", f.answers, relation="r") for f in lab.facts[:1]]
    assert "{{ 7 * 7 }}?" in Page(html.render(build_report([lab.score("base"), lab.score("a", lab.wrong_on(0))]))).text


def test_versions_are_told_once_where_all_are_equal(report: Report) -> None:
    """And by run where they differ."""
    assert len(html.versions_by_runs(report)) == 1
    other = replace(report.runs[0], versions={"slick": "9"}, path="odd")
    mixed = replace(report, runs=(other, *report.runs[1:]))
    assert html.versions_by_runs(mixed)[0] == ((("slick", "9"),), ["odd"])
    assert "odd: slick 9" in Page(html.render(mixed)).text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), ("a" * 64, "a" * 12), ("name", "name"), (1e-4, "0.0001"), (10.0, "10"), (512, "512"), (True, "True")],
)
def test_values_are_shown_briefly(value: object, text: str) -> None:
    """A digest by its first digits, a number without noise."""
    assert html.brief(value) == text


def test_what_only_screen_readers_see_cannot_widen_the_page(report: Report) -> None:
    """It is placed absolutely, and a table that scrolls holds it: on a phone the page itself never scrolls sideways."""
    assert re.search(r"\.scroll \{ position: relative; overflow-x: auto;", html.render(report))
