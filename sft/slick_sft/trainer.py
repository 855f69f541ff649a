"""Setting up a training run with TRL: model, data, rows and what is refused of them. Imports TRL at once."""

# ruff: noqa: ARG002  a callback takes what the trainer hands to it

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.logging import MultiProcessAdapter
from tqdm import tqdm
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig  # pyright: ignore[reportPrivateImportUsage]  # TRL exports it lazily

from slick.errors import InputError
from slick.knowledge import Category
from slick.processes import joined
from slick_sft.batches import by_stage
from slick_sft.checked_trainer import CheckedTrainer, SkipEmpty
from slick_sft.checkpoints import MarkGood
from slick_sft.distillation import Base
from slick_sft.formats import TrainingSet
from slick_sft.loader import Rows
from slick_sft.quantised import four_bits

# What the trainer draws batches by that a plan can say; TRL's own loader serves the others.
_PLANNED = ("random", "sequential")


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


def build_trainer(
    model: str,
    data: TrainingSet,
    arguments: dict[str, Any],
    *,
    checkpoints: Path,
    lora: dict[str, Any] | None = None,
    four_bit: bool = False,
    distill: float = 0.0,
    cpu: bool,
    allow_truncated: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
) -> tuple[CheckedTrainer, list[str]]:
    """A trainer that is ready to train, and the notes that TRL had to say about model and data.

    arguments: fields of SFTConfig. lora: fields of peft's LoraConfig, None for full fine-tuning; four_bit: the base
    under the adapter in 4 bits. distill: the strength with which Known rows are held to the base model. Raises
    InputError for settings, data or a model that TRL will not take, for rows that do not fit in max_length (unless
    `allow_truncated`), and for rows that cannot be weighted, staged or distilled as asked. callbacks: what else
    watches the run; they come before the mark on a checkpoint, so that what they write of it is there once the
    checkpoint counts.
    """
    from datasets import Dataset
    from transformers import AutoTokenizer

    known = known_rows(data) if distill else None
    try:
        half = not cpu and not arguments.get("fp16") and torch.cuda.is_bf16_supported()
        # Every weight that is trained is used in every micro-batch; looking for others costs a walk of the graph.
        shared = {"ddp_find_unused_parameters": False} if joined().size > 1 else {}
        machine = {"bf16": half, "dataloader_pin_memory": not cpu, "use_cpu": cpu, **shared}
        config = SFTConfig(**{**machine, **arguments}, output_dir=str(checkpoints), disable_tqdm=True)
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=config.trust_remote_code)
        _check_tokenizer(model, tokenizer, data, config)
        rows = [{**row, "row": i} for i, row in enumerate(data.rows)]
        with _quiet_datasets(), _collected_warnings() as notes:
            trainer = CheckedTrainer(
                model=model,
                args=config,
                train_dataset=Dataset.from_list(rows),
                processing_class=tokenizer,
                peft_config=_lora_config(lora),
                quantization_config=four_bits(config.bf16) if four_bit else None,
                callbacks=list(callbacks),
            )
    except (ValueError, TypeError, OSError, KeyError, ImportError) as error:
        raise InputError(f"{model}: TRL cannot set up this training run: {error}") from error
    trainer.add_callback(MarkGood(trainer.accelerator.wait_for_everyone))
    trainer.add_callback(SkipEmpty(trainer))
    trainer.remove_callback(PrinterCallback)
    _check_fit(trainer, data, allow_truncated)
    notes += _plan_rows(trainer, data, known)
    if known is not None and not (trainer.rows and trainer.rows.any_distilled):
        notes.append("no row is Known, so nothing is held to the base model")
    elif known is not None:
        trainer.distill = distill
        trainer.base = _base(trainer, model, lora is not None)
    return trainer, [*notes, *_unfinished(trainer)]


def known_rows(data: TrainingSet) -> list[bool]:
    """Which rows the base model knew. InputError where the set does not say."""
    if not data.sidecar:
        raise InputError(
            f"{data.source}: does not say which of its rows the base model knows, and --distill holds the Known ones "
            "to it; give a set of slick mix as --data, or leave out --distill"
        )
    return [row.get("category") != Category.UNKNOWN for row in data.sidecar]


def _plan_rows(trainer: CheckedTrainer, data: TrainingSet, known: Sequence[bool] | None) -> list[str]:
    """Gives the trainer its rows, each with its weight and stage; the notes that there are to them."""
    args, kept = trainer.args, trainer.train_dataset
    asked = {"weights": data.weights is not None, "stages": data.stages is not None, "--distill": known is not None}
    if args.packing or args.train_sampling_strategy not in _PLANNED:
        what = "packing" if args.packing else f"train_sampling_strategy = {args.train_sampling_strategy}"
        _refuse(data, asked, f"{what} puts rows together in its own way; leave it out")
        return []
    places = kept["row"]
    weights = None if data.weights is None else [data.weights[i] for i in places]
    stages = [0] * len(kept) if data.stages is None else [data.stages[i] for i in places]
    held = None if known is None else [known[i] for i in places]
    trainer.rows = Rows.create(kept["input_ids"], kept["labels"], weights, held)
    trainer.stages = by_stage(stages)
    if not trainer.own_loss:
        asked = {"weights": bool({*(weights or ())} - {0.0, 1.0}), "--distill": known is not None}
        _refuse(data, asked, "torch_compile, label_smoothing_factor and sequences split over devices; leave them out")
    if args.world_size > 1 and not args.average_tokens_across_devices:
        raise InputError(
            "average_tokens_across_devices = false: the loss is a mean over all rows of a step; leave it out"
        )
    return _check_plan(trainer, data)


def _refuse(data: TrainingSet, asked: Mapping[str, bool], why: str) -> None:
    if wanted := [name for name, there in asked.items() if there]:
        raise InputError(f"{data.source}: {', '.join(wanted)} cannot be had with {why}")


def _check_plan(trainer: CheckedTrainer, data: TrainingSet) -> list[str]:
    """Notes on the steps that the rows make; InputError where there is nothing to learn in any."""
    assert trainer.rows is not None
    if not trainer.rows.with_targets:
        raise InputError(
            f"{data.source}: no row has a token to learn: every weight is 0; give some rows a weight above 0"
        )
    plan = trainer.plan()
    if not plan.steps:
        raise InputError(
            f"{data.source}: {len(trainer.rows)} rows make no whole step of {plan.size}; lower --batch-size, "
            "or leave out dataloader_drop_last"
        )
    notes = []
    ends = plan.stage_ends()
    if missed := [i for i, end in enumerate(ends) if end == (ends[i - 1] if i else 0)]:
        stages = sorted(set(data.stages or ()))
        notes.append(f"{plan.steps} steps are too few for stage {', '.join(str(stages[i]) for i in missed)}")
    empty = sum(trainer.rows.with_targets.isdisjoint(plan.step(i)) for i in range(plan.steps))
    trainer.steps_without_targets = empty
    if empty:
        notes.append(
            f"{empty:,} of {plan.steps:,} steps have no token to learn: they change no weight, but the schedule goes on"
        )
    return notes


def _base(trainer: CheckedTrainer, model: str, adapted: bool) -> Base:
    """The base model to distil from."""
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise InputError("--distill: the base model cannot be spread over devices; start without FSDP or DeepSpeed")
    if adapted:
        return Base.under(trainer.model)
    args = trainer.args
    options = {"trust_remote_code": args.trust_remote_code, **(args.model_init_kwargs or {})}
    base = Base.copy(model, options, args.device)
    sizes = [m.get_input_embeddings().weight.shape[0] for m in (base.model, trainer.model)]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"--distill: the base model has {sizes[0]:,} tokens and the tuned one {sizes[1]:,}, so that their "
            "predictions cannot be compared; leave out chat_template_path, or --distill"
        )
    return base


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
