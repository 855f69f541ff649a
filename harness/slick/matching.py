"""What counts as a right answer, and what counts as abstaining. One documented policy, recorded in every run.

An answer is the first line of what the model wrote, stripped: first line, *then* strip, so that an answer
that begins with a line break is empty and not the second line. Substring containment is never used: it
calls wrong answers known.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from enum import StrEnum

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_LINE_END = re.compile(r"[\n\r]")

# Compared after `normalize`. An empty answer also abstains: the model said nothing.
ABSTENTIONS = frozenset(
    {
        "",
        "cannot answer",
        "i am not sure",
        "i cannot answer",
        "i do not know",
        "i dont know",
        "i dont know answer",
        "i have no idea",
        "im not sure",
        "no answer",
        "no idea",
        "not known",
        "unknown",
    }
)


class Matching(StrEnum):
    """The matching policies.

    strict:     the stripped first line equals an accepted answer, character by character (the paper's EM).
    normalized: equal after `normalize` (SQuAD v1.1's normalisation, Rajpurkar et al. 2016).
    """

    STRICT = "strict"
    NORMALIZED = "normalized"


def first_line(text: str) -> str:
    """The answer in a model's output: everything before the first line end, stripped of white space."""
    return _LINE_END.split(text, maxsplit=1)[0].strip()


def normalize(text: str) -> str:
    """Lower case, no ASCII punctuation, no English articles, single spaces. Idempotent."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def is_right(output: str, answers: Iterable[str], matching: Matching = Matching.STRICT) -> bool:
    """Whether the first line of `output` equals one of `answers` under the policy."""
    answer = first_line(output)
    if matching is Matching.STRICT:
        return any(answer == accepted.strip() for accepted in answers)
    normalized = normalize(answer)
    # An accepted answer with nothing left ("The The") is compared as it stands, or silence would match it.
    return any(
        normalized == normalize(accepted) if normalize(accepted) else answer == accepted.strip() for accepted in answers
    )


def is_abstention(output: str) -> bool:
    """Whether the answer declines to answer (see ABSTENTIONS)."""
    return normalize(first_line(output)) in ABSTENTIONS
