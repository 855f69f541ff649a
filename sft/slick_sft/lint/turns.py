"""The turns of a conversation that is written as one text.

ChatML, the templates of Llama 2 (Mistral), Llama 3 and Gemma, labels at the beginning of lines or of both sides on one
line, or a question and its answer below it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

USER, ASSISTANT = "user", "assistant"
ROLES = dict.fromkeys(("user", "human"), USER) | dict.fromkeys(
    ("assistant", "gpt", "chatgpt", "bot", "model"), ASSISTANT
)

# Each turn as a role, what is said, and the token that ends it.
_MARKED = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"<\|im_start\|>[ ]*(\w+)\n(.*?)(?:<\|im_end\|>|\Z)",
        r"<\|start_header_id\|>[ ]*(\w+)[ ]*<\|end_header_id\|>(.*?)(?:<\|(?:eot_id|eom_id|end_of_text)\|>|\Z)",
        r"<start_of_turn>[ ]*(\w+)\n(.*?)(?:<end_of_turn>|\Z)",
    )
)
_INST = re.compile(
    r"\[INST\](?:\s*<<SYS>>(?P<system>.*?)<</SYS>>)?(?P<user>.*?)(?=\[/INST\]|\Z)"
    r"|\[/INST\](?P<assistant>.*?)(?:</s>|(?=<s>|\[INST\])|\Z)",
    re.DOTALL,
)
_LABELLED = re.compile(
    r"(?:\A|\n)[ \t]*(?:###[ ]*|\*\*|<\|)?"
    r"(?:(?P<user>Q|Question|Instruction|Human|User)|(?P<assistant>A|Answer|Response|Assistant|Output))"
    r"[ ]*(?:\|>|:\*\*|\*\*:|:)[ \t]*\n?",
    re.IGNORECASE,
)
# Where both sides stand on one line; "A:" only behind a question mark, as it may be part of a question else.
_ANSWER = re.compile(
    r"\s(?:###[ ]*|\*\*)?(?:Answer|Response|Assistant)[ ]*(?:\*\*:|:\*\*|:)|(?<=[?？])\s*A:", re.IGNORECASE
)
_END = re.compile(r"(?:\s|</s>|<\|endoftext\|>|<\|end_of_text\|>|<\|eot_id\|>|<\|im_end\|>|<eos>|<\|end\|>)*\Z")


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
    return _marked(text) or _inst(text) or _labelled(text) or _two_lines(text)


def _turn(text: str, role: str, start: int, end: int, whole: int) -> Turn:
    """The turn between two places, trimmed."""
    stop = _END.search(text, start, end)
    said = text[start : stop.start() if stop else end]
    stripped = said.strip()
    begin = start + (said.find(stripped) if stripped else 0)
    return Turn(ROLES.get(role.lower(), role), begin, begin + len(stripped), whole)


def _marked(text: str) -> list[Turn]:
    """The turns of a text in which a token and a role stand before each."""
    found = ([_turn(text, m.group(1), *m.span(2), m.end()) for m in pattern.finditer(text)] for pattern in _MARKED)
    return next((turns for turns in found if turns), [])


def _inst(text: str) -> list[Turn]:
    """The turns of a text as Llama 2 has it."""
    return [
        _turn(text, role, *m.span(role), m.end())
        for m in _INST.finditer(text)
        for role in ("system", USER, ASSISTANT)
        if m.group(role) is not None
    ]


def _labelled(text: str) -> list[Turn]:
    """The turns of a text in which each begins with a label, the answer's on the question's line if nowhere else."""
    labels = list(_LABELLED.finditer(text))
    ends = [*(label.start() for label in labels[1:]), len(text)] if labels else []
    if any(label.group("assistant") for label in labels):
        return [
            _turn(text, USER if label.group("user") else ASSISTANT, label.end(), end, end)
            for label, end in zip(labels, ends, strict=True)
        ]
    found = []
    for label, end in zip(labels, ends, strict=True):
        border = _ANSWER.search(text, label.end(), end)
        found.append(_turn(text, USER, label.end(), *([border.start()] * 2 if border else [end] * 2)))
        if border:
            found.append(_turn(text, ASSISTANT, border.end(), end, end))
    return found


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
