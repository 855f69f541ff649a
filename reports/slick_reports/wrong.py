"""What a wrong answer is: abstention, echo of the training set, another fact's answer, or something else. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from slick.facts import Fact
from slick.matching import Matching, first_line, normalize


class Kind(StrEnum):
    """Kinds of wrong answers; a wrong answer is of the first that fits."""

    ABSTAINED = "abstained"
    ECHO = "echo"
    ENTITY = "entity"
    OTHER = "other"


KINDS = tuple(Kind)
# How a page calls them.
TOLD = {
    Kind.ABSTAINED: "abstained",
    Kind.ECHO: "echo of a training answer",
    Kind.ENTITY: "another fact’s answer",
    Kind.OTHER: "other",
}


class Entities:
    """The accepted answers of each relation, under the matching policy that judged them."""

    def __init__(self, facts: Iterable[Fact], matching: Matching = Matching.STRICT) -> None:
        self.matching = matching
        self._answers: dict[str, set[str]] = {}
        for fact in facts:
            self._answers.setdefault(fact.relation, set()).update(self.key(answer) for answer in fact.answers)

    def key(self, answer: str) -> str:
        """Equal for answers that the policy takes for the same."""
        line = first_line(answer)
        return line if self.matching is Matching.STRICT else normalize(line) or line

    def kind(self, fact: Fact, answer: str, *, abstained: bool, training: frozenset[str] = frozenset()) -> Kind:
        """What the wrong `answer` to `fact` is. training: keys of the answers that the model was trained on.

        An answer that is both in the training set and another fact's counts as an echo.
        """
        if abstained:
            return Kind.ABSTAINED
        key = self.key(answer)
        if key in training:
            return Kind.ECHO
        return Kind.ENTITY if key in self._answers.get(fact.relation, ()) else Kind.OTHER

    def keys(self, answers: Iterable[str]) -> frozenset[str]:
        return frozenset(key for answer in answers if (key := self.key(answer)))


def matching_of(settings: Mapping[str, object]) -> Matching:
    """The policy that a run recorded; strict where it recorded none that is known."""
    found = settings.get("matching")
    return Matching(found) if isinstance(found, str) and found in set(Matching) else Matching.STRICT
