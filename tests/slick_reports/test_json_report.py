"""The report as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick_reports import json_report
from slick_reports.numbers import SCHEMA, Report
from slick_reports.report import build_report

if TYPE_CHECKING:
    from conftest import Lab, Study


@pytest.fixture(scope="module")
def report(study: Study) -> Report:
    return build_report(study.runs, knowledge=study.probe)


@pytest.fixture(scope="module")
def document(report: Report) -> Any:
    return json.loads(json_report.render(report))


def test_kind_and_schema_come_first(report: Report, document: Any) -> None:
    """A program knows at once what it reads, and whether it can."""
    assert list(document)[:2] == ["kind", "schema"]
    assert (document["kind"], document["schema"]) == ("slick report", SCHEMA)
    assert json_report.MARK in json_report.render(report)[:100]


def test_the_numbers_are_the_objects_at_twelve_digits(report: Report, document: Any) -> None:
    """Fractions, not percentages."""
    for arm, plain in zip(report.arms, document["arms"], strict=True):
        for row, plain_row in zip(arm.groups, plain["groups"], strict=True):
            assert row.change.estimate is not None
            assert row.change.estimate.interval is not None
            change = plain_row["change"]["estimate"]
            assert change["value"] == pytest.approx(row.change.estimate.value, rel=1e-11)
            assert change["interval"]["low"] == pytest.approx(row.change.estimate.interval.low, rel=1e-11)
            assert change["interval"]["level"] == 0.9
            assert plain_row["n"] == row.n


def test_every_group_says_what_its_intervals_say(document: Any) -> None:
    """A reader need not compare limits with 0."""
    known, _, unknown = document["arms"]
    assert {row["direction"] for row in unknown["groups"]} >= {"fell"}
    assert {row["direction_against_control"] for row in known["groups"]} == {None}
    assert unknown["groups"][0]["direction_against_control"] == "fell"


def test_lists_are_whole(report: Report, document: Any) -> None:
    """What the page cuts stands here."""
    assert [len(arm["lost"]) for arm in document["arms"]] == [len(arm.lost) for arm in report.arms]
    first, plain = report.arms[0].lost[0], document["arms"][0]["lost"][0]
    assert plain["fact"] == first.fact.as_dict()
    assert (plain["before"], plain["after"]) == (first.before, list(first.after))


def test_what_is_undefined_or_empty_is_null(lab: Lab) -> None:
    """Neither NaN nor 0."""
    lab.facts = lab.facts[:1]
    runs = [lab.arm("a", seed, lab.wrong_on(0)) for seed in range(2)]
    document = json.loads(json_report.render(build_report([lab.score("base", priors={}), *runs])))
    (row,) = document["arms"][0]["groups"]
    assert row["change"]["estimate"]["interval"] is None
    assert row["prior"] is None
    assert document["shares"] is None
    assert document["control"] is None


def test_a_recorded_nan_is_null(lab: Lab) -> None:
    """Python's JSON reads it from a tuning record; others could not read it from ours."""
    run = lab.arm("a", 0)
    (file,) = run.glob("results_*.json")
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"epochs": 10.0', '"epochs": Infinity').replace("0.0001", "NaN"), encoding="utf-8")
    document = json.loads(json_report.render(build_report([lab.score("base"), run])))
    training = document["arms"][0]["training"]
    assert (training["learning_rate"], training["epochs"]) == (None, None)


def test_hostile_text_is_data(hostile: list[Path], hostile_texts: tuple[str, ...]) -> None:
    """It reads back as it was written, but for lone surrogates, which are spelled out so that any reader can."""
    text = json_report.render(build_report(hostile))
    text.encode("utf-8")
    document = json.loads(text)
    answers = {flip["fact"]["answers"][0] for arm in document["arms"] for flip in arm["lost"] + arm["gained"]}
    assert answers == {t.replace("\ud800", "\\ud800").replace("\udfff", "\\udfff") for t in hostile_texts}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=30,
    )
)
def test_lines_change_nothing(value: Any) -> None:
    """What is set on several lines reads back as it was."""
    assert json.loads(json_report.pretty(value)) == value
