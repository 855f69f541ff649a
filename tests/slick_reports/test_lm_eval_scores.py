"""Rows and results of lm_eval, as they may come."""

from __future__ import annotations

from typing import Any

import pytest

from slick.facts import Fact
from slick.files import digest_of
from slick_reports.lm_eval_scores import answered_of, counted, lacks_of, told_of


def row(**others: Any) -> dict[str, Any]:
    return {
        "doc_id": 0,
        "doc": {"question": "Capital of France", "answer": ["Paris"]},
        "arguments": {"gen_args_0": {"arg_0": "Q: Capital of France?", "arg_1": {}}},
        "filtered_resps": ["Paris"],
        "exact_match": 1.0,
        **others,
    }


@pytest.mark.parametrize(
    ("doc", "answers"),
    [
        ({"question": "q", "answers": ["a", "b"]}, ("a", "b")),
        ({"question": "q", "answer": "a"}, ("a",)),
        ({"query": "q", "answer": {"value": "a", "aliases": ["a", "b"], "normalized_value": "x"}}, ("a", "b")),
        ({"question": "q", "possible_answers": [["a"], "b", None]}, ("a", "b")),
    ],
)
def test_accepted_answers_are_found_in_every_form(doc: dict[str, Any], answers: tuple[str, ...]) -> None:
    """Lists, strings, objects with aliases; each once."""
    fact = answered_of(row(doc=doc), "task")["fact"]
    assert (fact.relation, fact.question, fact.answers, fact.subject) == ("task", "q", answers, "")


def test_a_fact_of_ours_stays_as_it_is() -> None:
    """With its id, relation and subject."""
    fact = Fact.create("Q?", ["A"], relation="r", subject="s", split="test")
    found = answered_of(row(doc=fact.as_dict(), abstained=0.0, answer_prior=1.0), "lab_closed_book_r")
    assert (found["fact"], found["abstained"], found["prior"]) == (fact, 0.0, 1.0)


@pytest.mark.parametrize("given", ["Paris\nand so on", ["Paris"], [["Paris", "other"]]])
def test_the_first_answer_is_taken_however_deep(given: Any) -> None:
    """A filter leaves a string or lists."""
    assert answered_of(row(filtered_resps=given), "t")["answer"] == "Paris"


def test_abstaining_is_told_where_the_task_does_not() -> None:
    """By our own list."""
    assert answered_of(row(filtered_resps=["I don't know"], exact_match=0.0), "t")["abstained"] is True


@pytest.mark.parametrize(
    ("arguments", "prompt"),
    [
        ({"gen_args_0": {"arg_0": "P", "arg_1": {}}}, digest_of(["P"])),
        ([["P", {}]], digest_of(["P"])),
        ({}, "hash"),
        (None, "hash"),
    ],
)
def test_prompts_are_digested_as_slick_score_does(arguments: Any, prompt: str) -> None:
    """Older runs list them; without any, lm_eval's own hash must do."""
    assert answered_of(row(arguments=arguments, prompt_hash="hash"), "t")["prompt"] == prompt


@pytest.mark.parametrize(
    ("others", "error"),
    [
        ({"doc": 3}, TypeError),
        ({"doc": {"answer": "a"}}, KeyError),
        ({"doc": {"question": "q"}}, ValueError),
        ({"doc": {"question": "q", "answer": []}}, ValueError),
        ({"filtered_resps": [[]]}, IndexError),
        ({"filtered_resps": [[0.5, True]]}, TypeError),
    ],
)
def test_what_is_no_closed_book_row_raises(others: dict[str, Any], error: type[Exception]) -> None:
    """The reader names its line."""
    with pytest.raises(error):
        answered_of(row(**others), "t")
    without = row()
    del without["exact_match"]
    with pytest.raises(KeyError, match="exact_match or em"):
        answered_of(without, "t")


@pytest.mark.parametrize(
    ("results", "n"),
    [
        ({"n-samples": {"t": {"original": 9, "effective": 5}}, "results": {"t": {"sample_len": 7}}}, 5),
        ({"results": {"t": {"sample_len": 7}}}, 7),
        ({"n-samples": {"t": {"effective": True}}}, None),
        ({"n-samples": [1]}, None),
        ({}, None),
    ],
)
def test_docs_are_counted_where_the_results_say(results: dict[str, Any], n: int | None) -> None:
    """Otherwise it is not known."""
    assert counted(results, "t") == n


def test_what_our_tasks_recorded_comes_first() -> None:
    """The rest is lm_eval's."""
    provenance = {"model": {"name": "m", "weights": "w"}, "settings": {"form": "f"}, "versions": {"slick": "1"}}
    told = told_of({"config": {"model": "hf", "batch_size": 8}, "lm_eval_version": "0.4.12"}, provenance)
    assert (told["model"], told["settings"], told["versions"]) == (*provenance.values(),)[0:3]
    assert told["backend"] == {"name": "hf", "batch_size": 8, "args": None}
    assert lacks_of({"lm_eval_version": "0.4.12"}, told, ours=True) == ()


def test_a_hub_model_is_known_by_its_commit() -> None:
    """And its name, from whichever field has it."""
    told = told_of({"config": {"model": "hf", "model_args": {"pretrained": "org/m"}, "model_sha": "abc"}}, {})
    assert (told["model"]["name"], told["model"]["weights"]) == ("org/m", "abc")
    assert [text[:10] for text in lacks_of({}, told, ours=False)] == ["no version", "no relatio"]


def test_results_of_odd_shape_break_nothing() -> None:
    """They are somebody else's."""
    told = told_of({"config": [1], "configs": "x", "versions": 3, "model_name": None}, {})
    assert told["model"]["name"] == ""
    assert told["settings"]["form"] == ""
