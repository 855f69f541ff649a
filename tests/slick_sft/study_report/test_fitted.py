"""slick_sft.study_report.fitted: how much of each set is fitted by the last epoch, and how many rows were measured."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from slick.dynamics import DYNAMICS, TRAIN
from slick.knowledge import KNOWN, Category
from slick_sft.dynamics import append_dynamics
from slick_sft.study_report import early_stopping, every, fitted, protocol
from slick_sft.study_report.data import Study
from slick_sft.study_report.report import findings

UNKNOWN = (Category.UNKNOWN,)


@pytest.fixture(scope="module")
def study(whole: Path) -> Study:
    return Study(whole)


def test_the_last_epochs_shares_are_those_by_seed(study: Study) -> None:
    """Of the truth, 99.2 % of the Known rows and 63.2 % of the Unknown ones; of rows that a set lacks none."""
    variant = study.variants["unknown-50"]
    assert fitted.at_end(study, variant, KNOWN) == [pytest.approx(0.992, abs=0.03)] * 2
    assert fitted.at_end(study, variant, UNKNOWN) == [pytest.approx(0.632, abs=0.03)] * 2
    assert fitted.at_end(study, study.variants["known-only"], UNKNOWN) == []


def test_every_variant_says_what_it_has_fitted(study: Study) -> None:
    """Known and Unknown rows apart; a control's Unknown rows are not learned."""
    (table,) = every.section(study).tables
    place = table.header.index("fitted at CONVERGENCE, Known / Unknown")
    told = {row[0].text: row[place].text for row in table.rows}
    known, unknown = told["unknown-50"].split(" / ")
    assert (float(known) > 95, 60 < float(unknown) < 70) == (True, True)
    assert told["unknown-100"].startswith("– / ")
    assert told["known-only"].endswith(" / –")
    assert told["unknown-50-zero-weight"].endswith(" / 0.0")


@pytest.mark.parametrize(("shares", "told"), [([], "–"), ([0.5, 0.5], "50.0"), ([0.5, 0.25, 0.3], "35.0 [25.0, 50.0]")])
def test_a_share_is_a_mean_with_its_lowest_and_highest_seed(shares: list[float], told: str) -> None:
    """One number where seeds agree."""
    assert fitted.mean_and_range(shares) == told


def test_what_is_not_fitted_is_said_beneath_the_headline(study: Study) -> None:
    """Plain mixes of every version with under 95 % of their rows fitted, and no other."""
    assert list(fitted.unfinished(study)) == [
        *("unknown-50", "unknown-75", "unknown-100"),
        *("lora-known-only", "lora-unknown-50"),
    ]
    told = findings([every.section(study)])
    assert told[0].startswith("CONVERGENCE is the last epoch, and not all is fitted by then: under 95 % of the rows")
    assert "unknown-100 (62.5 %)" in told[0]


def test_a_study_that_fitted_all_has_no_such_note(whole: Path, tmp_path: Path) -> None:
    """Nothing to warn of, and the protocol's line gives the least that was fitted."""
    path = shutil.copytree(whole, tmp_path / "study")
    study = Study(path)
    for variant in study.variants.values():
        for arm in variant.arms:
            measured = study.dynamics(arm)
            (arm.tuned / DYNAMICS).unlink()
            for m in measured:
                full = {category: (asked, asked) for category, (_, asked) in m.sets[TRAIN].items()}
                append_dynamics(arm.tuned / DYNAMICS, replace(m, sets={**m.sets, TRAIN: full}))
    study = Study(path)
    assert fitted.note(study) == ""
    assert "at least 100.0 % (known-only" in fitted.converged(study)
    assert not findings([every.section(study)])


def test_the_rows_of_a_measurement_are_counted(study: Study) -> None:
    """In the protocol's table and where EARLY_STOP is chosen; a range where sets have other sizes."""
    here = {row[0].text: row[2].text for row in protocol.section(study).tables[0].rows}
    assert here["rows measured after an epoch"] == "train 20 to 40, dev 40, test 240, ood 80"
    assert "n = 40 dev facts" in here["EARLY_STOP"]
    assert here["CONVERGENCE"].startswith("the last epoch, whatever is fitted by then: of a plain mix's rows at least ")
    assert "on the n = 40 dev facts that were measured" in early_stopping.section(study).text[0]
