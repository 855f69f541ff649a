"""The edge to TRL: its SFTTrainer with our bar, our checks and our marks on checkpoints. Imports TRL at once."""

# ruff: noqa: ARG002  a callback takes what the trainer hands to it

from __future__ import annotations

import logging
import math
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate.logging import MultiProcessAdapter
from tqdm import tqdm
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer  # pyright: ignore[reportPrivateImportUsage]  # TRL exports them lazily

from slick.errors import InputError, RunError
from slick_sft.formats import TrainingSet

# Stands in a checkpoint once all of it is written and its weights are numbers.
COMPLETE = "complete"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


class CheckedTrainer(SFTTrainer):  # type: ignore[misc]  # TRL has no types
    """TRL's trainer; stops at the first loss that is not a number, before it reaches a checkpoint."""

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().training_step(*args, **kwargs)
        if not math.isfinite(loss.item()):
            raise RunError(f"the loss is {loss.item()} at step {self.state.global_step + 1}")
        return loss


class Bar(TrainerCallback):  # type: ignore[misc]
    """One progress bar a run, on stderr, in place of the trainer's bar and its printed logs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc=f"Tuning {self.name}", unit="step")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if self.bar is not None and "loss" in (logs or {}):
            self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}", refresh=False)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class MarkGood(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint as good when it is whole: the trainer writes it in place, file by file."""

    def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        check_weights(model, state.global_step)
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


def check_weights(model: Any, step: int) -> None:
    """Raises RunError where a trained weight is not a number: a finite loss does not rule it out."""
    bad = [name for name, weight in model.named_parameters() if weight.requires_grad and not weight.isfinite().all()]
    if bad:
        raise RunError(f"{len(bad)} weight tensors hold NaN or infinity after step {step}, such as {bad[0]}")


def last_good_checkpoint(checkpoints: Path) -> Path | None:
    """The newest whole checkpoint; those that a kill left half-written are removed."""
    found = [(int(m[1]), path) for path in checkpoints.glob("checkpoint-*") if (m := _CHECKPOINT.fullmatch(path.name))]
    for _, path in found:
        if not (path / COMPLETE).exists():
            shutil.rmtree(path)
    return max(((n, path) for n, path in found if path.exists()), default=(0, None))[1]


def build_trainer(
    model: str,
    data: TrainingSet,
    arguments: dict[str, Any],
    *,
    checkpoints: Path,
    lora: dict[str, Any] | None = None,
    cpu: bool,
    allow_truncated: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
) -> tuple[CheckedTrainer, list[str]]:
    """A trainer that is ready to train, and the notes that TRL had to say about model and data.

    arguments: fields of SFTConfig. lora: fields of peft's LoraConfig, None for full fine-tuning. Raises InputError
    for settings, data or a model that TRL will not take, and for rows that do not fit in max_length (unless
    `allow_truncated`). callbacks: what else watches the run; they come before the mark on a checkpoint, so that
    what they write of it is there once the checkpoint counts.
    """
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer

    try:
        half = not cpu and not arguments.get("fp16") and torch.cuda.is_bf16_supported()
        machine = {"bf16": half, "dataloader_pin_memory": not cpu, "use_cpu": cpu}
        config = SFTConfig(**{**machine, **arguments}, output_dir=str(checkpoints), disable_tqdm=True)
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=config.trust_remote_code)
        _check_tokenizer(model, tokenizer, data, config)
        with _quiet_datasets(), _collected_warnings() as notes:
            trainer = CheckedTrainer(
                model=model,
                args=config,
                train_dataset=Dataset.from_list(list(data.rows)),
                processing_class=tokenizer,
                peft_config=_lora_config(lora),
                callbacks=[*callbacks, MarkGood()],
            )
    except (ValueError, TypeError, OSError, KeyError, ImportError) as error:
        raise InputError(f"{model}: TRL cannot set up this training run: {error}") from error
    trainer.remove_callback(PrinterCallback)
    _check_fit(trainer, data, allow_truncated)
    return trainer, [*notes, *_unfinished(trainer)]


def _lora_config(lora: dict[str, Any] | None) -> Any:
    if lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(task_type="CAUSAL_LM", **lora)


def _check_tokenizer(model: str, tokenizer: Any, data: TrainingSet, config: Any) -> None:
    if not (tokenizer.eos_token or config.eos_token):
        raise InputError(f"{model}: its tokenizer names no end-of-sequence token; give one with --set eos_token=…")
    if data.conversational and not (tokenizer.chat_template or config.chat_template_path):
        raise InputError(
            f"{data.source}: holds messages, and {model} has no chat template; give one with "
            "--set chat_template_path=FILE.jinja, or mix without --conversational"
        )


def _check_fit(trainer: Any, data: TrainingSet, allow_truncated: bool) -> None:
    """TRL cuts long rows and drops those without an answer token left, and says neither."""
    longest = trainer.args.max_length
    kept = trainer.train_dataset
    if longest is None or trainer.args.packing or (allow_truncated and len(kept)):
        return
    dropped = len(data.rows) - len(kept)
    ends = _ends(trainer)
    cut = sum(len(row["input_ids"]) >= longest and ends.isdisjoint(row["labels"]) for row in kept)
    if dropped or cut:
        raise InputError(
            f"{data.source}: {dropped + cut} of {len(data.rows)} rows do not fit in max_length = {longest} tokens: "
            f"{dropped} would lose their whole answer (TRL drops them), {cut} its end; raise it with "
            "--set max_length=…, or train on what is left with --allow-truncated"
        )


def _ends(trainer: Any) -> set[int]:
    """The tokens that end generation: the tokenizer's, and those of the generation configuration."""
    found = trainer.model.generation_config.eos_token_id
    return {trainer.processing_class.eos_token_id, *(found if isinstance(found, list) else [found])} - {None}


def _unfinished(trainer: Any) -> list[str]:
    """TRL ends plain answers itself; what ends a message is the chat template's business."""
    ends = _ends(trainer)
    if any(not ends.isdisjoint(row["labels"]) for row in trainer.train_dataset):
        return []
    return [
        f"no answer ends in the end-of-sequence token {trainer.processing_class.eos_token!r}, so the model will not "
        "learn to stop; see the chat template, or name its end of turn with --set eos_token=…"
    ]


@contextmanager
def _quiet_datasets() -> Iterator[None]:
    """No bars while rows are tokenised: they flash by, six of them."""
    from datasets import disable_progress_bars, enable_progress_bars
    from datasets.utils import are_progress_bars_disabled

    before = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()


@contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    """What TRL's trainer warns of, to be shown as notes of ours rather than as log lines."""
    notes: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notes.append(record.getMessage().removeprefix("[RANK 0] "))

    # It warns once a process; a second run has the same right to know.
    MultiProcessAdapter.warning_once.cache_clear()
    logger = logging.getLogger("trl.trainer.sft_trainer")
    level, propagate, collector = logger.level, logger.propagate, Collector(logging.WARNING)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    logger.addHandler(collector)
    try:
        yield notes
    finally:
        logger.removeHandler(collector)
        logger.setLevel(level)
        logger.propagate = propagate
