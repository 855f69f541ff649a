"""Tests of the self-check: what the control's own seeds say of the margin that can be shown."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest

from slick.errors import InputError
from slick.knowledge import Knowledge
from slick.knowledge_file import KnowledgeFile
from slick.paired import Noise
from slick_sft.gate.arms import Pair, read_arm, read_pair
from slick_sft.gate.decide import decide
from slick_sft.gate.policy import policy_of
from slick_sft.gate.self_check import as_dict, expected, halvings, noise_of, self_check


def test_halvings_are_every_way_once() -> None:
    """Of 4 runs 3 ways, of 6 runs 10, of 5 runs 15 that leave one out; no run on both sides."""
    assert [len(halvings(n)) for n in (4, 5, 6)] == [3, 15, 10]
    assert all(not set(a) & set(b) for a, b in halvings(6))


def test_the_smallest_margin_and_what_a_smaller_one_costs(runs: Any) -> None:
    """A wide margin is defended by 300 facts and 2 seeds; a narrow one is not, and its price is named."""
    arm = read_arm(runs.arm("control", [0.9] * 4), "control")
    wide, narrow = (self_check(arm, policy_of({"margins": {"Known": m}, "seeds": 2}, "x"))[0] for m in (20, 0.5))
    assert wide.smallest == narrow.smallest
    assert wide.smallest is not None
    assert 0.01 < wide.smallest < 0.2
    assert (wide.defended, narrow.defended) == (True, False)
    assert "can be shown" in wide.sentence
    assert "would take about" in narrow.sentence
    assert wide.splits == 3


def test_more_seeds_defend_less(runs: Any) -> None:
    """A policy with more seeds an arm can ask for a smaller margin."""
    arm = read_arm(runs.arm("control", [0.9] * 4), "control")
    smallest = [
        self_check(arm, policy_of({"margins": {"Known": 5}, "seeds": s}, "x"))[0].smallest for s in (1, 2, 4, 8)
    ]
    assert smallest == sorted(smallest, key=lambda m: -(m or 0))


def test_one_seed_is_planned_as_it_is_judged(runs: Any) -> None:
    """The runs that were measured are its ledger: the margin found is what such a gate's interval defends."""
    paths = runs.arm("control", [0.95, 0.8, 0.9, 0.75])
    rule = policy_of({"margins": {"Known": 5}, "seeds": 1}, "x")
    (line,) = self_check(read_arm(paths, "control"), rule)
    pair = read_pair([runs.score("new", 0.9, seed=7, arm="new")], paths, seeds=1)
    judged = decide(pair, rule).gated[0].paired
    assert line.smallest is not None
    assert judged.noise is Noise.LEDGER
    # Both hold twice the runs' own variance; what facts add is another pair's.
    spread = statistics.variance(accuracies(pair))
    assert judged.run == pytest.approx(2 * spread)
    assert line.noise.run * line.noise.seeds == pytest.approx(2 * spread)
    # Checkpoints alone would seem to defend far less than a loss that another seed brings.
    (alone,) = expected(rule, {"Known": 300})
    assert alone.smallest is not None
    assert line.smallest > 2 * alone.smallest


def accuracies(pair: Pair) -> list[float]:
    """The accuracy of each recorded run on the Known facts."""
    known = {id for id, row in pair.ledger[0].rows.items() if str(row.category) != "Unknown"}
    return [statistics.mean(run.rows[id].right for id in known) for run in pair.ledger]


def test_a_plan_counts_with_the_ledger() -> None:
    """Before anything is trained one seed with recorded runs is told the wider margin that it can show."""
    rule = policy_of({"margins": {"Known": 2}, "seeds": 1, "noise": {"seeds_sd": 1}}, "x")
    smallest = [expected(rule, {"Known": 1546}, recorded)[0].smallest for recorded in (0, 3, 40, 4)]
    assert smallest[0] == smallest[1]
    assert smallest == sorted(smallest, key=lambda m: m or 0)
    assert len(set(smallest)) == 3


def test_seeds_that_lie_apart_are_found(runs: Any) -> None:
    """Where runs differ by more than their facts explain, that is named, and facts alone are not asked for."""
    arm = read_arm(runs.arm("control", [0.95, 0.6, 0.9, 0.5]), "control")
    (line,) = self_check(arm, policy_of({"margins": {"Known": 2}, "seeds": 2}, "x"))
    assert line.seeds_sd > 0.1
    assert line.enough is not None
    assert line.enough.facts is None
    document = as_dict([line], policy_of({"margins": {"Known": 2}}, "x"))
    assert document["noise"] == noise_of([line])
    assert document["groups"][0]["variance"]["runs"] > document["groups"][0]["variance"]["residual"]


def test_too_few_runs_are_refused(runs: Any) -> None:
    """Halves of one run tell nothing of seeds."""
    arm = read_arm(runs.arm("control", [0.9] * 3), "control")
    with pytest.raises(InputError, match="found 3 runs of the control, expected at least 4"):
        self_check(arm, policy_of({"margins": {"Known": 2}}, "x"))


def test_facts_that_no_gate_judges_do_not_count(runs: Any) -> None:
    """What a dataset asks itself is left out; categories may come from the base model's probe, of no other."""
    arm = read_arm(runs.arm("control", [0.9] * 4, categories={}), "control")
    rule = policy_of({"margins": {"Known": 5}}, "x")
    with pytest.raises(InputError, match="none of the facts is in it"):
        self_check(arm, rule)
    rows = tuple(Knowledge(fact, i % 2, 1, 0, 4) for i, fact in enumerate(runs.facts))
    base = arm.runs[0].training["base"]
    assert self_check(arm, rule, KnowledgeFile(rows, {"model": base}))[0].noise.n == 200
    excluded = [fact.id for fact in runs.facts[:50]]
    assert self_check(arm, rule, KnowledgeFile(rows, {"model": base}), excluded)[0].noise.n == 175
    with pytest.raises(InputError, match="base model: "):
        self_check(arm, rule, KnowledgeFile(rows, {"model": {**base, "weights": "ff"}}))


def test_runs_of_several_recipes_are_refused(runs: Any) -> None:
    """What recipes or questions add to the noise is none of the seeds'."""
    seeds = runs.arm("control", [0.9] * 3)
    rule = policy_of({"margins": {"Known": 2}}, "x")
    for more, said in (
        ({"arm": "other"}, "recipe of the control"),
        ({"arm": "control", "training": {"steps": 7}}, "steps: .* has 7"),
        ({"arm": "control", "form": "{question}\n"}, "form: "),
    ):
        odd = runs.score(f"odd-{said[:4]}", 0.9, seed=3, **more)
        with pytest.raises(InputError, match=rf"not of one arm(.|\n)*{said}"):
            self_check(read_arm([*seeds, odd], "control"), rule)


def test_what_is_expected_before_anything_runs() -> None:
    """By the policy's own noise: with one seed the known formula, with seeds' noise a wider margin."""
    one = policy_of({"margins": {"Known": 2}, "seeds": 1}, "x")
    (line,) = expected(one, {"Known": 1546})
    assert line.smallest is not None
    # 1,546 facts are what 2 points take at 10 % discordant (DESIGN, "Honest statistics").
    assert math.isclose(line.smallest, 0.02, rel_tol=0.01)
    quiet, noisy = (
        expected(policy_of({"margins": {"Known": 2}, "seeds": 3, "noise": {"seeds_sd": sd}}, "x"), {"Known": 1546})[0]
        for sd in (0, 2)
    )
    assert quiet.smallest is not None
    assert noisy.smallest is not None
    assert quiet.smallest < 0.02 < noisy.smallest
    assert noisy.enough is not None
    assert noisy.enough.seeds is not None
