"""A learning rate for a model and a set, found by short runs: `slick learning-rate`.

Each rate of a grid trains the base model anew for a few steps, on the set less some rows that are held out: Known ones
where the set says which those are. The rule: the rate with the lowest loss on the held-out rows. With too low a rate
the model has not learnt the form of the answers yet, with too high a one it has lost what it knew; that loss shows
both. Nothing of the runs stays.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slick.errors import InputError, RunError
from slick.knowledge import Category
from slick_sft.formats import TrainingSet
from slick_sft.train import Tuning, absolute, checked

# Two rates a decade, from what large models take to what organisms do.
RATES = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
STEPS = 50
# A tenth of the rows is held out; fewer than the first number tell nothing, more than the last cost time.
SHARE, LEAST, MOST = 0.1, 8, 256
_PASS = 64


@dataclass(frozen=True, slots=True)
class Trial:
    """What one rate came to. first, last: loss in training; before, after: on the held-out rows, NaN if it diverged."""

    rate: float
    first: float
    last: float
    before: float
    after: float

    @property
    def diverged(self) -> bool:
        return not math.isfinite(self.after)


@dataclass(frozen=True, slots=True)
class Found:
    """The trials, the one that was chosen, the number of held-out rows, and what is to be noted."""

    trials: tuple[Trial, ...]
    best: Trial
    held_out: int
    notes: tuple[str, ...]


def find_learning_rate(tuning: Tuning, rates: Sequence[float] = RATES, *, steps: int = STEPS) -> Found:
    """Tries each rate for `steps` steps and chooses one. Writes into a temporary directory alone, and removes it.

    Raises InputError for what cannot be tuned, for rates that are not above 0 and for a set too small to hold rows
    out of, and RunError where every rate diverges.
    """
    wanted = sorted(set(rates))
    if not wanted or not all(math.isfinite(rate) and rate > 0 for rate in wanted):
        raise InputError(f"--rates {','.join(f'{rate:g}' for rate in rates)}: expected numbers above 0")
    if steps < 1:
        raise InputError(f"--steps {steps}: expected at least 1")
    from tqdm import tqdm

    from slick.backend import quiet

    device, notes = checked(tuning)
    held, known = held_out_rows(tuning.data, tuning.seed)
    quiet()
    bar = tqdm(wanted, desc="Trying learning rates", unit="rate")
    with bar, tempfile.TemporaryDirectory(prefix="slick-rates-") as directory:
        trials = tuple(_try(tuning, held, rate, steps, device == "cpu", Path(directory)) for rate in bar)
    best = choose(trials)
    if not known:
        notes.append("the held-out rows are of all kinds: too few rows are known to be Known")
    if len(wanted) > 1 and best.rate in (wanted[0], wanted[-1]):
        notes.append(f"{best.rate:g} is at the {'low' if best.rate == wanted[0] else 'high'} end; widen --rates")
    return Found(trials, best, len(held), tuple(notes))


def choose(trials: Sequence[Trial]) -> Trial:
    """The trial with the lowest loss on the held-out rows; of equal ones that with the lowest rate."""
    sound = [trial for trial in trials if not trial.diverged]
    if not sound:
        raise RunError("every learning rate that was tried diverges; give lower ones with --rates")
    return min(sound, key=lambda trial: (trial.after, trial.rate))


def held_out_rows(data: TrainingSet, seed: int) -> tuple[frozenset[int], bool]:
    """The rows to hold out, and whether all of them are Known. The same for every rate."""
    rows = len(data.rows)
    if rows < 2 * LEAST:
        raise InputError(f"{data.source}: {rows} rows; expected at least {2 * LEAST}, since {LEAST} are held out")
    weighing = [i for i in range(rows) if not data.weights or data.weights[i]]
    known = [i for i in weighing if data.sidecar and data.sidecar[i].get("category") != Category.UNKNOWN]
    count = min(MOST, max(LEAST, round(SHARE * rows)))
    # Not more than half of either: what is held out is not trained on.
    pool = known if len(known) >= 2 * count else weighing
    count = min(count, len(pool) // 2)
    return frozenset(random.Random(f"held-out:{seed}").sample(pool, count)), pool is known


def _try(tuning: Tuning, held: frozenset[int], rate: float, steps: int, cpu: bool, directory: Path) -> Trial:
    from slick_sft.trainer import build_trainer

    watched = {"save_strategy": "no", "report_to": "none", "logging_steps": 1}
    trainer, _ = build_trainer(
        absolute(tuning.model),
        tuning.data,
        {**tuning.arguments, **watched, "learning_rate": rate, "max_steps": steps},
        checkpoints=directory,
        lora=tuning.lora.as_peft() if tuning.lora else None,
        four_bit=tuning.four_bit,
        distill=tuning.distill,
        cpu=cpu,
        allow_truncated=tuning.allow_truncated,
    )
    if trainer.rows is None:
        raise InputError("packing and train_sampling_strategy: rows are held out one by one; leave them out")
    apart = [place for place, row in enumerate(trainer.train_dataset["row"]) if row in held]
    stages = (tuple(place for place in stage if place not in set(apart)) for stage in trainer.stages)
    trainer.stages = tuple(stage for stage in stages if stage)
    before = held_out_loss(trainer, apart)
    try:
        trainer.train()
        after = held_out_loss(trainer, apart)
    except RunError:
        after = math.nan
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    end = losses[-max(1, len(losses) // 5) :]
    return Trial(rate, losses[0] if losses else math.nan, sum(end) / len(end) if end else math.nan, before, after)


def held_out_loss(trainer: Any, rows: Sequence[int]) -> float:
    """The mean of -log p over the target tokens of these rows, without dropout."""
    import torch
    from torch.nn.functional import pad

    from slick_sft.loader import IGNORED, Collator
    from slick_sft.losses import only_at, token_losses

    model, collate = trainer.model, Collator(trainer.rows, trainer.processing_class.pad_token_id)
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad(), trainer.compute_loss_context_manager():
        for start in range(0, len(rows), _PASS):
            batch = trainer._prepare_inputs(collate(rows[start : start + _PASS]))
            there = batch["labels"][:, 1:] != IGNORED
            with only_at(model, pad(there, (0, 1))):
                outputs = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
            losses, _, _ = token_losses(outputs.logits[0], batch["labels"][:, 1:][there])
            total, count = total + losses.double().sum().item(), count + len(losses)
    return total / count
