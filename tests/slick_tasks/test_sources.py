"""Where a task's facts come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from slick import entityquestions
from slick.errors import InputError
from slick.facts import Fact
from slick_tasks import sources


def test_another_lab_is_read_from_its_directory(tiny_lab: Path, tiny_facts: list[Fact]) -> None:
    """lab=DIR gives the facts of DIR by relation, in their order."""
    found = sources.lab(lab=str(tiny_lab), version=1.0, pretrained="m")
    assert list(found) == ["P17", "P36"]
    assert list(found["P17"]) == [fact for fact in tiny_facts if fact.relation == "P17"]


def test_a_lab_without_facts_names_the_file(tmp_path: Path) -> None:
    """A directory that holds no lab is refused with the file that was expected."""
    with pytest.raises(InputError, match=r"facts\.jsonl: no such file"):
        sources.lab(lab=str(tmp_path))


def test_a_directory_without_entityquestions_is_refused(tmp_path: Path) -> None:
    """entityquestions=DIR must hold a copy; nothing is downloaded in its place."""
    with pytest.raises(InputError, match="no copy of EntityQuestions"):
        sources.entityq(entityquestions=str(tmp_path))


def test_facts_are_read_once_for_all_relations(
    tmp_path: Path, tiny_facts: list[Fact], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve tasks of one process share one reading."""
    reads = []
    monkeypatch.setattr(entityquestions, "locate", lambda given=None: tmp_path)
    monkeypatch.setattr(entityquestions, "read_directory", lambda path: reads.append(path) or tiny_facts)
    sources._entityq.cache_clear()
    assert sources.entityq() is sources.entityq(pretrained="m")
    assert reads == [tmp_path]
    sources._entityq.cache_clear()
