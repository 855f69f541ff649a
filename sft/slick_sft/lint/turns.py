"""The turns of a conversation that is written as one text: ChatML, labels, or a question and its answer below it."""

from __future__ import annotations

import re
from dataclasses import dataclass

USER, ASSISTANT = "user", "assistant"
ROLES = dict.fromkeys(("user", "human"), USER) | dict.fromkeys(
    ("assistant", "gpt", "chatgpt", "bot", "model"), ASSISTANT
)

_CHATML = re.compile(r"<\|im_start\|>[ ]*(\w+)\n(.*?)(?:<\|im_end\|>|\Z)", re.DOTALL)
_LABELLED = re.compile(
    r"(?:\A|\n)[ \t]*(?:###[ ]*|\*\*|<\|)?"
    r"(?:(?P<user>Q|Question|Instruction|Human|User)|(?P<assistant>A|Answer|Response|Assistant|Output))"
    r"[ ]*(?:\|>|:\*\*|\*\*:|:)[ \t]*\n?",
    re.IGNORECASE,
)
_END = re.compile(r"(?:\s|</s>|<\|endoftext\|>|<\|eot_id\|>|<\|im_end\|>|<eos>|<\|end\|>)*\Z")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says: characters `start` to `end` of the text, without space or end token; `whole`: with them."""

    role: str
    start: int
    end: int
    whole: int

    def of(self, text: str) -> str:
        return text[self.start : self.end]


def turns_of(text: str) -> list[Turn]:
    """The turns in their order; none where the text shows none."""
    return _chatml(text) or _labelled(text) or _two_lines(text)


def _turn(text: str, role: str, start: int, end: int, whole: int) -> Turn:
    """The turn between two places, trimmed."""
    stop = _END.search(text, start, end)
    said = text[start : stop.start() if stop else end]
    stripped = said.strip()
    begin = start + (said.find(stripped) if stripped else 0)
    return Turn(ROLES.get(role.lower(), role), begin, begin + len(stripped), whole)


def _chatml(text: str) -> list[Turn]:
    return [_turn(text, m.group(1), *m.span(2), m.end()) for m in _CHATML.finditer(text)]


def _labelled(text: str) -> list[Turn]:
    """The turns of a text in which each begins with a label."""
    labels = list(_LABELLED.finditer(text))
    if not labels:
        return []
    ends = [label.start() for label in labels[1:]] + [len(text)]
    return [
        _turn(text, USER if label.group("user") else ASSISTANT, label.end(), end, end)
        for label, end in zip(labels, ends, strict=True)
    ]


def _two_lines(text: str) -> list[Turn]:
    """A question and, on the next and last line, its answer."""
    end = len(text.rstrip())
    border = text.rfind("\n", 0, end)
    if border < 0 or not text[:border].rstrip().endswith(("?", "？")):
        return []
    return [
        _turn(text, USER, 0, border, border),
        _turn(text, ASSISTANT, border + 1, len(text), len(text)),
    ]
