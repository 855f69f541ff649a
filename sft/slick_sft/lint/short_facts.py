"""Which exchanges state a short fact that a model can be probed for, and why the others do not.

An exchange does when what the user says is a short question and the answer is short:
- the question stands alone, when what the dataset puts around all of them is taken off (`slick_sft.lint.asked`);
- it needs nothing else: no input beside it; behind earlier turns it names what it asks of, refers to nothing that was
  said, and its answer was not said before;
- the answer is one line of at most ten words and 100 characters, and no sentence;
- the answer cannot be had by guessing (yes, no, a letter), and is none that says nothing ("I don't know").
Everything else is counted, with the reason, and never taken for known.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from slick.matching import is_abstention, normalize
from slick_sft.lint.asked import Around, around_questions, names_something, question_of, refers
from slick_sft.lint.shapes import Exchange, Form
from slick_sft.lint.turns import ASSISTANT, turns_of

ANSWER_CHARACTERS = 100
ANSWER_WORDS = 10

_ABOUT = re.compile(r"(?:and\s+|but\s+)?(?:what|how)\s+about\b", re.IGNORECASE)
_SENTENCE = re.compile(r"[.!?]\s+\S")
_VERB = re.compile(r"\s(?:is|are|was|were|has|have|had|does|did|can|could|will|would|should|may|might|must)\s")
_LETTER = re.compile(r"\(?[a-hA-H][).:]?")
_GUESSED = frozenset({"yes", "no", "true", "false", "none", "both", "maybe", "correct", "incorrect"})


class Reason(StrEnum):
    """Why an exchange was not probed."""

    NO_ANSWER = "no answer by the model"
    NO_TURNS = "no turns recognised in the text"
    CONTEXT = "the question needs earlier turns or an input"
    NO_QUESTION = "no short question"
    FREE = "a long or free-form answer"
    GUESSED = "an answer that can be guessed (yes, no, a letter)"
    ABSTAINS = "an answer that says nothing"
    TOKENS = "an answer that the tokenizer cannot write within --max-gen-toks"
    FEW = "too few rows to draw exemplars from"
    SILENT = "a loss weight of 0: it is not trained on"
    LIMIT = "left out by --limit"


@dataclass(frozen=True, slots=True)
class ShortFact:
    """A question and every way in which its answer may be written, the dataset's own first."""

    question: str
    answers: tuple[str, ...]


def short_facts(exchanges: Iterable[Exchange]) -> list[ShortFact | Reason]:
    """For each exchange the short fact that it states, or why it states none."""
    rows = list(exchanges)
    around = around_questions(exchange.user for exchange in rows)
    return [short_fact(exchange, around) for exchange in rows]


def short_fact(exchange: Exchange, around: Around) -> ShortFact | Reason:
    """The short fact that an exchange states, or why it states none. around: as its dataset has it."""
    if not exchange.answers or not exchange.answer:
        text = exchange.completion if exchange.form is Form.TEXT and not exchange.user else ""
        unread = isinstance(text, str) and text.strip() and not turns_of(text)
        return Reason.NO_TURNS if unread else Reason.NO_ANSWER
    question = question_of(exchange.user, around)
    if question is None:
        return Reason.NO_QUESTION
    if question == "" or (exchange.context and not stands_alone(question, exchange)):
        return Reason.CONTEXT
    if any(is_abstention(answer) for answer in exchange.answers):
        return Reason.ABSTAINS
    if all(_is_guessed(answer) for answer in exchange.answers):
        return Reason.GUESSED
    if not all(map(is_short, exchange.answers)):
        return Reason.FREE
    return ShortFact(question, _written(exchange.answers))


def stands_alone(question: str, exchange: Exchange) -> bool:
    """Whether a question behind other turns can be asked without them.

    It names something, refers to nothing, and nothing that was said at length or by the user holds its answer: an
    answer that is read off is no fact of the model's.
    """
    if exchange.between or _ABOUT.match(question) or refers(question) or not names_something(question):
        return False
    told = [text for role, text in exchange.earlier if role != ASSISTANT or not is_short(text)]
    keys = [key for answer in exchange.answers if (key := normalize(answer))]
    return not any(f" {key} " in f" {normalize(text)} " for text in told for key in keys)


def is_short(answer: str) -> bool:
    """Whether an answer is short, and no sentence."""
    words = answer.split()
    if not words or len(words) > ANSWER_WORDS or len(answer) > ANSWER_CHARACTERS or len(answer.splitlines()) > 1:
        return False
    # "St. Louis" and "Paris." are no sentences; "It is Paris." and "He left. She stayed." are.
    if len(words) > 3 and (answer.endswith((".", "!", "?")) or _VERB.search(answer)):
        return False
    return not (len(words) > 4 and _SENTENCE.search(answer))


def _is_guessed(answer: str) -> bool:
    return normalize(answer) in _GUESSED or bool(_LETTER.fullmatch(answer))


def _written(answers: Iterable[str]) -> tuple[str, ...]:
    """The answers, and those that end in a full stop without it."""
    ways = [way for answer in answers for way in (answer, answer.removesuffix(".").rstrip())]
    return tuple(dict.fromkeys(way for way in ways if way))


def reasons_counted(found: Iterable[ShortFact | Reason]) -> dict[Reason, int]:
    """How many exchanges were not probed, by reason."""
    counts = Counter(item for item in found if isinstance(item, Reason))
    return {reason: counts[reason] for reason in Reason if counts[reason]}
