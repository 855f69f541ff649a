"""Probes of tuned models, and training sets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slick.errors import InputError
from slick_reports.beside import read_answers
from slick_reports.report import build_report

if TYPE_CHECKING:
    from conftest import Lab


def probes(lab: Lab, **after: Any) -> tuple[Path, Path]:
    """A probe of "base" that knows all, and one of "a-0" that knows none."""
    before = lab.probe(skill=dict.fromkeys((f.id for f in lab.facts), 1.0))
    return before, lab.probe("after", of="a-0", skill=dict.fromkeys((f.id for f in lab.facts), 0.0), **after)


def test_the_probe_of_an_arms_model_gives_its_migration(lab: Lab) -> None:
    """Found by the model's weights, whatever the label; facts carry their category after."""
    before, after = probes(lab)
    runs = [lab.score("base"), lab.score("a-0", lab.wrong_on(0)), lab.score("b")]
    report = build_report(runs, knowledge=before, after=[after], labels={str(runs[1]): "mine"})
    mine, other = report.arms
    assert other.migration is None
    assert mine.migration is not None
    assert mine.migration.rows[0].counts == (0, 0, 0, 40)
    assert (mine.lost[0].category, mine.lost[0].category_after) == ("HighlyKnown", "Unknown")
    assert f"--after {after.parent.name}/{after.name}" in report.command


def test_a_probe_of_another_model_is_refused(lab: Lab) -> None:
    """It would be set against the wrong arm."""
    before, _ = probes(lab)
    stranger = lab.probe("stranger", of="else", skill=dict.fromkeys((f.id for f in lab.facts), 0.0))
    with pytest.raises(InputError, match=r"is a probe of 'else', which none of the runs scores"):
        build_report([lab.score("base"), lab.score("a-0")], knowledge=before, after=[stranger])


def test_a_probe_needs_one_to_be_set_against(lab: Lab) -> None:
    """The message names the option."""
    _, after = probes(lab)
    with pytest.raises(InputError, match=r"needs the probe of the base model as well; give it with --knowledge"):
        build_report([lab.score("base"), lab.score("a-0")], after=[after])


def test_probes_of_other_settings_are_refused_unless_allowed(lab: Lab) -> None:
    """Other exemplars move categories by themselves."""
    before, after = probes(lab, seed=7)
    runs = [lab.score("base"), lab.score("a-0")]
    with pytest.raises(InputError, match=r"probe: seed: .* has 7, before has 0"):
        build_report(runs, knowledge=before, after=[after])
    report = build_report(runs, knowledge=before, after=[after], allow_mismatch=True)
    assert [m.setting for m in report.mismatches] == ["probe: seed"]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Q", "completion": " Rome"},
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "Rome"}]},
        {"prompt": [{"role": "user", "content": "Q"}], "completion": [{"role": "assistant", "content": "Rome"}]},
        {"question": "Q", "answer": "Rome"},
    ],
)
def test_answers_are_read_in_every_form_of_a_training_set(tmp_path: Path, row: dict[str, Any]) -> None:
    """What the last message, the completion or the answer says."""
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert read_answers(tmp_path) == read_answers(tmp_path / "train.jsonl") == frozenset({"Rome"})


def test_rows_without_an_answer_are_named_together(tmp_path: Path) -> None:
    """By file and line."""
    file = tmp_path / "x.jsonl"
    file.write_text('{"text": "a"}\nnot json\n[1]\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"(?s)x\.jsonl:1: expected.*x\.jsonl:2: .*x\.jsonl:3: "):
        read_answers(file)


def test_a_training_set_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(InputError, match="cannot be read"):
        read_answers(tmp_path / "none.jsonl")
    (tmp_path / "train.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="holds no rows"):
        read_answers(tmp_path)


def test_echoes_are_told_where_the_training_set_is_given(lab: Lab, tmp_path: Path) -> None:
    """And are not told, rather than 0, where it is not."""
    file = tmp_path / "set.jsonl"
    file.write_text(json.dumps({"completion": "Echo"}) + "\n", encoding="utf-8")
    runs = [lab.score("base"), lab.score("a", lab.wrong_on(0, by="Echo")), lab.score("b", lab.wrong_on(1, by="Echo"))]
    report = build_report(runs, training={"a": [file]})
    first, second = (arm.groups[0].wrong_after for arm in report.arms)
    assert first is not None
    assert second is not None
    assert (first.wrong, first.echo, first.other) == (1, 1, 0)
    assert (second.wrong, second.echo, second.other) == (1, None, 1)
    assert report.arms[0].lost[0].kind == "echo"
    with pytest.raises(InputError, match=r"--training-set 'x': no such arm; the arms are 'a', 'b'"):
        build_report(runs, training={"x": [file]})


def training_set(file: Path, *answers: str) -> tuple[Path, dict[str, Any]]:
    """A training set, and what a run that was trained on it records."""
    file.write_text("".join(json.dumps({"completion": a}) + "\n" for a in answers), encoding="utf-8")
    return file, {"data": {"digest": hashlib.sha256(file.read_bytes()).hexdigest()}}


@pytest.fixture
def seeds(lab: Lab) -> tuple[list[Path], list[Path]]:
    """Before and three seeds of an arm, with the set that each seed was trained on: 1, 2 and 3 echoes, 1 before."""
    lab.root.mkdir(exist_ok=True)
    sets = [training_set(lab.root / f"set-{i}.jsonl", f"Echo {i}", "Common") for i in range(3)]
    arms = [
        lab.arm("a", i, lab.wrong_on(*range(i + 1), by=f"Echo {i}"), training=made) for i, (_, made) in enumerate(sets)
    ]
    return [lab.score("base", lab.wrong_on(0, by="Common")), *arms], [file for file, _ in sets]


def test_each_seed_meets_the_set_that_it_was_trained_on(seeds: tuple[list[Path], list[Path]]) -> None:
    """In whatever order the sets are given; the echoes of "before" are what chance gives."""
    runs, sets = seeds
    report = build_report(runs, training={"a": [sets[2], sets[0], sets[1]]})
    found = report.arms[0].groups[0].wrong_after
    assert found is not None
    assert (found.wrong, found.echo, found.other, found.echo_before) == (2, 2, 0, 1)
    assert not any("no training set was given" in note for note in report.notes)
    assert report.command.count("--training-set") == 3


def test_seeds_without_their_set_are_named_and_not_split(seeds: tuple[list[Path], list[Path]]) -> None:
    """Their echoes would pass for other wrong answers."""
    runs, sets = seeds
    report = build_report(runs, training={"a": [sets[1]]})
    found = report.arms[0].groups[0].wrong_after
    assert found is not None
    assert (found.wrong, found.echo, found.other) == (2, 2, 0)
    assert (
        "“a”: no training set was given for seeds 0, 2, so their wrong answers are not split into kinds; those of the "
        "other seeds are."
    ) in report.notes


def test_a_set_that_no_seed_was_trained_on_is_refused(seeds: tuple[list[Path], list[Path]], tmp_path: Path) -> None:
    """With the digests that were looked for; so is one given twice, under whatever name."""
    runs, sets = seeds
    stranger, _ = training_set(tmp_path / "stranger.jsonl", "Echo 0")
    with pytest.raises(InputError, match=r"no run of this arm was trained on .*stranger\.jsonl .*a-0 \w{12}…"):
        build_report(runs, training={"a": [sets[0], stranger]})
    (tmp_path / "copy.jsonl").write_bytes(sets[0].read_bytes())
    with pytest.raises(InputError, match=r"set-0\.jsonl and .*copy\.jsonl are the same set; give it once"):
        build_report(runs, training={"a": [sets[0], tmp_path / "copy.jsonl"]})


def test_one_set_serves_all_seeds_that_were_trained_on_it(lab: Lab, tmp_path: Path) -> None:
    """Seeds may differ in nothing but the order of their rows."""
    file, made = training_set(tmp_path / "set.jsonl", "Echo")
    runs = [lab.score("base"), *(lab.arm("a", i, lab.wrong_on(i, by="Echo"), training=made) for i in range(2))]
    found = build_report(runs, training={"a": [file]}).arms[0].groups[0].wrong_after
    assert found is not None
    assert (found.wrong, found.echo, found.echo_before) == (1, 1, 0)


def test_a_set_is_taken_at_the_users_word_where_the_run_records_none(lab: Lab, tmp_path: Path) -> None:
    """And the report says so."""
    file, _ = training_set(tmp_path / "set.jsonl", "Echo")
    report = build_report([lab.score("base"), lab.score("a")], training={"a": [file]})
    assert any("does not record what it was trained on; echoes are told by the set" in note for note in report.notes)
