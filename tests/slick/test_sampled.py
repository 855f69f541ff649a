"""slick.sampled: the estimator's settings, and what answers say of facts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from slick.errors import InputError
from slick.exemplars import draw_exemplar_sets
from slick.facts import Fact
from slick.knowledge import Knowledge
from slick.matching import Matching
from slick.sampled import PAPER, Sampled, count_right, greedy_kwargs, probe_prompts

FACT = Fact.create("Where is A?", ["B", "Bee"])


def test_the_defaults_are_the_papers() -> None:
    """10 sets of 4 exemplars, 16 samples at T = 0.5 from the top 40."""
    assert (PAPER.n_exemplar_sets, PAPER.n_exemplars, PAPER.n_samples) == (10, 4, 16)
    assert (PAPER.temperature, PAPER.top_k) == (0.5, 40)
    assert PAPER.check() is PAPER


def test_every_setting_out_of_range_is_named_at_once() -> None:
    """One message lists them all with what was expected."""
    with pytest.raises(InputError, match="settings of the sampled estimator") as caught:
        Sampled(0, -1, 0, 0.0, 0, 0, -1).check()
    assert [line.strip() for line in str(caught.value).splitlines()[1:]] == [
        "n_exemplar_sets = 0: expected at least 1",
        "n_exemplars = -1: expected at least 1",
        "n_samples = 0: expected at least 1",
        "top_k = 0: expected at least 1",
        "max_gen_toks = 0: expected at least 1",
        "temperature = 0.0: expected above 0",
        "n_before = -1: expected 0 or more",
    ]
    with pytest.raises(InputError, match="temperature = nan: expected above 0"):
        replace(PAPER, temperature=math.nan).check()
    replace(PAPER, n_before=0).check()


def test_generation_settings_leave_nothing_to_the_checkpoint() -> None:
    """do_sample, temperature, top_k and top_p are always given for samples; greedy is greedy."""
    assert replace(PAPER, temperature=0.7, top_k=3, max_gen_toks=5).sampled_kwargs() == {
        "until": ["\n"],
        "max_gen_toks": 5,
        "do_sample": True,
        "temperature": 0.7,
        "top_k": 3,
        "top_p": 1.0,
    }
    assert PAPER.greedy_kwargs() == greedy_kwargs(32)
    assert greedy_kwargs(9) == {"until": ["\n"], "max_gen_toks": 9, "do_sample": False, "temperature": 0.0}


def test_a_fact_has_a_prompt_under_each_set() -> None:
    """One prompt a set, each with k exemplars and the open question."""
    pool = [Fact.create(f"Q{i}?", [f"a{i}"]) for i in range(30)]
    prompts = probe_prompts(FACT, draw_exemplar_sets(pool, n_sets=5, k=2, seed=0))
    assert len(set(prompts)) == 5
    assert all(p.endswith("Q: Where is A?\nA:") and p.count("Q: ") == 3 for p in prompts)


def test_right_answers_are_counted_by_kind() -> None:
    """Greedy, sampled and fresh answers each have their own counts, any accepted answer counts."""
    found = count_right(FACT, [" B", " C"], [[" Bee\n", " b", ""], [" B.", " B", "x"]], [" B"])
    assert found == Knowledge(FACT, 1, 2, 2, 6, 1, 1)
    forgiving = count_right(FACT, [], [[" b"], [" B."]], matching=Matching.NORMALIZED)
    assert forgiving == Knowledge(FACT, 0, 0, 2, 2, 0, 0)
