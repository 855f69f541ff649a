"""The turns of a conversation that is written as one text."""

from __future__ import annotations

import pytest

from slick_sft.lint.shapes import read_exchanges
from slick_sft.lint.turns import turns_of


def said(text: str) -> list[tuple[str, str]]:
    return [(turn.role, turn.of(text)) for turn in turns_of(text)]


TWO = [("user", "Who?"), ("assistant", "Bo")]
LLAMA3 = "<|start_header_id|>{}<|end_header_id|>\n\n{}<|eot_id|>"
GEMMA = "<start_of_turn>{}\n{}<end_of_turn>\n"


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("<s>[INST] Who? [/INST] Bo </s>", TWO),
        ("[INST]Who?[/INST]Bo", TWO),
        ("<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nWho? [/INST] Bo </s>", [("system", "Be brief."), *TWO]),
        ("<s>[INST] Who? [/INST] Bo </s><s>[INST] When? [/INST] 9 </s>", [*TWO, ("user", "When?"), ("assistant", "9")]),
        ("<s>[INST] Who? [/INST] Bo</s>[INST] When? [/INST]", [*TWO, ("user", "When?"), ("assistant", "")]),
        (f"<|begin_of_text|>{LLAMA3.format('user', 'Who?')}{LLAMA3.format('assistant', 'Bo')}", TWO),
        (LLAMA3.format("system", "Q: A:") + LLAMA3.format("user", "Who?"), [("system", "Q: A:"), TWO[0]]),
        (LLAMA3.format("user", "Who?") + "<|start_header_id|>assistant<|end_header_id|>\n\nBo<|end_of_text|>", TWO),
        (f"<bos>{GEMMA.format('user', 'Who?')}{GEMMA.format('model', 'Bo')}", TWO),
        ("Question: Who? Answer: Bo", TWO),
        ("question: Who? answer: Bo\n", TWO),
        ("**Question:** Who? **Answer:** Bo", TWO),
        ("Q: Who? A: Bo", TWO),
        ("### Question: Who? ### Answer: Bo</s>", TWO),
        ("Question: Who? Answer: Bo\nQuestion: Who? Answer: Bo", TWO * 2),
        ("Q: What is vitamin A: a word? Answer: Yes", [("user", "What is vitamin A: a word?"), ("assistant", "Yes")]),
        (
            "Q: Who?\nAnswer: Bo, and not a wrong Answer: this",
            [TWO[0], ("assistant", "Bo, and not a wrong Answer: this")],
        ),
        ("Q: Who?", TWO[:1]),
        ("Just prose. Answer: none.", []),
    ],
)
def test_templates(text: str, turns: list[tuple[str, str]]) -> None:
    """Roles, and what is said without the marks around it."""
    assert said(text) == turns


@pytest.mark.parametrize(
    ("text", "prompt", "completion"),
    [
        ("<s>[INST] Who? [/INST] Bo </s>", "<s>[INST] Who? [/INST] ", "Bo </s>"),
        ("Question: Who? Answer: Bo", "Question: Who? Answer: ", "Bo"),
    ],
)
def test_an_answer_is_trained_on_behind_all_that_stands_before_it(text: str, prompt: str, completion: str) -> None:
    """With the token that ends it."""
    (exchange,) = read_exchanges({"text": text})
    assert (exchange.prompt, exchange.completion, exchange.answer) == (prompt, completion, "Bo")
    assert exchange.place is not None
    assert text[exchange.place.start : exchange.place.end] == "Bo"


def test_an_earlier_answer_ends_with_its_token() -> None:
    """And the next turn's marks are none of it."""
    first, second = read_exchanges({"text": "<s>[INST] Who? [/INST] Bo </s><s>[INST] When? [/INST] 9 </s>"})
    assert (first.completion, second.completion) == ("Bo </s>", "9 </s>")
    assert second.context
