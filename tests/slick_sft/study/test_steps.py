"""The rows of a set and the steps of its training, known before either is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slick.files import digest_of
from slick.knowledge_file import read_knowledge
from slick_sft.formats import TrainingSet
from slick_sft.recipe import Recipe, named, paper_names
from slick_sft.recipe_file import recipe_of
from slick_sft.recipes import mix
from slick_sft.study.grid import parse_grid, read_grid
from slick_sft.study.inputs import tuning_of
from slick_sft.study.steps import measurements, rows_of, settled, stages_of, steps_of
from slick_tasks.lab import data_path

RECORD = Path("no-such-recipe.json")


def recipe_called(name: str) -> Recipe:
    recipe = named(name)
    assert recipe is not None
    return recipe


@pytest.mark.parametrize("name", [*paper_names(), "unknown-50-replay-12-patch-5"])
def test_rows_are_known_before_the_set_is_mixed(name: str) -> None:
    """|D| rows, less the Unknown ones of D_Known, and what stands on top."""
    knowledge = read_knowledge(data_path() / "knowledge_train.parquet").knowledge
    size = len(mix(knowledge, recipe_called("known-only"), 0))
    rows = mix(knowledge, recipe_called(name), 0)
    assert rows_of(recipe_called(name), size) == len(rows)
    by_stage = [sum(row.stage == stage for row in rows) for stage in sorted({row.stage for row in rows})]
    assert list(stages_of(recipe_called(name), size, RECORD)) == by_stage


def test_a_set_that_was_mixed_says_its_stages_itself(tmp_path: Path) -> None:
    """Of one that was not, and where |D| is not known, nothing is known."""
    record = tmp_path / "recipe.json"
    record.write_text(json.dumps({"size": 30, "stages": [10, 20]}))
    assert stages_of(recipe_called("natural"), 99, record) == (10, 20)
    assert stages_of(recipe_called("natural"), None, RECORD) == ()


@pytest.mark.parametrize(
    ("recipe", "before"),
    [
        ({"unknown": 0.5}, True),
        ({"unknown": 0.5, "without": ["Unknown"], "patch": 5}, True),
        ({"natural": True}, True),
        ({"natural": True, "without": ["Unknown"]}, False),
        ({"unknown": 0.5, "stages": ["MaybeKnown"]}, False),
    ],
)
def test_what_only_the_mixed_set_tells_is_no_promise(tmp_path: Path, recipe: dict[str, Any], before: bool) -> None:
    """How the rows of a curriculum fall into stages, and what a natural mix lacks."""
    (tmp_path / "recipe.json").write_text("{}")
    assert settled(recipe_of(recipe, "x"), RECORD) is before
    assert settled(recipe_of(recipe, "x"), tmp_path / "recipe.json")


# Epochs, rows of a micro-batch, fields of SFTConfig, and the rows of each stage.
TRAININGS: list[tuple[float, int, dict[str, Any], tuple[int, ...]]] = [
    (2.5, 8, {}, (20,)),
    (1.1, 20, {}, (20,)),
    (1.5, 1, {"gradient_accumulation_steps": 7}, (20,)),
    (2, 3, {"gradient_accumulation_steps": 2, "dataloader_drop_last": True}, (20,)),
    (2, 8, {}, (13, 7)),
    (1, 3, {"gradient_accumulation_steps": 2}, (5, 8, 7)),
    (1, 4, {"train_sampling_strategy": "group_by_length", "gradient_accumulation_steps": 2}, (20,)),
]


def test_steps_are_those_that_training_takes(tiny_model: Path, trainer_of: Callable[..., Any]) -> None:
    """With micro-batches that are gathered, broken epochs, stages, and a last step that is left out."""
    work = {"model": str(tiny_model), "arm": "x", "seed": 0, "device": "cpu"}
    rows = [{"prompt": f"Q{i}?\n", "completion": f" a{i}"} for i in range(20)]
    for epochs, batch_size, settings, stages in TRAININGS:
        training = parse_grid(
            json.dumps(
                {
                    "variants": ["known-only"],
                    "training": {"epochs": epochs, "batch_size": batch_size, "settings": settings},
                }
            ),
            "grid",
        ).trainings[""]
        of = tuple(stage for stage, n in enumerate(stages) for _ in range(n))
        data = TrainingSet(rows, digest_of(rows), "x", stages=of if len(stages) > 1 else None)
        trainer, _ = trainer_of(tuning_of(work, training.as_dict(), data, None))
        trainer.train()
        assert trainer.state.global_step == steps_of(training, *stages), (epochs, batch_size, settings, stages)


def test_no_stages_take_no_steps() -> None:
    """Of a set that nothing is known of; and the small grid takes 140 on the lab's 220 rows."""
    training = read_grid("small").trainings[""]
    assert steps_of(training) == 0
    assert steps_of(training, 220) == 140
    assert measurements(training) == 21
