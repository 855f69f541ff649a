"""slick.verdict: PASS, FAIL or INCONCLUSIVE, by the rule and by how often it errs; and what it says of itself."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import multinomial, norm

from slick.paired import Ledger, Noise, Paired, paired
from slick.power import facts_needed
from slick.verdict import Outcome, Verdict, holm, judge, judge_all

Scores = NDArray[np.float64]
PASS, FAIL, INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE


def pair(lost: int, gained: int, n: int) -> Paired:
    """Two checkpoints that differ on so many facts."""
    candidate, control = np.zeros((1, n)), np.zeros((1, n))
    control[0, :lost] = 1
    candidate[0, lost : lost + gained] = 1
    found = paired(candidate, control)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("lost", "gained", "n", "outcome"),
    [
        (20, 20, 2000, PASS),
        (0, 0, 2000, PASS),
        (0, 40, 2000, PASS),
        (120, 10, 2000, FAIL),
        (2000, 0, 2000, FAIL),
        (60, 20, 2000, INCONCLUSIVE),
        (70, 20, 2000, INCONCLUSIVE),
        (1, 1, 30, INCONCLUSIVE),
        (0, 0, 10, INCONCLUSIVE),
    ],
)
def test_the_rule(lost: int, gained: int, n: int, outcome: Outcome) -> None:
    """PASS iff L > -m, FAIL iff U < -m, at a margin of 2 points."""
    found = judge(pair(lost, gained, n), 0.02)
    assert found.outcome is outcome
    assert found.estimate is not None
    assert found.estimate.interval is not None
    assert (found.estimate.interval.low > -0.02) is (outcome is PASS)
    assert (found.estimate.interval.high < -0.02) is (outcome is FAIL)


@given(st.integers(2, 400), st.data())
def test_one_more_lost_fact_never_helps(n: int, data: st.DataObject) -> None:
    """Nor does one gained less: never from FAIL or INCONCLUSIVE to PASS, nor from FAIL to INCONCLUSIVE."""
    lost = data.draw(st.integers(0, n - 1))
    gained = data.draw(st.integers(0, n - 1 - lost))
    margin = data.draw(st.floats(0.005, 0.5))
    order = [FAIL, INCONCLUSIVE, PASS]
    one = order.index(judge(pair(lost, gained, n), margin).outcome)
    assert order.index(judge(pair(lost + 1, gained, n), margin).outcome) <= one
    if gained:
        assert order.index(judge(pair(lost, gained - 1, n), margin).outcome) <= one


@given(st.integers(1, 400), st.data())
def test_a_wider_margin_never_turns_pass_into_fail(n: int, data: st.DataObject) -> None:
    """The verdict rises with the margin."""
    lost = data.draw(st.integers(0, n))
    gained = data.draw(st.integers(0, n - lost))
    order = [FAIL, INCONCLUSIVE, PASS]
    places = [order.index(judge(pair(lost, gained, n), m).outcome) for m in (0.01, 0.02, 0.05, 0.2, 0.9)]
    assert places == sorted(places)


# Rules in use elsewhere, by (lost, gained, n, margin): what each calls worse, and what it lets pass.
def tango_passes(lost: int, gained: int, n: int, margin: float) -> bool:
    return judged(lost, gained, n, margin) is PASS


@cache
def judged(lost: int, gained: int, n: int, margin: float, looks: int = 1) -> Outcome:
    return judge(pair(lost, gained, n), margin, looks=looks).outcome


def point_passes(lost: int, gained: int, n: int, margin: float) -> bool:
    return (gained - lost) / n > -margin


def unpaired_passes(lost: int, gained: int, n: int, margin: float) -> bool:
    """No significant difference of two independent shares of one half."""
    return (lost - gained) / n < 1.645 * np.sqrt(2 * 0.25 / n)


def mcnemar_passes(lost: int, gained: int, n: int, margin: float) -> bool:
    return lost <= gained or (lost - gained) / np.sqrt(lost + gained) < norm.ppf(0.95)


def chance(decides: Callable[[int, int, int, float], bool], n: int, lost: float, gained: float, margin: float) -> float:
    """The exact chance that the rule decides so, over every outcome of a multinomial (all but 1e-7 of it)."""
    law = multinomial(n, [lost, gained, 1 - lost - gained])
    likely = [range(int(n * p + 7 * np.sqrt(n * p) + 8)) for p in (lost, gained)]
    total = 0.0
    for x, y in itertools.product(*likely):
        if x + y <= n:
            weight = float(law.pmf([x, y, n - x - y]))
            if weight > 1e-12 and decides(x, y, n, margin):
                total += weight
    return total


# n, discordant share, margin: the true drop is exactly the margin.
CELLS = [
    (100, 0.05, 0.03),
    (100, 0.10, 0.05),
    (100, 0.20, 0.05),
    (200, 0.02, 0.01),
    (300, 0.02, 0.01),
    (300, 0.05, 0.02),
    (300, 0.10, 0.03),
    (300, 0.15, 0.05),
    (600, 0.05, 0.02),
]


@pytest.mark.parametrize(("n", "discordant", "margin"), CELLS)
def test_a_pair_worse_by_the_margin_seldom_passes_or_fails(n: int, discordant: float, margin: float) -> None:
    """Exact miss and false-alarm rates at a true drop of exactly the margin: at most 5.6 %, 5.2 % from n = 300."""
    lost, gained = (discordant + margin) / 2, (discordant - margin) / 2
    most = 0.052 if n >= 300 else 0.056
    assert 0.01 < chance(tango_passes, n, lost, gained, margin) <= most
    assert 0.01 < chance(lambda *a: judged(*a) is FAIL, n, lost, gained, margin) <= most


def test_the_upper_limit_alone_convicts_too_often_where_few_differ() -> None:
    """The check has teeth: without counting, 8.7 % of pairs at the very margin would FAIL."""

    def fails(lost: int, gained: int, n: int, margin: float) -> bool:
        interval = pair(lost, gained, n).interval()
        return interval is not None and interval.high < -margin

    assert chance(fails, 100, 0.04, 0.01, 0.03) > 0.08


@pytest.mark.parametrize("rule", [point_passes, unpaired_passes, mcnemar_passes])
def test_the_rules_in_use_pass_what_ours_does_not(rule: Callable[[int, int, int, float], bool]) -> None:
    """The check has teeth: by the point alone, by an unpaired z or by McNemar most such pairs pass."""
    assert chance(rule, 300, 0.065, 0.035, 0.03) > 0.4


def test_a_significant_drop_beyond_the_margin_is_no_rule() -> None:
    """ "Below 0, and the value beyond the margin" convicts many that are worse by three quarters of it."""

    def fails(lost: int, gained: int, n: int, margin: float) -> bool:
        return not mcnemar_passes(lost, gained, n, margin) and (gained - lost) / n < -margin

    lost, gained = (0.10 + 0.0225) / 2, (0.10 - 0.0225) / 2
    assert chance(fails, 300, lost, gained, 0.03) > 0.15
    assert chance(lambda *a: judged(*a) is FAIL, 300, lost, gained, 0.03) < 0.052


def trained_arms(
    rng: np.random.Generator, seeds: int, n: int, drop: float, sd: float, cluster: int = 1
) -> tuple[Scores, Scores]:
    """(candidate, control): the facts are a draw, every run has a luck of its own, the true drop is exact."""
    chances = np.repeat(rng.choice([0.15, 0.85], -(-n // cluster)), cluster)[:n]

    def arm(less: float) -> Scores:
        luck = np.clip(rng.normal(0, sd, (seeds, 1)), -0.1, 0.1)
        draw = np.repeat(rng.random((seeds, -(-n // cluster))), cluster, axis=1)[:, :n]
        return (draw < chances - less + luck).astype(float)

    return arm(drop), arm(0.0)


def outcomes(gates: Iterator[Paired | None], margin: float) -> dict[Outcome, float]:
    found = [judge(gate, margin).outcome for gate in gates]
    return {outcome: found.count(outcome) / len(found) for outcome in Outcome}


# 5 % and what the formula is known to exceed it by (6.4 % in DESIGN), and three standard errors of so many gates.
GATES = 800
MOST = 0.065 + 3 * float(np.sqrt(0.065 * 0.935 / GATES))


@pytest.mark.parametrize(
    ("n", "sd", "cluster"), [(200, 0.0, 1), (200, 0.02, 1), (600, 0.04, 1), (400, 0.0, 4), (400, 0.03, 4)]
)
def test_training_worse_by_the_margin_seldom_passes_or_fails(n: int, sd: float, cluster: int) -> None:
    """Three seeds an arm, with and without run-to-run noise and clusters: misses and false alarms stay near 5 %."""
    rng = np.random.default_rng(n)
    subjects = [i // cluster for i in range(n)]
    gates = (paired(*trained_arms(rng, 3, n, 0.05, sd, cluster), clusters=subjects) for _ in range(GATES))
    found = outcomes(gates, 0.05)
    assert found[PASS] <= MOST
    assert found[FAIL] <= MOST


def test_one_checkpoint_cannot_speak_for_training() -> None:
    """The check has teeth: with run-to-run noise, single pairs of the same arms pass far more often."""
    rng = np.random.default_rng(7)
    found = outcomes((paired(*trained_arms(rng, 1, 600, 0.05, 0.04)) for _ in range(GATES)), 0.05)
    assert found[PASS] > MOST
    assert found[FAIL] > MOST


def test_a_ledger_makes_one_run_an_arm_speak_for_training() -> None:
    """The seeds' spread of eight recorded runs holds the rates where the pair alone does not."""
    rng = np.random.default_rng(8)

    def gates() -> Iterator[Paired | None]:
        for _ in range(GATES):
            recorded = trained_arms(rng, 8, 600, 0.0, 0.04)[0].mean(axis=1)
            yield paired(*trained_arms(rng, 1, 600, 0.05, 0.04), ledger=Ledger.of(recorded.tolist()))

    found = outcomes(gates(), 0.05)
    assert found[PASS] <= MOST
    assert found[FAIL] <= MOST


def test_facts_of_one_subject_are_not_taken_for_many() -> None:
    """Four facts a subject, answered alike: held with clusters, not without."""
    rng = np.random.default_rng(9)
    drawn = [trained_arms(rng, 1, 400, 0.05, 0.0, cluster=4) for _ in range(GATES)]
    subjects = [i // 4 for i in range(400)]
    told = outcomes((paired(*arms, clusters=subjects) for arms in drawn), 0.05)
    untold = outcomes((paired(*arms) for arms in drawn), 0.05)
    assert told[PASS] <= MOST
    assert told[FAIL] <= MOST
    assert untold[PASS] > MOST


def settled(truth: float, margin: float) -> Iterator[Outcome]:
    """What one independent draw says that has the facts or seeds which an open verdict asked for."""
    rng = np.random.default_rng(10)
    for _ in range(150):
        first = judge(paired(*trained_arms(rng, 3, 300, margin / 2, 0.01)), margin)
        if first.outcome is INCONCLUSIVE and first.need is not None:
            facts, seeds = first.need.facts or 300, first.need.seeds or 3
            yield judge(paired(*trained_arms(rng, seeds, facts, truth, 0.01)), margin).outcome


@pytest.mark.parametrize(("truth", "outcome"), [(0.0, PASS), (0.08, FAIL)])
def test_what_is_asked_for_settles_it(truth: float, outcome: Outcome) -> None:
    """Arms that do not differ then PASS, arms worse by twice the margin FAIL, in at least 75 % of cases."""
    found = list(settled(truth, 0.04))
    assert len(found) > 60
    assert found.count(outcome) / len(found) >= 0.75


def test_pass_needs_every_category() -> None:
    """One that is open leaves the whole open, one that failed fails it, whatever the others say."""
    good, bad, short = pair(20, 20, 2000), pair(200, 10, 2000), pair(1, 1, 40)
    assert judge_all({"a": (good, 0.02), "b": (good, 0.02)}).outcome is PASS
    assert judge_all({"a": (good, 0.02), "b": (short, 0.02)}).outcome is INCONCLUSIVE
    assert judge_all({"a": (good, 0.02), "b": (short, 0.02), "c": (bad, 0.02)}).outcome is FAIL


def test_each_category_has_its_own_margin() -> None:
    """What is too much for one may be allowed to another."""
    lossy = pair(100, 10, 2000)
    found = judge_all({"HighlyKnown": (lossy, 0.02), "WeaklyKnown": (lossy, 0.10)})
    assert [v.outcome for v in found.verdicts] == [FAIL, PASS]


def test_failing_is_corrected_for_the_number_of_categories() -> None:
    """Barely below the margin alone is FAIL; the same among four is open, and says why."""
    barely = next(pair(lost, 10, 1000) for lost in range(10, 200) if judge(pair(lost, 10, 1000), 0.02).outcome is FAIL)
    good = pair(5, 5, 1000)
    assert judge(barely, 0.02).outcome is FAIL
    found = judge_all({"a": (barely, 0.02), "b": (good, 0.02), "c": (good, 0.02), "d": (good, 0.02)})
    assert found.outcome is INCONCLUSIVE
    assert "not among so many categories (Holm)" in found.verdicts[0].sentence


def test_categories_that_do_not_differ_seldom_fail_together() -> None:
    """Four categories at the very margin: one of them FAILs in at most 5 % of gates, not in 19 %."""
    rng = np.random.default_rng(11)

    def gate() -> Outcome:
        counts = [rng.multinomial(300, [0.065, 0.035, 0.90]) for _ in range(4)]
        return judge_all({str(i): (cached(int(a), int(b)), 0.03) for i, (a, b, _) in enumerate(counts)}).outcome

    @cache
    def cached(lost: int, gained: int) -> Paired:
        return pair(lost, gained, 300)

    found = [gate() for _ in range(600)]
    assert found.count(FAIL) / 600 <= 0.05 + 3 * float(np.sqrt(0.05 * 0.95 / 600))


@pytest.mark.parametrize("looks", [2, 3, 5])
def test_looks_share_the_error(looks: int) -> None:
    """Each of K looks is judged at alpha/K: a wider interval, and its level is said."""
    one, more = judge(pair(40, 20, 1500), 0.02), judge(pair(40, 20, 1500), 0.02, looks=looks)
    assert one.estimate is not None
    assert more.estimate is not None
    assert one.estimate.interval is not None
    assert more.estimate.interval is not None
    assert more.estimate.interval.level == pytest.approx(1 - 0.1 / looks)
    assert more.estimate.interval.low < one.estimate.interval.low


def test_looking_three_times_without_saying_so_passes_too_often() -> None:
    """The check has teeth: three looks at growing numbers of facts miss more than 5 %, three declared ones do not."""
    rng = np.random.default_rng(12)
    told = untold = 0
    for _ in range(1200):
        flips = rng.choice([-1, 1, 0], p=[0.065, 0.035, 0.90], size=900)
        looks = [(int((flips[:n] < 0).sum()), int((flips[:n] > 0).sum()), n, 0.03) for n in (300, 600, 900)]
        untold += any(judged(*look) is PASS for look in looks)
        told += any(judged(*look, 3) is PASS for look in looks)
    error = 3 * float(np.sqrt(0.05 * 0.95 / 1200))
    assert told / 1200 <= 0.05 + error
    assert untold / 1200 > 0.05 + error


def test_holm_steps_down() -> None:
    """The smallest p-value against alpha/4, the next against alpha/3, …; behind the first that stands, none."""
    assert holm({"a": 0.012, "b": 0.016, "c": 0.02, "d": 0.9}, 0.05) == {"a", "b", "c"}
    assert holm({"a": 0.013, "b": 0.001, "c": 0.03, "d": 0.04}, 0.05) == {"a", "b"}
    assert holm({"a": 0.0126, "b": 0.016}, 0.05) == {"a", "b"}
    assert holm({}, 0.05) == set()


def test_an_undefined_category_counts_and_never_fails() -> None:
    """It takes its share of alpha, since it might have failed."""
    assert holm({"a": 0.03}, 0.05) == {"a"}
    assert holm({"a": 0.03, "b": None}, 0.05) == set()


def test_no_facts_are_no_pass() -> None:
    """A category without facts leaves the verdict open and says so."""
    found = judge_all({"HighlyKnown": (None, 0.02), "MaybeKnown": (pair(10, 10, 3000), 0.02)})
    assert found.outcome is INCONCLUSIVE
    assert "HighlyKnown: no facts, so nothing can be said against the margin of 2.0 points" in found.sentence
    assert found.verdicts[0].as_dict()["interval"] is None


def test_an_undefined_interval_is_no_pass() -> None:
    """All facts of one subject: open, undefined, and more facts asked for."""
    found = judge(paired(np.ones((1, 9)), np.ones((1, 9)), clusters=["x"] * 9), 0.02)
    assert found.outcome is INCONCLUSIVE
    assert "interval undefined" in found.sentence
    assert found.as_dict()["interval"] is None
    assert found.as_dict()["p_fail"] is None


@pytest.mark.parametrize("margin", [0.0, -0.01, 1.0, 2.0, float("nan")])
def test_a_margin_lies_between_0_and_1(margin: float) -> None:
    """Two points are 0.02; with no margin at all nothing could ever pass."""
    with pytest.raises(ValueError, match=r"margin of the verdict must lie in \(0, 1\)"):
        judge(pair(1, 1, 100), margin)


def test_a_verdict_needs_a_category_and_a_look() -> None:
    """Nothing gated would pass anything."""
    with pytest.raises(ValueError, match="no gated category"):
        judge_all({})
    with pytest.raises(ValueError, match="looks must be at least 1"):
        judge(pair(1, 1, 100), 0.02, looks=0)


def test_a_pass_says_what_it_rules_out() -> None:
    """The figures, the margin, and that it is about two checkpoints."""
    assert judge(pair(20, 20, 2000), 0.02, name="HighlyKnown").sentence == (
        "PASS: HighlyKnown: 0.0 points (90 % interval −0.5 to +0.5, n = 2,000); a drop of 2.0 points or more, the "
        "margin, is ruled out. This is about these two checkpoints, not about training again."
    )


def test_a_fail_says_what_it_shows() -> None:
    """The drop is larger than the margin."""
    assert judge(pair(120, 10, 2000), 0.02).sentence == (
        "FAIL: −5.5 points (90 % interval −6.5 to −4.6, n = 2,000); the drop is larger than 2.0 points, the margin. "
        "This is about these two checkpoints, not about training again."
    )


def test_an_open_verdict_says_what_would_settle_it() -> None:
    """How many facts, on top and in all."""
    found = judge(pair(15, 12, 500), 0.02)
    assert found.need is not None
    assert found.need.facts is not None
    assert found.need.facts == pytest.approx(facts_needed(0.02, 29 / 500, power=0.85), rel=0.01)
    assert f"about {found.need.facts - 500:,} more facts ({found.need.facts:,} in all)." in found.sentence
    assert "neither shown nor ruled out" in found.sentence


def test_too_few_to_count_is_said_to_be() -> None:
    """Beyond the margin by its interval, but counting does not show it."""
    found = judge(pair(6, 0, 100), 0.03)
    assert found.outcome is INCONCLUSIVE
    assert "so few facts differ that counting them does not show it" in found.sentence


def test_a_loss_of_unsettled_size_is_called_real() -> None:
    """Below 0, but not surely beyond the margin."""
    found = judge(pair(60, 20, 2000), 0.02)
    assert found.outcome is INCONCLUSIVE
    assert "a real loss, its size not settled against the margin of 2.0 points" in found.sentence


def test_where_seeds_are_the_noise_seeds_are_asked_for() -> None:
    """And nothing is said of two checkpoints."""
    control = np.array([np.arange(2000) < k for k in (1000, 1060, 1120)]).astype(float)
    found = judge(paired(control, control[::-1]), 0.02)
    assert found.noise is Noise.SEEDS
    assert found.need is not None
    assert found.need.facts is None
    assert found.need.seeds is not None
    assert f"about {found.need.seeds - 3} more seeds an arm ({found.need.seeds} in all)" in found.sentence
    assert "checkpoints" not in found.sentence


def test_never_0_more_seeds_are_asked_for() -> None:
    """Few facts that seeds answer alike: facts alone would settle it."""
    random = np.random.default_rng(0)
    base = random.random(60) < 0.5

    def arm() -> Scores:
        return np.array([np.where(random.random(60) < 0.1, ~base, base) for _ in range(3)], float)

    for found in [judge(paired(arm(), arm()), 0.01) for _ in range(8)]:
        assert "0 more seeds an arm (3 in all)" not in found.sentence
        assert found.need is None or found.need.seeds is None or found.need.seeds > 3


def test_a_margin_out_of_reach_is_said_to_be() -> None:
    """No number of seeds would defend it."""
    control = np.array([np.arange(1000) < k for k in (100, 500, 900)]).astype(float)
    assert "the margin is too small for this noise" in judge(paired(control, control), 0.002).sentence


@pytest.mark.parametrize(("outcome", "code"), [(PASS, 0), (FAIL, 1), (INCONCLUSIVE, 3)])
def test_outcomes_have_exit_codes(outcome: Outcome, code: int) -> None:
    """0 pass, 1 quality failed, 3 inconclusive."""
    assert outcome.exit_code == code


@settings(max_examples=30)
@given(st.integers(1, 200), st.data())
def test_a_verdict_has_a_json_form(n: int, data: st.DataObject) -> None:
    """Everything a machine needs, with the sentence for a human."""
    lost = data.draw(st.integers(0, n))
    whole = judge_all({"a": (pair(lost, n - lost, n), 0.1), "b": (None, 0.1)})
    found = json.loads(json.dumps(whole.as_dict(), allow_nan=False))
    first = found["categories"][0]
    assert found["verdict"] == str(whole.outcome)
    assert first["difference"] == pytest.approx((n - 2 * lost) / n)
    assert first["interval"]["low"] < first["interval"]["high"]
    assert first["sentence"] == whole.verdicts[0].sentence


def test_the_whole_sentence_names_those_it_rests_on() -> None:
    """The failed ones where it failed, all where it passed."""
    good, bad = pair(20, 20, 2000), pair(200, 10, 2000)
    failed = judge_all({"HighlyKnown": (good, 0.02), "MaybeKnown": (bad, 0.02)}).sentence
    assert failed.startswith(
        "FAIL: 1 of 2 gated categories fell beyond the margin (after Holm's correction). FAIL: MaybeK"
    )
    assert "HighlyKnown" not in failed
    passed = judge_all({"HighlyKnown": (good, 0.02), "MaybeKnown": (good, 0.03)}).sentence
    assert passed.startswith("PASS: every gated category keeps within its margin. PASS: HighlyKnown")


def test_a_verdict_is_a_value() -> None:
    """Frozen: what was judged stays judged."""
    found: Verdict = judge(pair(1, 1, 100), 0.02)
    with pytest.raises(AttributeError):
        found.outcome = PASS  # type: ignore[misc]
