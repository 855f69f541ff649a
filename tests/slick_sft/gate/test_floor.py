"""Tests of the floor: a control that knows nothing of the facts lets nothing pass."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from slick.knowledge import Knowledge
from slick.knowledge_file import write_knowledge
from slick.verdict import Outcome
from slick_sft.gate.arms import read_pair
from slick_sft.gate.asserting import assert_keeps_knowledge
from slick_sft.gate.decide import decide
from slick_sft.gate.outputs import junit, plain
from slick_sft.gate.policy import Policy, policy_of


def policy(**more: Any) -> Policy:
    return policy_of({"margins": {"Known": 8}, "seeds": 1, **more}, "test")


@pytest.fixture
def probe(runs: Any, tmp_path: Path) -> Path:
    """A probe of the base model with the categories of the runs: of two greedy answers 2, 1, 0 and 0 are right."""
    counts = ((2, 2, 0, 0), (1, 2, 0, 0), (0, 2, 1, 4), (0, 2, 0, 4))
    rows = [Knowledge(fact, *counts[i % 4]) for i, fact in enumerate(runs.facts)]
    write_knowledge(tmp_path / "knowledge.parquet", rows, {"model": fingerprint("base")})
    return tmp_path / "knowledge.parquet"


def fingerprint(name: str) -> dict[str, Any]:
    return {"name": name, "weights": random.Random(name).randbytes(32).hex(), "adapter": None}


def test_two_collapsed_arms_never_pass(runs: Any) -> None:
    """Where the control knows nothing there is nothing to lose: open, for several seeds too, whatever the policy makes
    of open verdicts, in every output."""
    control, candidate = runs.arm("control", [0.0] * 3), runs.arm("candidate", [0.0] * 3)
    for n in (1, 3):
        for how, code in (("report", 3), ("pass", 3), ("fail", 1)):
            report = decide(read_pair(candidate[:n], control[:n]), policy(inconclusive=how))
            assert (report.outcome, report.exit_code) == (Outcome.INCONCLUSIVE, code)
        assert "the control itself knows nothing of these facts (0.0 % right" in report.sentence
        assert "would settle it" not in report.sentence
    assert report.as_dict()["groups"][0]["nothing_to_lose"]
    assert 'failures="1"' in junit(report)
    assert "INCONCLUSIVE" in plain(report).splitlines()[0]
    with pytest.raises(AssertionError, match="knows nothing of these facts"):
        assert_keeps_knowledge(candidate[0], control[0], policy={"margins": {"Known": 8}, "seeds": 1})


def test_a_control_of_one_answer_has_nothing_to_lose(runs: Any) -> None:
    """Above the margin, but no better than each relation's commonest answer: equal arms show nothing; a candidate that
    loses even that fails."""
    runs.facts = [
        type(f).create(f.question, ["A" if i % 4 else f"A{i}"], relation=f.relation, subject=f.subject, split="test")
        for i, f in enumerate(runs.facts)
    ]
    runs.categories = {f.id: c for f, c in zip(runs.facts, runs.categories.values(), strict=True)}
    control = [runs.score("control", lambda i: "A", seed=0, arm="control")]
    same = [runs.score("same", lambda i: "A", seed=0, arm="same")]
    worse = [runs.score("worse", lambda i: "B", seed=0, arm="worse")]
    report = decide(read_pair(same, control), policy(margins={"all": 8}))
    assert report.outcome is Outcome.INCONCLUSIVE
    assert "not above the 75.0 % of each relation's commonest answer" in report.sentence
    assert decide(read_pair(worse, control), policy(margins={"all": 8})).outcome is Outcome.FAIL


def test_what_a_control_of_some_knowledge_passes_stays_passed(runs: Any) -> None:
    """The floor asks no more than that something could be lost; one group below it leaves the whole open."""
    control = [runs.score("control", lambda i: f"A{i}" if i % 4 != 3 else "no", seed=0, arm="control")]
    same = [runs.score("same", lambda i: f"A{i}" if i % 4 != 3 else "none", seed=0, arm="same")]
    assert decide(read_pair(same, control), policy()).outcome is Outcome.PASS
    both = decide(read_pair(same, control), policy(margins={"Known": 8, "Unknown": 8}))
    assert [str(g.verdict.outcome) for g in both.gated if g.verdict] == ["PASS", "INCONCLUSIVE"]
    assert (both.outcome, both.exit_code) == (Outcome.INCONCLUSIVE, 3)


def test_the_untuned_model_stands_beside_the_control(runs: Any, probe: Any) -> None:
    """By its probe; where the control fell far below it, that is noted."""
    candidate, control, hurt = (runs.arm(n, [r]) for n, r in (("new", 0.9), ("old", 0.9), ("hurt", 0.15)))
    report = decide(read_pair(candidate, control, probe), policy())
    assert report.gated[0].base == pytest.approx(0.5)
    assert not any("the control answers" in note for note in report.notes)
    report = decide(read_pair(candidate, hurt, probe), policy())
    assert any("Known: the control answers" in note and "untuned model" in note for note in report.notes)
