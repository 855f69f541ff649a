"""Tests of counted looks: the same answers are one look, others another, and no more than were planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick_sft.gate.arms import read_pair
from slick_sft.gate.looks import look


def test_looks_are_counted_by_answers(runs: Any, tmp_path: Path) -> None:
    """Judging again counts once; more seeds are a second look, refused where one was planned, and another pair its
    own first."""
    control = runs.arm("control", [0.9] * 3)
    candidate, other = runs.arm("candidate", [0.9] * 3), runs.arm("other", [0.9] * 2)
    out = tmp_path / "out"
    out.mkdir()
    two, three = (read_pair(candidate[:n], control[:n]) for n in (2, 3))
    assert [look(two, out, 1), look(two, out, 1)] == [1, 1]
    with pytest.raises(InputError, match="judged once already, with other answers, and the policy plans looks: 1"):
        look(three, out, 1)
    assert look(three, out, 2) == 2
    assert look(read_pair(other, control[:2]), out, 1) == 1


def test_a_foreign_file_is_left_alone(runs: Any, tmp_path: Path) -> None:
    """A looks.json of something else is not overwritten."""
    (tmp_path / "looks.json").write_text("[]")
    with pytest.raises(InputError, match="not written by slick gate"):
        look(read_pair(runs.arm("a", [0.9]), runs.arm("b", [0.9])), tmp_path, 1)
