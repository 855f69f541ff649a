"""slick_sft.study_report.every: all variants in one table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from slick_sft.study_report import every
from slick_sft.study_report.data import Study

Maker = Callable[..., Path]


def test_every_variant_has_a_row(whole: Path) -> None:
    """With its method, rows, steps and epochs; D_Known has half the rows and none Unknown."""
    section = every.section(Study(whole))
    rows = {row[0].text: [cell.text for cell in row] for row in section.tables[0].rows}
    assert list(rows) == list(Study(whole).variants)
    assert rows["lora-unknown-50"][1] == "lora"
    assert [*rows["unknown-50"][2:5], rows["unknown-50"][6]] == ["40", "20", "20", "1"]
    assert rows["unknown-50-without-unknown"][2:4] == ["20", "0"]
    assert len(section.text) == 1


def test_what_stands_in_no_comparison_is_named(made: Maker, tmp_path: Path) -> None:
    """A mix of another size, and a second one of a share: a row of their own, and why."""
    grid = "variants: [known-only, unknown-50, {name: few, unknown: 0.5, size: 16}]\nptrue: false\n"
    section = every.section(Study(made(tmp_path / "study", grid, seeds=1, n=40)))
    assert section.text[1:] == ("few stands in no comparison of shares: |D| is 16 rows there and 40 elsewhere.",)
    assert [row[0].text for row in section.tables[0].rows] == ["known-only", "unknown-50", "few"]
