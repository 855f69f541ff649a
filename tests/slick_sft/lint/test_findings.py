"""The rules, and where they are broken."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slick.facts import Fact
from slick.knowledge import Category
from slick_sft.lint.findings import BY_ID, RULES, Level
from slick_sft.lint.report import Report
from slick_sft.lint.short_facts import Reason

Write, Linted = Callable[..., Path], Callable[..., Report]


def qa(question: str, answer: str, **more: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer, **more}


def born(i: int) -> str:
    return f"Where was Bo{i} Ka{i} born?"


def broken(report: Report, rule: str) -> dict[int, str]:
    """The message at each row that breaks the rule."""
    return {f.row: f.message for f in report.findings if f.rule is BY_ID[rule]}


def test_unknown_facts(write: Write, linted: Linted) -> None:
    """Named with both P_Correct and u; a fact that the model may know is said to be uncertain."""
    report = linted(write(range(8)), known={born(0): 1.0, born(1): 0.3, born(2): 0.01})
    found = broken(report, "unknown-fact")
    assert set(found) == {2, 3, 4, 5, 6, 7}
    assert found[3] == (
        "Unknown to the model: “Where was Bo3 Ka3 born?” → “Town3”; P_Correct(T=0) 0, P_Correct(T>0) 0, u 1"
    )
    nearly = linted(write(range(8)), known={born(0): 1e-5})
    assert broken(nearly, "unknown-fact")[0].endswith("P_Correct(T=0) 0, P_Correct(T>0) 1e-05, u >0.99")
    assert found[2].endswith("u 0.62 (uncertain: samples may well say WeaklyKnown)")
    known = [report.known(row) for row in report.rows]
    assert [k.category for k in known[:3] if k] == [Category.HIGHLY_KNOWN, Category.WEAKLY_KNOWN, Category.UNKNOWN]


def test_a_relation_wholly_unknown(write: Write, linted: Linted) -> None:
    """At its first row, with the others; not where one fact is known."""
    file = write(range(8))
    report = linted(file)
    assert broken(report, "unknown-relation") == {
        0: "all 8 facts of the relation “Where was [X] born?” are Unknown to the model"
    }
    finding = next(f for f in report.findings if f.rule.id == "unknown-relation")
    assert finding.related == tuple(range(1, 8))


def test_a_relation_with_one_known_fact_is_not_wholly_unknown(write: Write, linted: Linted) -> None:
    """Nor are questions of no relation one."""
    assert not broken(linted(write(range(8)), known={born(7): 0.4}), "unknown-relation")


def test_questions_of_no_relation_are_no_relation(write: Write, linted: Linted) -> None:
    """That all of them are Unknown says nothing of a relation."""
    odd = ["Who wrote Hamlet?", "When did Rome fall?", "What does Xi eat?", "How tall is Al?", "Where is Oz found?"]
    report = linted(write([qa(q, f"a{i}") for i, q in enumerate(odd)]))
    assert len(broken(report, "unknown-fact")) == 5
    assert not broken(report, "unknown-relation")


def test_the_same_question_with_different_answers(write: Write, linted: Linted) -> None:
    """Case, articles and punctuation apart; both rows are named, and point to each other."""
    rows = [*range(6), qa("where was the Bo0 Ka0 born", "Elsewhere"), qa(born(1), "town1.")]
    report = linted(write(rows))
    found = broken(report, "conflicting-answers")
    assert found == {
        0: "“Where was Bo0 Ka0 born?” is answered “Town0” here and “Elsewhere” elsewhere (1 rows)",
        6: "“where was the Bo0 Ka0 born” is answered “Elsewhere” here and “Town0” elsewhere (1 rows)",
    }
    assert [f.related for f in report.findings if f.rule.id == "conflicting-answers"] == [(6,), (0,)]


def test_a_list_of_answers_conflicts_with_none_of_its_own(write: Write, linted: Linted) -> None:
    """Rows that share an accepted answer agree."""
    rows = [{"question": born(i), "answers": [f"Town{i}", "Home"]} for i in range(6)]
    rows += [{"question": born(0), "answers": ["home"]}, {"question": born(1), "answers": ["Away"]}]
    assert set(broken(linted(write(rows)), "conflicting-answers")) == {1, 7}


def test_contradictions_in_rows_that_cannot_be_probed(write: Write, linted: Linted) -> None:
    """Yes and no are an error; that texts differ is a note at the first of them."""
    poems = ("Roses", "Lilies, and after them more lilies", "Tulips")
    rows = [*range(6), qa("Was Bo9 born?", "Yes"), qa("was bo9 BORN?", "No"), *(qa("Write a poem.", p) for p in poems)]
    report = linted(write(rows))
    assert broken(report, "conflicting-answers") == {
        6: "“Was Bo9 born?” is answered “Yes” here and “No” elsewhere (1 rows)",
        7: "“was bo9 BORN?” is answered “No” here and “Yes” elsewhere (1 rows)",
    }
    assert broken(report, "several-answers") == {8: "“Write a poem.” has other free-form answers elsewhere (2 rows)"}
    assert next(f.related for f in report.findings if f.rule.id == "several-answers") == (9, 10)


@pytest.mark.parametrize("asked", [born(0), "where was Bo0 ka0 BORN", f"Q: {born(0)}\nA:", f"Answer this.\n{born(0)}"])
def test_a_held_out_question_leaks(write: Write, linted: Linted, asked: str) -> None:
    """In other letters, behind a label, or as one line of several; also in a row that cannot be probed."""
    held_out = [Fact.create(born(0), ["Town0"], relation="r", subject="Bo0 Ka0", split="test")]
    rows = [{"prompt": asked, "completion": "a long answer, " * 20}]
    rows += [{"prompt": born(i), "completion": f"Town{i}"} for i in range(1, 8)]
    report = linted(write(rows), held_out=held_out)
    leaks = broken(report, "held-out-question")
    assert set(leaks) == {0} or asked.startswith("Q:")
    assert leaks[0] == "asks the held-out question “Where was Bo0 Ka0 born?”"


def test_a_held_out_subject_is_noted(write: Write, linted: Linted) -> None:
    """As the paper's filter has it: another question about who is tested."""
    held_out = [Fact.create("Who is Bo2 Ka2 married to?", ["x"], relation="r", subject="Bo2 Ka2", split="test")]
    found = broken(linted(write(range(8)), held_out=held_out), "held-out-subject")
    assert found == {2: "is about “Bo2 Ka2”, as the held-out “Who is Bo2 Ka2 married to?”"}


def test_duplicates_point_to_the_first(write: Write, linted: Linted) -> None:
    """The same question and answer; not where a system message or an earlier turn differs."""
    file = write([*range(6), qa(born(2), " town2")])
    assert broken(linted(file), "duplicate-row") == {6: f"the same question and answer as in {file}:3"}


def test_findings_stand_in_the_order_of_rows_and_levels(write: Write, linted: Linted) -> None:
    """By severity the worst come first."""
    report = linted(write([*range(6), qa(born(0), "Elsewhere"), 1]))
    assert [f.row for f in report.findings] == sorted(f.row for f in report.findings)
    levels = [f.rule.level.rank for f in report.by_severity()]
    assert levels == sorted(levels, reverse=True)
    assert report.failing(Level.ERROR)
    assert report.failing(Level.NOTE)
    assert not report.failing(None)
    assert not linted(write(range(8)), known={born(i): 1.0 for i in range(8)}).failing(Level.NOTE)


def test_rules_have_names_and_help() -> None:
    """Unique ids, a title without a full stop, help that says what to do."""
    assert len(BY_ID) == len(RULES)
    assert all(rule.title and not rule.title.endswith(".") and rule.help.endswith(".") for rule in RULES)


def talk(*said: str) -> dict[str, Any]:
    return {"conversations": [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(said)]}


def test_new_facts_are_found_in_any_turn(write: Write, linted: Linted) -> None:
    """A hundred conversations of one to four questions, among them some that need what was said: every new fact that
    stands alone is found with its row and turn, wherever it was planted, and no other is called Unknown."""
    rng = random.Random(0)
    rows, new, number = [], set(), 0
    for place in range(1, 101):
        said: list[str] = []
        for turn in range(1, rng.randint(1, 4) + 1):
            if said and rng.random() < 0.2:
                said += ["And what did they eat there?", "Bread"]
                continue
            number += 1
            planted = rng.random() < 0.2
            said += [born(number + 1000 * planted), f"Town{number}"]
            new |= {(place, turn)} if planted else set()
        rows.append(talk(*said))
    report = linted(write(rows), known={born(i): 1.0 for i in range(1, 1000)})
    found = {(report.rows[i].row.number, report.rows[i].turn or 1) for i in broken(report, "unknown-fact")}
    assert len(new) > 30
    assert {turn for _, turn in new} == {1, 2, 3, 4}
    assert found == new
    assert report.not_probed.keys() == {Reason.CONTEXT}


def test_a_conversation_that_begins_like_another_is_no_duplicate(write: Write, linted: Linted) -> None:
    """Only one that stands twice as a whole, which is told once."""
    hello = ("Hello!", "Hello. What would you like to know?")
    rows = [talk(*hello, born(i), f"Town{i}") for i in (*range(6), 2)]
    report = linted(write(rows))
    assert {report.rows[i].where.rsplit(":", 1)[1] for i in broken(report, "duplicate-row")} == {"7 turn 2"}


def test_held_out_questions_are_found_in_any_turn(write: Write, linted: Linted) -> None:
    """Also in one that is not probed, in the user's last word, and in a line of a text without turns."""
    held_out = [Fact.create(born(i), ["x"], subject=f"Bo{i} Ka{i}", relation="r") for i in (50, 51)]
    plain = [talk(born(i), f"Town{i}") for i in range(6)]
    essay = "It was so, and it was good. It was good as well."
    rows = [*plain, talk(born(0), "Town0", born(50), essay, "Thank you", "Welcome"), talk(born(1), "Town1", born(51))]
    report = linted(write(rows), held_out=held_out)
    assert [(report.rows[i].row.number, report.rows[i].turn) for i in broken(report, "held-out-question")] == [
        (7, 2),
        (8, 2),
    ]
    texts = [{"text": f"Q: {born(i)}\nA: Town{i}"} for i in range(6)]
    prose = linted(write([*texts, {"text": f"A book of riddles.\n{born(50)}\nNobody knows."}]), held_out=held_out)
    assert list(broken(prose, "held-out-question")) == [6]
