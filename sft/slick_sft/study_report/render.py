"""A study's report as an HTML page, as Markdown, as JSON and in pictures. Nothing is computed here but how it looks."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files

from markupsafe import Markup

from slick_reports import wording
from slick_reports.html import page_environment, style_hash, style_sheet
from slick_reports.json_report import plain
from slick_reports.markdown import bullets, escape, sentence, table
from slick_sft.study_report.blocks import Cell, Finding, Section, StudyReport, Table
from slick_sft.study_report.picture_file import picture_file
from slick_sft.study_report.pictures import legend_sign

# 1: first version.
# 2: banners; a rank correlation has its interval; the verdict at EARLY_STOP is null where nothing was filtered.
SCHEMA = 2
MARK = "<!-- slick study report -->"
_WAYS = {"fell": " ▼", "rose": " ▲"}
_FINDINGS = {Finding.AGREES: "rose", Finding.DIFFERS: "fell", Finding.OPEN: "soft"}


def html(report: StudyReport) -> str:
    """One page that works offline, without scripts; every value is escaped, and only our style is allowed."""
    css = _css()
    environment = page_environment("slick_sft.study_report")
    environment.globals |= {"legend_sign": legend_sign, "finding_class": _FINDINGS.__getitem__}
    return environment.get_template("study.html.j2").render(
        r=report,
        schema=SCHEMA,
        css=Markup(css),  # noqa: S704  our own files
        css_hash=style_hash(css),
    )


def cover(report: StudyReport) -> str:
    """What matters most, in one SVG file that stands alone; "" where there is no picture of it."""
    pictures = [picture for section in report.sections for picture in section.pictures if picture.cover]
    return picture_file(pictures, _css()) if pictures else ""


def _css() -> str:
    return style_sheet() + files("slick_sft.study_report").joinpath("templates/study.css").read_text(encoding="utf-8")


def markdown(report: StudyReport) -> str:
    """For a terminal, a pull request or a wiki; the pictures are on the page only."""
    parts = [
        MARK,
        f"# {escape(report.title)}",
        sentence(report.kicker),
        *(f"> **Warning:** {sentence(banner)}" for banner in report.banners),
        f"**{sentence(report.headline)}**",
        bullets(report.findings),
        *(sentence(note) for note in report.notes),
        f"{wording.level(report.level)} intervals in brackets.",
        "## The paper's claims, and ours",
        _claims(report),
    ]
    for section in report.sections:
        parts += [f"## {escape(section.title)}", *_section(section)]
    parts += ["## How to read this", bullets(report.caveats), "## Provenance"]
    parts.append(table(["", ""], [[escape(name), escape(value)] for name, value in report.provenance], text_columns=2))
    parts.append("The same numbers at full precision: report.json; with pictures: report.html.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _claims(report: StudyReport) -> str:
    rows = [[sentence(c.claim), sentence(c.paper), sentence(c.here), str(c.finding)] for c in report.claims]
    return table(["claim", "paper", "here", "finding"], rows, text_columns=4) if rows else "None could be looked at."


def _section(section: Section) -> list[str]:
    if section.missing:
        return [sentence(section.missing)]
    return [*(sentence(text) for text in section.text), *(_table(each) for each in section.tables)]


def _table(found: Table) -> str:
    rows = [[_cell(cell) for cell in row] for row in found.rows]
    whole = table([escape(name) for name in found.header], rows, text_columns=found.labels)
    note = f"\n\n{sentence(found.note)}" if found.note else ""
    return f"**{sentence(found.caption)}**\n\n{whole}{note}"


def _cell(cell: Cell) -> str:
    under = f" {escape(cell.under)}" if cell.under else ""
    return f"{escape(cell.text)}{under}{_WAYS.get(cell.way, '')}"


def json_text(report: StudyReport) -> str:
    """Every figure at full precision; fractions stay fractions, and what is undefined is null."""
    sections = [
        {"id": s.id, "title": s.title, "text": s.text, "missing": s.missing or None, "figures": s.data}
        for s in report.sections
    ]
    document = {
        "kind": "slick study report",
        "schema": SCHEMA,
        "title": report.title,
        "headline": report.headline,
        "banners": report.banners,
        "findings": report.findings,
        "notes": report.notes,
        "level": report.level,
        "seeds": report.seeds,
        "claims": [{**asdict(claim), "finding": str(claim.finding)} for claim in report.claims],
        "sections": sections,
        "caveats": report.caveats,
        "provenance": report.provenance,
    }
    return json.dumps(plain(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
