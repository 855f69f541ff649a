"""What a study times before it begins."""

from __future__ import annotations

from pathlib import Path

from slick_sft.study.grid import parse_grid
from slick_sft.study.measuring import step_seconds
from slick_tasks.lab import load_facts


def test_a_step_is_timed_however_many_micro_batches_it_gathers(tiny_model: Path, tmp_path: Path) -> None:
    """Some are always made, and the first is left out."""
    grid = "{variants: [natural], training: {batch_size: 1, settings: {gradient_accumulation_steps: 9}}}"
    training = parse_grid(grid, "grid").trainings[""].as_dict()
    work = {"model": str(tiny_model), "arm": "measured", "seed": 0, "device": "cpu"}
    assert step_seconds(work, training, load_facts()[:4], tmp_path / "out") > 0


def test_a_step_is_timed_whatever_the_rate_would_do(tiny_model: Path, tmp_path: Path) -> None:
    """Nothing is to be learned of it, and a rate that ends in no numbers keeps no study from being begun."""
    training = parse_grid("{variants: [natural], training: {batch_size: 2}}", "grid").trainings[""].as_dict()
    work = {"model": str(tiny_model), "arm": "measured", "seed": 0, "device": "cpu"}
    assert step_seconds(work, training | {"learning_rate": 1e30}, load_facts()[:4], tmp_path / "out") > 0
