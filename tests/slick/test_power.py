"""slick.power: facts and seeds for a margin, margins for facts and seeds, and what an open verdict needs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from slick.paired import Ledger, Noise, Paired, paired
from slick.power import MOST_SEEDS, Need, facts_needed, need, seeds_needed, smallest_margin


def pair(n: int = 300, lost: int = 15, gained: int = 15, **others: float) -> Paired:
    """Two checkpoints that differ on so many facts, or with other parts of the noise."""
    candidate, control = np.zeros((1, n)), np.zeros((1, n))
    control[0, :lost] = 1
    candidate[0, lost : lost + gained] = 1
    found = paired(candidate, control)
    assert found is not None
    return replace(found, **others)


def trained(item: float, beyond: float, n: int = 1000, seeds: int = 3) -> Paired:
    """Arms of several seeds with these variances."""
    return Paired(0.0, n, 0, 0, Noise.SEEDS, item, n - 1.0, run=beyond, run_df=2.0 * (seeds - 1), seeds=seeds, df=100.0)


@pytest.mark.parametrize(("margin", "n"), [(0.01, 6183), (0.02, 1546), (0.03, 687), (0.05, 248)])
def test_the_facts_for_a_margin_are_designs(margin: float, n: int) -> None:
    """80 % power at a true drop of 0, one fact in ten answered differently, 90 % interval."""
    assert facts_needed(margin) == n


def test_the_facts_for_a_margin_give_that_power() -> None:
    """With the normal distribution itself: the chance that L lies above the margin is 80 %."""
    n = facts_needed(0.02)
    error = math.sqrt(0.10 / n)
    assert 1 - norm.cdf(norm.ppf(0.95) - 0.02 / error) == pytest.approx(0.80, abs=1e-3)


def test_clusters_multiply_the_facts() -> None:
    """A design effect of 2 asks for twice the facts."""
    assert facts_needed(0.02, effect=2.0) == pytest.approx(2 * facts_needed(0.02), abs=1)


@pytest.mark.parametrize(("sd", "margin", "about"), [(0.01, 0.02, 3), (0.019, 0.02, 11)])
def test_facts_cannot_buy_seeds(sd: float, margin: float, about: int) -> None:
    """About 2 · 6.18 s²/m² seeds whatever the facts; a few more, since few seeds know their spread badly."""
    normal = 2 * 6.18 * sd**2 / margin**2
    assert round(normal) == about
    seeds = seeds_needed(margin, sd)
    assert seeds is not None
    assert math.ceil(normal) <= seeds <= normal + 3


def test_seeds_that_do_not_differ_are_two() -> None:
    """Two at the least: one run has no spread."""
    assert seeds_needed(0.02, 0.0) == 2


def test_a_spread_far_beyond_the_margin_is_out_of_reach() -> None:
    """More seeds than anyone trains: None."""
    assert seeds_needed(0.001, 0.2) is None


@pytest.mark.parametrize("margin", [0.0, -0.1, 1.5, 2])
def test_a_margin_is_a_fraction(margin: float) -> None:
    """Points are not fractions."""
    with pytest.raises(ValueError, match="margin"):
        facts_needed(margin)
    with pytest.raises(ValueError, match="margin"):
        seeds_needed(margin, 0.01)


@pytest.mark.parametrize("power", [0.5, 1.0, 80])
def test_power_lies_between_a_half_and_1(power: float) -> None:
    """A percentage is not a power."""
    with pytest.raises(ValueError, match="power must lie in"):
        facts_needed(0.02, power=power)


def test_the_smallest_margin_undoes_the_facts_needed() -> None:
    """Facts enough for a margin defend that margin."""
    found = pair(1000, 50, 50)
    # Agresti's two pseudo-counts stand in `item`.
    assert smallest_margin(found, facts=facts_needed(0.02, 0.102)) == pytest.approx(0.02, rel=1e-3)


@given(st.floats(1e-6, 1e-3), st.floats(0, 1e-3), st.integers(2, 20))
def test_more_of_either_defends_a_smaller_margin(item: float, beyond: float, seeds: int) -> None:
    """More facts or more seeds never ask for a wider margin."""
    found = trained(item, beyond, seeds=seeds)
    now = smallest_margin(found)
    more_facts, more_seeds = smallest_margin(found, facts=4000), smallest_margin(found, seeds=4 * seeds)
    assert now is not None
    assert more_facts is not None
    assert more_seeds is not None
    assert more_seeds <= now * (1 + 1e-9)
    # Degrees of freedom may fall a little where facts are the better known part.
    assert more_facts <= now * 1.25


def test_undefined_noise_defends_no_margin() -> None:
    """None, never 0."""
    assert smallest_margin(pair(defined=False)) is None


def test_two_checkpoints_need_facts() -> None:
    """As many as `facts_needed` says for their discordance."""
    found = need(pair(1000, 50, 50), 0.02, power=0.8)
    assert found.seeds is None
    assert found.facts == pytest.approx(facts_needed(0.02, 0.102), rel=0.002)


def test_a_pair_without_discordance_still_needs_facts() -> None:
    """No difference on 20 facts does not show that there never is one."""
    found = need(pair(20, 0, 0), 0.05)
    assert found.facts is not None
    assert found.facts > 100


def test_what_dominates_is_asked_for() -> None:
    """Facts where they are most of the noise, seeds where these are, never fewer than there are."""
    by_facts = need(trained(item=4e-4, beyond=1e-5), 0.03)
    assert by_facts.seeds is None
    assert by_facts.facts is not None
    assert by_facts.facts > 1000
    by_seeds = need(trained(item=1e-5, beyond=4e-4), 0.03)
    assert by_seeds.facts is None
    assert by_seeds.seeds is not None
    assert 3 < by_seeds.seeds <= 3 * 12


@given(st.floats(1e-6, 1e-3), st.floats(0, 1e-3), st.integers(2, 8), st.sampled_from([0.01, 0.02, 0.05]))
def test_what_is_asked_for_is_enough(item: float, beyond: float, seeds: int, margin: float) -> None:
    """With the facts and seeds of a need, the margin can be defended."""
    found = trained(item, beyond, seeds=seeds)
    wanted = need(found, margin)
    if wanted != Need():
        shown = smallest_margin(found, facts=wanted.facts, seeds=wanted.seeds)
        assert shown is not None
        assert shown <= margin * 1.01
        assert (wanted.facts or found.n) >= found.n
        assert (wanted.seeds or seeds) >= seeds


@given(st.floats(1e-6, 1e-2), st.floats(0, 1e-3), st.integers(2, 8), st.sampled_from([0.005, 0.01, 0.02, 0.05]))
def test_never_0_more_are_asked_for(item: float, beyond: float, seeds: int, margin: float) -> None:
    """More than there are, or nothing is said of them."""
    found = trained(item, beyond, seeds=seeds)
    wanted = need(found, margin)
    assert wanted.facts is None or wanted.facts > found.n
    assert wanted.seeds is None or wanted.seeds > seeds


def test_far_more_facts_are_asked_for_alone_where_the_seeds_will_do() -> None:
    """Beyond twelve times the facts, but no more seeds than there are: the fewest facts that are enough."""
    wanted = need(trained(item=2e-3, beyond=0.0, n=60), 0.01)
    assert wanted.seeds is None
    assert wanted.facts is not None
    assert wanted.facts > 12 * 60
    fewer = smallest_margin(trained(item=2e-3, beyond=0.0, n=60).cautious(), facts=wanted.facts - 1, power=0.85)
    assert fewer is not None
    assert fewer > 0.01


def test_both_are_asked_for_where_neither_alone_will_do() -> None:
    """Facts and seeds share the noise, and each alone exceeds what the margin allows."""
    wanted = need(trained(item=4e-4, beyond=3.9e-4), 0.02)
    assert wanted.facts is not None
    assert wanted.seeds is not None


def test_a_margin_out_of_reach_is_said_to_be() -> None:
    """Noise of seeds beyond a thousand of them: neither."""
    assert need(trained(item=1e-5, beyond=1.0), 0.001) == Need()
    assert MOST_SEEDS == 1000


def test_near_the_margin_twice_as_many_are_asked_for() -> None:
    """Facts and seeds that should have been enough."""
    assert need(pair(3000, 150, 150), 0.02) == Need(facts=6000)
    assert need(trained(item=1e-7, beyond=1e-6), 0.02) == Need(seeds=6)


def test_a_ledger_asks_for_seeds_of_ones_own() -> None:
    """One run an arm with the ledger's spread: at least two seeds."""
    candidate, control = np.zeros((1, 3000)), np.zeros((1, 3000))
    found = paired(candidate, control, ledger=Ledger(0.015, 8))
    assert found is not None
    wanted = need(found, 0.03)
    assert wanted.facts is None
    assert wanted.seeds is not None
    assert 2 <= wanted.seeds <= 10


def test_an_undefined_difference_needs_more_facts() -> None:
    """Twice as many to begin with."""
    assert need(pair(defined=False), 0.02) == Need(facts=600)


def test_a_need_has_a_json_form() -> None:
    """Totals; null for what is enough already."""
    assert Need(facts=600).as_dict() == {"facts": 600, "seeds": None}
