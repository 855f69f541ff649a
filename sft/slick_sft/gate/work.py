"""What a gate's jobs do, in a worker process: those of a study, but for any way of tuning and for chosen relations."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slick.training import TRAINING
from slick_sft.study.work import do_work as do_study_work
from slick_sft.study.worker import serve

if TYPE_CHECKING:
    from slick_sft.train import Tuning


def do_work(work: Mapping[str, Any], out: Path) -> Mapping[str, Any]:
    """Does one job in the gate's directory `out`; returns what it found out. Raises as the verbs do."""
    if work["kind"] == "tune":
        return _tune(work, out)
    return _probe(work, out) if work["kind"] == "probe" else do_study_work(work, out)


def _probe(work: Mapping[str, Any], out: Path) -> Mapping[str, Any]:
    """What the base model knows of the held-out facts, which a study's probe takes of all relations."""
    from slick.commands import probe
    from slick.knowledge import Estimator

    probe(
        model=work["model"],
        facts=work["facts"],
        out=out / work["out"],
        split=work["split"],
        relations=",".join(work["relations"]),
        limit=work["limit"],
        estimator=Estimator.EXACT,
        n_before=work["n_before"],
        batch_size=str(work["batch_size"]),
        device=work["device"],
        store=work["store"],
        no_store=work["no_store"],
    )
    return {}


def _tune(work: Mapping[str, Any], out: Path) -> Mapping[str, Any]:
    from slick_sft.train import MODEL, tune

    place = out / work["out"]
    if (place / TRAINING).exists() and not (place / MODEL).is_dir():
        # Its weights were removed when it was scored, and now they are needed again.
        shutil.rmtree(place)
    return {"steps": tune(tuning_of(work, out), place)["steps"]}


def tuning_of(work: Mapping[str, Any], out: Path) -> Tuning:
    """What a training of this gate depends on; its rows must stand in `out`."""
    from slick_sft.formats import read_training_set
    from slick_sft.train import LoRA, Tuning

    lora = LoRA(**work["lora"]).check() if work["lora"] else None
    return Tuning(
        work["model"],
        read_training_set(out / work["data"]),
        dict(work["arguments"]),
        lora,
        work["arm"],
        work["device"],
        watch=None,
        four_bit=work["four_bit"],
    )


if __name__ == "__main__":
    serve(do_work)
