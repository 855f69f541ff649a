"""What the exact estimator is asked and what it answers; `slick.walk` finds the answers.

P_Correct needs no samples: a sample is right with a chance that the model's own distribution tells.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slick.facts import Fact
from slick.knowledge import Chances, Knowledge
from slick.matching import Matching

# Stands for "no rival", since JSON has no infinity.
FAR = 1e3


@dataclass(frozen=True, slots=True)
class ExactRequest:
    """A prompt, what is accepted as its answer, and how a sample of it would be drawn."""

    prompt: str
    answers: tuple[str, ...]
    temperature: float
    top_k: int
    max_gen_toks: int
    matching: Matching = Matching.STRICT

    def settings(self) -> dict[str, Any]:
        """Everything but the prompt, JSON-able."""
        return {
            "answers": list(self.answers),
            "temperature": self.temperature,
            "top_k": self.top_k,
            "max_gen_toks": self.max_gen_toks,
            "matching": str(self.matching),
        }

    @classmethod
    def of_settings(cls, prompt: str, settings: Mapping[str, Any]) -> ExactRequest:
        """The request whose `settings` are among these."""
        answers = tuple(map(str, settings["answers"]))
        temperature, top_k, length = (settings[name] for name in ("temperature", "top_k", "max_gen_toks"))
        return cls(prompt, answers, float(temperature), int(top_k), int(length), Matching(settings["matching"]))


@dataclass(frozen=True, slots=True)
class ExactAnswer:
    """What one prompt says of a fact.

    greedy: whether the greedy answer is right. p: chance in [0, 1] that a sample is right; the truth lies in
    [p, p + pruned]. gap: by how many logits the greedy verdict stands; FAR where none of the top k would turn it.
    """

    greedy: bool
    p: float
    pruned: float
    gap: float

    def as_json(self) -> str:
        """What a log has in the place of an answer's text."""
        return json.dumps({"greedy": self.greedy, "p": self.p, "pruned": self.pruned, "gap": self.gap})

    @classmethod
    def of_json(cls, text: str) -> ExactAnswer:
        """Raises KeyError, TypeError or ValueError for a text that is none."""
        found = json.loads(text)
        return cls(bool(found["greedy"]), float(found["p"]), float(found["pruned"]), float(found["gap"]))


def exact_knowledge(
    fact: Fact, answers: Sequence[ExactAnswer], before: Sequence[ExactAnswer], *, n_samples: int, tolerance: float
) -> Knowledge:
    """What the exact answers under a fact's sets say of it. tolerance: logits nearer than that are a tie."""
    chances = Chances(
        tuple(answer.p for answer in answers),
        n_samples,
        max(answer.pruned for answer in answers),
        any(answer.gap < tolerance for answer in answers),
    )
    return Knowledge(
        fact,
        greedy_right=sum(answer.greedy for answer in answers),
        greedy_total=len(answers),
        before_right=sum(answer.greedy for answer in before),
        before_total=len(before),
        chances=chances,
    )
