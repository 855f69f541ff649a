"""The rows of a set as tensors, micro-batch by micro-batch, in the order of a plan. Imports torch at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from slick_sft.batches import Plan, parts

# What no loss is taken from, in torch and transformers alike.
IGNORED = -100
Arrays = Sequence[np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Rows:
    """Tokenised rows. weights: how much a row counts. distilled: whether its answer is held to the base model's.

    A weight of 0 masks a row's labels, which makes it equal in every bit to a row that was masked from the start.
    """

    tokens: Arrays
    labels: Arrays
    weights: Sequence[float]
    distilled: Sequence[bool]

    @classmethod
    def create(
        cls,
        tokens: Sequence[Sequence[int]],
        labels: Sequence[Sequence[int]],
        weights: Sequence[float] | None = None,
        distilled: Sequence[bool] | None = None,
    ) -> Rows:
        ones = [1.0] * len(tokens) if weights is None else list(weights)
        targets = [np.asarray(row, dtype=np.int64) for row in labels]
        return cls(
            [np.asarray(row, dtype=np.int64) for row in tokens],
            [row if weight else np.full_like(row, IGNORED) for row, weight in zip(targets, ones, strict=True)],
            ones,
            [False] * len(tokens) if distilled is None else list(distilled),
        )

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def with_targets(self) -> frozenset[int]:
        """The rows that have a token to learn; the first token of a row is never predicted."""
        return frozenset(i for i, row in enumerate(self.labels) if (row[1:] != IGNORED).any())

    @cached_property
    def any_distilled(self) -> bool:
        return any(self.distilled)


class Collator:
    """Rows as one micro-batch, padded on the right or laid end to end.

    join: TRL's collator, where rows are laid end to end; None for padding, which is done here since TRL's takes
    three tensors a row for it.
    """

    def __init__(self, rows: Rows, pad: int, multiple: int | None = None, join: Callable[..., Any] | None = None):
        self.rows = rows
        self.pad = pad
        self.multiple = multiple or 1
        self.join = join

    def __call__(self, places: Sequence[int]) -> dict[str, Any]:
        batch = self._joined(places) if self.join else self._padded(places)
        shape = batch["labels"].shape
        batch["weights"] = self._spread([self.rows.weights[_row(p)] for p in places], places, shape, torch.float32)
        if self.rows.any_distilled:
            held = [self.rows.distilled[_row(p)] for p in places]
            batch["distilled"] = self._spread(held, places, shape, torch.bool)
        return batch

    def _padded(self, places: Sequence[int]) -> dict[str, Any]:
        lengths = [len(self.rows.tokens[_row(p)]) for p in places]
        width = -(-max(lengths) // self.multiple) * self.multiple
        tokens = np.full((len(places), width), self.pad, dtype=np.int64)
        labels = np.full((len(places), width), IGNORED, dtype=np.int64)
        for line, (place, length) in enumerate(zip(places, lengths, strict=True)):
            tokens[line, :length] = self.rows.tokens[_row(place)]
            if place >= 0:
                labels[line, :length] = self.rows.labels[place]
        attended = np.arange(width) < np.asarray(lengths)[:, None]
        return {
            "input_ids": torch.from_numpy(tokens),
            "labels": torch.from_numpy(labels),
            "attention_mask": torch.from_numpy(attended.astype(np.int64)),
        }

    def _joined(self, places: Sequence[int]) -> dict[str, Any]:
        assert self.join is not None
        masked = [np.full_like(self.rows.labels[_row(p)], IGNORED) if p < 0 else self.rows.labels[p] for p in places]
        batch: dict[str, Any] = self.join(
            [{"input_ids": self.rows.tokens[_row(p)], "labels": of} for p, of in zip(places, masked, strict=True)]
        )
        return batch

    def _spread(self, values: Sequence[Any], places: Sequence[int], shape: Any, dtype: torch.dtype) -> torch.Tensor:
        """One value a row as one value a token."""
        column = torch.tensor(values, dtype=dtype)
        if not self.join:
            return column[:, None].expand(shape).contiguous()
        lengths = torch.tensor([len(self.rows.tokens[_row(p)]) for p in places])
        flat = column.repeat_interleave(lengths)
        spread = torch.zeros(shape, dtype=dtype)
        spread[0, : len(flat)] = flat
        return spread


class PlanSampler(Sampler[list[int]]):  # type: ignore[misc]  # torch is not looked into
    """The micro-batches of one process in one epoch of a plan.

    Process p of n takes every n-th micro-batch of a step, from the p-th on. Each step has as many as any other.
    """

    def __init__(self, plan: Plan, *, accumulation: int, process: int = 0, processes: int = 1) -> None:
        self.plan = plan
        self.accumulation = accumulation
        self.process = process
        self.processes = processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.plan.steps_per_pass * self.accumulation

    def __iter__(self) -> Iterator[list[int]]:
        first = self.epoch * self.plan.steps_per_pass
        for step in range(first, first + self.plan.steps_per_pass):
            dealt = parts(self.plan.step(step), self.accumulation * self.processes)
            yield from (list(rows) for rows in dealt[self.process :: self.processes])


class _Places(Dataset[int]):  # type: ignore[misc]  # torch is not looked into
    """Rows by their place alone: the collator looks them up."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> int:
        return place


class PlannedLoader(DataLoader[int]):  # type: ignore[misc]  # torch is not looked into
    """What transformers' trainer takes its batches from. It draws no random number of the run's."""

    def __init__(self, sampler: PlanSampler, collator: Collator, options: Mapping[str, Any]) -> None:
        super().__init__(
            _Places(len(collator.rows)),
            batch_sampler=sampler,
            collate_fn=collator,
            generator=torch.Generator().manual_seed(sampler.plan.seed % 2**63),
            **options,
        )

    def set_epoch(self, epoch: int) -> None:
        assert isinstance(self.batch_sampler, PlanSampler)
        self.batch_sampler.set_epoch(epoch)


def _row(place: int) -> int:
    return place if place >= 0 else ~place
