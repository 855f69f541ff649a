"""How a fact is put to a model: the few-shot probe prompt, and the zero-shot training form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slick.errors import InputError
from slick.facts import Fact

Message = dict[str, str]
ChatTemplate = Callable[[list[Message]], str]

# The paper's training text. It leaves open what stands between question and answer; a newline ends the
# prompt, so that prompt and answer never merge into one token at their border.
DEFAULT_FORM = "Answer the following question.\n{question}\n"


@dataclass(frozen=True, slots=True)
class Chat:
    """How lm-eval's chat options reach a prompt. `template` is None for plain text.

    multiturn: each exemplar is a user turn and an assistant turn (lm-eval's --fewshot_as_multiturn).
    """

    template: ChatTemplate | None = None
    multiturn: bool = False
    system: str = ""


PLAIN = Chat()


def probe_prompt(exemplars: Sequence[Fact], question: str, chat: Chat = PLAIN) -> str:
    """`Q: …` / `A: …` lines for the exemplars, then the question with an open `A:` (PAPER.md's probe form)."""
    if chat.template is None:
        text = "".join(f"Q: {e.question}\nA: {e.answers[0]}\n" for e in exemplars) + f"Q: {question}\nA:"
        return f"{chat.system}\n{text}" if chat.system else text
    turns: list[Message] = [{"role": "system", "content": chat.system}] if chat.system else []
    if chat.multiturn:
        for e in exemplars:
            turns.append({"role": "user", "content": e.question})
            turns.append({"role": "assistant", "content": e.answers[0]})
        turns.append({"role": "user", "content": question})
    else:
        turns.append({"role": "user", "content": probe_prompt(exemplars, question)})
    return chat.template(turns)


def form_prompt(form: str, question: str, chat: Chat = PLAIN) -> str:
    """The zero-shot prompt in the training form. `form` holds `{question}` exactly once.

    Under a chat template the form's text is the user turn.
    """
    text = check_form(form).replace("{question}", question)
    if chat.template is None:
        return f"{chat.system}\n{text}" if chat.system else text
    turns: list[Message] = [{"role": "system", "content": chat.system}] if chat.system else []
    return chat.template([*turns, {"role": "user", "content": text.rstrip("\n")}])


def check_form(form: str) -> str:
    """`form` itself; raises InputError unless it holds `{question}` exactly once and does not end in a space."""
    if form.count("{question}") != 1:
        raise InputError(
            f"training form {form!r}: expected {{question}} exactly once, found {form.count('{question}')}; "
            "try --form 'Q: {question}\\nA:'"
        )
    if form.endswith(" "):
        raise InputError(
            f"training form {form!r} ends in a space, which merges with the answer's first token; "
            "end it with a newline or a colon"
        )
    return form


def completion(form: str, answer: str) -> str:
    """What follows the form's prompt in training: a space first where the form does not end its line."""
    return answer if form.endswith("\n") else f" {answer}"


def too_long(prompt: str, tokens: int, room: int, context: int) -> str:
    """What is wrong with a prompt that does not fit, and how to mend it."""
    return (
        f"a prompt of {tokens} tokens and {room} for its answer do not fit the model's context of {context}: "
        f"…{prompt[-120:]!r}; lower --max-gen-toks, or a probe's --n-exemplars"
    )
