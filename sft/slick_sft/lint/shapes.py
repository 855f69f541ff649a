"""The forms in which people keep rows to fine-tune on, and where each exchange of a row stands.

messages              messages: [{role, content}, …]                        TRL, OpenAI
ShareGPT              conversations: [{from, value}, …]                     also under `conversation`
prompt/completion     prompt and completion, two texts                      TRL
chat prompt/…         prompt and completion, two lists of messages          TRL
Alpaca                instruction, input (may be missing), output           also `response`, `context`
question/answer       question, and answer (a text) or answers (a list)
text                  one text: ChatML, Llama's or Gemma's template, labelled "Q:"/"A:", "### Instruction:"/…,
                      or a question on a line of its own and the answer on the next, last one

A row is of the first of these that its columns make. All rows of a file are of one form. Conversations may hold several
exchanges, each of which is trained on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from slick.errors import Mistakes
from slick.prompts import Message
from slick.rows import shown
from slick_sft.lint.edits import WEIGHT, Place
from slick_sft.lint.sources import Source
from slick_sft.lint.turns import ASSISTANT, ROLES, USER, turns_of
from slick_sft.lint.weights import weight_of

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


# (role, text) of a message.
Said = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the user says, and the answer that the model is to learn.

    answers: all that are accepted, the first being the one that is trained on; none where the user has the last word.
    place: where the answer stands. prompt and completion: what is trained on, as texts or as messages, as TRL takes
    them. context: whether the user has said, or been told, something before; earlier: what, but for system messages;
    between: whether anything stands between question and answer. turn: from 1, where the row has several exchanges.
    """

    form: Form
    user: str
    answers: tuple[str, ...]
    place: Place | None
    prompt: str | list[Message]
    completion: str | list[Message]
    context: bool = False
    earlier: tuple[Said, ...] = ()
    between: bool = False
    turn: int | None = None

    @property
    def answer(self) -> str:
        return self.answers[0] if self.answers else ""


class NotARowError(Exception):
    """Why a row cannot be read; the message says what was found and expected."""


_MESSAGE = "a message with role and content, or from and value"


def exchanges(source: Source, mistakes: Mistakes) -> list[tuple[Exchange, ...]]:
    """The exchanges of every row; what is wrong with a row, or with their forms together, goes to `mistakes`."""
    found: list[tuple[Exchange, ...]] = []
    firsts: defaultdict[Form, list[str]] = defaultdict(list)
    for row in source.rows:
        try:
            weight_of(row.cells)
        except ValueError as problem:
            mistakes.add(f"{source.where(row)}: {problem}")
        try:
            of_row = read_exchanges(row.cells)
        except NotARowError as problem:
            mistakes.add(f"{source.where(row)}: {problem}")
            continue
        found.append(of_row)
        firsts[of_row[0].form].append(source.where(row))
    if len(firsts) > 1:
        listed = ", ".join(f"{len(places)} of the form {form} (first {places[0]})" for form, places in firsts.items())
        mistakes.add(f"{source.path}: rows of several forms: {listed}; give each form a file of its own")
    return found


def read_exchange(cells: Mapping[str, Any]) -> Exchange:
    """The last exchange of a row. Raises NotARowError."""
    return read_exchanges(cells)[-1]


def read_exchanges(cells: Mapping[str, Any]) -> tuple[Exchange, ...]:
    """The exchanges of a row in their order, at least one. Raises NotARowError."""
    found = _exchanges(cells)
    return found if len(found) == 1 else tuple(replace(of, turn=i) for i, of in enumerate(found, 1))


def _exchanges(cells: Mapping[str, Any]) -> tuple[Exchange, ...]:
    given = {name for name, value in cells.items() if value is not None}
    for name in ("messages", "conversations", "conversation"):
        if name in given:
            return _chat(cells[name], name)
    if {"prompt", "completion"} <= given:
        return _prompt(cells["prompt"], cells["completion"])
    output = "output" if "output" in given else "response"
    if {"instruction", output} <= given:
        return (_alpaca(cells, output),)
    if "question" in given and given & {"answer", "answers"}:
        return (_question(cells),)
    if "text" in given:
        return _text(_string(cells["text"], "text"))
    names = ", ".join(shown(name) for name in sorted(map(str, given))[:8]) or "none"
    raise NotARowError(f"found the columns {names}; expected {EXPECTED}")


def _chat(value: Any, name: str) -> tuple[Exchange, ...]:
    turns = [_turn(message, f"{name}[{i}]") for i, message in enumerate(_messages(value, name))]
    sharegpt = _is_sharegpt(value[0])
    content = "value" if sharegpt else "content"
    places = [_place((name, i, content), text) for i, (_, text) in enumerate(turns)]
    return _of_turns(Form.SHAREGPT if sharegpt else Form.MESSAGES, turns, places, 0)


def _of_turns(form: Form, turns: Sequence[Said], places: Sequence[Place], learnt: int) -> tuple[Exchange, ...]:
    """One exchange for every answer from the message `learnt` on, and one for a user who has the last word.

    An answer that nothing stands before answers nothing, where there are others.
    """
    answers = [i for i, (role, _) in enumerate(turns) if role == ASSISTANT and i >= learnt]
    answers = [i for i in answers if i] or answers
    found = [_answered(form, turns, places[i], i) for i in answers]
    if not answers or answers[-1] < len(turns) - 1:
        asked, context, earlier, between = _before(turns, len(turns))
        prompt = [{"role": role, "content": text} for role, text in turns]
        found.append(Exchange(form, asked, (), None, prompt, [], context, earlier, between))
    return tuple(found)


def _answered(form: Form, turns: Sequence[Said], place: Place, i: int) -> Exchange:
    asked, context, earlier, between = _before(turns, i)
    prompt = [{"role": role, "content": text} for role, text in turns[:i]]
    answer = turns[i][1]
    completion = [{"role": ASSISTANT, "content": answer}]
    return Exchange(form, asked, (answer.strip(),), place, prompt, completion, context, earlier, between)


def _before(turns: Sequence[Said], end: int) -> tuple[str, bool, tuple[Said, ...], bool]:
    """(what the user last says, `context`, `earlier`, `between`) of what stands before the message `end`."""
    asked = [i for i, (role, _) in enumerate(turns[:end]) if role == USER]
    if not asked:
        return "", False, (), False
    # A system message only sets a tone.
    earlier = tuple(said for said in turns[: asked[-1]] if said[0] != "system")
    between = asked[-1] != end - 1
    return turns[asked[-1]][1], between or bool(earlier), earlier, between


def _messages(value: Any, name: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise NotARowError(f"{name}: found {shown(value)}, expected a list of messages")
    if not value:
        raise NotARowError(f"{name}: found an empty list, expected at least one message")
    if not isinstance(value[0], dict):
        raise NotARowError(f"{name}[0]: found {shown(value[0])}, expected {_MESSAGE}")
    return value


def _turn(message: Any, where: str) -> Said:
    """(role, text) of a message in either way of writing it."""
    if not isinstance(message, dict):
        raise NotARowError(f"{where}: found {shown(message)}, expected {_MESSAGE}")
    sharegpt = _is_sharegpt(message)
    role, text = (message.get(k) for k in (("from", "value") if sharegpt else ("role", "content")))
    if not isinstance(role, str) or not role:
        raise NotARowError(f"{where}: found the role {shown(role)}, expected a text such as 'user' or 'assistant'")
    # A call of a tool has no text; a picture is no text.
    if text is None or isinstance(text, list):
        return ROLES.get(role.lower(), role) + " without text", ""
    return ROLES.get(role.lower(), role), _string(text, f"{where}.{'value' if sharegpt else 'content'}")


def _is_sharegpt(message: Mapping[str, Any]) -> bool:
    """Whether a message is written with from and value; columns give every message all members, some null."""
    return message.get("from") is not None


def _prompt(prompt: Any, completion: Any) -> tuple[Exchange, ...]:
    if isinstance(prompt, list) and isinstance(completion, list):
        _messages(prompt, "prompt"), _messages(completion, "completion")
        before = [_turn(message, f"prompt[{i}]") for i, message in enumerate(prompt)]
        after = [_turn(message, f"completion[{i}]") for i, message in enumerate(completion)]
        content = "value" if _is_sharegpt(completion[0]) else "content"
        # No loss is taken from a prompt, so that nothing of it has a place.
        places = [Place(("prompt", i)) for i in range(len(before))]
        places += [_place(("completion", i, content), text) for i, (_, text) in enumerate(after)]
        return _of_turns(Form.CHAT_PROMPT, [*before, *after], places, len(before))
    if isinstance(prompt, list) or isinstance(completion, list):
        raise NotARowError(
            "prompt and completion: found a list and a text, expected two texts or two lists of messages"
        )
    asked_text, answer = _string(prompt, "prompt"), _string(completion, "completion")
    place = _place(("completion",), answer)
    return (Exchange(Form.PROMPT, asked_text.strip(), (answer.strip(),), place, asked_text, answer),)


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


def _text(text: str) -> tuple[Exchange, ...]:
    turns = turns_of(text)
    answers = [i for i, turn in enumerate(turns) if turn.role == ASSISTANT and i]
    if not answers:
        return (Exchange(Form.TEXT, "", (), None, "", text),)
    said = [(turn.role, turn.of(text)) for turn in turns]
    found = []
    for i in answers:
        start, end = turns[i].start, turns[i].end
        stop = len(text) if i == len(turns) - 1 else turns[i].whole
        place = Place(("text",), start, end)
        asked, context, earlier, between = _before(said, i)
        trained = text[:start], text[start:stop]
        found.append(Exchange(Form.TEXT, asked, (text[start:end],), place, *trained, context, earlier, between))
    if answers[-1] < len(turns) - 1:
        asked, context, earlier, between = _before(said, len(turns))
        found.append(Exchange(Form.TEXT, asked, (), None, text, "", context, earlier, between))
    return tuple(found)


def _place(path: tuple[str | int, ...], text: str) -> Place:
    """Where the answer stands in a string, without the white space around it."""
    stripped = text.strip()
    start = text.find(stripped) if stripped else 0
    return Place(path, start, start + len(stripped))


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise NotARowError(f"{where}: found {shown(value)}, expected a text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise NotARowError(f"{where}: found half of a surrogate pair in {shown(value)}; remove it") from None
    return value
