"""A lab: facts with their exposures, and the organism that was grown on them, in one directory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slick.errors import InputError
from slick.facts import Fact, sample_facts
from slick.files import replacing_directory, write_json
from slick_sft.exposures import (
    LEVELS,
    NEVER_PERCENT,
    LabFact,
    draw_exposures,
)
from slick_sft.organism import RECIPE, OrganismConfig, grow_organism
from slick_sft.world import build_world

FACTS = "facts.jsonl"
ORGANISM = "organism"

# Up to so many facts: vocabulary, width, layers, feed-forward width, passes. Real names share fewer syllables
# than the world's invented ones, so they need a larger vocabulary; more facts need more weights.
_SIZES = (
    (300, (1024, 96, 3, 256, 16)),
    (2_000, (2048, 128, 3, 344, 8)),
    (10_000, (4096, 192, 4, 512, 6)),
    (50_000, (8192, 320, 6, 896, 5)),
)
_LARGEST = (16384, 512, 8, 1408, 5)


def size_for(n_facts: int) -> OrganismConfig:
    """The organism's size and passes for so many facts of a user's own; larger organisms train more gently."""
    vocabulary, width, layers, feed_forward, passes = next((size for most, size in _SIZES if n_facts <= most), _LARGEST)
    return OrganismConfig(
        vocabulary=vocabulary,
        width=width,
        layers=layers,
        feed_forward=feed_forward,
        passes=passes,
        learning_rate=3e-3 if width <= 128 else 2e-3 if width <= 320 else 1e-3,
    )


def build_lab(
    *,
    out: Path,
    seed: int,
    facts: Sequence[Fact] | None = None,
    limit: int | None = None,
    config: OrganismConfig | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Write `facts.jsonl`, `organism/` and `recipe.json` to `out`, and return the recipe.

    facts: what to grow on, exposures drawn from the seed; None: the world of the seed.
    limit: a seeded draw of so many of them. config: the organism's size and training; None: `size_for` the
    facts, or the shipped organism's for the world. device: "cpu", "cuda" or "auto".
    Raises InputError as `grow_organism` does; nothing is written when anything fails.
    """
    lab_facts = _exposed(facts, limit, seed)
    if not lab_facts:
        raise InputError("lab: no facts to grow on; expected at least one")
    if config is None:
        config = OrganismConfig() if facts is None else size_for(len(lab_facts))
    with replacing_directory(Path(out)) as directory:
        (directory / FACTS).write_text(_lines(lab_facts), encoding="utf-8")
        organism = grow_organism(lab_facts, out=directory / ORGANISM, seed=seed, config=config, device=device)
        recipe = {
            "schema": 1,
            "seed": seed,
            "facts": "given" if facts is not None else "world",
            "limit": limit,
            "splits": dict(Counter(row.fact.split for row in lab_facts)),
            "exposure_levels": list(LEVELS),
            "never_percent": NEVER_PERCENT,
            "organism": organism,
        }
        write_json(directory / RECIPE, recipe)
    return recipe


def _exposed(facts: Sequence[Fact] | None, limit: int | None, seed: int) -> list[LabFact]:
    if facts is not None:
        return draw_exposures(facts if limit is None else sample_facts(facts, limit, seed), seed)
    world = build_world(seed)
    if limit is None:
        return world
    chosen = {fact.id for fact in sample_facts([row.fact for row in world], limit, seed)}
    return [row for row in world if row.fact.id in chosen]


def _lines(facts: Sequence[LabFact]) -> str:
    return "".join(json.dumps(row.as_dict(), ensure_ascii=False, separators=(",", ":")) + "\n" for row in facts)
