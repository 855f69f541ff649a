"""A linted dataset as rows to train on, in TRL's prompt/completion form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from slick.prompts import check_form
from slick_sft.lint.examine import Examined
from slick_sft.lint.weights import weight_of


def training_rows(rows: Sequence[Examined], silenced: Collection[int] = ()) -> list[dict[str, Any]]:
    """The exchanges that have something to learn, with prompt, completion and weight; conversations as messages.

    A conversation of several answers gives as many rows: each answer is learnt behind all that stands before it, and
    can be silenced by itself. silenced: places in `rows` whose weight is 0, whatever their own. An exchange without an
    answer by the model is left out whether it is silenced or not, so that two arms of one dataset have the same rows
    in the same order. The prompt of a text is what stands before its answer; a text without question and answer is all
    completion.
    """
    found = []
    for i, row in enumerate(rows):
        prompt, completion = row.exchange.prompt, row.exchange.completion
        if learns(row):
            weight = 0.0 if i in silenced else weight_of(row.row.cells)
            found.append({"prompt": prompt, "completion": completion, "weight": weight})
    return found


def learns(row: Examined) -> bool:
    """Whether there is an answer to learn, and something that it answers."""
    prompt, completion = row.exchange.prompt, row.exchange.completion
    if isinstance(completion, str):
        return bool(completion.strip())
    return bool(prompt) and any(m["content"].strip() for m in completion)


def form_of(rows: Sequence[Examined]) -> str:
    """What most prompts put around their question; "" where no prompt holds its question once."""
    found: Counter[str] = Counter()
    for row in rows:
        prompt = row.exchange.prompt
        text = prompt if isinstance(prompt, str) else next((m["content"] for m in reversed(prompt)), "")
        question = row.fact.question if row.fact else ""
        if question and text.count(question) == 1 and "{question}" not in text:
            # A space at the end would merge with the answer's first token.
            found[text.replace(question, "{question}").rstrip(" ")] += 1
    return check_form(found.most_common(1)[0][0]) if found else ""
