"""Whether two probes agree: the comparison itself, on models whose chances are known."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.exemplars import exemplar_pools
from slick.facts import Fact, of_split
from slick.probe import Probe, run_probe
from slick.runs import read_samples
from slick_tasks.agreement import Difference, _moments, compare_rows, sampling_differences, smallest_gap


def row(id: str, greedy: str, samples: list[str], prompt: str = "p") -> dict[str, Any]:
    asked = [(prompt, False, [greedy])] + ([(prompt, True, samples)] if samples else [])
    return {
        "doc": Fact.create(id, ["yes"], id=id).as_dict(),
        "arguments": {
            f"gen_args_{i}": {"arg_0": p, "arg_1": {"do_sample": sampled}} for i, (p, sampled, _) in enumerate(asked)
        },
        "resps": [answers for *_, answers in asked],
    }


def drawn(rng: random.Random, chance: float, n: int = 16) -> list[str]:
    return ["yes" if rng.random() < chance else "no" for _ in range(n)]


def two_probes(seed: int, shift: float = 0.0) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Samples of 400 prompts in two probes; in the second the chances are `shift` higher, or copies for -1."""
    rng = random.Random(seed)
    one, two = [], []
    for i in range(400):
        chance = rng.random()
        samples = drawn(rng, chance)
        one.append(row(f"{i}", "yes", samples))
        two.append(row(f"{i}", "yes", samples if shift == -1 else drawn(rng, min(1, chance + shift))))
    return one, two


def test_equal_models_agree() -> None:
    """Over 60 pairs of probes of one model, bias and dispersion are about standard normal."""
    found = [compare_rows(*two_probes(seed)) for seed in range(60)]
    assert sum(not agreement.sampling_agrees() for agreement in found) <= 2
    for values in ([a.bias for a in found], [a.dispersion for a in found]):
        assert abs(sum(values) / len(values)) < 0.4
        assert 0.75 < (sum(v * v for v in values) / len(values)) ** 0.5 < 1.25


def test_a_model_that_answers_more_often_is_noticed() -> None:
    """Five points more chance of a right sample are a bias."""
    agreement = compare_rows(*two_probes(0, shift=0.05))
    assert agreement.bias < -3
    assert not agreement.sampling_agrees()


def test_copied_samples_are_noticed() -> None:
    """Samples that are equal one by one are too alike to be two draws."""
    agreement = compare_rows(*two_probes(0, shift=-1))
    assert agreement.dispersion < -3
    assert not agreement.sampling_agrees()


def test_models_that_differ_both_ways_are_noticed() -> None:
    """Differences that cancel out on average still spread too far."""
    rng = random.Random(0)
    one = [row(f"{i}", "yes", drawn(rng, 0.5)) for i in range(400)]
    two = [row(f"{i}", "yes", drawn(rng, 0.3 if i % 2 else 0.7)) for i in range(400)]
    agreement = compare_rows(one, two)
    assert abs(agreement.bias) < 3
    assert agreement.dispersion > 3


def test_differing_greedy_answers_are_listed() -> None:
    """Each prompt with two greedy answers is named with both."""
    one = [row("a", "yes", []), row("b", "yes", [])]
    two = [row("b", "no", []), row("a", "yes", []), row("c", "no", [])]
    agreement = compare_rows(one, two)
    assert (agreement.facts, agreement.greedy, agreement.sampled) == (2, 2, 0)
    (difference,) = agreement.different
    assert (difference.fact, difference.first, difference.second) == ("b", "yes", "no")
    assert agreement.sampling_agrees()


def test_probes_that_asked_differently_are_refused() -> None:
    """Other prompts are no agreement and no disagreement."""
    with pytest.raises(ValueError, match="fact a: the two probes asked it in different words"):
        compare_rows([row("a", "yes", [])], [row("a", "yes", [], prompt="q")])
    with pytest.raises(ValueError, match="share no fact"):
        compare_rows([row("a", "yes", [])], [row("b", "yes", [])])


@given(st.integers(1, 20), st.integers(1, 20), st.data())
def test_moments_are_the_hypergeometric_ones(n: int, m: int, data: st.DataObject) -> None:
    """Mean, variance and fourth moment are scipy's."""
    from scipy.stats import hypergeom

    right = data.draw(st.integers(0, n + m))
    chances = [float(hypergeom.pmf(k, n + m, right, n)) for k in range(n + 1)]
    mean, second, fourth = _moments(n, m, right)
    assert mean == pytest.approx(sum(k * p for k, p in enumerate(chances)))
    assert second == pytest.approx(sum((k - mean) ** 2 * p for k, p in enumerate(chances)))
    assert fourth == pytest.approx(sum((k - mean) ** 4 * p for k, p in enumerate(chances)), abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 16), st.just(16), st.integers(0, 16), st.just(16)), max_size=30))
def test_swapping_the_probes_turns_the_bias_round(counts: list[tuple[int, int, int, int]]) -> None:
    """Which probe comes first changes the sign of the bias and nothing else."""
    number, bias, dispersion = sampling_differences(counts)
    again = sampling_differences([(c, d, a, b) for a, b, c, d in counts])
    assert again == pytest.approx((number, -bias, dispersion))


def test_a_two_stage_probe_compares_where_it_has_samples(
    rote: Callable[..., Any], backend_of: Callable[..., Any], tiny_facts: list[Fact], tmp_path: Path
) -> None:
    """Samples that one probe did not need, and its fresh exemplar sets, are left out of the comparison."""
    facts = of_split(tiny_facts, "test")
    pools = exemplar_pools(tiny_facts, facts, seed=0)
    runs = [
        run_probe(Probe(facts, pools, {}, all_samples=full), backend_of(rote(seed=full)), tmp_path / str(full))
        for full in (False, True)
    ]
    two_stage, full = ([r for f in run.samples.values() for r in read_samples(f)] for run in runs)
    agreement = compare_rows(two_stage, full)
    assert (agreement.facts, agreement.greedy, agreement.different) == (12, 180, ())
    assert agreement.sampling_agrees()


def test_the_smallest_gap_is_over_the_answer_up_to_where_two_part(tiny_model: Path) -> None:
    """Answers that part at once are judged by their first token, equal ones by the closest call of all."""
    import torch
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=str(tiny_model), device="cpu", batch_size=1)
    tokens = torch.tensor([lm.tok_encode("Q: a?\nA:")])
    (best, second), _ = lm.model(tokens).logits[0, -1].topk(2)
    answer = lm.tok_decode(lm.model.generate(tokens, do_sample=False, max_new_tokens=32)[0, tokens.shape[1] :])
    at_once = smallest_gap(lm, "Q: a?\nA:", Difference("f", "", answer, "\0"))
    assert at_once == pytest.approx(float((best - second).detach()), abs=1e-5)
    assert 0 < smallest_gap(lm, "Q: a?\nA:", Difference("f", "", answer, answer)) < at_once
