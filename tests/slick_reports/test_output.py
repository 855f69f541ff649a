"""Writing a report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slick.errors import InputError
from slick_reports import markdown
from slick_reports.numbers import Report
from slick_reports.output import write_report
from slick_reports.report import build_report

if TYPE_CHECKING:
    from conftest import Lab


@pytest.fixture
def report(lab: Lab) -> Report:
    return build_report([lab.score("base"), lab.score("arm")])


def test_three_files_are_written_and_returned(report: Report, tmp_path: Path) -> None:
    """The page, and the same numbers beside it; nothing else is left."""
    out = tmp_path / "new" / "folder" / "mine.html"
    assert write_report(report, out) == [out, out.with_suffix(".md"), out.with_suffix(".json")]
    assert sorted(path.name for path in out.parent.iterdir()) == ["mine.html", "mine.json", "mine.md"]


def test_every_format_names_its_neighbours_and_the_whole_command(report: Report, tmp_path: Path) -> None:
    """With the name that was chosen."""
    out = tmp_path / "it's.html"
    for path in write_report(report, out):
        text = path.read_text(encoding="utf-8")
        assert "--out" in text
        assert "it" in text
    assert "its.json" not in out.read_text(encoding="utf-8")
    assert "it&#39;s.json" in out.read_text(encoding="utf-8")


def test_a_report_is_replaced_by_the_next(report: Report, tmp_path: Path) -> None:
    """The same command may be repeated, and writes the same bytes."""
    out = tmp_path / "report.html"
    first = [path.read_bytes() for path in write_report(report, out)]
    assert [path.read_bytes() for path in write_report(report, out)] == first


@pytest.mark.parametrize("name", ["report", "report.htm", "report.md", "report.json"])
def test_another_suffix_is_refused(report: Report, tmp_path: Path, name: str) -> None:
    """The page's name ends in .html, and nothing is written."""
    with pytest.raises(InputError, match=r"expected a name that ends in \.html"):
        write_report(report, tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("suffix", [".md", ".json"])
def test_a_file_of_the_users_own_is_not_replaced(report: Report, tmp_path: Path, suffix: str) -> None:
    """`--out README.html` must not cost a README.md."""
    own = tmp_path / f"README{suffix}"
    own.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=rf"README\{suffix}: exists and is no report of slick"):
        write_report(report, tmp_path / "README.html")
    assert own.read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "README.html").exists()


def test_a_directory_in_the_way_is_refused(report: Report, tmp_path: Path) -> None:
    """As the page and as its neighbour."""
    (tmp_path / "a.html").mkdir()
    (tmp_path / "b.md").mkdir()
    with pytest.raises(InputError, match="is a directory"):
        write_report(report, tmp_path / "a.html")
    with pytest.raises(InputError, match=r"b\.md: exists and is no report"):
        write_report(report, tmp_path / "b.html")


def test_nothing_is_written_where_a_format_fails(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three are rendered first, so that an old report stays whole."""

    def fail(*_: object, **__: object) -> str:
        raise RuntimeError("no")

    monkeypatch.setattr(markdown, "render", fail)
    with pytest.raises(RuntimeError, match="no"):
        write_report(report, tmp_path / "report.html")
    assert not list(tmp_path.glob("report.*"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a directory that this user cannot write")
def test_a_directory_that_cannot_be_written_is_refused(report: Report, tmp_path: Path) -> None:
    """With what to do."""
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot be written"):
        write_report(report, locked / "report.html")


def test_a_file_where_a_directory_should_be_is_refused(report: Report, tmp_path: Path) -> None:
    """A path that cannot be written gives one clear message."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be written"):
        write_report(report, tmp_path / "file" / "report.html")
