"""slick.options: what the options that verbs share resolve to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slick.errors import InputError
from slick.facts import Fact
from slick.options import answer_priors, open_backend, select, select_known


@pytest.fixture
def facts_file(tmp_path: Path, tiny_facts: list[Fact]) -> str:
    path = tmp_path / "facts.jsonl"
    path.write_text("".join(json.dumps(fact.as_dict()) + "\n" for fact in tiny_facts))
    return str(path)


@pytest.mark.parametrize(
    ("split", "relations", "limit", "count"),
    [("", "", 0, 36), ("test", "", 0, 12), ("test", "P17", 0, 6), ("", " P17 , P36,", 0, 36), ("test", "", 4, 4)],
)
def test_a_selection_and_its_whole_source(
    facts_file: str, tiny_facts: list[Fact], split: str, relations: str, limit: int, count: int
) -> None:
    """Empty options and 0 mean all; the source keeps what was not selected, for exemplars and priors."""
    found = select(facts_file, split=split, relations=relations, limit=limit, seed=0)
    assert len(found.facts) == count
    assert list(found.source) == tiny_facts
    known = select_known(tiny_facts, "run", split=split, relations=relations, limit=limit, seed=0)
    assert known == found


def test_a_limit_is_drawn_by_the_seed(facts_file: str) -> None:
    """The same seed draws the same facts, another one others."""
    first, same, other = (select(facts_file, split="", relations="", limit=8, seed=s).facts for s in (0, 0, 1))
    assert first == same != other


def test_what_is_not_among_the_facts_is_named(facts_file: str, tiny_facts: list[Fact]) -> None:
    """A file and a probe's facts alike: which relations and splits there are."""
    with pytest.raises(InputError, match=r"facts\.jsonl: unknown relation:\n  'P99': found P17, P36"):
        select(facts_file, split="", relations="P99", limit=0, seed=0)
    with pytest.raises(InputError, match="run: unknown relation:\n  'P99': found P17, P36"):
        select_known(tiny_facts, "run", split="", relations="P99", limit=0, seed=0)
    with pytest.raises(InputError, match=r"run: no facts of split 'ood'; found train \(8\), dev \(16\), test \(12\)"):
        select_known(tiny_facts, "run", split="ood", relations="", limit=0, seed=0)


def test_the_answer_prior_is_of_the_train_split_first() -> None:
    """Else of the exemplars, else of all facts of the relation."""

    def fact(relation: str, answer: str, split: str = "") -> Fact:
        return Fact.create("?", [answer], relation=relation, split=split)

    source = [
        *[fact("a", "test", "test")] * 3,
        fact("a", "train", "train"),
        *[fact("b", "all", "test")] * 3,
        *[fact("c", "all", "test")] * 3,
    ]
    pools = {"a": [fact("a", "pool")], "b": [fact("b", "pool")]}
    assert answer_priors(source, pools) == {"a": "train", "b": "pool", "c": "all"}
    assert answer_priors(source) == {"a": "train", "b": "all", "c": "all"}


def test_a_backend_is_opened_as_the_options_say() -> None:
    """Name, model, arguments and batch size; an empty device is the backend's choice."""
    backend = open_backend("dummy", "any", ["write_out=False"], "7", "")
    assert backend.provenance() == {"name": "dummy", "args": {"write_out": False}, "batch_size": 7}
