"""The facts within the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slick.facts import Fact
from slick_reports.embedded import BUDGET, embed, safe_json, size_of
from slick_reports.numbers import Report
from slick_reports.report import build_report
from slick_reports.text import short

if TYPE_CHECKING:
    from conftest import Lab, Study


@pytest.fixture(scope="module")
def report(study: Study) -> Report:
    return build_report(study.runs, knowledge=study.probe)


def flips(report: Report) -> list[Any]:
    return [
        (state, place, flip)
        for state, name in enumerate(("lost", "gained", "still_wrong"))
        for place, arm in enumerate(report.arms)
        for flip in getattr(arm, name)
    ]


def test_every_lost_gained_and_still_wrong_fact_is_there_with_both_answers(report: Report) -> None:
    """A fact's own text stands there once, however many arms turned it."""
    found = embed(report)
    data = json.loads(found.text)
    expected = flips(report)
    assert (found.rows, found.left_out) == (len(expected), 0)
    assert len(data["facts"]) == len({flip.fact.id for _, _, flip in expected})
    for (place, arm, state, after, kind, seeds, _), (expected_state, expected_arm, flip) in zip(
        data["rows"], expected, strict=True
    ):
        relation, category, question, accepted, before = data["facts"][place]
        assert (state, arm, seeds) == (expected_state, expected_arm, flip.seeds)
        assert (data["relations"][relation], data["categories"][category]) == (flip.fact.relation, flip.category)
        assert (question, accepted, before) == (flip.fact.question, flip.fact.answers[0], flip.before or "(empty)")
        assert all(short(answer) in after for answer in flip.after if answer)
        assert kind >= 0


def test_a_page_has_room_for_so_many_and_the_rest_is_counted(report: Report) -> None:
    """Lost facts come first."""
    found = embed(report, budget=2_000)
    data = json.loads(found.text)
    assert found.rows + found.left_out == len(flips(report))
    assert found.left_out > 0
    assert {row[2] for row in data["rows"]} == {0}
    assert len(found.text.encode()) < 3_000
    assert BUDGET < 2_000_000


def test_room_is_counted_as_the_page_has_it(lab: Lab) -> None:
    """A "<" takes six bytes there, and a relation's name stands there once."""
    lab.facts = [Fact.create(f"{'<' * 150}{i}?", ["&" * 150], relation=f"{i // 4}{'>' * 150}") for i in range(40)]
    report = build_report([lab.score("base"), lab.score("tuned", lambda _: "<>&" * 60)])
    for budget in (0, 2_000, 20_000, 60_000):
        found = embed(report, budget=budget)
        empty = len(embed(report, budget=0).text)
        assert len(found.text) <= empty + budget
        assert found.rows + found.left_out == 40
    assert found.rows > 10
    assert size_of(["<"]) == len('["\\u003c"],')


def test_hostile_text_cannot_leave_the_element(hostile: list[Path]) -> None:
    """Nothing in it opens or closes anything, and all that is invisible is spelled out."""
    text = embed(build_report(hostile)).text
    assert not set("<>&") & set(text)
    assert text.isprintable()
    assert "alert('x')" in json.loads(text)["facts"][0][2] + "".join(f[2] for f in json.loads(text)["facts"])


def test_what_is_escaped_reads_back() -> None:
    """As any parser of JSON reads it."""
    assert json.loads(safe_json(["</script><!--", "a & b"])) == ["</script><!--", "a & b"]
