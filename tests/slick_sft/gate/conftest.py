"""Score runs for the gate's tests, written by the real writer over a made-up model, so that formats cannot drift."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from slick.facts import Fact, commonest_answers
from slick.knowledge import CATEGORIES, Category
from slick.score import Score, run_score


@dataclass
class FakeBackend:
    """Answers with a function of the prompt; bears what `run_score` reads of a backend."""

    answer: Callable[[str], str]
    model: dict[str, Any]

    def generate(self, requests: Sequence[Any]) -> list[str]:
        return [self.answer(prompt) for prompt, _ in requests]

    def provenance(self) -> dict[str, Any]:
        return {"name": "fake", "args": {}, "batch_size": 8}


def fingerprint(name: str) -> dict[str, Any]:
    return {"name": name, "weights": random.Random(name).randbytes(32).hex(), "adapter": None}


@dataclass
class Runs:
    """A directory of runs over n facts of two relations; a third is HighlyKnown, and so on round the categories."""

    root: Path
    n: int = 400
    facts: list[Fact] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.facts = [
            Fact.create(f"Question {i}?", [f"A{i}"], relation=f"R{i % 2}", subject=f"S{i}", split="test")
            for i in range(self.n)
        ]
        self.categories: dict[str, Category] = {f.id: CATEGORIES[i % 4] for i, f in enumerate(self.facts)}

    def score(
        self,
        name: str,
        right: float | Callable[[int], str] = 0.9,
        *,
        seed: int | None = 0,
        arm: str = "arm",
        training: Mapping[str, Any] | None = None,
        model: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Path:
        """A score run in root/name. right: the chance of a right answer, or what is answered to fact i. seed: None
        for an untuned model. model: what is recorded of it besides, or in place of, a name and weights of its own."""
        rng = random.Random(name)
        draws = [rng.random() for _ in self.facts]
        places = {f.question: i for i, f in enumerate(self.facts)}

        def answer(prompt: str) -> str:
            i = places[next(line for line in prompt.splitlines() if line.startswith("Question"))]
            if callable(right):
                return right(i)
            return f"A{i}" if draws[i] < right else "wrong"

        record = {
            "arm": arm,
            "seed": seed,
            "arm_key": f"key of {arm}",
            "method": "full",
            "learning_rate": 1e-4,
            "steps": 100,
            "base": fingerprint("base"),
            "settings": {"arguments": {"learning_rate": 1e-4, "seed": seed, "weight_decay": 0.0}, "lora": None},
        }
        score = Score(
            facts=more.pop("facts", self.facts),
            categories=more.pop("categories", self.categories),
            priors=commonest_answers(self.facts),
            training={} if seed is None else {**record, **(training or {})},
            **more,
        )
        return run_score(score, FakeBackend(answer, {**fingerprint(name), **(model or {})}), self.root / name).path

    def arm(self, arm: str, rights: Sequence[float], **more: Any) -> list[Path]:
        """One run a seed."""
        return [self.score(f"{arm}-{i}", right, seed=i, arm=arm, **more) for i, right in enumerate(rights)]


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks are counted below the working directory: every test has its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


@pytest.fixture
def make_runs(tmp_path: Path) -> Callable[[int], Runs]:
    return lambda n: Runs(tmp_path / f"runs-{n}", n)
