"""Tests of the verdict on stored answers: what passes, fails, stays open, and is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import Category
from slick.paired import paired
from slick.verdict import Outcome
from slick_sft.gate.arms import read_pair, training_differences
from slick_sft.gate.decide import decide
from slick_sft.gate.policy import Policy, policy_of
from slick_sft.gate.report import exit_code
from slick_sft.gate.sheet import clusters_of

KNOWN = {"margins": {"Known": 5}}


def policy(**more: Any) -> Policy:
    return policy_of({**KNOWN, **more}, "test")


def test_equal_arms_pass_and_a_great_drop_fails(runs: Any) -> None:
    """Three seeds each: no drop passes at 8 points, a drop of 30 points fails at 5."""
    control, same, bad = (runs.arm(n, [r] * 3) for n, r in (("control", 0.9), ("same", 0.9), ("bad", 0.6)))
    good = decide(read_pair(same, control), policy(margins={"Known": 8}))
    assert (good.outcome, good.exit_code) == (Outcome.PASS, 0)
    failed = decide(read_pair(bad, control), policy())
    assert (failed.outcome, failed.exit_code) == (Outcome.FAIL, 1)
    assert "FAIL: Known" in failed.sentence
    assert failed.lost[0].control == 1.0


def test_the_numbers_are_the_verdicts_own(runs: Any) -> None:
    """The difference is `paired`'s on the answers of the group's facts, by subjects within relations."""
    control, candidate = runs.arm("control", [0.9, 0.8]), runs.arm("candidate", [0.8, 0.85])
    pair = read_pair(candidate, control)
    report = decide(pair, policy())
    known = [f for f in runs.facts if runs.categories[f.id] != "Unknown"]
    scores = [
        np.array([[run.rows[f.id].right for f in known] for run in a.runs], float)
        for a in (pair.candidate, pair.control)
    ]
    expected = paired(*scores, clusters=[f.subject for f in known], strata=[f.relation for f in known])
    assert expected is not None
    assert report.gated[0].paired == expected
    assert report.gated[0].candidate.share == scores[0].mean()


def test_open_verdicts_and_the_policy(runs: Any) -> None:
    """A margin that cannot be shown is INCONCLUSIVE, says what would settle it, and exits as the policy says."""
    control, same = runs.arm("control", [0.9]), runs.arm("same", [0.88])
    codes = {}
    for how in ("report", "fail", "pass"):
        report = decide(read_pair(same, control), policy(margins={"Known": 1}, inconclusive=how))
        assert report.outcome is Outcome.INCONCLUSIVE
        assert "What would settle it: about" in report.sentence
        codes[how] = report.exit_code
    assert codes == {"report": 3, "fail": 1, "pass": 0}


def test_an_undefined_interval_never_passes(make_runs: Any) -> None:
    """Facts of one subject alone measure nothing: also a policy that lets open verdicts pass does not let it."""
    runs = make_runs(40)
    runs.facts = [Fact.create(f.question, f.answers, relation="R", subject="one", split="test") for f in runs.facts]
    runs.categories = {f.id: Category.HIGHLY_KNOWN for f in runs.facts}
    pair = read_pair(runs.arm("candidate", [1.0]), runs.arm("control", [1.0]))
    report = decide(pair, policy(inconclusive="pass"))
    assert report.gated[0].verdict is not None
    assert report.gated[0].verdict.estimate is not None
    assert report.gated[0].verdict.estimate.interval is None
    assert report.exit_code == 3
    assert exit_code(report.judgement, "fail") == 1


def test_a_group_without_facts_is_refused(runs: Any) -> None:
    """What can never be judged is wrong input, not a pass."""
    runs.categories = {id: c for id, c in runs.categories.items() if c != "Unknown"}
    pair = read_pair(runs.arm("candidate", [0.9]), runs.arm("control", [0.9]))
    with pytest.raises(InputError, match="gates Unknown, and none of the 400 facts is in it"):
        decide(pair, policy(margins={"Known": 5, "Unknown": 5}))


def test_without_categories_only_all_can_be_gated(runs: Any) -> None:
    """The way to categories is named; all facts together need none."""
    pair = read_pair(runs.arm("candidate", [0.9], categories={}), runs.arm("control", [0.9], categories={}))
    with pytest.raises(InputError, match="--knowledge PROBE"):
        decide(pair, policy())
    assert [g.name for g in decide(pair, policy(margins={"all": 5})).groups] == ["all"]


def test_excluded_facts_are_not_judged(runs: Any) -> None:
    """Facts that the dataset asks itself count nowhere, and that is said; without any other nothing is judged."""
    pair = read_pair(runs.arm("candidate", [0.9]), runs.arm("control", [0.9]))
    gone = {f.id for f in runs.facts[:40]}
    report = decide(pair, policy(), excluded=gone)
    assert report.facts == 360
    assert any("40 held-out facts are asked in the dataset itself" in note for note in report.notes)
    with pytest.raises(InputError, match="no fact is left"):
        decide(pair, policy(), excluded={f.id for f in runs.facts})


def test_made_up_answers_are_gated_apart_from_abstaining(runs: Any) -> None:
    """An arm that abstains where the other makes things up loses right answers, but makes nothing up."""
    control = [runs.score("control", lambda i: f"A{i}" if i % 2 else "no idea", seed=0, arm="control")]
    silent = [runs.score("silent", lambda i: "I am at a loss", seed=0, arm="silent")]
    inventive = [runs.score("inventive", lambda i: "Paris", seed=0, arm="inventive")]
    rule = policy(margins={"all": 99}, hallucination={"all": 5}, abstain=["I am at a loss"])

    def of(paths: Any) -> dict[str, str]:
        report = decide(read_pair(paths, control), rule)
        return {g.name: str(g.verdict.outcome) for g in report.gated if g.verdict}

    assert of(silent)["all (not made up)"] == "PASS"
    assert of(inventive)["all (not made up)"] == "FAIL"


@pytest.mark.parametrize(("empty", "told"), [(150, True), (100, False)])
def test_a_candidate_that_mostly_abstains_by_saying_nothing(runs: Any, empty: int, told: bool) -> None:
    """It may have lost its speech and not its knowledge; said where more than half of what abstains holds no word."""
    control = [runs.score("control", lambda i: f"A{i}", seed=0, arm="control")]

    def answer(i: int) -> str:
        return ("" if i < empty else "I don't know") if i < 200 else f"A{i}"

    report = decide(read_pair([runs.score("silent", answer, seed=0, arm="silent")], control), policy())
    note = f"{empty} of the candidate's 200 answers that count as abstaining hold no word: "
    assert any(text.startswith(note) for text in report.notes) is told


def test_matching_can_change_without_a_model(runs: Any) -> None:
    """Answers are matched again where the policy says how."""
    control = [runs.score("control", lambda i: f"A{i}", seed=0, arm="control")]
    loud = [runs.score("loud", lambda i: f"The a{i}.", seed=0, arm="loud")]
    assert decide(read_pair(loud, control), policy()).outcome is Outcome.FAIL
    assert decide(read_pair(loud, control), policy(matching="normalized")).outcome is Outcome.PASS


def test_a_base_model_may_stand_alone(runs: Any) -> None:
    """Several seeds against one untuned model are judged, and the note says what the verdict is about."""
    base = runs.score("base", 0.9, seed=None)
    report = decide(read_pair(runs.arm("candidate", [0.9] * 3), [base]), policy(margins={"Known": 9}, control="base"))
    assert report.outcome is Outcome.PASS
    assert any("untuned base model" in note for note in report.notes)


def test_an_untrained_control_must_be_the_candidates_base(runs: Any) -> None:
    """Another model than the one that was tuned shows nothing of tuning; allowed, it is said; unknown, that is said."""
    rule = policy(margins={"Known": 9}, control="base")
    candidate, stranger = runs.arm("candidate", [0.9] * 2), [runs.score("stranger", 0.9, seed=None)]
    with pytest.raises(InputError, match=r"base model: .*candidate-0 has base \(.*the control has stranger"):
        read_pair(candidate, stranger)
    report = decide(read_pair(candidate, stranger, allow_mismatch=True), rule)
    assert any(text.startswith("base model") for text in report.mismatches)
    base = [runs.score("base", 0.9, seed=None)]
    assert not any("could not be verified" in note for note in decide(read_pair(candidate, base), rule).notes)
    silent = runs.arm("silent", [0.9] * 2, training={"base": None})
    assert any("could not be verified" in note for note in decide(read_pair(silent, base), rule).notes)


def test_a_tuned_control_is_no_base(runs: Any) -> None:
    """Where the policy wants the base, a run that records a training is refused: one seed would count as a fixed
    model."""
    pair = read_pair(runs.arm("candidate", [0.9] * 3), runs.arm("control", [0.9]))
    with pytest.raises(InputError, match="control-0: records a training, and the policy says control: base"):
        decide(pair, policy(control="base"))


def test_one_checkpoint_is_not_several_seeds(runs: Any) -> None:
    """Equal weights and adapter are one checkpoint, whatever seed is written there; where no weights are known, equal
    answers are."""
    control = runs.arm("control", [0.9])
    with pytest.raises(InputError, match=r"very same weights as .*same-0; one checkpoint"):
        read_pair(runs.arm("same", [0.9, 0.8], model={"weights": "aa", "adapter": "b"}), control)
    lora = [runs.score(f"lora-{i}", 0.9, seed=i, model={"weights": "aa", "adapter": f"{i}"}) for i in range(2)]
    assert len(read_pair(lora, control).candidate.runs) == 2
    served = runs.arm("served", [lambda i: f"A{i}"] * 2, model={"weights": None})
    with pytest.raises(InputError, match=r"very same answers as .*served-0"):
        read_pair(served, control)
    other = runs.score("other", lambda i: "wrong" if i == 3 else f"A{i}", seed=1, arm="served", model={"weights": None})
    assert len(read_pair([served[0], other], control).candidate.runs) == 2
    known = runs.arm("known", [lambda i: f"A{i}"] * 2)
    assert len(read_pair(known, control).candidate.runs) == 2


def test_a_model_against_itself_is_known_by_name_too(runs: Any) -> None:
    """Where a side's weights are unknown the names decide; an adapter under its base's name is another model, and what
    lm_eval calls by its class has no name."""
    made = {"name": "org/model", "weights": None}
    one, other = runs.score("one", 0.9, model=made), runs.score("other", 0.8, model=made)
    with pytest.raises(InputError, match="the very same weights"):
        read_pair([one], [other])
    assert read_pair([runs.score("lora", 0.8, model={**made, "adapter": "a"})], [one])
    assert read_pair(*([runs.score(n, 0.8, model={**made, "name": "fake"})] for n in ("a", "b")))


def test_one_trained_run_against_several_is_refused(runs: Any) -> None:
    """One trained run says nothing of its seeds; the likely slip of the command line is named."""
    pair = read_pair(runs.arm("candidate", [0.9] * 3), runs.arm("control", [0.9]))
    with pytest.raises(InputError, match="--control RUN --control RUN"):
        decide(pair, policy())


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"learning_rate": 2e-4}, "learning_rate: .* has 0.0002, where the control has 0.0001"),
        ({"steps": 7}, "steps: .* has 7, where the control has 100"),
        ({"base": {"name": "other", "weights": "ff"}}, "base model"),
        ({"settings": {"arguments": {"weight_decay": 0.1, "seed": 3}, "lora": None}}, "weight_decay"),
    ],
)
def test_other_trainings_are_refused_or_carry_a_banner(runs: Any, training: dict[str, Any], said: str) -> None:
    """Hyperparameters, steps and model must be the control's; what is allowed all the same is said."""
    candidate, control = runs.arm("candidate", [0.9], training=training), runs.arm("control", [0.9])
    with pytest.raises(InputError, match=said):
        read_pair(candidate, control)
    report = decide(read_pair(candidate, control, allow_mismatch=True), policy())
    assert len(report.mismatches) == 1


def test_seeds_may_differ_between_trainings() -> None:
    """A seed is no hyperparameter."""
    a = {"settings": {"arguments": {"seed": 1, "weight_decay": 0.0}}, "steps": 5}
    b = {"settings": {"arguments": {"seed": 2, "weight_decay": 0.0}}, "steps": 5}
    assert training_differences(a, b) == []


def test_runs_that_cannot_be_arms(runs: Any) -> None:
    """A seed twice, a run twice, two recipes in one arm, a model against itself, no run at all."""
    control = runs.arm("control", [0.9])
    twice = [runs.score("a", 0.9, seed=1), runs.score("b", 0.8, seed=1)]
    with pytest.raises(InputError, match="seed 1 stands there already"):
        read_pair(twice, control)
    with pytest.raises(InputError, match="the run stands there already"):
        read_pair([twice[0], twice[0]], control)
    with pytest.raises(InputError, match="recipe of the candidate"):
        read_pair([runs.score("c", 0.9, seed=2, arm="x"), runs.score("d", 0.9, seed=3, arm="y")], control)
    with pytest.raises(InputError, match="the very same weights"):
        read_pair(control, control)
    with pytest.raises(InputError, match="candidate: no run given"):
        read_pair([], control)


def test_other_forms_are_refused(runs: Any) -> None:
    """Runs that asked in other words are not compared."""
    other = runs.score("other", 0.9, seed=0, arm="other", form="{question}\n")
    with pytest.raises(InputError, match="form"):
        read_pair([other], runs.arm("control", [0.9]))


def test_clusters_are_what_the_policy_says() -> None:
    """Facts alike in all fields belong together; one that lacks a field stands alone; none are none."""
    facts = [
        Fact.create("a?", ["1"], relation="R", subject="s"),
        Fact.create("b?", ["1"], relation="T", subject="s"),
        Fact.create("c?", ["1"], relation="R", subject=""),
    ]
    by_subject, both = clusters_of(facts, ["subject"]), clusters_of(facts, ["subject", "relation"])
    assert by_subject is not None
    assert both is not None
    assert [len(set(by_subject)), len(set(both))] == [2, 3]
    assert clusters_of(facts, []) is None


def test_every_look_has_its_share(runs: Any) -> None:
    """With more looks the interval is wider."""
    pair = read_pair(runs.arm("candidate", [0.9] * 2), runs.arm("control", [0.9] * 2))

    def width(looks: int) -> float:
        verdict = decide(pair, policy(looks=looks)).gated[0].verdict
        assert verdict is not None
        assert verdict.estimate is not None
        assert verdict.estimate.interval is not None
        return verdict.estimate.interval.high - verdict.estimate.interval.low

    assert width(3) > width(1)


def test_one_more_lost_fact_never_turns_fail_into_pass(make_runs: Any) -> None:
    """As facts are lost one by one the verdict goes PASS, INCONCLUSIVE, FAIL, and never back."""
    runs = make_runs(120)
    control = [runs.score("control", lambda i: f"A{i}", seed=0, arm="control")]
    order = [Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.FAIL]
    seen = []
    for k in range(0, 40, 3):
        lossy = [runs.score(f"lossy-{k}", lambda i, k=k: "no" if i < k else f"A{i}", seed=0, arm="lossy")]
        seen.append(order.index(decide(read_pair(lossy, control), policy(margins={"all": 6})).outcome))
    assert seen == sorted(seen)
    assert set(seen) == {0, 1, 2}
