"""P(True): the paper's question, and the chance that the model's answer to it is True."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.backend import load_backend
from slick.errors import RunError
from slick.facts import Fact
from slick_sft.study.ptrue import FALSE, TRUE, chance_of_true, prompt_of, write_ptrue


def test_the_question_is_the_papers() -> None:
    """The gold answer is proposed; text in braces is only text."""
    fact = Fact.create("Where is {answer} born?", ["In {question}", "elsewhere"])
    assert " ".join(prompt_of(fact).split()) == (
        "Question: Where is {answer} born? Proposed Answer: In {question} "
        "Is the proposed answer: (A) True (B) False The proposed answer is:"
    )


@given(st.floats(-1e4, 0), st.floats(-1e4, 0))
def test_the_chance_is_one_of_two(log_true: float, log_false: float) -> None:
    """From 0 to 1, and with that of False it adds up to 1."""
    p = chance_of_true(log_true, log_false)
    assert 0 <= p <= 1
    assert p + chance_of_true(log_false, log_true) == pytest.approx(1)
    assert (p > 0.5) == (log_true > log_false) or math.isclose(p, 0.5)


def test_rows_hold_what_the_model_says(tmp_path: Path, tiny_model: Path, tiny_facts: list[Fact]) -> None:
    """Against the probabilities of the tokens, one by one; facts in their order."""
    import torch

    backend = load_backend("slick-hf", str(tiny_model), batch_size=7, device="cpu")
    write_ptrue(tmp_path / "p", tiny_facts, backend.lm, {"model": {"name": "tiny"}})
    rows = [json.loads(line) for line in (tmp_path / "p" / "ptrue.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [fact.id for fact in tiny_facts]
    tokenizer, model = backend.lm.tokenizer, backend.lm.model

    def log_chance(prompt: str, answer: str) -> float:
        before, whole = tokenizer(prompt)["input_ids"], tokenizer(prompt + answer)["input_ids"]
        with torch.no_grad():
            logs = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        return sum(float(logs[i - 1, whole[i]]) for i in range(len(before), len(whole)))

    for fact, row in list(zip(tiny_facts, rows, strict=True))[:5]:
        chances = [log_chance(prompt_of(fact), answer) for answer in (TRUE, FALSE)]
        assert [row["log_true"], row["log_false"]] == pytest.approx(chances, abs=1e-4)
        assert row["p_true"] == pytest.approx(chance_of_true(*chances), abs=1e-5)
    record = json.loads((tmp_path / "p" / "ptrue.json").read_text())
    assert (record["kind"], record["n"], record["model"]) == ("ptrue", 36, {"name": "tiny"})


def test_numbers_that_are_none_stop_it(tmp_path: Path, tiny_facts: list[Fact]) -> None:
    """Nothing is left behind."""

    class Broken:
        def loglikelihood(self, requests: Any, disable_tqdm: bool) -> list[tuple[float, bool]]:
            return [(float("nan"), False) for _ in requests]

    with pytest.raises(RunError, match="log-probabilities are not numbers"):
        write_ptrue(tmp_path / "p", tiny_facts, Broken(), {})
    assert list(tmp_path.iterdir()) == []
