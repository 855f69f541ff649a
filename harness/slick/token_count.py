"""How many tokens a probe's prompts and answers have, and how many of them are computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slick.batches import Tokens
from slick.batches import plan as batches_of
from slick.burst_prompts import Prompts
from slick.facts import Fact, by_relation
from slick.plan import Reading

if TYPE_CHECKING:
    from slick.backend import Backend

# Prompts are tokenised of so many facts, spread over the relations; the others' are reckoned from them.
_COUNTED = 600
# Of text whose tokenizer is not at hand.
CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True, slots=True)
class TokensRead:
    """Tokens of prompts: their own, the prefixes that they share, and all anew; the longest row, whole and own part."""

    own: int
    shared: int
    anew: int
    longest: int
    longest_own: int

    @property
    def computed(self) -> int:
        return self.own + self.shared


class TokenCounter:
    """Counts tokens as the backend does, or by characters where it cannot be asked."""

    def __init__(self, backend: Backend, room: int) -> None:
        self.backend = backend
        self.room = room
        self.lm: Any = getattr(backend, "lm", None)
        tokenizer = getattr(self.lm, "tokenizer", None)
        remote = getattr(self.lm, "tokenizer_backend", None) == "remote"
        self.encode = None if remote else getattr(tokenizer, "encode", None)

    @property
    def guesses(self) -> bool:
        return not self.backend.ours and self.encode is None

    def shares(self, longest: int) -> bool:
        """Whether prompts of so many tokens share what they have in common, and their samples one reading."""
        return bool(self.backend.ours and self.lm.shared.serves(longest + self.room))

    def lengths(self, texts: Sequence[str]) -> list[int]:
        if self.encode is not None:
            return [len(self.encode(text)) for text in texts]
        return [-(-len(text) // CHARACTERS_A_TOKEN) for text in texts]

    def answers(self, facts: Iterable[Fact]) -> list[int]:
        """Tokens of the answers that are computed along with prompts, one a fact."""
        return self.lengths([f" {fact.answers[0]}" for fact in facts])

    def mean_answer(self, facts: Sequence[Fact]) -> float:
        """Tokens of an answer, by some of the facts."""
        lengths = self.answers(facts[:: max(1, len(facts) // _COUNTED)])
        return sum(lengths) / len(lengths)

    def read(self, prompts: Sequence[str]) -> TokensRead:
        """How many tokens are computed where these prompts are asked together."""
        if not self.backend.ours:
            lengths = self.lengths(prompts)
            return TokensRead(sum(lengths), 0, sum(lengths), max(lengths), max(lengths))
        # Refuses what a run would refuse.
        rows: list[Tokens] = self.lm.encode(prompts, self.room)
        anew, longest = sum(map(len, rows)), max(map(len, rows))
        if not self.shares(longest):
            return TokensRead(anew, 0, anew, longest, longest)
        prefixes: set[Tokens] = set()
        own, most = 0, 0
        for batch in batches_of(rows, [1] * len(rows), self.backend.batch_size):
            for i, length in zip(batch.rows, batch.prefixes, strict=True):
                prefixes.add(rows[i][:length])
                own += len(rows[i]) - length
                most = max(most, len(rows[i]) - length)
        return TokensRead(own, sum(map(len, prefixes)), anew, longest, most)


@dataclass(frozen=True, slots=True)
class Selection:
    """The tokens of all prompts of a selection, reckoned from some of its facts."""

    reading: Reading
    # Own tokens of all prompts: of what a second stage reads again.
    own: float
    longest: int
    longest_own: int
    shares: bool


def selected(prompts: Prompts, counter: TokenCounter, *, fresh: bool) -> Selection:
    """Counts the prompts of a selection; fresh: with those of the sets that are asked besides."""
    groups = by_relation(prompts.probe.facts)
    most = max(2, _COUNTED // len(groups))
    own = anew = once = 0.0
    total = counted = longest = longest_own = 0
    for facts in groups.values():
        chosen = facts if len(facts) <= most else [facts[i * len(facts) // most] for i in range(most)]
        asked = [item.prompt for fact in chosen for item in prompts.of(fact, fresh=fresh)]
        read = counter.read(asked)
        scale = len(facts) / len(chosen)
        own += read.own * scale
        once += read.own * scale + read.shared
        anew += read.anew * scale
        total += round(len(asked) * scale)
        counted += len(chosen)
        longest, longest_own = max(longest, read.longest), max(longest_own, read.longest_own)
    shares = counter.shares(longest)
    return Selection(Reading(total, anew, once if shares else None, counted), own, longest, longest_own, shares)
