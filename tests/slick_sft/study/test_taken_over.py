"""Probes of before: which may stand for the study's own, and what is said of those that may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick.facts import Fact
from slick.files import digest_of
from slick.knowledge import Knowledge
from slick.knowledge_file import KnowledgeFile, write_knowledge
from slick.sampled import PAPER
from slick_sft.study.taken_over import check_known, remarks

BASE = {"name": "m", "weights": "w" * 64}
FACTS = [Fact.create(f"Q{i}?", ["a"], relation="P1", split=split) for i, split in enumerate(("train", "dev", "dev"))]
TRAIN, *DEV = FACTS
CHAT = {"template": False, "multiturn": False, "system": ""}


def settings(**other: Any) -> dict[str, Any]:
    """As `slick probe --estimator exact` records them."""
    exemplars = digest_of({"P1": [fact.id for fact in DEV]})
    own = {"estimator": "exact", "matching": "strict", "seed": 0, "exemplars": exemplars, "chat": CHAT}
    return {**PAPER.as_dict(), **own, **other}


def probe(tmp_path: Path, model: dict[str, Any] | None = None, **other: Any) -> str:
    path = tmp_path / "knowledge.parquet"
    write_knowledge(path, [Knowledge(TRAIN, 1, 10)], {"model": model or BASE, "settings": settings(**other)})
    return str(path)


def found(tmp_path: Path, split: str = "train", **other: Any) -> list[str]:
    return check_known({split: probe(tmp_path, **other)}, BASE, FACTS)


def test_a_probe_like_the_studys_own_is_taken_without_a_word(tmp_path: Path) -> None:
    """Whatever its batches and backend."""
    assert found(tmp_path) == []
    assert found(tmp_path, backend={"name": "vllm"}, n_before=0) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"temperature": 0.7}, "temperature: there 0.7, the study's 0.5"),
        ({"n_exemplar_sets": 5}, "n_exemplar_sets: there 5, the study's 10"),
        ({"n_exemplars": 8}, "n_exemplars: there 8, the study's 4"),
        ({"n_samples": 4}, "n_samples: there 4, the study's 16"),
        ({"top_k": 1}, "top_k: there 1, the study's 40"),
        ({"max_gen_toks": 8}, "max_gen_toks: there 8, the study's 32"),
        ({"matching": "lenient"}, "matching: there 'lenient', the study's 'strict'"),
        ({"chat": {**CHAT, "template": True}}, "chat.template: there True, the study's False"),
        ({"chat": {**CHAT, "system": "Be brief."}}, "chat.system: there 'Be brief.', the study's ''"),
    ],
)
def test_categories_that_mean_something_else_are_refused(tmp_path: Path, other: dict[str, Any], said: str) -> None:
    """With the setting that differs: N_ex, k, N_sample, temperature, the form of the prompts, the matching."""
    with pytest.raises(InputError, match=f"(?s)--knowledge train=.*: its categories mean something else.*: {said}; "):
        found(tmp_path, **other)


def test_all_that_differs_is_told_at_once(tmp_path: Path) -> None:
    """Of every probe."""
    other, model = tmp_path / "other", tmp_path / "model"
    other.mkdir()
    model.mkdir()
    known = {
        "train": probe(other, temperature=1.0, top_k=50),
        "dev": probe(model, {"name": "n", "weights": "v" * 64}),
        "tset": "x",
    }
    with pytest.raises(InputError) as caught:
        check_known(known, BASE, FACTS)
    said = str(caught.value)
    assert "temperature: there 1.0, the study's 0.5; top_k: there 50, the study's 40" in said
    assert "is the knowledge of another model (n, weights vvvvvvvvvvvv) than --model m" in said
    assert "--knowledge tset=x: expected one of train, dev, test, ood before the =; did you mean 'test'?" in said


@pytest.mark.parametrize(
    ("split", "other", "said"),
    [
        (
            "train",
            {"estimator": "two-stage sampled"},
            "estimator: there 'two-stage sampled', the study's 'exact'; its ",
        ),
        ("train", {"seed": 3}, "seed: there 3, the study's 0; its exemplar sets are others"),
        ("train", {"exemplars": "0" * 64}, "exemplars: there of other facts than the study's"),
        ("test", {"n_before": 0}, "n_before: there 0, the study's 5; "),
    ],
)
def test_what_may_differ_is_told(tmp_path: Path, split: str, other: dict[str, Any], said: str) -> None:
    """The same quantity, measured with more noise, or under other exemplars."""
    (remark,) = found(tmp_path, split, **other)
    assert remark.startswith(f"--knowledge {split}={tmp_path / 'knowledge.parquet'}: {said}")


def test_a_probe_that_does_not_say_how_is_told_so(tmp_path: Path) -> None:
    """Nothing can be refused of it."""
    read = KnowledgeFile((Knowledge(TRAIN, 1, 10),), {"model": BASE, "settings": {"temperature": 0.5}})
    (remark,) = remarks(read, "train", FACTS)
    assert remark.startswith("does not record its estimator, n_exemplar_sets, n_exemplars, n_samples, top_k, ")
    assert "temperature" not in remark
