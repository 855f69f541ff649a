"""slick_sft.study_report.trend: the slope of accuracy over the share of Unknown rows, and its steps."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from slick_sft.study_report import trend
from slick_sft.study_report.asked import ALL, KNOWN_FACTS
from slick_sft.study_report.blocks import Finding
from slick_sft.study_report.data import TEST, Answers, Study, Variant

STAGE = "convergence"


def answering(study: Study, monkeypatch: pytest.MonkeyPatch, accuracies: list[float]) -> dict[float, Variant]:
    """The study's mixes, answering so much rightly: the same facts first in all of them."""
    mixes = study.mixes()
    facts = len(study.asked(TEST).facts)
    places = np.random.default_rng(1).permutation(facts)
    by_name = {v.name: accuracy for v, accuracy in zip(mixes.values(), accuracies, strict=True)}

    def answers(variant: Variant, stage: str, split: str) -> Answers:
        luck = np.array([[0], [3]])
        right = (places[None] + luck < by_name[variant.name] * facts).astype(float)
        return Answers(right, np.zeros_like(right))

    monkeypatch.setattr(study, "answers", answers)
    return mixes


@pytest.mark.parametrize(
    ("accuracies", "finding"),
    [
        ([0.8, 0.7, 0.6, 0.5], Finding.AGREES),
        ([0.8, 0.7, 0.705, 0.5], Finding.AGREES),
        ([0.6, 0.6, 0.6, 0.6], Finding.OPEN),
        ([0.5, 0.6, 0.7, 0.8], Finding.DIFFERS),
        ([0.9, 0.4, 0.6, 0.3], Finding.DIFFERS),
    ],
    ids=["falls", "a step up within its noise", "level", "rises", "a step up beyond its noise"],
)
def test_a_fall_is_a_slope_below_0_and_no_step_up(
    whole: Path, monkeypatch: pytest.MonkeyPatch, accuracies: list[float], finding: Finding
) -> None:
    """Steps count after Holm's correction; how many go up at all is said."""
    study = Study(whole)
    found = trend.claim(study, answering(study, monkeypatch, accuracies))
    assert found.finding is finding
    assert ("go up" in found.here) is any(b > a for a, b in pairwise(accuracies))


def test_the_slope_is_that_of_least_squares(whole: Path) -> None:
    """Of the variants' accuracies over their shares, from no Unknown row to nothing else."""
    study = Study(whole)
    mixes = study.mixes()
    for group in (ALL, KNOWN_FACTS):
        mask = study.asked(TEST).mask(group)
        means = [study.answers(v, STAGE, TEST).right[:, mask].mean() for v in mixes.values()]
        found = trend.slope(study, mixes, STAGE, group)
        assert found is not None
        assert found.value == pytest.approx(np.polyfit(list(mixes), means, 1)[0])
        assert found.interval is not None


def test_one_variant_has_no_slope(whole: Path) -> None:
    """Nor have variants with unequal numbers of seeds."""
    study = Study(whole)
    mixes = study.mixes()
    assert trend.slope(study, {0.0: mixes[0.0]}, STAGE, ALL) is None
