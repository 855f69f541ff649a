"""A dataset's rows as facts, and the exemplars that each may be shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.errors import InputError
from slick.exemplars import draw_exemplar_sets
from slick.facts import Fact
from slick.matching import normalize
from slick_sft.lint.examine import (
    MIXED,
    Examined,
    check_probeable,
    drawn,
    read_datasets,
    with_exemplars,
    without_unwritable,
)
from slick_sft.lint.short_facts import Reason

Write = Callable[..., Path]


def qa(question: str, answer: str, **more: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer, **more}


def rows_of(write: Write, rows: Any, **how: Any) -> list[Examined]:
    return read_datasets([write(rows)], **how)[1]


def test_rows_become_facts_with_relation_and_subject(write: Write) -> None:
    """Mined from the questions; subjects are compared without case and articles."""
    found = rows_of(write, range(6))
    fact = found[0].fact
    assert fact is not None
    assert (fact.relation, fact.subject, fact.answers) == ("Where was [X] born?", "bo0 ka0", ("Town0",))


@pytest.mark.parametrize("column", ["relation", "predicate", "property"])
def test_a_column_says_the_relation(write: Write, column: str) -> None:
    """The usual names by themselves, any other by --relation-column; the subject is mined nevertheless."""
    rows = [qa(f"Where was Bo{i} born?", "x", **{column: f"P{i % 2}"}, other="R") for i in range(12)]
    found = rows_of(write, rows)
    assert [row.fact.relation for row in found if row.fact] == [f"P{i % 2}" for i in range(12)]
    assert found[3].fact is not None
    assert found[3].fact.subject == "bo3"
    other = rows_of(write, rows, relation_column="other")
    assert {row.fact.relation for row in other if row.fact} == {"R"}


def test_a_column_that_is_not_there(write: Write) -> None:
    """Named, with what there is and what was probably meant."""
    rows = [qa("Where was Bo born?", "x", relatoin="P1")]
    with pytest.raises(InputError, match=r"--relation-column relation: no row has it; found .*did you mean 'relatoin'"):
        rows_of(write, rows, relation_column="relation")


def test_several_datasets_are_one(write: Write) -> None:
    """Each in a form of its own; a path given twice is read once."""
    first = write(range(3), "a.jsonl")
    second = write([{"instruction": f"Where was Bo{i} Ka{i} born?", "output": "x"} for i in range(3, 6)], "b.jsonl")
    sources, rows = read_datasets([first, second, first])
    assert [source.path for source in sources] == [first, second]
    assert {row.fact.relation for row in rows if row.fact} == {"Where was [X] born?"}
    assert rows[4].where == f"{second}:2"


def test_malformed_rows_of_all_files_at_once(write: Write) -> None:
    """And those that are empty."""
    bad, empty = write([{"text": 3}], "bad.jsonl"), write([], "empty.jsonl")
    with pytest.raises(InputError) as caught:
        read_datasets([bad, empty, write(range(3))])
    assert f"{bad}:1: text: found 3" in str(caught.value)
    assert f"{empty}: no rows; expected at least one" in str(caught.value)


FACTS = st.lists(
    st.tuples(st.sampled_from("ABCDEFGHIJ"), st.sampled_from(["born", "Born", "buried"]), st.sampled_from("xyz")),
    min_size=4,
    max_size=40,
)


@given(FACTS, st.integers(1, 3), st.integers(0, 5))
def test_no_fact_is_shown_itself(
    tmp_path_factory: pytest.TempPathFactory, facts: list[tuple[str, str, str]], k: int, seed: int
) -> None:
    """Neither its question in other letters, nor its subject, in any of its exemplar sets, which are all full."""
    import json

    file = tmp_path_factory.mktemp("facts") / "a.jsonl"
    rows = [qa(f"Where was {name} {verb}?", answer) for name, verb, answer in facts]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, pools = with_exemplars(read_datasets([file])[1], k=k, seed=seed)
    for row in found:
        if row.reason:
            assert row.reason is Reason.FEW
            continue
        assert row.fact is not None
        sets = draw_exemplar_sets(pools[row.fact.relation], n_sets=3, k=k, seed=seed)
        for exemplars in sets.for_fact(row.fact):
            assert len(exemplars) == k
            assert all(e.subject != row.fact.subject for e in exemplars)
            assert all(normalize(e.question) != normalize(row.fact.question) for e in exemplars)


def test_questions_of_no_relation_are_shown_each_other(write: Write) -> None:
    """Under one relation of their own, whose exemplars come from themselves."""
    odd = [qa("Who wrote Hamlet?", "S"), qa("When did Rome fall?", "476"), qa("What does Xi eat?", "figs")]
    found, pools = with_exemplars(rows_of(write, [*range(8), *odd]), k=2, seed=0)
    assert [row.fact.relation for row in found[8:] if row.fact] == [MIXED] * 3
    assert {fact.question for fact in pools[MIXED]} == {row["question"] for row in odd}


def test_too_few_of_a_kind_are_shown_any_other(write: Write) -> None:
    """One odd question beside a whole relation has that relation's facts."""
    found, pools = with_exemplars(rows_of(write, [*range(8), qa("Who wrote Hamlet?", "S")]), k=2, seed=0)
    assert found[-1].fact is not None
    assert found[-1].fact.relation == MIXED
    assert len(pools[MIXED]) == 9
    # A relation that is named but has two facts only is no relation to draw exemplars from.
    named = [*(qa(f"Is A{i}?", "x", relation="big") for i in range(8)), qa("Is B?", "y", relation="small")]
    assert {row.fact.relation for row in with_exemplars(rows_of(write, named), k=2, seed=0)[0] if row.fact} == {
        "big",
        MIXED,
    }


def test_a_dataset_of_two_facts_has_no_exemplars(write: Write) -> None:
    """They are not probed, and said to be so; facts from elsewhere mend it."""
    few = rows_of(write, range(2))
    found, pools = with_exemplars(few, k=2, seed=0)
    assert ([row.reason for row in found], pools) == ([Reason.FEW] * 2, {})
    with pytest.raises(InputError, match="2 rows: too few rows to draw exemplars from"):
        check_probeable(found)
    others = [Fact.create(f"Where was Cy{i} born?", ["x"], subject=f"Cy{i}", relation="facts") for i in range(3)]
    found, pools = with_exemplars(few, k=2, seed=0, others=others)
    assert [row.reason for row in found] == [None] * 2
    assert len(pools[MIXED]) == 5


def test_a_pool_has_one_fact_a_subject_and_no_order(write: Write) -> None:
    """Which facts are drawn depends on the facts alone."""
    rows = [qa(f"Where was Bo{i % 200} born?", f"x{i}") for i in range(400)]
    _, pools = with_exemplars(rows_of(write, rows), k=4, seed=0)
    _, again = with_exemplars(rows_of(write, rows[::-1]), k=4, seed=0)
    _, other = with_exemplars(rows_of(write, rows), k=4, seed=1)
    (pool,) = pools.values()
    assert len(pool) == len({fact.subject for fact in pool}) == 100
    assert pools == again != other


def test_a_limit_leaves_rows_out_and_says_so(write: Write) -> None:
    """A fact that stands twice is probed once, and drawn or left out with both rows."""
    rows, _ = with_exemplars(rows_of(write, [*range(8), *range(8)]), k=2, seed=0)
    everything, facts = drawn(rows, None, 0)
    assert (len(facts), everything) == (8, rows)
    left, facts = drawn(rows, 3, 0)
    assert len(facts) == 3
    assert [row.reason for row in left].count(Reason.LIMIT) == 10
    assert [row.reason for row in left[:8]] == [row.reason for row in left[8:]]


def test_an_answer_that_cannot_be_written_is_not_probed(write: Write) -> None:
    """It would come out as Unknown for no fault of the model."""
    rows, _ = with_exemplars(rows_of(write, range(4)), k=2, seed=0)
    found = without_unwritable(rows, lambda answer: answer != "Town2")
    assert [row.reason for row in found] == [None, None, Reason.TOKENS, None]


def test_nothing_to_probe_is_an_error_with_the_reasons(write: Write) -> None:
    """A dataset of essays passes no lint."""
    with pytest.raises(InputError) as caught:
        check_probeable(rows_of(write, [qa("Write.", "text"), qa("Why is it?", "because " * 20), qa("Is it?", "yes")]))
    message = str(caught.value)
    assert message.startswith("no row of 3 states a short fact that could be probed:\n")
    for reason in (Reason.NO_QUESTION, Reason.FREE, Reason.GUESSED):
        assert f"  1 rows: {reason}" in message


def test_a_row_of_weight_0_is_not_trained_on(write: Write) -> None:
    """So nothing is said of it; in CSV a weight is text."""
    rows = [qa(f"Where was Bo{i} born?", "x", weight=w) for i, w in enumerate([0, 0.0, "0.0", 1, "1e-3", 0.5])]
    assert [row.reason is Reason.SILENT for row in rows_of(write, rows)] == [True] * 3 + [False] * 3


def test_exemplars_from_elsewhere_are_never_of_the_row_s_subject(write: Write) -> None:
    """However they write it."""
    others = [Fact.create("Where was THE bo0 KA0 brought up?", ["x"], subject="The BO0 ka0", relation="r")]
    rows, pools = with_exemplars(rows_of(write, range(2)), k=2, seed=0, others=others * 1)
    assert not pools
    more = [*others, *(Fact.create(f"Who is Cy{i}?", ["x"], subject=f"Cy{i}", relation="r") for i in range(3))]
    rows, pools = with_exemplars(rows_of(write, range(2)), k=2, seed=0, others=more)
    fact = rows[0].fact
    assert fact is not None
    sets = draw_exemplar_sets(pools[fact.relation], n_sets=20, k=2, seed=0)
    assert all(e.subject != "bo0 ka0" for shown in sets.for_fact(fact) for e in shown)
