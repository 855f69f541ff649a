"""A backend that answers from a script, for tests of what is made of answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

Request = tuple[str, Mapping[str, Any]]


class Killed(BaseException):
    """What a killed process would not live to see."""


@dataclass
class ScriptedBackend:
    """Stands for `slick.backend.Backend`.

    answer: from prompt and number of the sample (None for a greedy answer) to what the model writes.
    lives: calls of generate and sample until it is killed; None for ever.
    asked, drawn: the requests and (prompts, n, seed) seen so far.
    """

    answer: Callable[[str, int | None], str]
    lives: int | None = None
    independent_samples: bool = False
    tie: float = 1e-3
    model: Mapping[str, Any] = field(default_factory=lambda: {"name": "scripted", "weights": "w"})
    asked: list[Request] = field(default_factory=list)
    drawn: list[tuple[list[str], Mapping[str, Any], int, int]] = field(default_factory=list)

    def generate(self, requests: Sequence[Request]) -> list[str]:
        self._live()
        self.asked += requests
        return [self.answer(prompt, None) for prompt, _ in requests]

    def sample(self, prompts: Sequence[str], kwargs: Mapping[str, Any], n: int, seed: int) -> list[list[str]]:
        self._live()
        self.drawn.append((list(prompts), kwargs, n, seed))
        return [[self.answer(prompt, j) for j in range(n)] for prompt in prompts]

    def provenance(self) -> dict[str, Any]:
        return {"name": "scripted", "args": {}, "batch_size": 8}

    def _live(self) -> None:
        if self.lives is not None:
            if self.lives == 0:
                raise Killed("killed")
            self.lives -= 1


@pytest.fixture
def scripted() -> type[ScriptedBackend]:
    return ScriptedBackend


@pytest.fixture
def killed() -> type[Killed]:
    """What a scripted backend raises when its lives are used up."""
    return Killed
