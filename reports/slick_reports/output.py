"""Writing a report: the HTML page, the same numbers as Markdown and JSON beside it, and JUnit where it is asked for."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from slick.errors import InputError
from slick.files import replacing
from slick_reports import collector, html, json_report, junit_xml, markdown
from slick_reports.numbers import Report
from slick_reports.places import place


@collector.paused()
def write_report(report: Report, html_path: Path, junit: Path | None = None) -> list[Path]:
    """Writes X.html, X.md and X.json for an `html_path` X.html, and `junit` where one is named; returns them.

    All are rendered before the first is written. Raises InputError for another suffix, for a directory that
    cannot be written, and where X.md or X.json holds something that is no report of ours.
    """
    html_path = Path(html_path)
    if html_path.suffix != ".html":
        raise InputError(f"--out {html_path}: expected a name that ends in .html (.md and .json are written beside it)")
    if html_path.is_dir():
        raise InputError(f"--out {html_path}: is a directory, expected a file name")
    beside = {".md": markdown.MARK, ".json": json_report.MARK}
    strangers = {html_path.with_suffix(suffix): mark for suffix, mark in beside.items()}
    if junit is not None:
        if junit in (html_path, *strangers):
            raise InputError(f"--junit {junit}: is also a name of --out {html_path}; choose another")
        strangers[junit] = junit_xml.MARK
    for path, mark in strangers.items():
        refuse_stranger(path, mark)
    report = replace(report, command=f"{report.command}{_named('--junit', junit)}{_named('--out', html_path)}")
    texts = {
        html_path: html.render(report, stem=html_path.stem),
        html_path.with_suffix(".md"): markdown.render(report, stem=html_path.stem),
        html_path.with_suffix(".json"): json_report.render(report),
    }
    if junit is not None:
        texts[junit] = junit_xml.render(report)
    for path, text in texts.items():
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    return list(texts)


def _named(option: str, path: Path | None) -> str:
    return "" if path is None else f" {option} {shlex.quote(place(path))}"


def refuse_stranger(path: Path, mark: str) -> None:
    """InputError where `path` holds anything but a file of ours, which bears `mark` near its beginning.

    The user named the page; what is written beside it must not cost a file of the user's own.
    """
    if not path.exists():
        return
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            ours = mark in file.read(200)
    except OSError:
        ours = False
    if not ours:
        raise InputError(f"{path}: exists and is no report of slick; it would be replaced, so choose another --out")
