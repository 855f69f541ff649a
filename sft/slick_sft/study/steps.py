"""The rows of an arm's set, and the optimiser steps that training over them takes. Pure, but for a set's record."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

from slick.files import mapping_of, read_json
from slick.knowledge import Category
from slick_sft.batches import Plan
from slick_sft.recipe import Recipe
from slick_sft.study.grid import Training


def rows_of(recipe: Recipe, size: int) -> int:
    """How many rows a set of that recipe has, where |D| is `size`; of a natural mix about, as what it lacks depends
    on the facts."""
    unknown = (recipe.parts or {}).get(str(Category.UNKNOWN), Fraction(0))
    lacks = int(unknown * size + Fraction(1, 2)) if Category.UNKNOWN in recipe.without else 0
    return size - lacks + sum(extra.rows for extra in (recipe.replay, recipe.patch) if extra)


def stages_of(recipe: Recipe, size: int | None, record: Path) -> tuple[int, ...]:
    """The rows of each stage of a set: by its record, where it was mixed, or else by its recipe.

    size: rows of the mix. Empty where neither is known. Of a curriculum by categories the recipe tells all rows, and
    only the record how they fall into stages.
    """
    if record.exists():
        mixed = mapping_of(read_json(record))
        return tuple(mixed.get("stages") or [int(mixed["size"])])
    if size is None:
        return ()
    patch = recipe.patch.rows if recipe.patch else 0
    return (rows_of(recipe, size) - patch, *([patch] if patch else []))


def settled(recipe: Recipe, record: Path) -> bool:
    """Whether `stages_of` tells the very stages of a set, its size once given: not of a curriculum by categories, and
    of a natural mix without some of them, before it is mixed."""
    return record.exists() or not (recipe.stages or (recipe.parts is None and recipe.without))


def steps_of(training: Training, *stages: int) -> int:
    """Optimiser steps over stages of so many rows each, as the trainer plans them. 0 for no stages.

    A step gathers the rows of all its micro-batches; a worker has one device. How many steps packing makes of the
    rows is not known: it counts as none.
    """
    drop_last = bool(training.settings.get("dataloader_drop_last", False))
    rows = tuple(tuple(range(n)) for n in stages)
    return math.ceil(training.epochs * Plan(rows, training.rows_a_step, 0, 0, drop_last=drop_last).steps_per_pass)


def measurements(training: Training) -> int:
    """How often an arm measures itself: before its first step, and after every epoch that it begins."""
    return 1 + math.ceil(training.epochs)
