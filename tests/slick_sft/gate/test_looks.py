"""Tests of counted looks: the same answers are one look, others another, and no more than were planned."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick_sft.gate.arms import Pair, read_pair
from slick_sft.gate.decide import decide
from slick_sft.gate.looks import LOOKS, asked_of, check_left, keys_of, look, looks_beside, said
from slick_sft.gate.policy import policy_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "out" / LOOKS


def test_looks_are_counted_by_answers(runs: Any, file: Path) -> None:
    """Judging again counts once; more seeds are a second look, refused where one was planned, and another pair its
    own first."""
    control = runs.arm("control", [0.9] * 3)
    candidate, other = runs.arm("candidate", [0.9] * 3), runs.arm("other", [0.9] * 2)
    two, three = (read_pair(candidate[:n], control[:n]) for n in (2, 3))
    assert [look(two, 1, file), look(two, 1, file)] == [1, 1]
    with pytest.raises(InputError, match=r"judged once already, with looks: 1 planned(.|\n)*judge a new pair"):
        look(three, 1, file)
    assert look(read_pair(other, control[:2]), 1, file) == 1


def test_looks_are_planned_from_the_beginning(runs: Any, tmp_path: Path) -> None:
    """What the first look planned cannot grow, in whatever way it is asked for; it may shrink, to no fewer than were
    seen, and then stays so."""
    control, candidate = runs.arm("control", [0.9] * 4), runs.arm("candidate", [0.9] * 4)
    pairs = [read_pair(candidate[:n], control[:n]) for n in (1, 2, 3, 4)]
    once, thrice = tmp_path / "once" / LOOKS, tmp_path / "thrice" / LOOKS
    look(pairs[0], 1, once)
    for pair in pairs[:2]:
        with pytest.raises(InputError, match=r"looks: 1 planned when it was first judged, .* now says looks: 2"):
            look(pair, 2, once)
    assert [look(pairs[0], 3, thrice), look(pairs[1], 2, thrice)] == [1, 2]
    for pair, planned in ((pairs[1], 1), (pairs[0], 1), (pairs[2], 2), (pairs[2], 3)):
        with pytest.raises(InputError, match="judged 2 times already, with looks: 2 planned"):
            look(pair, planned, thrice)


def test_a_look_too_many_is_told_before_it_is_trained(runs: Any, file: Path) -> None:
    """By the arms' recipes, seeds and facts; what was asked so before may be the same look again, another pair is
    free, and the mend of a policy that plans more than at first is one."""
    control, candidate = runs.arm("control", [0.9] * 3), runs.arm("candidate", [0.9] * 3)
    two = read_pair(candidate[:2], control[:2])
    keys = keys_of(two.candidate), keys_of(two.control)
    facts = [fact.id for fact in runs.facts]
    check_left(*keys, asked_of([0, 1, 2], facts), 1, file)
    look(two, 1, file)
    check_left(*keys, asked_of([1, 0], facts[::-1]), 1, file)
    for asked in (asked_of([0, 1, 2], facts), asked_of([0, 1], facts[1:])):
        with pytest.raises(InputError, match=r"judged once already(.|\n)*judge a new pair \(other rows"):
            check_left(*keys, asked, 1, file)
        check_left({"other rows"}, keys[1], asked, 1, file)
    with pytest.raises(InputError, match="set looks: 1 in the policy again"):
        check_left(*keys, asked_of([0, 1], facts), 2, file)


def test_an_open_verdict_says_what_more_facts_take(runs: Any) -> None:
    """What would settle it is another look: how many are left, or that none is."""
    pair = read_pair(runs.arm("candidate", [0.9]), runs.arm("control", [0.9]))
    for number, looks, told in ((1, 3, "2 of 3 planned are left"), (2, 2, r"none is left .*\(looks: 3\)")):
        rule = policy_of({"margins": {"Known": 1}, "looks": looks}, "x")
        assert re.search(
            f"What would settle it: .* it is another look, and {told}", decide(pair, rule, look=number).sentence
        )
    passed = decide(pair, policy_of({"margins": {"Known": 20}}, "x"))
    assert "another look" not in passed.sentence


def test_the_same_answers_made_again_are_the_same_look(runs: Any, file: Path, make_runs: Any) -> None:
    """A job that trains and scores again, on another checkout and day, has looked at nothing new."""
    again = make_runs(runs.n)
    pairs = [read_pair([of.score("new", 0.9, arm="new")], [of.score("old", 0.9, arm="old")]) for of in (runs, again)]
    names = [[path.name for path in pair.candidate.runs[0].path.glob("samples_*")] for pair in pairs]
    assert names[0] != names[1]
    assert [look(pair, 1, file) for pair in pairs] == [1, 1]


def test_no_place_hides_a_look(runs: Any, tmp_path: Path) -> None:
    """A look that was counted beside the baselines counts for every directory, and one of a directory beside them; a
    refusal counts nowhere."""
    control, candidate = runs.arm("control", [0.9] * 3), runs.arm("candidate", [0.9] * 3)
    pairs = [read_pair(candidate[:n], control[:n]) for n in (1, 2, 3)]
    baselines, out = tmp_path / ".slick" / "b.json", tmp_path / "out"
    assert look(pairs[0], 2, *looks_beside(baselines)) == 1
    assert look(pairs[1], 2, *looks_beside(baselines, out)) == 2
    for files in (looks_beside(baselines), looks_beside(baselines, tmp_path / "new")):
        with pytest.raises(InputError, match="judged 2 times already"):
            look(pairs[2], 2, *files)
    assert not (tmp_path / "new" / LOOKS).exists()
    # The directory has seen one look; elsewhere it has one left.
    assert look(pairs[2], 2, out / LOOKS) == 2


def test_a_ledger_that_grew_is_another_look(runs: Any, file: Path) -> None:
    """Runs added to it change the interval; a look says its number where several are planned."""
    control, new = runs.arm("control", [0.9] * 5), runs.arm("new", [0.9])
    four, five = (read_pair(new, control[:n], seeds=1) for n in (4, 5))
    assert [look(four, 2, file), look(four, 2, file), look(five, 2, file)] == [1, 1, 2]
    assert said(2, 2) == ["Look 2 of 2 at this pair of arms."]
    assert said(1, 1) == []


def test_a_model_without_a_record_of_its_training_is_known_again(runs: Any, file: Path) -> None:
    """By its weights, or else its answers: also among more seeds, and from another directory."""
    bare = {"arm_key": None}
    control = [runs.score(f"c{i}", 0.9, seed=i, training=bare) for i in range(2)]
    candidate = [runs.score(f"n{i}", 0.9, seed=i, training=bare) for i in range(2)]
    look(read_pair(candidate[:1], control[:1]), 1, file)
    with pytest.raises(InputError, match="judged once already"):
        look(read_pair(candidate, control), 1, file)
    moved = candidate[0].rename(candidate[0].with_name("moved"))
    assert look(read_pair([moved], control[:1]), 1, file) == 1
    other = [runs.score("n2", 0.9, seed=2, training=bare)]
    assert look(read_pair(other, control[:1]), 1, file) == 1


def test_judging_at_once_loses_no_look(runs: Any, file: Path) -> None:
    """Processes that count into one file wait for each other."""
    control = runs.arm("control", [0.9])
    pairs: list[Pair] = [read_pair(runs.arm(f"new{i}", [0.9]), control) for i in range(8)]
    children = []
    for n in range(4):
        child = os.fork()
        if child == 0:
            for pair in pairs[2 * n : 2 * n + 2]:
                look(pair, 1, file)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert len(json.loads(file.read_text())["pairs"]) == 8
    assert [path.name for path in file.parent.iterdir()] == [LOOKS]


@pytest.mark.parametrize(
    "change", [{"planned": None}, {"planned": "x"}, {"looks": 3}, {"looks": [{}]}, {"candidate": 3}, {"control": None}]
)
def test_a_damaged_count_is_refused(runs: Any, file: Path, change: dict[str, Any]) -> None:
    """A count that cannot be read is never taken for none."""
    pair = read_pair(runs.arm("a", [0.9]), runs.arm("b", [0.9]))
    look(pair, 1, file)
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "pairs": [{**entry, **change} for entry in document["pairs"]]}))
    with pytest.raises(InputError, match="is damaged"):
        look(pair, 1, file)
    for pairs in ([3], {}):
        file.write_text(json.dumps({**document, "pairs": pairs}))
        with pytest.raises(InputError, match=r"is damaged|not written by slick gate"):
            look(pair, 1, file)
    file.write_text(json.dumps({**document, "schema": 1}))
    with pytest.raises(InputError, match="not written by slick gate of this version"):
        look(pair, 1, file)


def test_a_foreign_file_is_left_alone(runs: Any, file: Path) -> None:
    """A looks.json of something else is not overwritten."""
    file.parent.mkdir()
    file.write_text("[]")
    with pytest.raises(InputError, match="not written by slick gate"):
        look(read_pair(runs.arm("a", [0.9]), runs.arm("b", [0.9])), 1, file)
