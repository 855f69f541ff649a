"""What a training step of `slick tune` costs on the lab organism, beside TRL's own trainer on the same rows.

One thread, in one process, the trainers in turn; medians of the processor time of a step, which other programs on the
machine disturb least. Run with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slick_sft.arguments import sft_arguments
from slick_sft.formats import read_training_set
from slick_tasks.lab import data_path, organism_path

pytestmark = pytest.mark.bench

ROUNDS = 5
STEPS = 6


def test_a_step_beside_trls(
    slick: Callable[..., None], work: Path, write_result: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRL's trainer, ours on the same rows, with weights, and with distillation: milliseconds a step, and ratios."""
    import torch
    from transformers import PrinterCallback
    from trl import SFTTrainer  # pyright: ignore[reportPrivateImportUsage]

    from slick_sft.trainer import build_trainer

    monkeypatch.chdir(work)
    torch.set_num_threads(1)
    if not Path("step-set").is_dir():
        knowledge = data_path() / "knowledge_train.parquet"
        slick("mix", "--knowledge", knowledge, "--unknown", 0.5, "--out", "step-set")
    data = read_training_set("step-set")
    weighted = replace(data, weights=tuple((1.0, 0.5)[i % 2] for i in range(len(data.rows))))
    result: dict[str, Any] = {"rounds": ROUNDS, "steps_a_round": STEPS, "batch_sizes": {}}
    for batch_size in (32, 128):
        given = {"learning_rate": 1e-4, "per_device_train_batch_size": batch_size, "max_steps": STEPS}
        arguments = sft_arguments(given, settings=["save_strategy=no"])

        def ours(of: Any = data, distill: float = 0.0, arguments: Any = arguments) -> Any:
            model = str(organism_path())
            trainer, _ = build_trainer(model, of, dict(arguments), checkpoints=Path("none"), cpu=True, distill=distill)
            return trainer

        def theirs(arguments: Any = arguments) -> Any:
            prepared = ours(arguments=arguments)
            columns = prepared.train_dataset.select_columns(["input_ids", "labels"])
            trainer = SFTTrainer(
                model=str(organism_path()),
                args=prepared.args,
                train_dataset=columns,
                processing_class=prepared.processing_class,
            )
            trainer.remove_callback(PrinterCallback)
            return trainer

        trainers = {
            "TRL": theirs(),
            "slick tune": ours(),
            "with weights": ours(weighted),
            "with distillation": ours(distill=1.0),
        }
        times: dict[str, list[float]] = {name: [] for name in trainers}
        for turn in range(ROUNDS + 1):
            for name, trainer in trainers.items():
                start = time.process_time()
                trainer.train()
                if turn:  # the first one warms up
                    times[name].append((time.process_time() - start) / STEPS)
        result["batch_sizes"][str(batch_size)] = {
            name: {
                "ms_a_step": round(1000 * statistics.median(of), 1),
                "of_TRL": round(statistics.median(a / b for a, b in zip(of, times["TRL"], strict=True)), 3),
            }
            for name, of in times.items()
        }
    write_result("training_step", result)
    for of in result["batch_sizes"].values():
        assert of["slick tune"]["of_TRL"] < 1
