"""Building a lab: the world's or a user's facts, doses recorded, organism grown, all or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slick.errors import InputError
from slick.facts import Fact
from slick.reader import read_facts
from slick_sft.exposures import draw_exposures
from slick_sft.lab import build_lab, size_for
from slick_sft.organism import OrganismConfig
from slick_sft.world import build_world

TINY = OrganismConfig(
    vocabulary=300, width=16, layers=1, heads=2, feed_forward=32, passes=1, batch_tokens=512, warm_up=0.1
)


def _facts(n: int) -> list[Fact]:
    return [
        Fact.create(f"What is the capital of Ö{i}?", [f"São {i}"], relation="P36", subject=f"Ö{i}", split="test")
        for i in range(n)
    ]


def test_world_lab(tmp_path: Path) -> None:
    """Without facts the world of the seed is written with its exposures, beside the organism and the recipe."""
    recipe = build_lab(out=tmp_path / "lab", seed=3, limit=40, config=TINY, device="cpu")
    assert {path.name for path in (tmp_path / "lab").iterdir()} == {"facts.jsonl", "organism", "recipe.json"}
    rows = [json.loads(line) for line in (tmp_path / "lab" / "facts.jsonl").open()]
    world = {row.fact.id: row.exposures for row in build_world(3)}
    assert len(rows) == 40
    assert all(world[row["id"]] == row["exposures"] for row in rows)
    assert recipe["facts"] == "world"
    assert recipe == json.loads((tmp_path / "lab" / "recipe.json").read_text())


def test_lab_on_any_facts(tmp_path: Path) -> None:
    """A user's facts get doses from the seed and are written in the form that the reader reads."""
    facts = _facts(30)
    build_lab(out=tmp_path / "lab", seed=1, facts=facts, config=TINY, device="cpu")
    rows = [json.loads(line) for line in (tmp_path / "lab" / "facts.jsonl").open(encoding="utf-8")]
    assert [row["exposures"] for row in rows] == [row.exposures for row in draw_exposures(facts, 1)]
    assert read_facts(tmp_path / "lab" / "facts.jsonl") == facts


def test_limit_draws_facts(tmp_path: Path) -> None:
    """A limit takes a seeded draw, and the doses of the drawn facts are those they have in the whole."""
    facts = _facts(50)
    recipe = build_lab(out=tmp_path / "lab", seed=1, facts=facts, limit=20, config=TINY, device="cpu")
    rows = [json.loads(line) for line in (tmp_path / "lab" / "facts.jsonl").open(encoding="utf-8")]
    whole = {row.fact.id: row.exposures for row in draw_exposures(facts, 1)}
    assert len(rows) == recipe["organism"]["facts"] == 20
    assert all(whole[row["id"]] == row["exposures"] for row in rows)


def test_no_facts(tmp_path: Path) -> None:
    """An empty list of facts is an input error, and nothing is written."""
    with pytest.raises(InputError, match="no facts to grow on"):
        build_lab(out=tmp_path / "lab", seed=0, facts=[], config=TINY)
    assert not list(tmp_path.iterdir())


def test_an_existing_lab_stays(tmp_path: Path) -> None:
    """A second build into the same directory is refused before any work."""
    build_lab(out=tmp_path / "lab", seed=1, facts=_facts(20), config=TINY, device="cpu")
    before = (tmp_path / "lab" / "recipe.json").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        build_lab(out=tmp_path / "lab", seed=2, facts=_facts(20), config=TINY, device="cpu")
    assert (tmp_path / "lab" / "recipe.json").read_bytes() == before


def test_failure_leaves_nothing_half_written(tmp_path: Path) -> None:
    """When the organism cannot be grown, the facts are not left behind either."""
    with pytest.raises(InputError, match="vocabulary"):
        build_lab(out=tmp_path / "lab", seed=1, facts=_facts(20), config=OrganismConfig(vocabulary=1))
    assert not list(tmp_path.iterdir())


def test_size_rises_with_the_number_of_facts() -> None:
    """More facts get a larger vocabulary and a wider model; every size is a possible one."""
    sizes = [size_for(n).check() for n in (10, 1_000, 5_000, 20_000, 100_000)]
    assert sorted(s.vocabulary for s in sizes) == [s.vocabulary for s in sizes]
    assert sorted(s.width for s in sizes) == [s.width for s in sizes]
    assert size_for(1_000).vocabulary == 2048
