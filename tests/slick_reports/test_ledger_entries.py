"""Runs as a ledger takes them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slick.errors import InputError
from slick.knowledge import CATEGORIES, Category
from slick.runs import Run
from slick_reports.ledger_entries import _date, _known, entry_of

if TYPE_CHECKING:
    from conftest import Lab


def dated(recorded: Any) -> str:
    """The date of a run whose results record it so."""
    return Run(Path("run"), {"date": recorded}).date


def test_a_score_becomes_an_entry(lab: Lab) -> None:
    """Right, wrong or abstained; its category; its arm's name; when it was made."""
    lab.categories = {lab.facts[0].id: Category.MAYBE_KNOWN}
    entry = entry_of(lab.arm("half", 2, lab.wrong_on(1, by="I don't know")))
    assert (entry.version, entry.kind, entry.at) == ("half", "score", "2025-01-02T03:04:05")
    assert [r.outcome for r in entry.results[:3]] == [1, 2, 1]
    assert [r.category for r in entry.results[:2]] == [1, -1]
    assert entry.results[1].answer == "I don't know"
    assert {r.prior for r in entry.results} == {0, 1}
    assert entry.record["seed"] == 2
    assert entry.record["model"]["name"] == "half-2"
    assert entry.record["libraries"] == {"lm_eval": "0.4.13", "slick": "0.1.0"}


def test_a_probe_becomes_an_entry(lab: Lab) -> None:
    """Categories alone: few-shot answers are no scores."""
    entry = entry_of(lab.probe(skill=dict.fromkeys((f.id for f in lab.facts), 1.0)), version="v1", date="2024-05-06")
    assert (entry.version, entry.kind, entry.at) == ("v1", "probe", "2024-05-06T00:00:00")
    assert {(r.outcome, r.category, r.prior) for r in entry.results} == {(3, 0, -1)}
    assert all(math.isnan(r.unknown) for r in entry.results)


def test_a_score_says_whose_knowledge_its_categories_are(lab: Lab) -> None:
    """Where it recorded that; so that a history can tell whether the baseline's."""
    model = lab.model("base")
    assert entry_of(lab.score("with", knowledge_model=model)).record["knowledge"] == model
    assert "knowledge" not in entry_of(lab.score("without")).record


def test_chances_of_the_exact_estimator_are_kept(lab: Lab) -> None:
    """So that a history shows expected shares."""
    from slick.knowledge import Chances, Knowledge

    near = Knowledge(lab.facts[0], 0, 10, chances=Chances((0.005,) * 10))
    assert _known(near).unknown == near.u
    assert math.isnan(_known(Knowledge(lab.facts[0], 3, 10, chances=Chances((0.005,) * 10))).unknown)
    assert CATEGORIES[_known(near).category] is near.category


def test_only_runs_asked_alike_share_a_series(lab: Lab) -> None:
    """Models, seeds and facts may differ; form, matching, length and chat may not."""
    base = entry_of(lab.score("base")).series
    assert base.startswith("score-")
    assert entry_of(lab.arm("a", 1, facts=lab.facts[:5])).series == base
    others = {
        entry_of(lab.score("form", form="Q: {question}\nA:")).series,
        entry_of(lab.score("long", max_gen_toks=9)).series,
    }
    assert base not in others
    assert len(others) == 2


@pytest.mark.parametrize(
    ("recorded", "date"),
    [
        (1700000000.5, "2023-11-14T22:13:20"),
        ("2025-01-02", "2025-01-02T00:00:00"),
        ("2025-01-02T03:04:05.678", "2025-01-02T03:04:05"),
        ("2025-01-02T03:04:05+02:00", "2025-01-02T01:04:05"),
        (None, ""),
        ("", ""),
    ],
)
def test_dates_are_brought_into_one_form(recorded: Any, date: str) -> None:
    """lm_eval writes seconds since 1970."""
    assert _date(dated(recorded)) == date


@pytest.mark.parametrize("recorded", ["yesterday", True, float("nan"), -1.0, 1e300, [1]])
def test_a_date_that_is_none_is_refused(recorded: Any) -> None:
    """It would put the run anywhere in the time line."""
    with pytest.raises(InputError, match="expected ISO 8601"):
        _date(dated(recorded))


def test_a_version_has_a_name_that_can_be_shown(lab: Lab) -> None:
    """Invisible characters are spelled out."""
    run = lab.score("base")
    assert entry_of(run, version="v\x00\u202e1").version == "v\\x00\\u202e1"
    assert len(entry_of(run, version="v" * 1000).version) < 150
    with pytest.raises(InputError, match="--version: found nothing"):
        entry_of(run, version=" ")
