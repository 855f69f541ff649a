"""A model that answers by rote, and the facts of a small lab as the tasks read them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.model import LM

from slick.backend import Backend
from slick.exact import ExactAnswer, ExactRequest
from slick.facts import Fact

Chances = Callable[[str], float]


class RoteModel(LM):
    """Answers a prompt rightly with a chance that the prompt alone decides; greedy if it is above one half.

    asked: every (prompt, generation settings) it was given.
    """

    def __init__(self, facts: Sequence[Fact], chances: Chances, seed: int = 0) -> None:
        super().__init__()
        self.answers = {fact.question: fact.answers[0] for fact in facts}
        self.chances = chances
        self.rng = random.Random(seed)
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        return [self._answer(*request.args) for request in requests]

    def _answer(self, prompt: str, kwargs: Mapping[str, Any]) -> str:
        self.asked.append((prompt, kwargs))
        question = max((q for q in self.answers if q in prompt), key=prompt.rindex)
        chance = self.chances(prompt)
        right = self.rng.random() < chance if kwargs["do_sample"] else chance > 0.5
        return f" {self.answers[question]}\nQ: and so on" if right else " nonsense"

    @property
    def tokenizer_name(self) -> str:
        return "rote"

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return "".join(f"<{turn['role']}>{turn['content']}\n" for turn in chat_history) + "<assistant>"

    def loglikelihood(self, requests: Any) -> Any:
        raise NotImplementedError

    def loglikelihood_rolling(self, requests: Any) -> Any:
        raise NotImplementedError


class ExactRoteModel(RoteModel):
    """Also tells its chances, as `slick-hf` does; a greedy verdict is the nearer to its turn, the nearer to one half.

    examined: every request for an exact answer it was given.
    """

    tie = 0.01

    def __init__(self, facts: Sequence[Fact], chances: Chances, seed: int = 0) -> None:
        super().__init__(facts, chances, seed)
        self.examined: list[ExactRequest] = []

    def exact(self, requests: Sequence[ExactRequest]) -> list[ExactAnswer]:
        self.examined += requests
        chances = [self.chances(request.prompt) for request in requests]
        return [ExactAnswer(p > 0.5, p, 1e-7, abs(p - 0.5)) for p in chances]

    def slick_exact(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        return [a.as_json() for a in self.exact([ExactRequest.of_settings(*request.args) for request in requests])]


def hashed_chance(prompt: str) -> float:
    """A chance in [0, 1) that looks random and is the same for the same prompt."""
    return int.from_bytes(sha256(prompt.encode()).digest()[:4], "big") / 2**32


@pytest.fixture
def rote(tiny_facts: list[Fact]) -> Callable[..., RoteModel]:
    """Makes a rote model of the tiny facts: rote(chances=…, seed=…)."""

    def make(chances: Chances = hashed_chance, seed: int = 0) -> RoteModel:
        return RoteModel(tiny_facts, chances, seed)

    return make


@pytest.fixture
def exact_rote(tiny_facts: list[Fact]) -> Callable[..., ExactRoteModel]:
    """Makes a rote model that tells its chances: exact_rote(chances=…)."""

    def make(chances: Chances = hashed_chance) -> ExactRoteModel:
        return ExactRoteModel(tiny_facts, chances)

    return make


@pytest.fixture
def backend_of() -> Callable[[LM], Backend]:
    return lambda lm: Backend(lm, "rote", {}, 1, {"name": "rote"})


@pytest.fixture(scope="session")
def tiny_lab(tiny_facts: list[Fact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab's directory that holds the tiny facts: what `--metadata lab=DIR` takes."""
    path = tmp_path_factory.mktemp("lab")
    lines = [json.dumps({**fact.as_dict(), "exposures": 3}) for fact in tiny_facts]
    (path / "facts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
