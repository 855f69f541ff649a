"""What is said of a study before it begins: what is known, and what is guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slick_sft.study.costs import costs_of, known_size, measured_of
from slick_sft.study.forecast import Measured
from slick_sft.study.grid import parse_grid
from slick_sft.study.jobs import Setup

FOUND = {"steps": {"": 0.1}, "probe": 0.001, "score": 0.002, "chance": 0.003, "start": 1.0, "weights": {"": 4}}
COUNTS = {"train": 1330, "dev": 30, "test": 50}
PLAIN, CURRICULUM, OWN = "known-only", "{name: staged, unknown: 0.5, stages: [MaybeKnown]}", "{natural: true, size: 7}"


def setup(out: Path, *variants: str, size: int | None = None) -> Setup:
    text = f"training: {{epochs: 2, batch_size: 10}}\nsize: {size or 'null'}\nvariants: [{', '.join(variants)}]"
    grid = parse_grid(text, "grid")
    return Setup("m", "f", grid, 1, out, {"name": "m", "weights": "w"}, dict.fromkeys(COUNTS, "x"), COUNTS)


def mixed(out: Path, name: str, *stages: int) -> None:
    place = out / "sets" / f"{name}-seed0"
    place.mkdir(parents=True)
    (place / "recipe.json").write_text(json.dumps({"size": sum(stages), "stages": stages}))


def headline(asked: Setup) -> str:
    return costs_of(asked, (), Measured(), 2, keep=False).headline()


def test_what_is_known_is_told_as_it_is(tmp_path: Path) -> None:
    """|D| that the grid gives, and the steps over it; the workers that there are."""
    said = headline(setup(tmp_path, PLAIN, "unknown-50", size=101))
    assert said.startswith("2 variants × 1 seeds on sets of 101 rows: 2 tunings of 44 steps, 12 jobs to do; about ")
    assert " on 2 workers, " in said


def test_what_is_guessed_is_told_to_be(tmp_path: Path) -> None:
    """|D|, and all that rests on it, until a set is mixed."""
    asked = setup(tmp_path, PLAIN)
    assert " on sets of about 100 rows: 1 tunings of about 20 steps, " in headline(asked)
    mixed(tmp_path, "known-only", 90)
    assert " on sets of 90 rows: 1 tunings of 18 steps, " in headline(asked)


def test_steps_of_a_curriculum_are_promised_once_it_is_mixed(tmp_path: Path) -> None:
    """Though |D| is known before."""
    asked = setup(tmp_path, CURRICULUM, size=40)
    assert " on sets of 40 rows: 1 tunings of about 8 steps, " in headline(asked)
    mixed(tmp_path, "staged", 13, 27)
    assert " on sets of 40 rows: 1 tunings of 10 steps, " in headline(asked)


def test_a_set_of_its_own_size_says_nothing_of_the_others(tmp_path: Path) -> None:
    """|D| is that of a plain set."""
    asked = setup(tmp_path, OWN, PLAIN)
    mixed(tmp_path, "natural", 7)
    assert known_size(asked) is None
    mixed(tmp_path, "known-only", 90)
    assert known_size(asked) == 90
    assert " on sets of 90 rows: 2 tunings of 20 steps, " in headline(asked)


def test_a_plan_says_what_it_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing of the kind where it knows all."""
    for variants, guessed, decided in (((PLAIN,), True, False), ((CURRICULUM,), True, True)):
        costs_of(setup(tmp_path, *variants), (), Measured(), 2, keep=False).print_plan()
        said = capsys.readouterr().out
        assert ("guessed here by the paper's share" in said) is guessed
        assert ("known once they are mixed" in said) is decided


@pytest.mark.parametrize(
    ("found", "versions", "there"), [({}, [""], False), (FOUND, [""], True), (FOUND, ["", "lora"], False)]
)
def test_a_version_that_was_not_timed_is_measured(found: dict[str, Any], versions: list[str], there: bool) -> None:
    """A grid that has grown by a way of training is measured anew."""
    assert (measured_of(found, versions) is not None) is there
