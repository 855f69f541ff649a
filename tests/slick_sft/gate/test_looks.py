"""Tests of counted looks: the same answers are one look, others another, and no more than were planned."""

from __future__ import annotations

import json
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
    with pytest.raises(InputError, match=r"judged once already, with looks: 1 planned(.|\n)*judge a new pair"):
        look(three, out, 1)
    assert look(read_pair(other, control[:2]), out, 1) == 1


def test_looks_are_planned_from_the_beginning(runs: Any, tmp_path: Path) -> None:
    """What the first look planned cannot grow, in whatever way it is asked for; it may shrink, to no fewer than were
    seen, and then stays so."""
    control, candidate = runs.arm("control", [0.9] * 4), runs.arm("candidate", [0.9] * 4)
    pairs = [read_pair(candidate[:n], control[:n]) for n in (1, 2, 3, 4)]
    once, thrice = tmp_path / "once", tmp_path / "thrice"
    for out in (once, thrice):
        out.mkdir()
    look(pairs[0], once, 1)
    for pair in pairs[:2]:
        with pytest.raises(InputError, match=r"looks: 1 planned when it was first judged, .* now says looks: 2"):
            look(pair, once, 2)
    assert [look(pairs[0], thrice, 3), look(pairs[1], thrice, 2)] == [1, 2]
    for pair, planned in ((pairs[1], 1), (pairs[0], 1), (pairs[2], 2), (pairs[2], 3)):
        with pytest.raises(InputError, match="judged 2 times already, with looks: 2 planned"):
            look(pair, thrice, planned)


@pytest.mark.parametrize("entry", [[], {"planned": None, "answers": []}, {"planned": 1}, {"planned": 1, "answers": 3}])
def test_a_damaged_count_is_refused(runs: Any, tmp_path: Path, entry: Any) -> None:
    """A count that cannot be read is never taken for none."""
    pair = read_pair(runs.arm("a", [0.9]), runs.arm("b", [0.9]))
    look(pair, tmp_path, 1)
    file = tmp_path / "looks.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "pairs": dict.fromkeys(document["pairs"], entry)}))
    with pytest.raises(InputError, match="is damaged"):
        look(pair, tmp_path, 1)
    file.write_text(json.dumps({**document, "schema": 1}))
    with pytest.raises(InputError, match="not written by slick gate of this version"):
        look(pair, tmp_path, 1)


def test_a_foreign_file_is_left_alone(runs: Any, tmp_path: Path) -> None:
    """A looks.json of something else is not overwritten."""
    (tmp_path / "looks.json").write_text("[]")
    with pytest.raises(InputError, match="not written by slick gate"):
        look(read_pair(runs.arm("a", [0.9]), runs.arm("b", [0.9])), tmp_path, 1)
