"""The forms in which people keep rows to fine-tune on, and where the last exchange of each stands.

messages              messages: [{role, content}, …]                        TRL, OpenAI
ShareGPT              conversations: [{from, value}, …]                     also under `conversation`
prompt/completion     prompt and completion, two texts                      TRL
chat prompt/…         prompt and completion, two lists of messages          TRL
Alpaca                instruction, input (may be missing), output           also `response`, `context`
question/answer       question, and answer (a text) or answers (a list)
text                  one text: ChatML, or labelled "Q:"/"A:", "### Instruction:"/"### Response:", …,
                      or a question on a line of its own and the answer on the next, last one

A row is of the first of these that its columns make. All rows of a file are of one form.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from slick.errors import Mistakes
from slick.prompts import Message
from slick.rows import shown
from slick_sft.lint.edits import WEIGHT, Place
from slick_sft.lint.sources import Source

# Every column that a form, or a fact's relation, may stand in.
COLUMNS = (
    *("messages", "conversations", "conversation", "prompt", "completion", "instruction", "input", "context"),
    *("output", "response", "question", "answer", "answers", "text", "relation", "predicate", "property"),
    *("subject", WEIGHT),
)


class Form(StrEnum):
    MESSAGES = "messages"
    SHAREGPT = "ShareGPT"
    PROMPT = "prompt/completion"
    CHAT_PROMPT = "chat prompt/completion"
    ALPACA = "Alpaca"
    QUESTION = "question/answer"
    TEXT = "text"


CONVERSATIONAL = (Form.MESSAGES, Form.SHAREGPT, Form.CHAT_PROMPT)

EXPECTED = (
    "messages, conversations, prompt and completion, instruction and output, question and answer (or answers), or text"
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the user last says, and the answer that the model is to learn.

    answers: all that are accepted, the first being the one that is trained on; none where the row ends without one.
    place: where the answer stands. context: whether the user has said, or been told, something before.
    prompt and completion: what is trained on, as texts or as messages, as TRL takes them.
    """

    form: Form
    user: str
    answers: tuple[str, ...]
    place: Place | None
    prompt: str | list[Message]
    completion: str | list[Message]
    context: bool = False

    @property
    def answer(self) -> str:
        return self.answers[0] if self.answers else ""


class NotARowError(Exception):
    """Why a row cannot be read; the message says what was found and expected."""


_USER = ("user", "human")
_ASSISTANT = ("assistant", "gpt", "chatgpt", "bot", "model")
_MESSAGE = "a message with role and content, or from and value"
_ROLES = dict.fromkeys(_USER, "user") | dict.fromkeys(_ASSISTANT, "assistant")


def exchanges(source: Source, mistakes: Mistakes) -> list[Exchange]:
    """The exchange of every row; what is wrong with a row, or with their forms together, goes to `mistakes`."""
    found: list[Exchange] = []
    firsts: defaultdict[Form, list[str]] = defaultdict(list)
    for row in source.rows:
        try:
            exchange = read_exchange(row.cells)
        except NotARowError as problem:
            mistakes.add(f"{source.where(row)}: {problem}")
            continue
        found.append(exchange)
        firsts[exchange.form].append(source.where(row))
    if len(firsts) > 1:
        listed = ", ".join(f"{len(places)} of the form {form} (first {places[0]})" for form, places in firsts.items())
        mistakes.add(f"{source.path}: rows of several forms: {listed}; give each form a file of its own")
    return found


def read_exchange(cells: Mapping[str, Any]) -> Exchange:
    """The last exchange of a row. Raises NotARowError."""
    given = {name for name, value in cells.items() if value is not None}
    for name in ("messages", "conversations", "conversation"):
        if name in given:
            return _chat(cells[name], name)
    if {"prompt", "completion"} <= given:
        return _prompt(cells["prompt"], cells["completion"])
    output = "output" if "output" in given else "response"
    if {"instruction", output} <= given:
        return _alpaca(cells, output)
    if "question" in given and given & {"answer", "answers"}:
        return _question(cells)
    if "text" in given:
        return _text(_string(cells["text"], "text"))
    names = ", ".join(shown(name) for name in sorted(map(str, given))[:8]) or "none"
    raise NotARowError(f"found the columns {names}; expected {EXPECTED}")


def _chat(value: Any, name: str) -> Exchange:
    turns = [_turn(message, f"{name}[{i}]") for i, message in enumerate(_messages(value, name))]
    sharegpt = _is_sharegpt(value[0])
    last = len(turns) - 1
    answered = turns[last][0] == "assistant"
    asked = [i for i, (role, _) in enumerate(turns[: last if answered else last + 1]) if role == "user"]
    prompt = [{"role": role, "content": text} for role, text in (turns[:last] if answered else turns)]
    answer = turns[last][1] if answered else ""
    return Exchange(
        Form.SHAREGPT if sharegpt else Form.MESSAGES,
        turns[asked[-1]][1] if asked else "",
        (answer.strip(),) if answered else (),
        _place((name, last, "value" if sharegpt else "content"), answer) if answered else None,
        prompt,
        [{"role": "assistant", "content": answer}] if answered else [],
        context=_has_context(turns, asked, last - 1),
    )


def _has_context(turns: Sequence[tuple[str, object]], asked: Sequence[int], before_answer: int) -> bool:
    """Whether a question has other turns before it, or before its answer. A system message only sets a tone."""
    if not asked:
        return False
    return asked[-1] != before_answer or any(role != "system" for role, _ in turns[: asked[-1]])


def _messages(value: Any, name: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise NotARowError(f"{name}: found {shown(value)}, expected a list of messages")
    if not value:
        raise NotARowError(f"{name}: found an empty list, expected at least one message")
    if not isinstance(value[0], dict):
        raise NotARowError(f"{name}[0]: found {shown(value[0])}, expected {_MESSAGE}")
    return value


def _turn(message: Any, where: str) -> tuple[str, str]:
    """(role, text) of a message in either way of writing it."""
    if not isinstance(message, dict):
        raise NotARowError(f"{where}: found {shown(message)}, expected {_MESSAGE}")
    sharegpt = _is_sharegpt(message)
    role, text = (message.get(k) for k in (("from", "value") if sharegpt else ("role", "content")))
    if not isinstance(role, str) or not role:
        raise NotARowError(f"{where}: found the role {shown(role)}, expected a text such as 'user' or 'assistant'")
    # A call of a tool has no text; a picture is no text.
    if text is None or isinstance(text, list):
        return _ROLES.get(role.lower(), role) + " without text", ""
    return _ROLES.get(role.lower(), role), _string(text, f"{where}.{'value' if sharegpt else 'content'}")


def _is_sharegpt(message: Mapping[str, Any]) -> bool:
    """Whether a message is written with from and value; columns give every message all members, some null."""
    return message.get("from") is not None


def _prompt(prompt: Any, completion: Any) -> Exchange:
    if isinstance(prompt, list) and isinstance(completion, list):
        _messages(prompt, "prompt"), _messages(completion, "completion")
        before = [_turn(message, f"prompt[{i}]") for i, message in enumerate(prompt)]
        after = [_turn(message, f"completion[{i}]") for i, message in enumerate(completion)]
        asked = [i for i, (role, _) in enumerate(before) if role == "user"]
        answered = len(after) == 1 and after[0][0] == "assistant"
        content = "value" if _is_sharegpt(completion[0]) else "content"
        return Exchange(
            Form.CHAT_PROMPT,
            before[asked[-1]][1] if asked else "",
            (after[0][1].strip(),) if answered else (),
            _place(("completion", 0, content), after[0][1]) if answered else None,
            [{"role": role, "content": text} for role, text in before],
            [{"role": role, "content": text} for role, text in after],
            context=_has_context(before, asked, len(before) - 1),
        )
    if isinstance(prompt, list) or isinstance(completion, list):
        raise NotARowError(
            "prompt and completion: found a list and a text, expected two texts or two lists of messages"
        )
    asked_text, answer = _string(prompt, "prompt"), _string(completion, "completion")
    return Exchange(
        Form.PROMPT, asked_text.strip(), (answer.strip(),), _place(("completion",), answer), asked_text, answer
    )


def _alpaca(cells: Mapping[str, Any], output: str) -> Exchange:
    instruction, answer = _string(cells["instruction"], "instruction"), _string(cells[output], output)
    name = "input" if cells.get("input") is not None else "context"
    given = _string(cells.get(name) or "", name).strip()
    prompt = f"{instruction}\n{given}" if given else instruction
    # An instruction that every question stands behind is no context: `slick_sft.lint.short_facts` tells.
    return Exchange(Form.ALPACA, prompt.strip(), (answer.strip(),), _place((output,), answer), f"{prompt}\n", answer)


def _question(cells: Mapping[str, Any]) -> Exchange:
    question = _string(cells["question"], "question")
    listed = cells.get("answers")
    if listed is None or isinstance(listed, str):
        name = "answer" if listed is None else "answers"
        answer = _string(cells[name], name)
        answers: tuple[str, ...] = (answer.strip(),)
        place = _place((name,), answer)
    elif isinstance(listed, list) and listed:
        answers = tuple(_string(item, f"answers[{i}]").strip() for i, item in enumerate(listed))
        place = Place(("answers",), 0, None)
    else:
        raise NotARowError(f"answers: found {shown(listed)}, expected a text or a list of at least one")
    return Exchange(Form.QUESTION, question.strip(), answers, place, f"{question}\n", answers[0])


_CHATML = re.compile(r"<\|im_start\|>[ ]*(\w+)\n(.*?)(?:<\|im_end\|>|\Z)", re.DOTALL)
_LABELLED = re.compile(
    r"(?:\A|\n)[ \t]*(?:###[ ]*|\*\*|<\|)?"
    r"(?:(?P<user>Q|Question|Instruction|Human|User)|(?P<assistant>A|Answer|Response|Assistant|Output))"
    r"[ ]*(?:\|>|:\*\*|\*\*:|:)[ \t]*\n?",
    re.IGNORECASE,
)
_END = re.compile(r"(?:\s|</s>|<\|endoftext\|>|<\|eot_id\|>|<\|im_end\|>|<eos>|<\|end\|>)*\Z")


def _text(text: str) -> Exchange:
    turns = [(m.group(1).lower(), m.span(2)) for m in _CHATML.finditer(text)] or _labelled(text) or _two_lines(text)
    if len(turns) < 2 or _ROLES.get(turns[-1][0]) != "assistant":
        return Exchange(Form.TEXT, "", (), None, "", text)
    start, end = turns[-1][1]
    stop = _END.search(text, start, end)
    place = _place(("text",), text[start : stop.start() if stop else end], start)
    answer = text[place.start : place.end]
    asked = [i for i, (role, _) in enumerate(turns) if _ROLES.get(role) == "user"]
    user = text[slice(*turns[asked[-1]][1])].strip() if asked else ""
    context = _has_context(turns, asked, len(turns) - 2)
    return Exchange(Form.TEXT, user, (answer,), place, text[: place.start], text[place.start :], context)


def _labelled(text: str) -> list[tuple[str, tuple[int, int]]]:
    """The turns of a text in which each begins with a label."""
    labels = list(_LABELLED.finditer(text))
    if not labels:
        return []
    ends = [label.start() for label in labels[1:]] + [len(text)]
    return [
        ("user" if label.group("user") else "assistant", (label.end(), end))
        for label, end in zip(labels, ends, strict=True)
    ]


def _two_lines(text: str) -> list[tuple[str, tuple[int, int]]]:
    """A question and, on the next and last line, its answer."""
    end = len(text.rstrip())
    border = text.rfind("\n", 0, end)
    if border < 0 or not text[:border].rstrip().endswith(("?", "？")):
        return []
    return [("user", (0, border)), ("assistant", (border + 1, len(text)))]


def _place(path: tuple[str | int, ...], text: str, offset: int = 0) -> Place:
    """Where the answer stands in a string, without the white space around it."""
    stripped = text.strip()
    start = offset + (text.find(stripped) if stripped else 0)
    return Place(path, start, start + len(stripped))


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise NotARowError(f"{where}: found {shown(value)}, expected a text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise NotARowError(f"{where}: found half of a surrogate pair in {shown(value)}; remove it") from None
    return value
