"""The TRL callback that measures a model in training, and disturbs nothing. Imports transformers at once."""

# ruff: noqa: ARG002  a callback takes what the trainer hands to it

from __future__ import annotations

import inspect
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from transformers import Trainer, TrainerCallback

from slick.batches import Tokens
from slick.checkpoint import ending_tokens
from slick.dynamics import DEV, DYNAMICS, TRAIN, Measurement
from slick.errors import RunError
from slick.knowledge import CATEGORIES, KNOWN, Category
from slick.vocabulary import read_vocabulary
from slick_sft.dynamics import append_dynamics, resume_dynamics
from slick_sft.early_stop import KNOWN_FALLS, Candidates, best_of
from slick_sft.fitted import Reader, greedy_right
from slick_sft.formats import TrainingSet
from slick_sft.watched import Watch, affordable, watched_sets

# Tokens of a pass (a CPU is slower the less of it stays in its cache), and logits of one at most.
_TOKENS, _TOKENS_CPU = 2**14, 2**10
_LOGITS = 2**26


class Stopped(Exception):  # noqa: N818  no error
    """An interrupted run goes on at a step behind which there is nothing to train."""


class NothingLeft(TrainerCallback):  # type: ignore[misc]
    """Raises Stopped where a run goes on at its last step. Added after all other callbacks.

    transformers looks for the end behind a step only, and would train one more of an epoch that the run ends within.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps:
            raise Stopped


class BestTokens:
    """The model in training as a `slick_sft.fitted.Best`, as it computes while it trains, but in evaluation mode."""

    def __init__(self, model: Any, pad: int) -> None:
        self.model = model
        self.pad = pad
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        # TRL puts a forward of its own in front, which passes everything on.
        takes = inspect.signature(type(inner).forward).parameters
        self._last = "logits_to_keep" in takes
        self._plain = {"use_cache": False} if "use_cache" in takes else {}
        self._size = int(inner.config.get_text_config().vocab_size)

    def __call__(self, rows: Sequence[Tokens], keep: Sequence[int]) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in rows]
        # Rows of like lengths side by side, which spares padding and unwanted places.
        order = sorted(range(len(rows)), key=lambda i: (len(rows[i]), keep[i], i))
        most = _TOKENS_CPU if _device(self.model).type == "cpu" else _TOKENS
        size = max(1, min(most // max(map(len, rows)), _LOGITS // (self._size * max(keep))))
        for start in range(0, len(order), size):
            part = order[start : start + size]
            for i, tokens in zip(part, self._pass([rows[i] for i in part], [keep[i] for i in part]), strict=True):
                found[i] = tokens
        return found

    def _pass(self, rows: Sequence[Tokens], keep: Sequence[int]) -> list[list[int]]:
        width = max(map(len, rows))
        first = min(len(row) - n for row, n in zip(rows, keep, strict=True))
        ids = torch.full((len(rows), width), self.pad, dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
        # Padded behind: what comes later changes nothing before it.
        last = {"logits_to_keep": width - first} if self._last else {}
        logits = self.model(input_ids=ids.to(_device(self.model)), **self._plain, **last).logits[:, first - width :]
        values, tokens = logits.max(-1)  # a NaN would be the largest
        wanted = [slice(len(row) - n - first, len(row) - first) for row, n in zip(rows, keep, strict=True)]
        values, tokens = values.float().cpu(), tokens.cpu()
        if not all(bool(values[i, part].isfinite().all()) for i, part in enumerate(wanted)):
            raise FloatingPointError
        return [tokens[i, part].tolist() for i, part in enumerate(wanted)]


def _device(model: Any) -> Any:
    return next(model.parameters()).device


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """Evaluation mode without gradients; then every module's mode and every random state is as it was."""
    modes = [(module, module.training) for module in model.modules()]
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)


class Observer(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Measures into `dynamics.jsonl` and to the trainer's logs, keeps EARLY_STOP, and applies the stop rule.

    budget: of the tokens that training reads, so many are measured, where the rows are not given. Added to the trainer
    after whatever marks a checkpoint as whole. Raises InputError for a watched question that
    cannot be asked.
    """

    def __init__(self, trainer: Any, watch: Watch, data: TrainingSet, out: Path, budget: float) -> None:
        self.trainer = trainer
        self.watch = watch
        self.budget = budget
        self.file = out / DYNAMICS
        self.candidates = Candidates(Path(trainer.args.output_dir), out)
        tokenizer = trainer.processing_class
        model = trainer.accelerator.unwrap_model(trainer.model)
        ends = ending_tokens(SimpleNamespace(model=model, tokenizer=tokenizer, eot_token_id=tokenizer.eos_token_id))
        vocabulary = read_vocabulary(tokenizer, ends)
        self.reader = Reader(vocabulary, lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)))
        self.pad = tokenizer.pad_token_id or 0
        self.sets, self.notes = watched_sets(watch, data, tokenizer, vocabulary, _context(model))
        self.measured: list[Measurement] = []
        self.saved_step = 0
        self.stopped: dict[str, Any] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.watch.rows is None:
            self.sets = affordable(self.sets, self._tokens_a_measurement(state.max_steps))
        elif self.watch.rows:
            self.sets = [of.first(self.watch.rows) for of in self.sets]
        self.saved_step = state.global_step
        with self.trainer.accelerator.main_process_first():  # the others find it in order
            self.measured = resume_dynamics(self.file, state.global_step)
        if state.is_world_process_zero:
            best = best_of(self.measured)
            self.candidates.keep({best.step} if best else set())
        if not self.measured:
            self._measure(state, control)
        elif self._should_stop():
            raise Stopped

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # The last step may lie within an epoch, and its checkpoint is saved before that epoch is said to end.
        ended = state.global_step >= state.max_steps or abs(state.epoch - round(state.epoch)) < 1e-9
        if ended or (self.watch.steps and state.global_step % self.watch.steps == 0):
            self._measure_and_judge(args, state, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.measured[-1].step < state.global_step:
            self._measure_and_judge(args, state, control)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """From here an interrupted run goes on: what was best before the best model so far is not needed any more."""
        self.saved_step = state.global_step
        best = best_of(self.measured)
        if best and state.is_world_process_zero:
            self.candidates.keep({best.step})

    def finish(self) -> None:
        """Publishes EARLY_STOP."""
        best = best_of(self.measured)
        if best and self.trainer.is_world_process_zero():
            self.candidates.publish(best.step)
            self.candidates.keep(set())

    def record(self) -> dict[str, Any]:
        """What `training.json` says of the dynamics."""
        best = best_of(self.measured)
        early = {"epoch": best.epoch, "step": best.step, "dev_accuracy": best.share(DEV)} if best else None
        dynamics = {
            "sets": {of.name: {"rows": of.of, "measured": len(of.questions)} for of in self.sets},
            "sources": {facts.name: facts.source for facts in self.watch.sets},
            "budget": self.budget if self.watch.rows is None else None,
            "measurements": len(self.measured),
            "seconds": round(sum(m.seconds for m in self.measured), 2),
            "stopped": self.stopped,
            "notes": self.notes,
        }
        return {"early_stop": early, "dynamics": dynamics}

    def _measure_and_judge(self, args: Any, state: Any, control: Any) -> None:
        self._measure(state, control)
        if self._should_stop():
            control.should_training_stop = True
            if str(getattr(args.save_strategy, "value", args.save_strategy)) != "no":
                control.should_save = True

    def _should_stop(self) -> bool:
        rule = self.watch.stop
        why = rule.says(self.measured) if rule else ""
        if rule and why:
            self.stopped = {"rule": rule.rule, "step": self.measured[-1].step, "why": why}
        return bool(why)

    def _measure(self, state: Any, control: Any) -> None:
        start = time.perf_counter()
        questions = [question for of in self.sets for question in of.questions]
        try:
            with undisturbed(self.trainer.model):
                found = greedy_right(questions, BestTokens(self.trainer.model, self.pad), self.reader)
        except FloatingPointError:
            names = ", ".join(of.name for of in self.sets)
            raise RunError(
                f"the model's logits are not numbers (NaN or infinite) after step {state.global_step}, when it was "
                f"asked what it answers ({names})"
            ) from None
        if self.trainer.args.world_size > 1:
            # Two GPUs need not round alike, and all processes must decide alike.
            (found,) = broadcast_object_list([found])
        verdicts = iter(found)
        counts: dict[str, dict[Category, tuple[int, int]]] = {}
        known = ""
        for of in self.sets:
            right = list(islice(verdicts, len(of.questions)))
            counts[of.name] = of.counts(right)
            if of.name == DEV and self.watch.stop and self.watch.stop.rule == KNOWN_FALLS:
                known = _bits([hit for hit, c in zip(right, of.categories, strict=True) if c in KNOWN])
        epoch = float(state.epoch or 0.0)
        measured = Measurement(state.global_step, epoch, counts, 0.0, known)
        earlier = best_of(self.measured)
        self.measured.append(measured)
        if measured is best_of(self.measured) and measured.step:
            self._keep_best(measured.step, earlier)
        measured = Measurement(state.global_step, epoch, counts, round(time.perf_counter() - start, 4), known)
        self.measured[-1] = measured
        if state.is_world_process_zero:
            append_dynamics(self.file, measured)
        self._log(measured, control)

    def _keep_best(self, step: int, earlier: Measurement | None) -> None:
        """Keeps the model of this step, and that which is best where an interrupted run would go on."""
        save_model(self.trainer, lambda write: self.candidates.save(step, write))
        if self.trainer.is_world_process_zero():
            there = best_of([m for m in self.measured if m.step <= self.saved_step])
            self.candidates.keep({step} | ({there.step} if there else set()))

    def _log(self, measured: Measurement, control: Any) -> None:
        # TRL's own `log` would empty the averages that it collects for its next line; and a line of logs makes the
        # trainer forget that another one is due.
        due = control.should_log
        Trainer.log(self.trainer, metrics_of(measured))
        control.should_log = due

    def _tokens_a_measurement(self, steps: int) -> float:
        """What may be read at one measurement, so that all together read the budget's share of what training reads."""
        trainer = self.trainer
        lengths = [len(ids) for ids in trainer.train_dataset["input_ids"]]
        rows = trainer.args.train_batch_size * trainer.args.gradient_accumulation_steps * trainer.args.world_size
        trained = steps * rows * sum(lengths) / len(lengths)
        times = 1 + max(1, trained / sum(lengths)) + (steps / self.watch.steps if self.watch.steps else 0)
        return float(self.budget * trained / times)


def metrics_of(measured: Measurement) -> dict[str, float]:
    """A measurement as the trainer logs it, by names such as slick/dev_accuracy_HighlyKnown."""
    found: dict[str, float] = {}
    for name in measured.sets:
        what = "fitted" if name == TRAIN else "accuracy"
        groups: Mapping[str, Sequence[Category]] = {
            "": CATEGORIES,
            "known_": KNOWN,
            "unknown_": (Category.UNKNOWN,),
        }
        for prefix, categories in groups.items():
            share = measured.share(name, categories)
            if share is not None:
                found[f"slick/{name}_{prefix}{what}"] = share
        for category in measured.sets[name]:
            found[f"slick/{name}_{what}_{category}"] = measured.share(name, [category]) or 0.0
    return found


def save_model(trainer: Any, into: Any) -> None:
    """Hands `into` a function that writes the model (or adapter) and tokenizer, ready to generate, to a directory.

    The model's own configuration is left as it was.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    # Of several processes each may hold a part of the weights.
    whole = {} if trainer.args.world_size == 1 else {"state_dict": trainer.accelerator.get_state_dict(trainer.model)}

    def write(path: Path) -> None:
        configs = [config for config in (model.config, model.generation_config) if config is not None]
        before = [config.use_cache for config in configs]
        try:
            for config in configs:
                config.use_cache = True
            model.save_pretrained(str(path), safe_serialization=True, **whole)
            trainer.processing_class.save_pretrained(str(path))
        finally:
            for config, used in zip(configs, before, strict=True):
                config.use_cache = used

    if trainer.is_world_process_zero():
        into(write)


def _context(model: Any) -> int | None:
    """The tokens that the model can read at most; None where its configuration does not say."""
    config = model.config.get_text_config()
    found = (getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "n_ctx"))
    return next((int(n) for n in found if n), None)


def _bits(right: Sequence[bool]) -> str:
    """One bit each, in hexadecimal; a 1 in front keeps an all-wrong row from being empty."""
    return f"{int('1' + ''.join('01'[hit] for hit in right), 2):x}"
