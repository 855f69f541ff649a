"""slick_sft.study_report.baselines: the commonest answer and abstention, beside every table of accuracies."""

from __future__ import annotations

from pathlib import Path

import pytest

from slick_reports import wording
from slick_sft.study_report import baselines, categories, controls, plane, shares
from slick_sft.study_report.asked import ALL, KNOWN_FACTS
from slick_sft.study_report.data import TEST, Study


@pytest.fixture(scope="module")
def study(whole: Path) -> Study:
    return Study(whole)


def test_the_commonest_answer_and_abstention_are_of_the_group(study: Study) -> None:
    """Of Known facts other ones than of all; the variant that abstains most is named with its stage."""
    variants = [study.variants["unknown-50"], study.variants["unknown-50-idk"]]
    for group, words in ((ALL, "Of all test facts"), (KNOWN_FACTS, "Of Known test facts")):
        mask, asked = study.group(TEST, group)
        told = baselines.beside(study, variants, TEST, group)
        assert told.startswith(f"{words}, always giving a relation's commonest answer has ")
        assert f"has {wording.percent(float(asked.prior.mean()))} % (" in told
        most = float(study.answers(variants[1], "convergence", TEST).abstained[:, mask].mean())
        assert f"at most {wording.percent(most)} % (" in told
        assert told.endswith(" of a tuned one's (unknown-50-idk, CONVERGENCE).")


def test_they_stand_in_each_section_of_accuracies(study: Study) -> None:
    """Of Known facts too beside the headline's table, and a sentence with the controls, categories and LoRA."""
    note = shares.section(study).tables[0].note
    assert "Of all test facts, always giving" in note
    assert "Of Known test facts, always giving" in note
    for section in (controls, categories, plane):
        assert any("always giving a relation's commonest answer" in text for text in section.section(study).text)
