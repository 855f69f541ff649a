"""slick.teacher: what a transformers model would write next behind a prompt and a path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slick.batches import Tokens
from slick.exact import ExactRequest
from slick.shared_prefix import SharedPrefix
from slick.teacher import PromptTeacher
from slick.vocabulary import read_vocabulary
from slick.walk import Heads, Row

EXEMPLARS = "Q: Which country is P17trainton 1 located in?\nA: P17land 0\n" * 2
PROMPTS = [EXEMPLARS + f"Q: Which country is P17devton {i} located in?\nA:" for i in range(4)] + ["Q: x\nA:"]


def _teacher(model: Any, tokenizer: Any, prompts: Sequence[str] = PROMPTS, batch_size: int = 3) -> PromptTeacher:
    requests = [ExactRequest(prompt, ("P17land 0",), 0.5, 40, 8) for prompt in prompts]
    rows = [tuple(tokenizer(prompt)["input_ids"]) for prompt in prompts]
    vocabulary = read_vocabulary(tokenizer, {tokenizer.eos_token_id})
    return PromptTeacher(SharedPrefix(model, 0), tokenizer, vocabulary, requests, rows, batch_size)


def _read(teacher: PromptTeacher, rows: Sequence[Row], top_k: int) -> dict[int, Heads]:
    """Each row's own places."""
    found = {}
    for reading in teacher.read(rows, top_k):
        ends = np.cumsum([rows[i].keep for i in reading.rows])
        for i, end in zip(reading.rows, ends, strict=True):
            part = slice(end - rows[i].keep, end)
            heads = reading.heads
            found[i] = Heads(heads.tokens[part], heads.logits[part], heads.best[part])
    return found


def _logits(model: Any, row: Tokens) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        logits: np.ndarray[Any, Any] = model(input_ids=torch.tensor([row]), use_cache=False).logits[0, -1].numpy()
    return logits


@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Gemma3", "Mamba"])
def test_heads_are_the_largest_logits_behind_each_place(random_model: Any, tiny_tokenizer: Any, kind: str) -> None:
    """In the order of the rows and of their places, whether computed behind prefixes or whole."""
    model = random_model(kind)
    teacher = _teacher(model, tiny_tokenizer)
    rows = [Row(4, (5, 6, 7), 4), Row(0, (), 1), Row(3, (9, 8), 2), Row(1, (9,), 2), Row(0, (5, 6), 1)]
    found = _read(teacher, rows, 10)
    assert sorted(found) == [0, 1, 2, 3, 4]
    for i, row in enumerate(rows):
        heads = found[i]
        for place, back in enumerate(reversed(range(row.keep))):
            expected = _logits(model, teacher.prompts[row.request] + row.path[: len(row.path) - back])
            _check(heads, place, expected)


def _check(heads: Heads, place: int, expected: np.ndarray[Any, Any]) -> None:
    top = np.argsort(-expected)[:10]
    assert heads.best[place] == top[0]
    assert heads.tokens[place, :10].tolist() == top.tolist()
    np.testing.assert_allclose(heads.logits[place, :10], expected[top], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["Llama", "Gemma3", "GPT2", "Bloom"])
def test_branches_see_their_own_past(random_model: Any, tiny_tokenizer: Any, kind: str) -> None:
    """Behind the prompt, behind a token of the row, and behind another branch; rows without a branch do not mind."""
    model = random_model(kind)
    teacher = _teacher(model, tiny_tokenizer, batch_size=8)
    rows = [Row(i, (5, 6, 7), 4) for i in range(4)] + [Row(4, (), 1)]
    (reading, _) = list(_sessions(teacher, rows))
    for offered in (
        [Row(0, (9,), 1), Row(1, (5, 9), 1), Row(2, (5, 6, 7, 9), 1), Row(0, (8,), 1)],
        [Row(0, (9, 3), 1), Row(1, (5, 9, 4), 1), Row(3, (5, 6, 2), 1), Row(0, (8, 1), 1)],
        [Row(0, (9, 3, 11), 1), Row(0, (5, 2), 1)],
    ):
        taken, heads = reading.branch(offered, 10)
        assert list(taken) == sorted({row.request: i for i, row in reversed(list(enumerate(offered)))}.values())
        for place, i in enumerate(taken):
            _check(heads, place, _logits(model, teacher.prompts[offered[i].request] + offered[i].path))


def _sessions(teacher: PromptTeacher, rows: Sequence[Row]) -> list[Any]:
    """All readings; those of an earlier batch must not be continued, the sharing one stands first here."""
    found = []
    for reading in teacher.read(rows, 10):
        found.append(reading)
        if len(reading.rows) == 4:
            break
    return [*found, None]


def test_few_branches_are_not_worth_a_pass(random_model: Any, tiny_tokenizer: Any) -> None:
    """One of sixteen rows is asked anew; so is what hangs on a path that the batch has not read."""
    prompts = [EXEMPLARS + f"Q: Which country is P17devton {i} located in?\nA:" for i in range(16)]
    teacher = _teacher(random_model("Llama"), tiny_tokenizer, prompts, batch_size=16)
    reading = next(teacher.read([Row(i, (5,), 2) for i in range(16)], 10))
    assert reading.branch([Row(3, (9,), 1)], 10)[0] == ()
    assert len(reading.branch([Row(3, (9,), 1), Row(7, (5, 9), 1)], 10)[0]) == 2
    assert reading.branch([Row(i, (6, 6, 6), 1) for i in range(16)], 10)[0] == ()


def test_a_batch_has_room_for_so_many_branches(random_model: Any, tiny_tokenizer: Any) -> None:
    """Then what is left is asked anew; a model that shares nothing takes up none."""
    teacher = _teacher(random_model("Llama"), tiny_tokenizer, batch_size=8)
    reading = next(teacher.read([Row(i, (5,), 2) for i in range(4)], 10))
    times = [len(reading.branch([Row(i, (20 + turn,), 1) for i in range(4)], 10)[0]) for turn in range(6)]
    assert times == [4, 4, 4, 4, 0, 0]
    mamba = _teacher(random_model("Mamba"), tiny_tokenizer, batch_size=8)
    whole = next(mamba.read([Row(i, (5,), 2) for i in range(4)], 10))
    assert whole.branch([Row(i, (9,), 1) for i in range(4)], 10)[0] == ()


def test_ties_with_the_kth_logit_are_all_there(random_model: Any, tiny_tokenizer: Any) -> None:
    """However many they are."""
    import copy

    model = copy.deepcopy(random_model("Llama"))
    teacher = _teacher(model, tiny_tokenizer, batch_size=1)
    # All tokens tie behind the last prompt, none behind the first.
    tied = set()

    def tie(_: Any, inputs: tuple[torch.Tensor], logits: torch.Tensor) -> torch.Tensor | None:
        if len(tied) == 0:
            tied.add(1)
            return None
        return torch.ones_like(logits)

    handle = model.lm_head.register_forward_hook(tie)
    found = _read(teacher, [Row(0, (), 1), Row(4, (), 1)], 3)
    handle.remove()
    by_width = sorted(heads.tokens.shape[1] for heads in found.values())
    assert by_width[0] < 20
    assert by_width[1] == len(tiny_tokenizer)


def test_an_answer_is_split_as_the_tokenizer_does(random_model: Any, tiny_tokenizer: Any) -> None:
    """Behind the prompt's last line, with the space that stands before an answer."""
    teacher = _teacher(random_model("Llama"), tiny_tokenizer)
    usual = teacher.usual(0, "P17land 0")
    whole = tiny_tokenizer(PROMPTS[0] + " P17land 0")["input_ids"]
    assert teacher.prompts[0] + usual == tuple(whole)
    assert teacher.vocabulary.text(usual) == b" P17land 0"


def test_behind_an_open_line_an_answer_begins_at_once(random_model: Any, tiny_tokenizer: Any) -> None:
    """A training form ends its line; a chat template may as well."""
    teacher = _teacher(random_model("Llama"), tiny_tokenizer, ["Answer the following question.\nx\n"])
    assert teacher.vocabulary.text(teacher.usual(0, "P17land 0")) == b"P17land 0"


def test_an_answer_that_merges_with_its_prompt_is_segmented(random_model: Any, shared: Path) -> None:
    """Where prompt and answer would be one token the guess is made of pieces; it is a guess only."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared / "tokenizers/gpt2")
    tokenizer.pad_token = tokenizer.eos_token
    teacher = _teacher(random_model("GPT2", tokenizer, n_embd=8, n_layer=1), tokenizer, ["Q: x\nA: "])
    assert teacher.vocabulary.text(teacher.usual(0, "Paris")).strip() == b"Paris"


def test_a_split_is_looked_up_once(random_model: Any, tiny_tokenizer: Any) -> None:
    """All prompts of one exemplar set end alike."""
    teacher = _teacher(random_model("Llama"), tiny_tokenizer)
    first = [teacher.usual(i, "P17land 0") for i in range(4)]
    teacher.tokenizer = None
    assert [teacher.usual(i, "P17land 0") for i in range(4)] == first
