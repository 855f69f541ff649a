"""Which rows meet in which optimiser step: a pure function of the rows' stages, the step's size and the seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows of every optimiser step of a run of `steps` steps.

    A pass over a stage shuffles its rows anew and cuts them into steps of `size` rows; the last of them is short, or
    left out with `drop_last`. Stages are trained one after the other. They share out the run's steps in proportion
    to the steps of one pass over each, so that with whole epochs each stage is gone through that many times before
    the next one begins. No step holds rows of two stages.

    The rows of a step depend on nothing else: not on weights, processes, accumulation or on what was trained before.
    Sets with as many rows, and the same stages, have rows of equal places in the same steps.
    """

    stages: tuple[tuple[int, ...], ...]
    size: int
    steps: int
    seed: int
    shuffle: bool = True
    drop_last: bool = False

    def stage_steps(self, stage: Sequence[int]) -> int:
        """Steps of one pass over a stage."""
        return len(stage) // self.size if self.drop_last else -(-len(stage) // self.size)

    @property
    def steps_per_pass(self) -> int:
        """Steps of one pass over all rows: an epoch."""
        return sum(self.stage_steps(stage) for stage in self.stages)

    def stage_ends(self) -> tuple[int, ...]:
        """After how many steps each stage is done."""
        through = accumulate(self.stage_steps(stage) for stage in self.stages)
        per_pass = max(1, self.steps_per_pass)
        # Halves go up, in whole numbers: rounding to even would give two stages of equal size unequal shares.
        return tuple((2 * self.steps * c + per_pass) // (2 * per_pass) for c in through)

    def step(self, number: int) -> tuple[int, ...]:
        """The rows of a step, counted from 0. Behind the run's end the last stage goes on."""
        ends = self.stage_ends()
        stage = next((i for i, end in enumerate(ends) if number < end), len(self.stages) - 1)
        first = ends[stage - 1] if stage else 0
        rows = self.stages[stage]
        passed, part = divmod(number - first, max(1, self.stage_steps(rows)))
        order = _shuffled(len(rows), f"batches:{self.seed}:{stage}:{passed}") if self.shuffle else range(len(rows))
        return tuple(rows[i] for i in order[part * self.size : (part + 1) * self.size])


@lru_cache(maxsize=4)
def _shuffled(count: int, key: str) -> Sequence[int]:
    order = list(range(count))
    # Seeded by a text, and so by its SHA-512: equal on every machine and Python version.
    random.Random(key).shuffle(order)
    return order


def by_stage(stages: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """The places of the rows of each stage that occurs, the stages in ascending order."""
    return tuple(tuple(i for i, of in enumerate(stages) if of == stage) for stage in sorted(set(stages)))


def parts(rows: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """A step's rows dealt out to its `count` micro-batches: processes times accumulation.

    The loss is summed over the whole step, so that how they are dealt does not matter. Where rows are fewer, the
    micro-batch left without any holds one that must not be trained on: its complement `~row` stands for it.
    """
    return [tuple(rows[i::count]) or (~rows[0],) for i in range(count)]
