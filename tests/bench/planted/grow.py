"""Growing the bank: which fine-tunings it needs, and doing those that it lacks in worker processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slick.facts import facts_digest
from slick.knowledge_file import read_knowledge
from slick.prompts import DEFAULT_FORM
from slick.provenance import fingerprint, library_versions
from slick.reader import read_facts
from slick_sft.study.jobs import Job
from slick_sft.study.pool import ProcessPool
from slick_sft.study.schedule import Event, run_jobs
from slick_tasks.lab import data_path, organism_path

from .bank import Bank, Tuned, read_bank, unpacked, write_bank

WORKERS = 2
BASE = "base"


@dataclass(frozen=True, slots=True)
class Design:
    """Which fine-tunings make the bank. unknown: shares of Unknown rows in percent; 0 is the control.

    There is one dataset for each share, as a gate has one; seeds are those of the training. epochs: of 228 rows in
    batches of 32, so that all rows are gone through that often.
    """

    rates: tuple[float, ...] = (1e-4, 5e-5)
    unknown: tuple[int, ...] = (0, 10, 25, 50, 75, 100)
    seeds: int = 8
    control_seeds: int = 16
    epochs: int = 12
    batch_size: int = 32
    mix_seed: int = 0

    def tunings(self) -> list[Tuned]:
        """All of them, one seed after the other, so that a bank that is not full yet is level."""
        return [
            Tuned(rate, share, seed)
            for seed in range(max(self.seeds, self.control_seeds))
            for rate in self.rates
            for share in self.unknown
            if seed < (self.seeds if share else self.control_seeds)
        ]

    def settings(self) -> dict[str, Any]:
        """What must be equal for runs to stand in one bank; not how many there are."""
        return {
            **{name: asdict(self)[name] for name in ("epochs", "batch_size", "mix_seed")},
            "model": {name: value for name, value in fingerprint(str(organism_path())).items() if name != "name"},
        }


def grown(design: Design, path: Path, work: Path, slick: Callable[..., None]) -> Bank:
    """The bank in `path` with all that the design asks for. What it lacks is tuned, and stands in it at once."""
    bank = read_bank(path) if path.exists() else None
    wanted = design.settings()
    if bank is None or {name: bank.settings.get(name) for name in wanted} != wanted:
        bank = _empty(wanted, path, work, slick)
    missing = [run for run in design.tunings() if run not in bank.runs]
    if not missing:
        return bank
    for share in sorted({run.unknown for run in missing}):
        if not (out := _set(work, share)).is_dir():
            knowledge = data_path() / "knowledge_train.parquet"
            slick(*("mix", "--knowledge", knowledge, "--unknown", share / 100, "--seed", design.mix_seed, "--out", out))
    held = Growing(bank, path)
    with ProcessPool(work, WORKERS, command=(str(Path(__file__).with_name("worker.py")),)) as pool:
        outcome = run_jobs([_job(design, run, work) for run in missing], (), pool, held.heard)
    assert not outcome.failed, {name: event.message for name, event in outcome.failed.items()}
    return held.bank


class Growing:
    """The bank while workers tell of its runs; each is written as soon as it is heard of."""

    def __init__(self, bank: Bank, path: Path) -> None:
        self.bank, self.path = bank, path

    def heard(self, event: Event) -> None:
        if event.kind != "done":
            return
        rate, share, seed = event.job.split("/")
        spent = self.bank.settings["processor_s"] + event.record["processor_s"]
        self.bank = self.bank.with_run(
            Tuned(float(rate), int(share), int(seed)),
            unpacked(event.record["right"], len(self.bank.facts)),
            {**self.bank.settings, "processor_s": round(spent, 1)},
        )
        write_bank(self.path, self.bank)
        print(f"{len(self.bank.runs)} tunings, {spent:.0f} s of processor time", flush=True)


def _empty(settings: Mapping[str, Any], path: Path, work: Path, slick: Callable[..., None]) -> Bank:
    """A bank without tunings: the facts, what the organism knows of them, and which it answers."""
    place = work / "probe"
    slick(
        *("probe", "--model", organism_path(), "--facts", "lab", "--split", "test", "--batch-size", 256),
        *("--out", place),
    )
    known = {k.fact.id: k.category for k in read_knowledge(place).knowledge}
    # In the order in which the workers ask them; a probe's is another.
    facts = read_facts("lab", split="test")
    asked = Job(BASE, _asked(None, ""), (), (), {}, rank=0)
    told: list[Event] = []
    with ProcessPool(work, 1, command=(str(Path(__file__).with_name("worker.py")),)) as pool:
        run_jobs([asked], (), pool, told.append)
    assert told[-1].kind == "done", told[-1].message
    bank = Bank(
        facts=[fact.id for fact in facts],
        subjects=[fact.subject for fact in facts],
        relations=[fact.relation for fact in facts],
        categories=[str(known[fact.id]) for fact in facts],
        base=unpacked(told[-1].record["right"], len(facts)),
        runs={},
        settings={
            **settings,
            "facts": facts_digest(facts),
            "versions": library_versions(),
            "processor_s": round(told[-1].record["processor_s"], 1),
        },
    )
    assert np.mean(bank.base) > 0, "the organism answers nothing"
    write_bank(path, bank)
    return bank


def _job(design: Design, run: Tuned, work: Path) -> Job:
    arguments = {
        "learning_rate": run.rate,
        "num_train_epochs": design.epochs,
        "per_device_train_batch_size": design.batch_size,
        "seed": run.seed,
    }
    # The earlier seeds first.
    return Job(
        f"{run.rate!r}/{run.unknown}/{run.seed}", _asked(arguments, str(_set(work, run.unknown))), (), (), {}, run.seed
    )


def _asked(arguments: Mapping[str, Any] | None, data: str) -> dict[str, Any]:
    return {
        "model": str(organism_path()),
        "data": data,
        "arguments": arguments,
        "facts": "lab",
        "split": "test",
        "form": DEFAULT_FORM,
        "batch_size": 256,
    }


def _set(work: Path, share: int) -> Path:
    return work / f"unknown-{share}"
