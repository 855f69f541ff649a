"""What a job's work names, made ready: facts, knowledge, a training, a model to ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slick.backend import Backend
    from slick.facts import Fact
    from slick.knowledge_file import KnowledgeFile
    from slick_sft.formats import TrainingSet
    from slick_sft.train import Tuning
    from slick_sft.watched import Watch

Work = Mapping[str, Any]


def facts_of(work: Work) -> Sequence[Fact]:
    """The facts of the work's split, as many as it is limited to."""
    from slick.reader import read_facts

    return read_facts(work["facts"], split=work["split"], limit=work["limit"] or None)


def knowledge_of(place: Path | str) -> KnowledgeFile:
    """A probe's knowledge, in its directory or a file."""
    from slick.knowledge_file import read_knowledge

    return read_knowledge(place)


def tuning_of(work: Work, training: Mapping[str, Any], data: TrainingSet, watch: Watch | None) -> Tuning:
    """What is trained: `training` as a grid's `Training.as_dict` has it."""
    from slick_sft.arguments import sft_arguments
    from slick_sft.train import LoRA, Tuning

    lora = LoRA(**training["lora"]).check() if training["lora"] else None
    flags = {
        "learning_rate": training["learning_rate"],
        "num_train_epochs": training["epochs"],
        "per_device_train_batch_size": training["batch_size"],
        "seed": work["seed"],
        **training["settings"],
    }
    arguments = sft_arguments(flags, lora=lora is not None)
    return Tuning(work["model"], data, arguments, lora, work["arm"], work["device"], watch=watch)


@contextmanager
def backend_of(work: Work, model: str, out: Path, *, remember: bool) -> Iterator[Backend]:
    """The model behind slick-hf, with the response store where that is wanted."""
    from slick.options import remembering_backend

    forgetful = work["no_store"] or not remember
    with remembering_backend(
        "slick-hf",
        model,
        (),
        str(work["batch_size"]),
        work["device"],
        store="" if forgetful else work["store"],
        no_store=forgetful,
        out=out,
    ) as backend:
        yield backend
