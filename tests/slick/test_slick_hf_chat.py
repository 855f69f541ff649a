"""slick-hf: chats, and answers that end with their turn."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from slick.backend import Backend
from slick.matching import is_right
from slick.prompts import probe_prompt


def _chat_tokenizer(texts: Sequence[str]) -> Any:
    """A byte-level tokenizer with a start token in its chat template and an end of turn that is no end of sequence."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        texts,
        vocab_size=330,
        special_tokens=["<s>", "</s>", "<|end|>", "<|user|>", "<|assistant|>"],
        show_progress=False,
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.chat_template = (
        "<s>{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}\n{% else %}<|{{ m.role }}|>\n"
        "{{ m.content }}<|end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    )
    return tokenizer


@pytest.fixture(scope="module")
def chatting(hf: Any, random_model: Any) -> Backend:
    """A model that likes to end its turn."""
    tokenizer = _chat_tokenizer(hf.short)
    model = copy.deepcopy(random_model("Llama", tokenizer))
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    head = model.lm_head.weight.data
    generator = torch.Generator().manual_seed(5)
    head[end] = torch.randn(head.shape[1], generator=generator) * 1.2
    return Backend(hf.engine(model, tokenizer), "slick-hf", {}, 6, {"name": "chatty"})


@pytest.fixture(scope="module")
def chat_prompts(chatting: Backend, tiny_facts: Any) -> list[str]:
    """Facts' prompts as one turn, as turns of exemplars, and with a system instruction."""
    facts = tiny_facts[:10]
    chats = [
        chatting.chat(apply=True),
        chatting.chat(apply=True, multiturn=True),
        chatting.chat(apply=True, multiturn=True, system="Answer in one word."),
    ]
    return [probe_prompt(facts[:2], fact.question, chat) for chat in chats for fact in facts[2:]]


def test_chats_are_put_as_lm_eval_puts_them(chatting: Backend, chat_prompts: list[str]) -> None:
    """One start token, which the template writes; turns and the system instruction in their places."""
    one, many, system = chat_prompts[0], chat_prompts[8], chat_prompts[16]
    assert one.startswith("<s><|user|>\nQ: ")
    assert one.count("<|end|>") == 1
    assert many.count("<|end|>") == 5
    assert system.startswith("<s>Answer in one word.\n<|user|>\n")
    for row in chatting.lm.encode(chat_prompts, 8):
        assert row[0] == 0
        assert row.count(0) == 1


def test_an_answer_ends_with_its_turn(hf: Any, chatting: Backend, chat_prompts: list[str]) -> None:
    """The end-of-turn token ends an answer although it is not the end of a sequence, and writes nothing."""
    lm = chatting.lm
    end = lm.tokenizer.convert_tokens_to_ids("<|end|>")
    assert end in lm.vocabulary.ends
    assert end in lm.vocabulary.line_ends
    answers = chatting.generate([(prompt, hf.greedy) for prompt in chat_prompts])
    ended = 0
    for prompt, answer in zip(chat_prompts, answers, strict=True):
        written: list[int] = list(lm.encode([prompt], 8)[0])
        start = len(written)
        while len(written) - start < hf.length and (
            len(written) == start or written[-1] not in lm.vocabulary.line_ends
        ):
            with torch.no_grad():
                written.append(int(lm.model(input_ids=torch.tensor([written])).logits[0, -1].argmax()))
        ended += written[-1] == end
        assert answer == lm.tokenizer.decode(written[start:], skip_special_tokens=True).split("\n")[0]
    assert ended >= 3


def test_exact_answers_end_with_their_turn_as_well(hf: Any, chatting: Backend, chat_prompts: list[str]) -> None:
    """Verdicts are those of the greedy answers, and chances those of drawn samples."""
    answers = chatting.generate([(prompt, hf.greedy) for prompt in chat_prompts])
    judged = [(p, a.strip()) for p, a in zip(chat_prompts, answers, strict=True) if a.strip() and "\ufffd" not in a]
    assert len(judged) >= 3
    found = chatting.exact([hf.request(prompt, answer) for prompt, answer in judged])
    assert all(answer.greedy for answer in found)
    n = 200
    drawn = chatting.sample([prompt for prompt, _ in judged], hf.sampled, n, seed=0)
    for answer, texts, (_, said) in zip(found, drawn, judged, strict=True):
        right = sum(is_right(text, (said,)) for text in texts)
        assert abs(right - n * answer.p) <= 4.5 * (n * answer.p * (1 - answer.p)) ** 0.5 + 0.5


def test_a_token_that_is_marked_special_ends_a_turn(hf: Any, random_model: Any) -> None:
    """Llama 3 names its end of turn nowhere but among the added tokens."""
    from tokenizers import AddedToken

    from slick.checkpoint import ending_tokens
    from slick.vocabulary import read_vocabulary

    tokenizer = _chat_tokenizer(hf.short)
    tokenizer.add_tokens([AddedToken("<|eot|>", special=True)], special_tokens=False)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}<|eot|>{% endfor %}"
    turn = tokenizer.convert_tokens_to_ids("<|eot|>")
    assert turn not in tokenizer.all_special_ids
    lm = hf.engine(random_model("Llama", tokenizer), tokenizer)
    assert ending_tokens(lm) == {tokenizer.eos_token_id, turn}
    assert read_vocabulary(tokenizer, []).piece(turn) == b""
