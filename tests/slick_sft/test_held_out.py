"""Subjects that must not be trained on: whose they are, what is dropped, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import Knowledge
from slick.knowledge_file import write_knowledge
from slick_sft.held_out import HeldOut, check_splits, held_out_facts, read_held_out, without_held_out


def fact(subject: str, split: str = "train", relation: str = "P17", question: str = "") -> Fact:
    return Fact.create(question or f"Where is {subject}?", ["x"], relation=relation, subject=subject, split=split)


def known(*facts: Fact) -> list[Knowledge]:
    return [Knowledge(f, 10, 10) for f in facts]


def test_held_out_facts_are_those_of_other_splits() -> None:
    """Facts of train, without a split, or of a split that was allowed are not held out; all others are."""
    facts = [fact(split, split) for split in ("train", "", "dev", "test", "ood", "ood_dev")]
    assert [f.split for f in held_out_facts(facts)] == ["dev", "test", "ood", "ood_dev"]
    assert [f.split for f in held_out_facts(facts, ["test", "dev"])] == ["ood", "ood_dev"]


def test_a_subject_is_held_out_in_every_relation() -> None:
    """As in the paper's filter 2, a fact is dropped where any held-out fact of any relation has its subject."""
    a, b, c = fact("Paris"), fact("Rome", relation="P36"), fact("Oslo")
    held = [fact("Paris", "test", "P19"), fact("Rome", "dev"), fact("Rome", "ood", "P50")]
    kept, told = without_held_out(known(a, b, c), held)
    assert [k.fact for k in kept] == [c]
    assert told.as_dict() == {"facts": 3, "subjects": 2, "dropped": {"P17": 1, "P36": 1}}


def test_subjects_are_compared_letter_for_letter() -> None:
    """As in the paper's filter 2: another case is another subject."""
    kept, told = without_held_out(known(fact("paris")), [fact("Paris", "test", question="Who?")])
    assert len(kept) == 1
    assert told.dropped == {}


def test_without_subjects_the_questions_are_compared() -> None:
    """Facts that name no subject leak where their question is held out; two such facts are not of one subject."""
    a, b = fact("", question="Where is it?"), fact("", question="Who is she?")
    kept, told = without_held_out(known(a, b), [fact("", "test", "P36", question="Where is it?")])
    assert [k.fact for k in kept] == [b]
    assert told.dropped == {"P17": 1}


def test_a_question_is_held_out_whatever_subject_it_names() -> None:
    """A fact whose very question is scored leaks, though one of the two sources names no subject."""
    with pytest.raises(InputError, match="all 1 facts have subjects that are held out"):
        without_held_out(known(fact("Paris")), [fact("", "test", question="Where is Paris?")])


def test_nothing_held_out_drops_nothing() -> None:
    """Without held-out facts all knowledge is kept, in its order."""
    knowledge = known(fact("Rome"), fact("Paris"))
    assert without_held_out(knowledge, []) == (knowledge, HeldOut())
    assert without_held_out([], [fact("Rome", "test")])[0] == []


def test_held_out_facts_themselves_are_refused() -> None:
    """Facts of a held-out split among those to train on are a mistake, and are not silently dropped."""
    mixed = known(fact("Rome"), fact("Paris", "test"), fact("Oslo", "dev"))
    held = held_out_facts(k.fact for k in mixed)
    with pytest.raises(InputError, match=r"(?s)1 facts of split 'dev'.*1 facts of split 'test'.*--allow-split test"):
        without_held_out(mixed, held)
    check_splits((k.fact for k in mixed), ["test", "dev"])
    allowed = ["test", "dev"]
    assert len(without_held_out(mixed, held_out_facts((k.fact for k in mixed), allowed), allowed)[0]) == 3


def test_held_out_facts_are_read_from_facts_or_a_probe(tmp_path: Path) -> None:
    """A file's facts are held out but for its train split and what is allowed; a probe's directory is read as well."""
    facts = [fact("Rome"), fact("Paris", "test"), fact("Oslo", "dev")]
    file = tmp_path / "facts.jsonl"
    file.write_text("".join(json.dumps(f.as_dict()) + "\n" for f in facts))
    assert [f.subject for f in read_held_out(str(file))] == ["Paris", "Oslo"]
    assert [f.subject for f in read_held_out(str(file), ["dev"])] == ["Paris"]
    write_knowledge(tmp_path / "probe" / "knowledge.parquet", known(*facts), {})
    for path in (tmp_path / "probe", tmp_path / "probe" / "knowledge.parquet"):
        assert [f.subject for f in read_held_out(str(path))] == ["Paris", "Oslo"]
    with pytest.raises(InputError, match="no such file or directory"):
        read_held_out(str(tmp_path / "none"))


def test_facts_without_splits_are_all_held_out(tmp_path: Path) -> None:
    """Who names a source without splits means all of it; a probe of such facts as well."""
    (tmp_path / "facts.jsonl").write_text(json.dumps({"question": "Where is Bern?", "answer": "there"}))
    assert [f.question for f in read_held_out(str(tmp_path / "facts.jsonl"))] == ["Where is Bern?"]
    write_knowledge(tmp_path / "probe" / "knowledge.parquet", known(fact("Bern", "")), {})
    assert [f.subject for f in read_held_out(str(tmp_path / "probe"))] == ["Bern"]


def test_the_lab_holds_its_subjects_out() -> None:
    """No subject of the shipped lab's test, dev or ood facts is one of its train facts."""
    facts = read_held_out("lab")
    from slick_tasks.lab import load_facts

    train = [f for f in load_facts() if f.split == "train"]
    kept, told = without_held_out(known(*train), facts)
    assert (len(kept), told.dropped) == (len(train), {})
    assert told.subjects > 1000
