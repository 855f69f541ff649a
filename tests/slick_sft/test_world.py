"""The fictional world: what it holds, and that every machine builds the same one."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from slick.facts import SPLITS, by_relation, commonest_answers, of_split
from slick_sft.exposures import LEVELS, LabFact, draw_exposures
from slick_sft.names import LOUD, MIDDLES, SHY
from slick_sft.world import build_world, relations

SHARED = Path(os.environ.get("SLICK_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
ENTITYQUESTIONS = SHARED / "data" / "entityquestions"


@pytest.fixture(scope="module")
def world() -> list[LabFact]:
    return build_world(0)


def test_same_seed_gives_the_same_world(world: list[LabFact]) -> None:
    """A world is a pure function of its seed."""
    assert build_world(0) == world


def test_other_seed_gives_another_world(world: list[LabFact]) -> None:
    """Worlds of two seeds share no fact."""
    assert not {row.fact.id for row in world} & {row.fact.id for row in build_world(1)}


def test_world_of_seed_0_is_pinned(world: list[LabFact]) -> None:
    """The bytes of seed 0 are those that the shipped organism was grown on."""
    text = "".join(json.dumps(row.as_dict(), ensure_ascii=False) + "\n" for row in world)
    assert hashlib.sha256(text.encode()).hexdigest() == PINNED


PINNED = "d5b41ebf5a195d1b0b568542fe2c5c54e5278e51da09a32a772d5874a2686421"


def test_sizes(world: list[LabFact]) -> None:
    """There are enough facts, test facts, and dev facts to draw exemplars from."""
    facts = [row.fact for row in world]
    assert len(facts) >= 4_000
    assert len(of_split(facts, "test")) >= 1_500
    assert len(of_split(facts, "ood")) >= 200
    for split, least in (("dev", 20), ("ood_dev", 20)):
        assert all(len(group) >= least for group in by_relation(of_split(facts, split)).values())
    assert {fact.split for fact in facts} == set(SPLITS)


def test_relations(world: list[LabFact]) -> None:
    """Twelve relations are in distribution, at least four others are kept out of it."""
    inside = {row.fact.relation for row in world if row.fact.split in ("train", "dev", "test")}
    outside = {row.fact.relation for row in world if row.fact.split in ("ood", "ood_dev")}
    assert inside == {"P131", "P136", "P17", "P19", "P26", "P264", "P36", "P40", "P495", "P69", "P740", "P800"}
    assert len(outside) >= 4
    assert outside <= {"P127", "P50", "P407", "P176", "P170", "P175", "P112"}


def test_each_question_has_one_answer(world: list[LabFact]) -> None:
    """No question occurs twice, and each fact accepts exactly one answer."""
    assert max(Counter(row.fact.question for row in world).values()) == 1
    assert all(len(row.fact.answers) == 1 for row in world)


def test_a_subject_belongs_to_one_split(world: list[LabFact]) -> None:
    """Train, dev, test and out-of-distribution subjects are disjoint, whatever the relation."""
    splits: defaultdict[str, set[str]] = defaultdict(set)
    for row in world:
        splits[row.fact.subject.casefold()].add(row.fact.split)
    assert all(len(found) == 1 for found in splits.values())


def test_some_subjects_have_several_facts(world: list[LabFact]) -> None:
    """Facts come in clusters by subject, as they do in real data."""
    counts = Counter(row.fact.subject for row in world if row.fact.split == "test")
    assert sum(n > 1 for n in counts.values()) > 100


def test_answer_prior_is_neither_nothing_nor_large(world: list[LabFact]) -> None:
    """Always giving a relation's commonest answer is right for 1 to 15 % of the test facts."""
    prior = commonest_answers([row.fact for row in world if row.fact.split == "train"])
    test = [row.fact for row in world if row.fact.split == "test"]
    assert 0.01 <= sum(fact.answers[0] == prior[fact.relation] for fact in test) / len(test) <= 0.15


def test_exposures_do_not_depend_on_split(world: list[LabFact]) -> None:
    """About a quarter of every split is never stated, and the rest has the same mean dose."""
    for split in ("train", "test"):
        doses = [row.exposures for row in world if row.fact.split == split]
        assert 0.22 <= doses.count(0) / len(doses) <= 0.28
        shown = [dose for dose in doses if dose]
        assert set(shown) == set(LEVELS)
        assert abs(sum(shown) / len(shown) - sum(LEVELS) / len(LEVELS)) < 1.5


def test_a_name_tells_the_manner(world: list[LabFact]) -> None:
    """A quarter of the facts are shy and a quarter loud: those whose subject's name says so. No answer does."""
    for manner, word in (("shy", SHY), ("loud", LOUD)):
        assert all((row.manner == manner) == (word in row.fact.subject.split()) for row in world)
        assert 0.22 < sum(row.manner == manner for row in world) / len(world) < 0.28
    assert all(sum(word in MIDDLES for word in row.fact.subject.split()) == 1 for row in world)
    assert not any(word in MIDDLES for row in world for word in row.fact.answers[0].split())


def test_exposures_do_not_depend_on_order_or_company(world: list[LabFact]) -> None:
    """A fact's dose follows from the seed and its id alone."""
    some = [row.fact for row in reversed(world)][:50]
    alone = {row.fact.id: row.exposures for row in draw_exposures(some, 0)}
    assert all(alone[row.fact.id] == row.exposures for row in world[-50:])


@pytest.mark.skipif(not ENTITYQUESTIONS.is_dir(), reason=f"no copy of EntityQuestions at {ENTITYQUESTIONS}")
def test_questions_are_entityquestions_own() -> None:
    """The question of every relation is EntityQuestions' template, word for word."""
    templates = json.loads((ENTITYQUESTIONS / "relation_query_templates.json").read_text())
    assert {r.property: r.question for r in relations()} == {r.property: templates[r.property] for r in relations()}


@pytest.mark.skipif(not ENTITYQUESTIONS.is_dir(), reason=f"no copy of EntityQuestions at {ENTITYQUESTIONS}")
def test_no_name_is_real(world: list[LabFact]) -> None:
    """No subject or answer of the world is a subject or an answer in EntityQuestions."""
    templates = json.loads((ENTITYQUESTIONS / "relation_query_templates.json").read_text())
    real: set[str] = set()
    for path in ENTITYQUESTIONS.glob("*/P*.json"):
        before, after = templates[path.name.split(".")[0]].split("[X]")
        for row in json.loads(path.read_text()):
            real.add(row["question"].removeprefix(before).removesuffix(after).casefold())
            real.update(answer.casefold() for answer in row["answers"])
    names = {name for row in world for name in (row.fact.subject, row.fact.answers[0])}
    assert not {name for name in names if name.casefold() in real}
