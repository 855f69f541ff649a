"""What tests of lint share: datasets of a few invented facts, and a backend that knows what it is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slick.exact import FAR, ExactAnswer, ExactRequest
from slick.sampled import Sampled
from slick_sft.lint.report import Report
from slick_sft.lint.run import Wish, lint, prepare

SMALL = Sampled(n_exemplar_sets=3, n_exemplars=2, n_before=0)


@dataclass
class Knowing:
    """Stands for `slick.backend.Backend`: answers what it is told to know, in any form. asked: what it was asked."""

    known: Mapping[str, float] = field(default_factory=dict)
    tie: float = 1e-3
    model: Mapping[str, Any] = field(default_factory=lambda: {"name": "knowing", "weights": "w"})
    asked: list[ExactRequest] = field(default_factory=list)
    lm: Any = field(default_factory=lambda: SimpleNamespace(tokenizer=None))

    def exact(self, requests: Sequence[ExactRequest]) -> list[ExactAnswer]:
        self.asked += requests
        return [self._answer(request) for request in requests]

    def _answer(self, request: ExactRequest) -> ExactAnswer:
        p = self.known.get(request.prompt.rsplit("Q: ", 1)[1].split("\n")[0], 0.0)
        return ExactAnswer(p >= 0.5, p, 0.0, FAR)

    def provenance(self) -> dict[str, Any]:
        return {"name": "knowing", "args": {}, "batch_size": 8}


@pytest.fixture
def knowing() -> type[Knowing]:
    return Knowing


def question(i: int) -> str:
    return f"Where was Bo{i} Ka{i} born?"


def answer(i: int) -> str:
    return f"Town{i}"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows as JSON Lines; question/answer rows of the numbers if none are given."""

    def written(rows: Sequence[Any] = range(8), name: str = "data.jsonl") -> Path:
        file = tmp_path / name
        made = [{"question": question(row), "answer": answer(row)} if isinstance(row, int) else row for row in rows]
        file.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
        return file

    return written


@pytest.fixture
def linted(tmp_path: Path) -> Callable[..., Report]:
    """Lints files by a backend that knows these questions, with these chances."""

    number = count()

    def run(*files: Path, known: Mapping[str, float] | None = None, **wish: Any) -> Report:
        backend: Any = Knowing(known or {})
        protocol = wish.pop("protocol", SMALL)
        return lint(prepare(Wish(files, protocol=protocol, **wish)), backend, tmp_path / f"probe{next(number)}")

    return run
