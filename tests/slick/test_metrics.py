"""slick.metrics: a fact's knowledge in lm-eval's terms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from slick.facts import Fact
from slick.knowledge import Category, Chances, Knowledge, expected_shares
from slick.matching import Matching
from slick.metrics import fact_metrics, probe_metrics, summarise
from slick.redraw import chance_kept

FACT = Fact.create("Where is A?", ["B", "Bee"])


def test_a_facts_metrics_have_their_lm_eval_names() -> None:
    """One category is 1; shares that were not measured are left out, not 0."""
    assert fact_metrics(Knowledge(FACT, 1, 4, 0, 0), "Bee", Matching.STRICT) == {
        "highly_known": 0.0,
        "maybe_known": 1.0,
        "weakly_known": 0.0,
        "unknown": 0.0,
        "p_correct_greedy": 0.25,
        "answer_prior": 1.0,
    }
    found = fact_metrics(Knowledge(FACT, 0, 4, 3, 12), None, Matching.STRICT)
    assert found["p_correct_sampled"] == 0.25
    assert found["weakly_known"] == 1.0
    assert "answer_prior" not in found


@pytest.mark.parametrize(("matching", "right"), [(Matching.STRICT, 0.0), (Matching.NORMALIZED, 1.0)])
def test_the_answer_prior_is_judged_by_the_same_policy(matching: Matching, right: float) -> None:
    """The baseline is matched as the model is."""
    assert fact_metrics(Knowledge(FACT, 1, 1, 0, 0), "the bee", matching)["answer_prior"] == right


def test_a_summary_has_means_and_standard_errors() -> None:
    """As lm-eval's mean and mean_stderr over the facts that have the metric, whose number stands beside."""
    rows = [{"hit": 1.0, "share": 0.2}, {"hit": 0.0, "share": 0.4}, {"hit": 1.0}, {"hit": 1.0, "share": 0.9}]
    found = summarise(rows)
    hits, shares = [1.0, 0.0, 1.0, 1.0], [0.2, 0.4, 0.9]
    assert found["sample_len"] == 4
    assert found["hit,none"] == 0.75
    assert found["hit_stderr,none"] == pytest.approx(np.std(hits, ddof=1) / 2)
    assert found["share,none"] == pytest.approx(0.5)
    assert found["share_stderr,none"] == pytest.approx(np.std(shares, ddof=1) / math.sqrt(3))
    assert found["share_n,none"] == 3
    assert "hit_n,none" not in found


def test_one_fact_has_no_standard_error() -> None:
    """It is "N/A", as lm-eval writes it, and not 0."""
    found = summarise([{"hit": 1.0, "share": 0.3}])
    assert (found["hit_stderr,none"], found["share_stderr,none"]) == ("N/A", "N/A")
    assert summarise([]) == {"sample_len": 0}


def test_categories_of_a_summary_add_up() -> None:
    """The four shares are of the same facts."""
    knowledge = [Knowledge(FACT, right, 4, 0, 4) for right in (0, 0, 1, 4)]
    found = summarise([fact_metrics(k, None, Matching.STRICT) for k in knowledge])
    assert [found[f"{c.metric},none"] for c in Category] == [0.25, 0.25, 0.0, 0.5]


def test_exact_metrics_are_chances() -> None:
    """A category's metric is how likely samples are to say it; flagged and uncertain facts are counted as well."""
    found = fact_metrics(Knowledge(FACT, 0, 2, chances=Chances((0.5, 0.25), n_samples=1)), "C", Matching.STRICT)
    assert found == {
        "highly_known": 0.0,
        "maybe_known": 0.0,
        "weakly_known": 0.625,
        "unknown": 0.375,
        "p_correct_greedy": 0.0,
        "p_correct_sampled": 0.375,
        "flagged": 1.0,
        "uncertain": 0.0,
        "answer_prior": 0.0,
    }
    hit = fact_metrics(Knowledge(FACT, 1, 2, chances=Chances((0.5, 0.25), uncertain=True)), None, Matching.STRICT)
    assert (hit["maybe_known"], hit["flagged"], hit["uncertain"]) == (1.0, 0.0, 1.0)


def test_the_mean_of_chances_is_the_expected_share_with_its_error_over_facts() -> None:
    """What a summary calls the share of Unknown is the mean u; its error is the spread of u over facts."""
    knowledge = [Knowledge(FACT, right, 1, chances=Chances((p,), 1)) for right, p in ((0, 0.5), (0, 0.25), (1, 1.0))]
    found = summarise([fact_metrics(k, None, Matching.STRICT) for k in knowledge])
    shares = expected_shares(knowledge)
    assert [found[f"{c.metric},none"] for c in Category] == pytest.approx([shares[c] for c in Category])
    assert found["unknown_stderr,none"] == pytest.approx(np.std([0.5, 0.75, 0], ddof=1) / math.sqrt(3))


def test_a_probe_as_a_whole_tells_how_firm_its_categories_are() -> None:
    """Mean chances to keep a category, and what drawing samples would add to Unknown's share; nothing undefined."""
    facts = [Fact.create(f"Q{i}?", ["a"]) for i in range(60)]
    exact = [Knowledge(f, i % 4, 3, chances=Chances((0.01 * (i % 7),) * 3)) for i, f in enumerate(facts)]
    found = probe_metrics(exact)
    kept = chance_kept(exact)
    assert list(found) == [
        "keeps_category,none",
        "keeps_highly_known,none",
        "keeps_maybe_known,none",
        "keeps_weakly_known,none",
        "keeps_unknown,none",
        "unknown_sampling_error,none",
        "largest_pruned,none",
    ]
    assert found["keeps_category,none"] == pytest.approx(np.mean([chance or 0 for chance in kept]))
    u = [k.u or 0 for k in exact]
    assert found["unknown_sampling_error,none"] == pytest.approx(math.sqrt(sum(x * (1 - x) for x in u)) / 60)
    sampled = [Knowledge(f, i % 4, 3, 0, 48) for i, f in enumerate(facts)]
    assert list(probe_metrics(sampled)) == ["keeps_highly_known,none", "keeps_maybe_known,none"]
    assert list(probe_metrics(exact[:3])) == ["unknown_sampling_error,none", "largest_pruned,none"]
    assert probe_metrics([]) == {}
