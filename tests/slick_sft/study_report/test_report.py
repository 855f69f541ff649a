"""slick_sft.study_report.report and render: the whole report, in every format, from files that nobody vouches for."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from slick.errors import InputError
from slick.files import read_json, write_json
from slick_reports.markdown import escape
from slick_sft.study_report import render
from slick_sft.study_report.blocks import Cell, Claim, Finding, Section, StudyReport, Table
from slick_sft.study_report.report import build, findings, write

Maker = Callable[..., Path]
HOSTILE = "<script>alert(1)</script>| `x` *y* \u202e"


@pytest.fixture(scope="module")
def report(whole: Path) -> StudyReport:
    return build(whole)


@pytest.fixture(scope="module")
def written(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = shutil.copytree(whole, tmp_path_factory.mktemp("written") / "study")
    write(path)
    return path


class Page(HTMLParser):
    """Tags, ids and links of a page; raises for tags that are closed in another order than opened."""

    void = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.attributes += found
        self.ids += [found["id"]] if found.get("id") else []  # type: ignore[list-item]
        self.links += [found["href"]] if found.get("href") else []  # type: ignore[list-item]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


FILES = ["report.html", "report.json", "report.md", "report.svg"]


def test_four_files_stand_in_the_studys_directory(written: Path) -> None:
    """The page, its text, its numbers, and its two most important pictures."""
    assert sorted(path.name for path in written.glob("report.*")) == FILES
    captions = re.findall(r'class="caption"[^>]*>([^<]*)<', (written / "report.svg").read_text(encoding="utf-8"))
    assert len(captions) == 2
    assert captions[0] == "Accuracy on Known facts, %"
    assert captions[1].startswith("Training rows fitted")


def test_the_same_study_gives_the_same_bytes(written: Path, whole: Path, tmp_path: Path) -> None:
    """Written again, elsewhere: nothing but the study goes in."""
    other = shutil.copytree(whole, tmp_path / "other")
    write(other)
    for name in FILES:
        assert (other / name).read_bytes() == (written / name).read_bytes()


def test_the_page_works_offline_and_allows_nothing(written: Path) -> None:
    """No script, no picture from elsewhere, one style by its hash; every link leads to a place on the page."""
    text = (written / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "img", "iframe", "link", "object"} & set(page.tags)
    assert "style" not in page.attributes
    assert not [name for name in page.attributes if name.startswith("on")]
    assert all(link.removeprefix("#") in page.ids for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    css = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert css is not None
    digest = base64.b64encode(hashlib.sha256(css[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in text.replace("&#39;", "'")


def test_every_section_stands_in_every_format(written: Path, report: StudyReport) -> None:
    """Those that are left out too, with their line."""
    page = (written / "report.html").read_text(encoding="utf-8")
    text = (written / "report.md").read_text(encoding="utf-8")
    document = json.loads((written / "report.json").read_text(encoding="utf-8"))
    assert [s["id"] for s in document["sections"]] == [s.id for s in report.sections]
    for section in report.sections:
        assert f'id="{section.id}"' in page
        assert f"\n## {escape(section.title)}\n" in text
    assert "Left out: how often the base model read each fact" in page
    assert "Left out: how often the base model read each fact" in text


def test_the_headline_says_what_happened_to_known_facts(report: StudyReport) -> None:
    """From the fewest Unknown rows to the most, with intervals, and the verdict at EARLY_STOP."""
    assert report.headline.startswith("Known test facts at CONVERGENCE: ")
    assert "on 100 %, a difference of −" in report.headline
    told = "At EARLY_STOP filtering loses less than the margin of 3.0 points: PASS on all facts, "
    assert told in report.headline
    assert report.headline.endswith(" on Known ones.")


def test_json_has_every_digit_and_no_nan(written: Path) -> None:
    """Fractions with their intervals; claims with their findings."""
    document = json.loads((written / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert document["kind"] == "slick study report"
    assert {claim["finding"] for claim in document["claims"]} <= {"agrees", "differs", "not settled"}
    estimate = document["sections"][0]["figures"]["accuracy"]["test"]["convergence"]["Known"]["0 %"]
    assert 0 < estimate["interval"]["low"] < estimate["value"] < estimate["interval"]["high"] < 1


def test_findings_count_claims_and_name_those_that_differ() -> None:
    """The paper's differ from the paper; ours are not as expected."""
    claims = (
        Claim("Water is wet.", "very", "it is", Finding.AGREES),
        Claim("Fire is cold.", "so it says", "it is not", Finding.DIFFERS),
        Claim("Ours holds.", "not run", "it does not", Finding.DIFFERS, ours=True),
        Claim("Who knows.", "we", "nobody", Finding.OPEN),
    )
    told = findings([Section("a", "A", claims=claims), Section("b", "B", missing="Left out.")])
    assert told == (
        "Of 4 claims, 1 agree with what is found here, 2 differ, 1 are open.",
        "Differs from the paper: Fire is cold. There: so it says. Here: it is not.",
        "Not as expected: Ours holds. Here: it does not.",
        "Left out, since it was not part of this study: B.",
    )


def test_notes_of_the_study_are_shown_as_text(whole: Path, tmp_path: Path) -> None:
    """Paragraphs of notes.md, which may say why a result is what it is; they are never markup."""
    path = shutil.copytree(whole, tmp_path / "study")
    (path / "notes.md").write_text(f"Why\nit differs.\n\n{HOSTILE}\n", encoding="utf-8")
    report = build(path)
    assert report.notes[0] == "Why it differs."
    page, text = render.html(report), render.markdown(report)
    assert "Why it differs." in page
    assert "<script>" not in page
    assert "<script>" not in text
    assert "\u202e" not in page + text


def test_hostile_names_are_inert(whole: Path, tmp_path: Path) -> None:
    """Versions, models and facts of a study that somebody else wrote."""
    path = shutil.copytree(whole, tmp_path / "study")
    document = read_json(path / "study.json")
    document["versions"] = {HOSTILE: HOSTILE}
    document["model"]["name"] = HOSTILE
    document["facts"]["source"] = HOSTILE
    write_json(path / "study.json", document)
    report = build(path)
    page, text = render.html(report), render.markdown(report)
    Page(page)
    for found in (page, text):
        assert "<script>" not in found
        assert "\u202e" not in found
    assert not re.search(r"(?<!\\)`x(?<!\\)`", text)


def test_places_of_the_machine_stay_there(whole: Path, tmp_path: Path) -> None:
    """Of a model or facts that lie somewhere, the last two names; the hub's names as they are."""
    path = shutil.copytree(whole, tmp_path / "study")
    document = read_json(path / "study.json")
    document["model"]["name"] = "/home/somebody/lab/organism"
    document["facts"]["source"] = "org/facts"
    write_json(path / "study.json", document)
    provenance = dict(build(path).provenance)
    assert (provenance["base model"], provenance["facts"]) == ("lab/organism", "org/facts")


def test_a_cell_is_marked_where_its_interval_excludes_0() -> None:
    """In Markdown by a sign, on the page by a sign, a colour and a sentence for screen readers."""
    table = Table("caption", ("a", "b"), ((Cell("row"), Cell("−5.0", "[−9.0, −1.0]", "fell")),), note="a note")
    section = Section("s", "Title", blocks=(table,))
    report = StudyReport("T", "k", "h", (), (section,), (), (), (), 0.9, 1)
    assert "−5.0 \\[−9.0, −1.0\\] ▼" in render.markdown(report)
    page = render.html(report)
    assert '<span class="fell">−5.0 <span aria-hidden="true">▼</span>' in page
    assert "(the interval excludes 0)" in page
    assert "a note" in page


def test_the_noise_of_intervals_is_said(report: StudyReport) -> None:
    """What they hold and what they do not; and no claim rests on a mere value."""
    text = " ".join(report.caveats)
    for words in ("over facts and 2 seeds", "Facts of one subject count as a cluster", "are held", "verdict is PASS"):
        assert words in text
    assert "rest on no interval" not in text


def test_a_report_without_claims_says_so(small: Path) -> None:
    """Two variants of one seed: intervals of the facts alone, said to be about these checkpoints."""
    report = build(small)
    assert any("about these checkpoints" in caveat for caveat in report.caveats)
    empty = StudyReport("T", "k", "h", (), (), (), (), (), 0.9, 1)
    assert "None could be looked at." in render.markdown(empty)
    assert "None could be looked at." in render.html(empty)


def test_a_single_variant_has_a_headline_too(made: Maker, tmp_path: Path) -> None:
    """How many variants and seeds there are."""
    assert build(made(tmp_path / "study", "variants: [natural]\n", seeds=1, n=40)).headline == "1 variant, 1 seed each."


def test_nothing_is_written_for_a_damaged_study(whole: Path, tmp_path: Path) -> None:
    """All files, or none."""
    path = shutil.copytree(whole, tmp_path / "study", ignore=shutil.ignore_patterns("report.*"))
    shutil.rmtree(path / "tuned" / "unknown-50-seed1")
    with pytest.raises(InputError, match=r"dynamics\.jsonl: cannot be read"):
        write(path)
    assert not list(path.glob("report.*"))
