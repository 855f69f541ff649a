"""The report as Markdown, read back with a parser."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from slick.knowledge import Category
from slick_reports import markdown
from slick_reports.numbers import Report
from slick_reports.report import build_report
from slick_reports.text import short, visible

if TYPE_CHECKING:
    from conftest import Lab, Study

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
HARMLESS = {"text", "strong_open", "strong_close", "em_open", "em_close", "text_special", "softbreak"}


def inlines(text: str) -> list[Token]:
    return [token for token in PARSER.parse(text) if token.type == "inline"]


def plain(token: Token) -> str:
    return "".join(child.content for child in token.children or [])


def rows(text: str) -> list[list[str]]:
    """The cells of all tables, as a reader sees them."""
    found: list[list[str]] = []
    tokens = PARSER.parse(text)
    for before, token in pairwise(tokens):
        if token.type == "tr_open":
            found.append([])
        if before.type in ("td_open", "th_open"):
            found[-1].append(plain(token))
    return found


@pytest.fixture(scope="module")
def report(study: Study) -> Report:
    return build_report(study.runs, knowledge=study.probe)


@given(st.text(st.characters(), max_size=40))
def test_escaped_text_reads_back_as_itself_and_as_nothing_else(text: str) -> None:
    """Whatever stands in an answer: one cell of a table, of text only, that shows what was meant."""
    shown = markdown.escape(text)
    tokens = PARSER.parse(f"| a | b |\n| :-- | :-- |\n| {shown} | end |")
    cells = [token for before, token in pairwise(tokens) if before.type == "td_open"]
    assert len(cells) == 2
    assert {child.type for child in cells[0].children or []} <= {"text", "text_special"}
    assert plain(cells[0]).replace("\u2060", "") == visible(text).strip(" \xa0\u3000").strip()


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", "a\\|b"),
        ("<script>", "&lt;script&gt;"),
        ("a\nb", "a\\\\nb"),
        ("`code`", "\\`code\\`"),
        ("http://x.org", "http\\://x.org"),
        ("www.x.org", "www\\.x.org"),
        ("@everyone", "@\u2060everyone"),
        ("#1", "\\#1"),
        ("Ann-Marie (b. 1970)", "Ann-Marie (b. 1970)"),
    ],
)
def test_what_could_be_markup_is_escaped_and_plain_names_stay_readable(text: str, escaped: str) -> None:
    """The file is read in terminals as well."""
    assert markdown.escape(text) == escaped


def test_headline_and_noise_come_first(report: Report) -> None:
    """Before any table."""
    text = markdown.render(report)
    assert text.startswith(
        f"{markdown.MARK}\n\n# {report.title}\n\n**{report.headline}**\n\n{report.noise}\n\n- “known”"
    )


def test_every_table_row_has_as_many_cells_as_its_header(report: Report) -> None:
    """No number slips into another column."""
    text = markdown.render(report)
    raw = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(raw) == len(rows(text)) + sum(line.startswith(("| :--", "| --:")) for line in raw)
    assert all(all(cell for cell in row) for row in rows(text))


def test_the_numbers_are_those_of_the_page(report: Report) -> None:
    """Both print one object."""
    arm = report.arms[2]
    known = arm.group("Known")
    assert known is not None
    row = next(row for row in rows(markdown.render(report)) if row[0] == "Known" and "▼" in row[5] and "▼" in row[6])
    assert row[1] == f"{known.n:,}"


def test_lists_are_cut_and_say_where_the_rest_is(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment on a pull request has room for few."""
    monkeypatch.setattr(markdown, "LIST_LIMIT", 3)
    lost = len(report.arms[0].lost)
    assert f"The first 3 are shown; {lost - 3:,} more stand in mine.json." in markdown.render(report, stem="mine")


def test_an_empty_group_is_a_dash_and_an_empty_answer_says_so(lab: Lab) -> None:
    """Neither is a hole in the table."""
    lab.categories = {fact.id: Category.UNKNOWN for fact in lab.facts}
    text = markdown.render(build_report([lab.score("base"), lab.score("arm", lab.wrong_on(0, by="\n"))]))
    assert "| MaybeKnown | 0 | – | – | – | – | – | – | – |" in text
    assert "| A0 | *(empty)* |" in text


def test_allowed_mismatches_leave_a_warning(lab: Lab) -> None:
    """Right below the headline."""
    runs = [lab.score("base"), lab.score("arm", max_gen_toks=8)]
    text = markdown.render(build_report(runs, allow_mismatch=True))
    assert "> **Warning: these runs are not fit to be compared" in text
    assert text.index("Warning") < text.index("| facts |")


def test_hostile_text_stays_text(hostile: list[Path], hostile_texts: tuple[str, ...]) -> None:
    """No HTML, link, image, code or emphasis comes from a question, an answer, a label, a model name or a path."""
    text = markdown.render(replace(build_report(hostile), title="<h1>`x`"))
    tokens = PARSER.parse(text)
    assert [token.content.strip() for token in tokens if token.type == "html_block"] == [markdown.MARK]
    assert {child.type for token in inlines(text) for child in token.children or []} <= HARMLESS
    shown = {cell.replace("\u2060", "") for row in rows(text) for cell in row}
    for hostile_text in hostile_texts:
        assert any(short(hostile_text) in cell for cell in shown), hostile_text
    assert "<script" not in text
    assert "y" * 300 not in text
    text.encode("utf-8")


def test_a_command_can_be_copied_unless_it_could_pass_for_html(report: Report) -> None:
    """An indented block is literal; angle brackets go the safe way."""
    assert f"\n\n    {report.command}\n" in markdown.render(report)
    assert "slick report &lt;b&gt;" in markdown.render(replace(report, command="slick report <b>"))
