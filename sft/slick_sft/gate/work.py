"""What a gate's jobs do, in a worker process: those of a study, but that any way of tuning can be asked for."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slick.training import TRAINING
from slick_sft.study.work import do_work as do_study_work
from slick_sft.study.worker import serve


def do_work(work: Mapping[str, Any], out: Path) -> Mapping[str, Any]:
    """Does one job in the gate's directory `out`; returns what it found out. Raises as the verbs do."""
    return _tune(work, out) if work["kind"] == "tune" else do_study_work(work, out)


def _tune(work: Mapping[str, Any], out: Path) -> Mapping[str, Any]:
    from slick_sft.formats import read_training_set
    from slick_sft.train import MODEL, LoRA, Tuning, tune

    place = out / work["out"]
    if (place / TRAINING).exists() and not (place / MODEL).is_dir():
        # Its weights were removed when it was scored, and now they are needed again.
        shutil.rmtree(place)
    lora = LoRA(**work["lora"]).check() if work["lora"] else None
    tuning = Tuning(
        work["model"],
        read_training_set(out / work["data"]),
        dict(work["arguments"]),
        lora,
        work["arm"],
        work["device"],
        watch=None,
        four_bit=work["four_bit"],
    )
    return {"steps": tune(tuning, place)["steps"]}


if __name__ == "__main__":
    serve(do_work)
