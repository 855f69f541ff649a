"""slick_sft.study_report.noise: the A/A lines of a study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slick.facts import Fact
from slick.knowledge import Category, Chances, Knowledge
from slick_sft.study_report import noise
from slick_sft.study_report.asked import KNOWN_FACTS, Asked
from slick_sft.study_report.data import Study

Maker = Callable[..., Path]


def fact(i: int) -> Fact:
    return Fact.create(f"question {i}", ["a"], relation="P17", subject=f"S{i // 2}", split="test")


def exact(n: int) -> list[Knowledge]:
    """Facts in turn: all sets right, one of ten, none with samples that would be, none at all, and on the border."""
    kinds = [
        (10, 0.9, 5),
        (1, 0.1, 1),
        (0, 0.1, 0),
        (0, 1e-6, 0),
        (0, 0.004, 0),
    ]
    return [
        Knowledge(fact(i), greedy, 10, before_right=right, before_total=5, chances=Chances((p,) * 10))
        for i in range(n)
        for greedy, p, right in [kinds[i % 5]]
    ]


def test_category_sets_are_set_beside_fresh_ones() -> None:
    """All facts first, then each category: right under either, the difference, and all with intervals."""
    lines = {line.category: line for line in noise.selection(exact(200))}
    assert list(lines) == [None, *(c for c in Category)]
    top, maybe = lines[Category.HIGHLY_KNOWN], lines[Category.MAYBE_KNOWN]
    assert (top.n, top.chosen and top.chosen.value, top.fresh and top.fresh.value) == (40, 1.0, 1.0)
    assert maybe.gap is not None
    assert maybe.gap.value == pytest.approx(0.2 - 0.1)
    for line in lines.values():
        for estimate in (line.chosen, line.fresh, line.gap, line.flagged, line.kept):
            assert estimate is not None
            assert estimate.interval is not None
            assert estimate.interval.low < estimate.interval.high


def test_flagged_facts_are_those_on_the_border() -> None:
    """Of u between 0.05 and 0.95: a fifth of all, and no fact with a right greedy answer."""
    lines = {line.category: line for line in noise.selection(exact(200))}
    shares = {category: line.flagged and line.flagged.value for category, line in lines.items()}
    assert shares == {
        None: 0.2,
        Category.HIGHLY_KNOWN: 0.0,
        Category.MAYBE_KNOWN: 0.0,
        Category.WEAKLY_KNOWN: 0.0,
        Category.UNKNOWN: 0.5,
    }


def test_a_sampled_probe_flags_nothing(whole: Path) -> None:
    """The report says so; fresh sets are told all the same."""
    section = noise.section(Study(whole))
    assert any("The probe sampled" in text for text in section.text)
    assert all(row[5].text == "–" for row in section.tables[0].rows)
    top = section.data["selection"][1]
    assert top.gap.value < 0
    assert any("by the same untouched model" in text for text in section.text)


def test_a_probe_without_fresh_sets_is_not_measured() -> None:
    """Neither are facts that nobody probed."""
    sampled = [Knowledge(fact(i), 10 * (i % 2), 10, 0, 16 * (1 - i % 2)) for i in range(40)]
    assert noise.selection(sampled) == ()
    assert noise.selection([]) == ()
    told = noise.selection_told(sampled, ())
    assert told[0] == "Category sets against fresh sets: not measured, since the probe drew no fresh exemplar sets."


def test_seeds_are_set_against_each_other(whole: Path) -> None:
    """Of the controls and of the set without Unknown rows, at both stages."""
    section = noise.section(Study(whole))
    table = section.tables[1]
    assert {row[0].text for row in table.rows} == {"unknown-50-zero-weight", "known-only"}
    assert {row[1].text for row in table.rows} == {"CONVERGENCE", "EARLY_STOP"}
    line = section.data["seeds"]["known-only"]["convergence"][KNOWN_FACTS]
    assert len(line.accuracies) == 2
    assert line.spread.value == pytest.approx(np.std(line.accuracies, ddof=1))
    assert any("Over all 13 variants" in text for text in section.text)


def test_pairs_of_seeds_apart_are_counted() -> None:
    """Three seeds of which one knows half as much: two of three pairs, the furthest with its interval."""
    n = 200
    places = np.arange(n)
    right = np.array([places < 120, places < 118, places < 60], dtype=float)
    asked = Asked(tuple(fact(i) for i in range(n)), (None,) * n, np.full(n, np.nan))
    line = noise.seed_line(right, asked)
    assert line is not None
    assert (line.pairs, line.apart) == (3, 2)
    assert line.largest.value == pytest.approx(-0.3)
    assert line.spread.interval is not None
    assert line.spread.interval.low < line.spread.value < line.spread.interval.high
    alike = noise.seed_line(right[[0, 0]], asked)
    assert alike is not None
    assert alike.spread.interval is None
    assert noise.seed_line(right[:1], asked) is None


def test_the_spread_covers_the_truth() -> None:
    """90 % intervals of 400 pooled spreads of five variants with three seeds each."""
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(400):
        found = noise.spread_of([(float(rng.normal(0, 0.02, 3).var(ddof=1)), 2) for _ in range(5)], 100)
        assert found.interval is not None
        held += found.interval.low <= 0.02 <= found.interval.high
    assert 0.87 <= held / 400 <= 0.93


def test_one_seed_measures_no_seeds(small: Path) -> None:
    """And says what would."""
    section = noise.section(Study(small))
    assert "repeat the command with --seeds 3" in section.text[-1]
    assert section.data["seeds"] == {}


def test_without_a_control_the_mixes_stand_for_it(made: Maker, tmp_path: Path) -> None:
    """Any variant's seeds are an A/A line."""
    study = Study(made(tmp_path / "study", "variants: [unknown-50, unknown-100]\nptrue: false\n", seeds=2, n=40))
    assert [v.name for v in noise.controls_of(study)] == ["unknown-50", "unknown-100"]
