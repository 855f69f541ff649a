"""Score runs as the report reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import Category
from slick_reports.inputs import read_scored

if TYPE_CHECKING:
    from conftest import Lab


def edit(run: Path, change: Any) -> Path:
    """Applies `change` to every row of a run's samples."""
    (file,) = run.glob("samples_*.jsonl")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        change(row)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return run


def test_a_score_run_reads_back_as_answered_facts(lab: Lab) -> None:
    """Answer, verdict, abstention, prior, category and prompt of each fact are there."""
    lab.categories = {lab.facts[0].id: Category.WEAKLY_KNOWN}
    scored = read_scored(lab.score("base", lab.wrong_on(1, by="I don't know\nat all")))
    first, second = (scored.rows[fact.id] for fact in lab.facts[:2])
    assert (first.fact, first.answer, first.right) == (lab.facts[0], lab.facts[0].answers[0], True)
    assert (first.category, second.category) == (Category.WEAKLY_KNOWN, None)
    assert (second.answer, second.right, second.abstained) == ("I don't know", False, True)
    assert (first.prior, second.prior) == (True, False)
    assert first.prompt != second.prompt
    assert scored.n_rows == len(lab.facts)


def test_a_fact_that_stands_there_twice_counts_once(lab: Lab) -> None:
    """EntityQuestions holds identical rows; they are one fact."""
    scored = read_scored(lab.score("base", facts=[*lab.facts, lab.facts[0], lab.facts[0]]))
    assert (len(scored.rows), scored.n_rows) == (40, 42)


def test_a_run_without_relations_commonest_answers_has_no_prior(lab: Lab) -> None:
    """What was not measured is None, not False."""
    scored = read_scored(lab.score("base", priors={}))
    assert {row.prior for row in scored.rows.values()} == {None}


def test_a_probe_is_refused_with_what_it_is_for(lab: Lab) -> None:
    """Few-shot knowledge is never subtracted from a zero-shot score."""
    probe = lab.probe(skill=dict.fromkeys((fact.id for fact in lab.facts), 1.0))
    with pytest.raises(InputError, match=r"is a probe .*--knowledge.*expected scores"):
        read_scored(probe)


def test_fewer_answers_than_the_results_count_are_refused(lab: Lab) -> None:
    """A samples file that was cut off between two lines is still cut off."""
    run = lab.score("base")
    (file,) = run.glob("samples_*.jsonl")
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(lines[:30]), encoding="utf-8")
    with pytest.raises(InputError, match=r"samples_closed_book_.* holds 30 of the 40 answers that the results count"):
        read_scored(run)


def test_samples_without_results_are_said_to_be_that(lab: Lab) -> None:
    """With the name of what is there."""
    run = lab.score("base")
    for file in run.glob("results_*.json"):
        file.unlink()
    with pytest.raises(InputError, match=r"holds samples \(samples_closed_book_.*\) but no results_\*\.json"):
        read_scored(run)


def test_a_run_without_samples_is_refused(lab: Lab) -> None:
    """Summaries cannot be paired."""
    run = lab.score("base")
    for file in run.glob("samples_*"):
        file.unlink()
    with pytest.raises(InputError, match="logged no samples"):
        read_scored(run)


def test_an_empty_samples_file_is_refused(lab: Lab) -> None:
    """A run of no facts has nothing to say."""
    run = lab.score("base")
    for file in run.glob("samples_*"):
        file.write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="samples file is empty"):
        read_scored(run)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda row: row.pop("exact_match"), "lacks the field 'exact_match'"),
        (lambda row: row.update(exact_match=0.5), "exact_match is 0.5, expected 0 or 1"),
        (lambda row: row.update(exact_match=float("nan")), "exact_match is nan, expected 0 or 1"),
        (lambda row: row.update(abstained="no"), "abstained is 'no', expected 0 or 1"),
        (lambda row: row.update(doc=[1]), r"doc is \[1\], expected an object"),
        (lambda row: row["doc"].pop("question"), "lacks the field 'question'"),
        (lambda row: row["doc"].update(answers=[]), "answers is empty"),
        (lambda row: row["doc"].update(answers="Paris"), "answers must be a list"),
        (lambda row: row.update(resps=[]), "list index out of range"),
        (lambda row: row.update(resps=[[None]]), r"resps\[0\]\[0\] is None, expected the answer's text"),
        (lambda row: row.update(category="Famous"), "'Famous' is not a valid Category"),
        (lambda row: row.update(category=["Unknown"]), "is not a valid Category"),
    ],
)
def test_a_row_that_is_no_scored_fact_is_named_with_its_line(lab: Lab, change: Any, told: str) -> None:
    """File, line, what was found and what was expected."""
    run = edit(lab.score("base"), change)
    with pytest.raises(InputError, match=rf"samples_closed_book_.*\.jsonl:1: .*{told}"):
        read_scored(run)


def test_all_bad_rows_are_shown_together(lab: Lab) -> None:
    """Up to a limit, then a count of the rest."""
    run = edit(lab.score("base"), lambda row: row.pop("resps"))
    with pytest.raises(InputError, match=r"(?s):1: lacks.*:20: lacks.*and 20 more"):
        read_scored(run)


@pytest.mark.parametrize("seed", [None, "0", True, 1.5])
def test_a_seed_that_is_no_whole_number_is_none(lab: Lab, seed: Any) -> None:
    """Provenance is untrusted as well."""
    assert read_scored(lab.score("base", training={"arm": "a", "seed": seed})).seed is None


def test_provenance_of_a_wrong_shape_is_empty(lab: Lab) -> None:
    """A list where an object should be breaks nothing."""
    run = lab.score("base")
    (file,) = run.glob("results_*.json")
    document = json.loads(file.read_text(encoding="utf-8"))
    document["slick"] |= {"training": [1], "settings": "x"}
    file.write_text(json.dumps(document), encoding="utf-8")
    scored = read_scored(run)
    assert (dict(scored.training), dict(scored.settings)) == ({}, {})


def test_lone_surrogates_and_nul_survive_the_way_to_the_report(lab: Lab) -> None:
    """What a model wrote is read as it was written; making it harmless is the renderer's work."""
    fact = Fact.create("Q\x00\ud800?", ["A\u202e"], relation="r")
    scored = read_scored(lab.score("odd", lambda _: "x\x00\ud800", facts=[fact]))
    (row,) = scored.rows.values()
    assert (row.fact.question, row.fact.answers, row.answer) == ("Q\x00\ud800?", ("A\u202e",), "x\x00\ud800")
