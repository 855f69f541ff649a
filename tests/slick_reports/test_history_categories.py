"""Where a history's categories are from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from slick_reports.history_categories import Categories
from slick_reports.history_versions import versions_of
from slick_reports.ledger_rows import Columns, Held


def run(id: int, version: str, kind: str = "score", weights: str = "", **record: Any) -> Held:
    made = {"model": {"name": f"model {version}", "weights": weights or version}, **record}
    return Held(id, version, f"2025-01-0{id}", kind, kind, False, made)


def found(runs: list[Held], *categories: list[int], baseline: int = 0) -> Categories:
    """categories: of each run, by fact."""
    n = len(categories[0])
    places = {place + 1: place for place in range(n)}
    columns = {
        held.id: Columns(
            np.arange(1, n + 1), np.zeros(n, np.int8), np.array(of, np.int8), np.full(n, np.nan, np.float32)
        )
        for held, of in zip(runs, categories, strict=True)
    }
    versions = versions_of([held for held in runs if held.kind == "score"], columns, places)
    return Categories(runs, columns, places, versions, baseline)


def test_a_later_probe_that_says_what_known_is_is_warned_of() -> None:
    """And named: what was forgotten before it is not among its Known facts."""
    only = found([run(1, "v0"), run(2, "v1"), run(3, "v1", "probe")], [-1, -1, -1], [-1, -1, -1], [0, 3, -1])
    assert only.of.tolist() == [0, 3, -1]
    assert only.note().endswith("in every version: 2 facts by the probe of “v1”.")
    assert only.warning() == (
        "“Known” is not what the baseline “v0” knew: 2 facts by the probe of “v1”, which is later. What was forgotten "
        "before counts as Unknown there; add a probe of “v0”."
    )


@pytest.mark.parametrize(
    ("probe", "told"),
    [
        (run(3, "v0", "probe"), "3 facts by the probe of “v0”"),
        (run(3, "base probe", "probe", "v0"), "3 facts by the probe of “base probe”"),
        (run(3, "v1", knowledge={"name": "m", "weights": "v0"}), "3 facts by the score of “v1” (a probe of “m”)"),
    ],
)
def test_what_the_baseline_knew_comes_first_whoever_recorded_it(probe: Held, told: str) -> None:
    """A later score may bear the categories of the baseline's weights: that is no cause for a warning."""
    only = found([run(1, "v0"), run(2, "v1", "probe"), probe], [-1, -1, -1], [0, 0, 0], [3, 2, 1])
    assert only.of.tolist() == [3, 2, 1]
    assert told in only.note()
    assert only.warning() == ""


@pytest.mark.parametrize(
    ("name", "baseline", "warned"), [("v1", 0, True), ("v0", 1, False), ("elsewhere", 0, True), ("elsewhere", 1, True)]
)
def test_later_is_by_the_place_among_the_versions_or_by_date(name: str, baseline: int, warned: bool) -> None:
    """A probe of an earlier version than the baseline is named, and no more."""
    only = found(
        [run(1, "v0"), run(2, "v1"), run(3, name, "probe", "x")], *[[-1] * 3] * 2, [0, 0, 0], baseline=baseline
    )
    assert bool(only.warning()) is warned


def test_without_categories_nothing_is_known() -> None:
    """The note says how to have them; a score that did not record whose they are says that."""
    assert found([run(1, "v0")], [-1, -1, -1]).note().startswith("No fact has a category: add a probe")
    assert "by the score of “v0” (a probe that is not recorded)" in found([run(1, "v0")], [0, 0, 0]).note()


def test_many_sources_are_counted() -> None:
    """Three are named."""
    runs = [run(1, "v0"), *(run(i, f"p{i}", "probe") for i in range(2, 7))]
    only = found(runs, [-1] * 5, *([0 if i == place else -1 for i in range(5)] for place in range(5)))
    assert only.note().count("1 fact by the probe of") == 3
    assert only.note().endswith("by the probe of “p4”, 2 facts by 2 other runs.")
