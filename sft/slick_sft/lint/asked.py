"""The short question within what a user says, and what a dataset puts around its questions.

A question stands alone: on one line, of at most 200 characters, with a question mark at its end or an asking word at
its beginning. What many rows have alike is no part of it, so that a model is probed by the question itself, whatever
the form of the dataset: lines around it ("Answer the following question.", "A:"), labels before and behind it
("Question: … Answer:"), and what stands before or behind it on its own line ("Answer briefly: …", "… Keep it short.").
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

QUESTION_CHARACTERS = 200
# A longer line is prose, in which no wrapping is looked for.
_LINE = 3 * QUESTION_CHARACTERS
# What so many rows have, with different text beside it, is no part of a question; within a line also so many of all.
_ALIKE = 3
_SHARE = 0.02
# What so many of all rows have is taken off a question that names nothing, too.
_MOST = 0.5

_ASKING = re.compile(
    r"(?:(?:in|on|at|from|to|for|by|of|with|under|during)\s+)?(?:who|whom|whose|what|which|when|where|how)\b"
    r"|(?:please\s+)?(?:name|identify|tell me|give the name|state)\b",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"^(?:###\s*|\*\*)?(?:q|question|a|answer|instruction|input|response)\s*(?::\*\*|\*\*:|:)\s*", re.IGNORECASE
)
# "A:" only behind a question mark, as it may be part of a question else ("… vitamin A:").
_LABEL_BEHIND = re.compile(
    r"(?:(?<=[\s?？؟])(?:###\s*|\*\*)?(?:answer|response)|(?<=[?？؟])\s*(?:###\s*|\*\*)?a)\s*(?::\*\*|\*\*:|:)\s*$",
    re.IGNORECASE,
)
# Closing quotes belong to the question; another question is no wrapping.
_BEHIND = re.compile(r"(.*[?？؟][\"”’»')]*)\s*([^\s\"”’»')?？؟][^?？؟]*)")
_BEFORE = re.compile(r"[:.!\]>]\s+")
# Words that speak of what was said before; in capitals they are names.
_REFERS = re.compile(
    r"\b(?:he|she|it|they|him|her|them|his|hers|its|their|theirs|this|that|these|those|there|then|such|same|else|also"
    r"|other|others|another|former|latter|above|previous|aforementioned)\b"
)


@dataclass(frozen=True, slots=True)
class Around:
    """What a dataset puts around its questions: lines of their own, and what stands before and behind them on theirs.

    before, behind: the share of all that users say which has it, with different questions beside it.
    """

    lines: Collection[str] = frozenset()
    before: Mapping[str, float] = field(default_factory=dict)
    behind: Mapping[str, float] = field(default_factory=dict)

    def off(self, line: str) -> str:
        """The line without its labels, and without what it has alike with others."""
        bare = _unlabelled(line)
        for question, behind in _with_behind(bare):
            if _is_around(self.behind.get(behind, 0), question):
                bare = question
        for before, question in _with_before(bare):
            if _is_around(self.before.get(before, 0), question):
                return _unlabelled(question)
        return bare


def around_questions(users: Iterable[str]) -> Around:
    """What stands beside several different texts in all that users say."""
    said = set(users)
    before: defaultdict[str, set[str]] = defaultdict(set)
    behind: defaultdict[str, set[str]] = defaultdict(set)
    for user in said:
        for raw in user.splitlines():
            line = _unlabelled(raw.strip())
            for start, question in _with_before(line):
                before[start].add(question)
            for question, end in _with_behind(line):
                behind[end].add(question)
    return Around(lines_alike(said), _shares(before, len(said)), _shares(behind, len(said)))


def lines_alike(users: Iterable[str]) -> set[str]:
    """The lines that stand beside several different ones."""
    beside: dict[str, set[str]] = {}
    for user in set(users):
        lines = [line.strip() for line in user.splitlines() if line.strip()]
        if len(lines) > 1:
            for line in lines:
                others = beside.setdefault(line, set())
                if len(others) < _ALIKE:
                    others.add(user)
    return {line for line, others in beside.items() if len(others) >= _ALIKE}


def question_of(user: str, around: Around = Around()) -> str | None:
    """The short question in what a user says; None where there is none, "" where it has something else beside it."""
    lines = [line for raw in user.splitlines() if (line := raw.strip())]
    bare = [around.off(line) for line in lines]
    questions = [q for line, q in zip(lines, bare, strict=True) if is_question(q) and line not in around.lines]
    if len(questions) != 1:
        return None
    others = [(line, text) for line, text in zip(lines, bare, strict=True) if text != questions[0]]
    return "" if any(line not in around.lines and text for line, text in others) else questions[0]


def is_question(line: str) -> bool:
    """Whether a line is a short question."""
    if len(line) > QUESTION_CHARACTERS:
        return False
    return line.rstrip("\"'”»)").endswith(("?", "？", "؟")) or bool(_ASKING.match(line))


def names_something(question: str) -> bool:
    """Whether a word behind the first is written as a name or a number is."""
    return any(word[0].isupper() or word[0].isdigit() for word in re.findall(r"\w+", question)[1:] if word != "I")


def refers(text: str) -> bool:
    """Whether a word speaks of something that was said before."""
    return bool(_REFERS.search(text))


def _unlabelled(line: str) -> str:
    return _LABEL_BEHIND.sub("", _LABEL.sub("", line)).rstrip()


def _with_behind(line: str) -> Iterator[tuple[str, str]]:
    """(question, what stands behind its question mark), if anything does."""
    if len(line) <= _LINE and (found := _BEHIND.fullmatch(line)):
        yield found.group(1), found.group(2)


def _with_before(line: str) -> Iterator[tuple[str, str]]:
    """Every (sentences or label, what is asked behind them)."""
    for border in _BEFORE.finditer(line if len(line) <= _LINE else ""):
        rest = line[border.end() :]
        if _ASKING.match(_LABEL.sub("", rest)):
            yield line[: border.end()].rstrip(), rest


def _shares(beside: Mapping[str, set[str]], n: int) -> dict[str, float]:
    """Of what stands beside enough different questions, the share of all."""
    return {text: len(qs) / n for text, qs in beside.items() if len(qs) >= max(_ALIKE, _SHARE * n)}


def _is_around(share: float, question: str) -> bool:
    """Whether what has this share is no part of the question beside it, which can be asked without."""
    return share > 0 and not refers(question) and (share >= _MOST or names_something(question))
