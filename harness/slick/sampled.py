"""The sampled estimator: the paper's protocol to the letter, on any backend.

Per fact: one greedy answer under each of the N_ex exemplar sets, and N_sample answers at T = 0.5 from the
top 40 tokens under each. `slick probe` draws the samples only for facts without a right greedy answer
(their category is the only one that depends on them); the lm-eval task draws all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from slick.errors import Mistakes
from slick.exemplars import ExemplarSets
from slick.facts import Fact
from slick.knowledge import Knowledge
from slick.matching import Matching, is_right
from slick.prompts import PLAIN, Chat, probe_prompt

# Answers end with their line; matching takes the first line of whatever a backend returns beyond it.
UNTIL = ["\n"]


@dataclass(frozen=True, slots=True)
class Sampled:
    """Settings of the estimator; the defaults are the paper's, except max_gen_toks, which it does not state."""

    n_exemplar_sets: int = 10
    n_exemplars: int = 4
    n_samples: int = 16
    temperature: float = 0.5
    top_k: int = 40
    max_gen_toks: int = 32
    n_before: int = 5

    def check(self) -> Sampled:
        """Itself; raises InputError naming every setting out of range."""
        with Mistakes("settings of the sampled estimator:") as mistakes:
            for name in ("n_exemplar_sets", "n_exemplars", "n_samples", "top_k", "max_gen_toks"):
                if getattr(self, name) < 1:
                    mistakes.add(f"{name} = {getattr(self, name)}: expected at least 1")
            if not self.temperature > 0:
                mistakes.add(f"temperature = {self.temperature}: expected above 0")
            if self.n_before < 0:
                mistakes.add(f"n_before = {self.n_before}: expected 0 or more")
        return self

    def greedy_kwargs(self) -> dict[str, Any]:
        return greedy_kwargs(self.max_gen_toks)

    def sampled_kwargs(self) -> dict[str, Any]:
        """Every field is given: a checkpoint's own generation defaults would fill the gaps."""
        return {
            "until": UNTIL,
            "max_gen_toks": self.max_gen_toks,
            "do_sample": True,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": 1.0,
        }

    def exact_kwargs(self) -> dict[str, Any]:
        """What a log says of an exact request: the sampling whose outcome it computes."""
        return {**self.sampled_kwargs(), "exact": True}

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


PAPER = Sampled()


def greedy_kwargs(max_gen_toks: int) -> dict[str, Any]:
    return {"until": UNTIL, "max_gen_toks": max_gen_toks, "do_sample": False, "temperature": 0.0}


def probe_prompts(fact: Fact, sets: ExemplarSets, chat: Chat = PLAIN) -> list[str]:
    """The fact's prompt under each exemplar set."""
    return [probe_prompt(exemplars, fact.question, chat) for exemplars in sets.for_fact(fact)]


def count_right(
    fact: Fact,
    greedy: Sequence[str],
    sampled: Sequence[Sequence[str]],
    before: Sequence[str] = (),
    *,
    matching: Matching = Matching.STRICT,
) -> Knowledge:
    """What the answers say of the fact. greedy: one a set; sampled: N_sample a set, or none at all."""

    def right(answers: Sequence[str]) -> int:
        return sum(is_right(answer, fact.answers, matching) for answer in answers)

    return Knowledge(
        fact,
        greedy_right=right(greedy),
        greedy_total=len(greedy),
        sampled_right=sum(map(right, sampled)),
        sampled_total=sum(map(len, sampled)),
        before_right=right(before),
        before_total=len(before),
    )
