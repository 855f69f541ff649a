"""`slick tune`: fine-tunes a model on a training set with TRL, resumable, and records what was done.

A run is a directory: `model/` (weights or adapter, tokenizer) and `training.json`. While it is being written,
its settings stand in `progress.json` and its checkpoints in `checkpoints/`.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slick.errors import InputError, Mistakes, RunError
from slick.files import digest_of, replacing_directory
from slick.knowledge import Category
from slick.processes import joined
from slick.provenance import check_model, fingerprint, is_adapter, library_versions
from slick_sft.arguments import Arguments, decisive, keeps_checkpoints, public, rows_a_step
from slick_sft.formats import TrainingSet, check_base
from slick_sft.quantised import check_four_bits
from slick_sft.tuning_run import TuningRun
from slick_sft.watched import BUDGETS, TRAINING_ROWS, Watch

SCHEMA = 1
MODEL = "model"
CHECKPOINTS = "checkpoints"


class DivergedError(RunError):
    """Loss, weights or logits ceased to be numbers. found: the message without its advice."""

    def __init__(self, found: str, advice: str) -> None:
        super().__init__(f"{found}; {advice}")
        self.found = found


@dataclass(frozen=True, slots=True)
class LoRA:
    """A low-rank adapter on every linear layer but the output head. Fields are peft's; `r` is the rank."""

    r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0

    def check(self) -> LoRA:
        """Itself; raises InputError naming every setting out of range."""
        with Mistakes("settings of the adapter:") as mistakes:
            for name in ("r", "lora_alpha"):
                if getattr(self, name) < 1:
                    mistakes.add(f"{name} = {getattr(self, name)}: expected at least 1")
            if not 0 <= self.lora_dropout < 1:
                mistakes.add(f"lora_dropout = {self.lora_dropout}: expected from 0 to below 1")
        return self

    def as_peft(self) -> dict[str, Any]:
        return {**asdict(self), "target_modules": "all-linear"}


@dataclass(frozen=True, slots=True)
class Tuning:
    """Everything that a tuned model depends on.

    arguments: SFTConfig fields, as `sft_arguments` returns them. lora: None for full fine-tuning. arm: the label
    of the run's arm. device: "cpu", "cuda", or "" for a GPU where there is one. watch: what is measured on the way,
    None for nothing; it changes nothing of what is trained, but its stop rule ends it early. four_bit: the base
    under the adapter is held in 4 bits (QLoRA). distill: how strongly Known rows are held to what the base model says
    of them; 0 for not at all. allow_mismatch: train though the rows were mixed, or watched facts probed, by
    another model.
    """

    model: str
    data: TrainingSet
    arguments: Arguments
    lora: LoRA | None = None
    arm: str = ""
    device: str = ""
    allow_truncated: bool = False
    watch: Watch | None = TRAINING_ROWS
    four_bit: bool = False
    distill: float = 0.0
    allow_mismatch: bool = False

    @property
    def method(self) -> str:
        if self.lora is None:
            return "full"
        return "qlora" if self.four_bit else "lora"

    @property
    def label(self) -> str:
        """The arm's label: the one given, else the recipe's name, else the data file's."""
        return self.arm or str(self.data.recipe.get("recipe") or Path(self.data.source).stem)

    @property
    def seed(self) -> int:
        return int(self.arguments["seed"])

    def settings(self) -> dict[str, Any]:
        """What must be equal for an interrupted run to be gone on with."""
        return {
            "model": fingerprint(self.model),
            "data": self.data.digest,
            "arguments": public(self.arguments),
            "method": self.method,
            "lora": self.lora.as_peft() if self.lora else None,
            "distill": self.distill,
            "arm": self.label,
            "device": self.device,
            "processes": joined().size,
            "allow_truncated": self.allow_truncated,
            "watch": self.watch.settings(self.method) if self.watch else None,
        }

    def arm_key(self) -> str:
        """Equal for runs that differ in nothing but their seeds: of the mix, of the training, or of both."""
        recipe = self.data.recipe
        base = {name: value for name, value in fingerprint(self.model).items() if name != "name"}
        return digest_of(
            {
                "base": base if base.get("weights") else self.model,
                "data": _mix_key(recipe) if _is_mix(recipe) else self.data.digest,
                "arguments": decisive(self.arguments),
                "rows_a_step": rows_a_step(self.arguments, joined().size),
                "method": self.method,
                "lora": self.lora.as_peft() if self.lora else None,
                "distill": self.distill,
                "allow_truncated": self.allow_truncated,
                **({"watch": self.watch.settings(self.method)} if self.watch and self.watch.stop else {}),
            }
        )


def tune(tuning: Tuning, out: Path, *, callbacks: Sequence[Any] = ()) -> Mapping[str, Any]:
    """Fine-tunes and writes a run into `out`; goes on behind the last whole checkpoint of an interrupted run.

    callbacks: TRL's TrainerCallbacks that watch the run. One with a method `record()` adds what it returns, a
    mapping, to the run's record.

    Returns the run's record (`training.json`), also where the run was finished before. Raises InputError for
    anything wrong with model, data, settings or `out`, before anything is written, and RunError where training
    fails (DivergedError where it came to what is no number): its checkpoints stay.
    """
    from slick.backend import quiet

    start = time.monotonic()
    processes = joined()
    device, remarks = checked(tuning)
    run = TuningRun(out, tuning.settings(), processes)
    if (finished := run.finished()) is not None:
        return finished
    quiet()
    with run.claimed():
        with run.setting_up():
            from slick_sft.trainer import build_trainer

            trainer, notes = build_trainer(
                absolute(tuning.model),
                tuning.data,
                dict(tuning.arguments),
                checkpoints=out / CHECKPOINTS,
                lora=tuning.lora.as_peft() if tuning.lora else None,
                four_bit=tuning.four_bit,
                distill=tuning.distill,
                cpu=device == "cpu",
                allow_truncated=tuning.allow_truncated,
                callbacks=callbacks,
            )
            callbacks = [*callbacks, *_observers(trainer, tuning, out)]
        _train(trainer, tuning, run)
        _save_model(trainer, out / MODEL)
        for callback in callbacks:
            if hasattr(callback, "finish"):
                callback.finish()
        record = _record(trainer, tuning, [*remarks, *notes], run.settings, time.monotonic() - start)
        for callback in callbacks:
            if hasattr(callback, "record"):
                record |= callback.record()
        record = dict(run.finish(record))
        if processes.first and not keeps_checkpoints(tuning.arguments):
            shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    if not processes.alone:
        trainer.accelerator.end_training()
    return record


def _mix_key(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What the mixes of one recipe share, whatever their seed: which of the Known categories is drawn is chance."""
    rows = {
        relation: {"Unknown": counts[Category.UNKNOWN], "all": sum(counts.values())}
        for relation, counts in recipe["counts"].items()
    }
    # What the recipe says beside its name; sets of an older slick do not have it.
    names = ("recipe", "form", "conversational", *(["description"] if "description" in recipe else []))
    return {**{name: recipe[name] for name in names}, "rows": rows}


def _is_mix(recipe: Mapping[str, Any]) -> bool:
    return all(name in recipe for name in ("recipe", "counts", "form", "conversational"))


def checked(tuning: Tuning) -> tuple[str, list[str]]:
    """The device to train on, "cpu" or "cuda", and what is to be noted; InputError for what cannot be tuned at all."""
    _check(tuning)
    mismatch = check_base(tuning.data, fingerprint(tuning.model), allow_mismatch=tuning.allow_mismatch)
    device = _device(tuning.device)
    if tuning.four_bit:
        check_four_bits(device)
    _check_sharding(device)
    if tuning.watch:
        # What it has to note stands with what is measured (`_observers`).
        tuning.watch.check(tuning.model, allow_mismatch=tuning.allow_mismatch)
    return device, [*([mismatch] if mismatch else []), *tuning.data.notes]


def _check(tuning: Tuning) -> None:
    check_model(tuning.model)
    path = Path(tuning.model)
    if path.is_dir() and is_adapter(path):
        raise InputError(
            f"{tuning.model}: is a LoRA adapter, and only whole models can be tuned; merge it into its base first "
            "(peft's merge_and_unload, then save_pretrained)"
        )
    if not (math.isfinite(tuning.distill) and tuning.distill >= 0):
        raise InputError(f"--distill {tuning.distill}: expected 0 (no distillation) or more, such as 1")
    if tuning.four_bit and tuning.lora is None:
        raise InputError("4 bits: weights of 4 bits cannot be trained themselves; train an adapter on them")


def _check_sharding(device: str) -> None:
    """accelerate spreads a model over GPUs only; on CPUs it would pass over the configuration without a word."""
    if device == "cpu" and os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        raise InputError(
            "FSDP: needs GPUs, and the device is cpu; start without the FSDP configuration, and every process holds "
            "the whole model"
        )


def absolute(model: str) -> str:
    """An adapter records where its base lies, and must find it from any directory."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def _device(wanted: str) -> str:
    """ "cpu" or "cuda". InputError for a GPU that is not there."""
    import torch

    there = torch.cuda.is_available()
    if wanted in ("", "cpu"):
        return "cuda" if there and not wanted else "cpu"
    if wanted.startswith("cuda:"):
        raise InputError(f"--device {wanted}: make that GPU the only one to be seen: CUDA_VISIBLE_DEVICES={wanted[5:]}")
    if wanted != "cuda":
        raise InputError(f"--device {wanted}: expected cpu or cuda")
    if not there:
        raise InputError("--device cuda: torch finds no GPU; use --device cpu, or install a torch built for CUDA")
    return wanted


def _observers(trainer: Any, tuning: Tuning, out: Path) -> list[Any]:
    """What measures the run, where there is anything to watch."""
    from slick_sft.observer import Observer

    if tuning.watch is None:
        return []
    observer = Observer(trainer, tuning.watch, tuning.data, out, BUDGETS[tuning.method])
    if not observer.sets:
        return []
    observer.notes += tuning.watch.check(tuning.model, allow_mismatch=True)
    trainer.add_callback(observer)
    return [observer]


def _train(trainer: Any, tuning: Tuning, run: TuningRun) -> None:
    from slick_sft.checkpoints import check_weights, last_good_checkpoint
    from slick_sft.observer import NothingLeft, Stopped
    from slick_sft.trainer import Bar

    checkpoint = run.agree("checkpoint", lambda: last_good_checkpoint(run.out / CHECKPOINTS) or "")
    bar = Bar(tuning.label)
    if run.processes.first:
        trainer.add_callback(bar)
    trainer.add_callback(NothingLeft())
    try:
        trainer.train(resume_from_checkpoint=checkpoint or None)
        check_weights(trainer.model, trainer.state.global_step)
    except Stopped:
        # It had ended before it was interrupted. Whatever reports the run has begun to, and closes here.
        trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)
    except RunError as error:
        kept = last_good_checkpoint(run.out / CHECKPOINTS)
        raise DivergedError(
            f"{run.out}: {error}",
            "lower --learning-rate and choose another --out"
            + (f" (the last good checkpoint is {kept})" if kept else ""),
        ) from error
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        raise RunError(f"{run.out}: training stopped: {error}") from error
    finally:
        bar.close()


def _save_model(trainer: Any, path: Path) -> None:
    """Weights or adapter as safetensors, the tokenizer, and a configuration that generates at full speed."""
    from slick_sft.observer import save_model

    def into(write: Callable[[Path], None]) -> None:
        if path.exists():
            # Left by a run that was killed between here and its record.
            shutil.rmtree(path)
        with replacing_directory(path) as part:
            write(part)

    save_model(trainer, into)


def _record(
    trainer: Any, tuning: Tuning, notes: list[str], settings: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    data, recipe, state = tuning.data, tuning.data.recipe, trainer.state
    log = [entry for entry in state.log_history if "loss" in entry]
    return {
        "schema": SCHEMA,
        "kind": "tune",
        "arm": tuning.label,
        "arm_key": tuning.arm_key(),
        "seed": tuning.seed,
        "form": data.form,
        "conversational": data.conversational,
        "recipe": {name: recipe[name] for name in ("recipe", "seed", "size", "unknown", "counts") if name in recipe},
        "data": {"source": data.source, "digest": data.digest, "rows": len(data.rows)},
        "rows_trained": len(trainer.train_dataset),
        "method": tuning.method,
        "distill": tuning.distill,
        "weighted": data.weights is not None,
        "stages": [n for _, n in sorted(Counter(data.stages).items())] if data.stages else [len(data.rows)],
        "learning_rate": trainer.args.learning_rate,
        "lr_scheduler_type": str(getattr(trainer.args.lr_scheduler_type, "value", trainer.args.lr_scheduler_type)),
        "batch_size": rows_a_step(tuning.arguments, trainer.args.world_size),
        "processes": trainer.args.world_size,
        "steps": state.global_step,
        "steps_without_targets": trainer.steps_without_targets,
        "epochs": state.epoch,
        "final_loss": log[-1]["loss"] if log else None,
        "bf16": bool(trainer.args.bf16),
        "device": str(trainer.args.device.type),
        "base": fingerprint(tuning.model),
        "loss": [{"step": e["step"], "loss": e["loss"], "lr": e.get("learning_rate")} for e in log],
        "notes": notes,
        "seconds": round(seconds, 1),
        "versions": library_versions(),
        "settings": dict(settings),
    }
