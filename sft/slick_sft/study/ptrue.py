"""P(True) of a model's facts: what it says when it is asked whether the gold answer is right (Kadavath et al. 2022).

PAPER.md compares SliCK's Unknown facts with those of the lowest P(True). P(True) is the probability of " (A)"
against " (B)", each as a whole: p_true = A / (A + B).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slick.errors import RunError
from slick.facts import Fact
from slick.files import replacing_directory, write_json

# The line breaks are Kadavath et al.'s; PAPER.md gives the words.
_QUESTION = "Question: "
_ANSWER = "\nProposed Answer: "
_CHOICE = "\nIs the proposed answer:\n (A) True\n (B) False\nThe proposed answer is:"
TRUE, FALSE = " (A)", " (B)"
ROWS, RECORD = "ptrue.jsonl", "ptrue.json"
SCHEMA = 1
# Facts that are asked together; what batches are made of does not depend on anything else.
_CHUNK = 256


def prompt_of(fact: Fact) -> str:
    """What is asked of a fact, with its first accepted answer."""
    return f"{_QUESTION}{fact.question}{_ANSWER}{fact.answers[0]}{_CHOICE}"


def chance_of_true(log_true: float, log_false: float) -> float:
    """P(True), from the log-probabilities of the two answers."""
    return 1 / (1 + math.exp(min(log_false - log_true, 700)))


def write_ptrue(out: Path, facts: Sequence[Fact], lm: Any, provenance: Mapping[str, Any]) -> Path:
    """Writes a row a fact to `out`, all of it or nothing. lm: an lm-eval model."""
    with replacing_directory(out) as part:
        with (part / ROWS).open("w", encoding="utf-8", errors="backslashreplace") as file:
            for row in _rows(facts, lm):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        write_json(
            part / RECORD,
            {
                "schema": SCHEMA,
                "kind": "ptrue",
                "prompt": f"{_QUESTION}…{_ANSWER}…{_CHOICE}",
                "n": len(facts),
                **provenance,
            },
        )
    return out


def _rows(facts: Sequence[Fact], lm: Any) -> Iterator[dict[str, Any]]:
    from lm_eval.api.instance import Instance
    from tqdm import tqdm

    with tqdm(total=len(facts), desc="P(True)", unit="fact") as bar:
        for first in range(0, len(facts), _CHUNK):
            chunk = facts[first : first + _CHUNK]
            asked = [(prompt_of(fact), answer) for fact in chunk for answer in (TRUE, FALSE)]
            requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(asked)]
            told = [float(log) for log, _ in lm.loglikelihood(requests, disable_tqdm=True)]
            for fact, log_true, log_false in zip(chunk, told[::2], told[1::2], strict=True):
                if not (math.isfinite(log_true) and math.isfinite(log_false)):
                    raise RunError(f"P(True) of {fact.question!r}: the model's log-probabilities are not numbers")
                yield {
                    "id": fact.id,
                    "p_true": chance_of_true(log_true, log_false),
                    "log_true": log_true,
                    "log_false": log_false,
                }
            bar.update(len(chunk))
