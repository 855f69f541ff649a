"""`slick tune`: fine-tunes a model on a training set with TRL, resumable, and records what was done.

A run is a directory: `model/` (weights or adapter, tokenizer) and `training.json`. While it is being written,
its settings stand in `progress.json` and its checkpoints in `checkpoints/`.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slick.errors import InputError, Mistakes, RunError
from slick.files import digest_of, make_directory, read_json, replacing_directory, write_json
from slick.knowledge import Category
from slick.provenance import check_model, fingerprint, is_adapter, library_versions
from slick.runs import PROGRESS, differences
from slick.training import TRAINING
from slick_sft.arguments import Arguments, decisive, keeps_checkpoints, public
from slick_sft.formats import TrainingSet
from slick_sft.watched import TRAINING_ROWS, Watch

SCHEMA = 1
MODEL = "model"
CHECKPOINTS = "checkpoints"


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
    None for nothing; it changes nothing of what is trained, but its stop rule ends it early.
    """

    model: str
    data: TrainingSet
    arguments: Arguments
    lora: LoRA | None = None
    arm: str = ""
    device: str = ""
    allow_truncated: bool = False
    watch: Watch | None = TRAINING_ROWS

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
            "lora": self.lora.as_peft() if self.lora else None,
            "arm": self.label,
            "device": self.device,
            "allow_truncated": self.allow_truncated,
            "watch": self.watch.settings() if self.watch else None,
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
                "lora": self.lora.as_peft() if self.lora else None,
                "allow_truncated": self.allow_truncated,
                **({"watch": self.watch.settings()} if self.watch and self.watch.stop else {}),
            }
        )


def tune(tuning: Tuning, out: Path, *, callbacks: Sequence[Any] = ()) -> Mapping[str, Any]:
    """Fine-tunes and writes a run into `out`; goes on behind the last whole checkpoint of an interrupted run.

    callbacks: TRL's TrainerCallbacks that watch the run. One with a method `record()` adds what it returns, a
    mapping, to the run's record.

    Returns the run's record (`training.json`), also where the run was finished before. Raises InputError for
    anything wrong with model, data, settings or `out`, before anything is written, and RunError where training
    fails: its checkpoints stay.
    """
    from slick.backend import quiet

    start = time.monotonic()
    _check_base(tuning.model)
    device = _device(tuning.device)
    if tuning.watch:
        tuning.watch.check(tuning.model)
    settings = tuning.settings()
    if (finished := _finished(out, settings)) is not None:
        return finished
    quiet()
    with _claimed(out, settings):
        from slick_sft.trainer import build_trainer

        trainer, notes = build_trainer(
            _absolute(tuning.model),
            tuning.data,
            dict(tuning.arguments),
            checkpoints=out / CHECKPOINTS,
            lora=tuning.lora.as_peft() if tuning.lora else None,
            cpu=device == "cpu",
            allow_truncated=tuning.allow_truncated,
            callbacks=callbacks,
        )
        callbacks = [*callbacks, *_observers(trainer, tuning, out)]
    _train(trainer, tuning, out)
    _save_model(trainer, out / MODEL)
    for callback in callbacks:
        if hasattr(callback, "finish"):
            callback.finish()
    record = _record(trainer, tuning, notes, settings, time.monotonic() - start)
    for callback in callbacks:
        if hasattr(callback, "record"):
            record |= callback.record()
    write_json(out / TRAINING, record)
    (out / PROGRESS).unlink(missing_ok=True)
    if not keeps_checkpoints(tuning.arguments):
        shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    return record


def _mix_key(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What the mixes of one recipe share, whatever their seed: which of the Known categories is drawn is chance."""
    rows = {
        relation: {"Unknown": counts[Category.UNKNOWN], "all": sum(counts.values())}
        for relation, counts in recipe["counts"].items()
    }
    return {**{name: recipe[name] for name in ("recipe", "form", "conversational")}, "rows": rows}


def _is_mix(recipe: Mapping[str, Any]) -> bool:
    return all(name in recipe for name in ("recipe", "counts", "form", "conversational"))


def _check_base(model: str) -> None:
    check_model(model)
    path = Path(model)
    if path.is_dir() and is_adapter(path):
        raise InputError(
            f"{model}: is a LoRA adapter, and only whole models can be tuned; merge it into its base first "
            "(peft's merge_and_unload, then save_pretrained)"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("slick tune runs in one process; start it without torchrun or accelerate launch")


def _absolute(model: str) -> str:
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


def _finished(out: Path, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The record of this very run if it is finished; InputError where `out` holds anything else."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, expected a directory for the run; choose another --out")
    if (out / TRAINING).exists():
        record = read_json(out / TRAINING)
        _same_settings(record if isinstance(record, dict) else {}, settings, out / TRAINING)
        assert isinstance(record, dict)
        return record
    if (out / PROGRESS).exists():
        progress = read_json(out / PROGRESS)
        _same_settings(progress if isinstance(progress, dict) else {}, settings, out / PROGRESS)
    elif out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty and holds no tuning run; choose another --out")
    return None


def _same_settings(found: Mapping[str, Any], settings: Mapping[str, Any], where: Path) -> None:
    there = found.get("settings")
    differing = differences(there if isinstance(there, Mapping) else {}, settings)
    if differing:
        shown = "\n".join(f"  {name}: there {old!r}, now {new!r}" for name, old, new in differing[:10])
        raise InputError(
            f"{where}: this directory holds a run with other settings:\n{shown}\nchoose another --out, or remove it"
        )


@contextmanager
def _claimed(out: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Makes `out` ours; where setting up fails, nothing of it is left behind."""
    fresh = not (out / PROGRESS).exists()
    existed = out.exists()
    make_directory(out)
    try:
        if fresh:
            write_json(out / PROGRESS, {"kind": "tune", "settings": settings})
        yield
    except BaseException:
        if fresh:
            for path in out.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if not existed:
                out.rmdir()
        raise


def _observers(trainer: Any, tuning: Tuning, out: Path) -> list[Any]:
    """What measures the run, where there is anything to watch."""
    from slick_sft.observer import Observer

    observer = Observer(trainer, tuning.watch, tuning.data, out) if tuning.watch else None
    if observer is None or not observer.sets:
        return []
    trainer.add_callback(observer)
    return [observer]


def _train(trainer: Any, tuning: Tuning, out: Path) -> None:
    from slick_sft.observer import Stopped
    from slick_sft.trainer import Bar, check_weights, last_good_checkpoint

    checkpoint = last_good_checkpoint(out / CHECKPOINTS)
    bar = Bar(tuning.label)
    trainer.add_callback(bar)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        check_weights(trainer.model, trainer.state.global_step)
    except Stopped:
        pass  # by its rule, before the run was interrupted
    except RunError as error:
        kept = last_good_checkpoint(out / CHECKPOINTS)
        raise RunError(
            f"{out}: {error}; lower --learning-rate and choose another --out"
            + (f" (the last good checkpoint is {kept})" if kept else "")
        ) from error
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        raise RunError(f"{out}: training stopped: {error}") from error
    finally:
        bar.close()


def _save_model(trainer: Any, path: Path) -> None:
    """Weights or adapter as safetensors, the tokenizer, and a configuration that generates at full speed."""
    if path.exists():
        # Left by a run that was killed between here and its record.
        shutil.rmtree(path)
    model = trainer.accelerator.unwrap_model(trainer.model)
    for config in (model.config, model.generation_config):
        if config is not None:
            config.use_cache = True
    with replacing_directory(path) as part:
        model.save_pretrained(str(part), safe_serialization=True)
        trainer.processing_class.save_pretrained(str(part))


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
        "method": "lora" if tuning.lora else "full",
        "learning_rate": trainer.args.learning_rate,
        "lr_scheduler_type": str(getattr(trainer.args.lr_scheduler_type, "value", trainer.args.lr_scheduler_type)),
        "batch_size": trainer.args.train_batch_size * trainer.args.gradient_accumulation_steps,
        "steps": state.global_step,
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
