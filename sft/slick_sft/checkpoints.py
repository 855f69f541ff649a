"""Which checkpoints count: whole ones, whose weights are numbers. Imports transformers at once."""

# ruff: noqa: ARG002  a callback takes what the trainer hands to it

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from slick.errors import RunError

# Stands in a checkpoint once all of it is written and its weights are numbers.
COMPLETE = "complete"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


class MarkGood(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint as good when it is whole: the trainer writes it in place, file by file.

    wait: until all processes have written their part.
    """

    def __init__(self, wait: Callable[[], None] = lambda: None) -> None:
        self.wait = wait

    def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        check_weights(model, state.global_step)
        self.wait()
        if args.should_save:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


def check_weights(model: Any, step: int) -> None:
    """Raises RunError where a trained weight is not a number: a finite loss does not rule it out."""
    trained = ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)
    bad = [name for name, weight in trained if not _own_part(weight).isfinite().all()]
    if bad:
        raise RunError(f"{len(bad)} weight tensors hold NaN or infinity after step {step}, such as {bad[0]}")


def _own_part(weight: Any) -> Any:
    """What this process holds of a weight that may be spread over several."""
    return weight.to_local() if hasattr(weight, "to_local") else weight


def last_good_checkpoint(checkpoints: Path) -> Path | None:
    """The newest whole checkpoint; those that a kill left half-written are removed."""
    found = [(int(m[1]), path) for path in checkpoints.glob("checkpoint-*") if (m := _CHECKPOINT.fullmatch(path.name))]
    for _, path in found:
        if not (path / COMPLETE).exists():
            shutil.rmtree(path)
    return max(((n, path) for n, path in found if path.exists()), default=(0, None))[1]
