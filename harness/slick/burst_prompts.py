"""The prompts that a burst asks: made where they are asked for, of facts all over a probe's selection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from slick.facts import Fact
from slick.sampled import probe_prompts

if TYPE_CHECKING:
    from slick.probe import Probe


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt, its fact, and whether it is one of those that make the category."""

    fact: Fact
    prompt: str
    decides: bool


class Prompts:
    """The prompts of a probe, made where they are asked for."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.sets = probe.exemplar_sets()

    def of(self, fact: Fact, *, fresh: bool) -> Iterator[Asked]:
        kinds = self.sets[fact.relation]
        yield from (Asked(fact, prompt, True) for prompt in probe_prompts(fact, kinds[0], self.probe.chat))
        if fresh:
            yield from (Asked(fact, prompt, False) for prompt in probe_prompts(fact, kinds[1], self.probe.chat))

    def piece(self, number: int, size: int, *, fresh: bool) -> list[Asked]:
        """So many prompts of neighbouring facts, as in a chunk; every number stands elsewhere in the selection."""
        facts = self.probe.facts
        e = self.probe.estimator
        needed = min(len(facts), -(-size // (e.n_exemplar_sets + (e.n_before if fresh else 0))))
        first = int(_spread(number) * (len(facts) - needed + 1))
        found = chain.from_iterable(self.of(fact, fresh=fresh) for fact in facts[first : first + needed])
        return list(found)[:size]


def _spread(number: int) -> float:
    """The numbers 0, 1, 2, … as places in [0, 1), each in the middle of a gap (van der Corput): 0, 1/2, 1/4, 3/4, …"""
    place, unit = 0.0, 0.5
    while number:
        number, bit = divmod(number, 2)
        place += bit * unit
        unit /= 2
    return place
