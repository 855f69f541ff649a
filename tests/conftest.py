"""What tests of several packages share: a few invented facts, and a model small enough to build in a moment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from slick.facts import Fact

# Before torch is imported, and for the commands that tests start: on small models a second thread gains little,
# and where other processes use the cores its waiting costs tenfold (130 answers: 0.7 s against 6.6 s).
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test reads or fills the user's response store; those that are about a store name one of their own.
os.environ["SLICK_STORE"] = "0"

# A deadline is a wall-clock assertion, and fails on a busy machine.
settings.register_profile("slick", deadline=None)
settings.load_profile("slick")

_TEMPLATES = {"P17": "Which country is {} located in?", "P36": "What is the capital of {}?"}
_SPLITS = (("train", 4), ("dev", 8), ("test", 6))


def _facts() -> list[Fact]:
    """18 facts of each of two relations; two of three share their relation's commonest answer."""
    facts = []
    for relation, template in _TEMPLATES.items():
        for split, count in _SPLITS:
            for i in range(count):
                subject = f"{relation}{split}ton {i}"
                answer = f"{relation}land {i // 2 if i % 3 == 2 else 0}"
                facts.append(
                    Fact.create(template.format(subject), [answer], relation=relation, subject=subject, split=split)
                )
    return facts


@pytest.fixture(scope="session")
def tiny_facts() -> list[Fact]:
    return _facts()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a random two-layer Llama with a byte-level tokenizer, as save_pretrained leaves it.

    It knows nothing and answers nonsense, the same nonsense every time. It has a chat template.
    """
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    texts = [f"Q: {fact.question}\nA: {fact.answers[0]}\n" for fact in _facts()]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=400, special_tokens=["<s>", "</s>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=2048,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    path = tmp_path_factory.mktemp("tiny") / "model"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def shared() -> Path:
    """The project's shared data (EntityQuestions, stories260k); a test that needs it is skipped where it is absent."""
    path = Path(os.environ.get("SLICK_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not path.is_dir():
        pytest.skip(f"{path} is absent; set SLICK_SHARED to where the shared data lies")
    return path
