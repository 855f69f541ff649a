"""EARLY_STOP: which measurement is the best, which models are kept for it, and when a rule ends training."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.dynamics import DEV, Measurement
from slick.errors import InputError
from slick.knowledge import CATEGORIES
from slick_sft.early_stop import BEST_DEV, KNOWN_FALLS, Candidates, Stop, best_of, chance_of_fall

HIGHLY, *_, UNKNOWN = CATEGORIES


def dev(*right: int, of: int = 10) -> list[Measurement]:
    """One measurement an epoch of 4 steps."""
    return [Measurement(4 * i, float(i), {DEV: {HIGHLY: (n, of)}}) for i, n in enumerate(right)]


def known(*rows: str) -> list[Measurement]:
    """Of each epoch, which Known facts are right."""
    return [
        Measurement(4 * i, float(i), {DEV: {HIGHLY: (row.count("1"), len(row))}}, 0.0, f"{int('1' + row, 2):x}")
        for i, row in enumerate(rows)
    ]


@given(right=st.lists(st.integers(0, 10), min_size=1))
def test_the_best_is_the_first_of_the_highest(right: list[int]) -> None:
    """Epoch 0, before any step, is a candidate like any other; ties go to the earlier."""
    best = best_of(dev(*right))
    assert best is not None
    assert best.step == 4 * right.index(max(right))


def test_without_dev_there_is_no_best() -> None:
    """Other sets decide nothing."""
    assert best_of([]) is None
    assert best_of([Measurement(0, 0.0, {"train": {HIGHLY: (1, 1)}, "test": {UNKNOWN: (1, 1)}})]) is None


def test_best_dev_waits_for_its_patience() -> None:
    """It says stop when the best is that many epochs old, and not one earlier; a tie is no better."""
    stop = Stop(BEST_DEV, 2)
    assert not stop.says(dev(5, 7, 7))
    assert "best at epoch 1 (70.0%), 2 epochs before epoch 3" in stop.says(dev(5, 7, 7, 6))
    assert not stop.says(dev(5, 7, 7, 8))
    assert not stop.says(dev(5))


def test_best_dev_counts_epochs_and_not_measurements() -> None:
    """Measured more often than once an epoch, patience is as long."""
    often = [Measurement(i, i / 4, {DEV: {HIGHLY: (9 - i, 9)}}) for i in range(9)]
    assert not Stop(BEST_DEV, 2).says(often[:8])
    assert Stop(BEST_DEV, 2).says(often)


def test_known_falls_needs_a_fall_beyond_noise_twice() -> None:
    """Fifteen of forty facts lost, none gained, at two measurements in a row; once is not enough."""
    stop = Stop(KNOWN_FALLS)
    whole, fallen = "1" * 40, "0" * 15 + "1" * 25
    assert not stop.says(known(whole))
    assert not stop.says(known(whole, fallen))
    assert not stop.says(known(whole, fallen, whole))
    assert stop.says(known(whole, fallen, fallen)) == (
        "since epoch 0 the model lost 15 Known facts of dev and gained 0 (p = 3.1e-05)"
    )


def test_known_falls_compares_with_the_best_so_far() -> None:
    """Facts that tuning brought at first and then lost are a fall, though the base model had fewer still."""
    low, high, middle = "0" * 30 + "1" * 10, "1" * 40, "0" * 15 + "1" * 25
    assert "since epoch 1" in Stop(KNOWN_FALLS).says(known(low, high, middle, middle))
    assert not Stop(KNOWN_FALLS).says(known(low, middle, middle, middle))


def test_facts_that_change_places_are_no_fall() -> None:
    """As many gained as lost: the share stays, and so does training."""
    a, b = "0" * 20 + "1" * 20, "1" * 20 + "0" * 20
    assert not Stop(KNOWN_FALLS).says(known(a, b, b, b))


def test_the_chance_of_a_fall_is_the_sign_tests() -> None:
    """Exact, one-sided; without any change it is certain."""
    assert chance_of_fall(10, 0) == pytest.approx(0.5**10)
    assert chance_of_fall(1, 1) == pytest.approx(0.75)
    assert chance_of_fall(0, 0) == 1.0


def test_known_falls_seldom_cries_wolf() -> None:
    """Facts that flicker by chance alone over 50 epochs end fewer than one run in twenty."""
    rng = random.Random(0)
    stop, alarms, runs = Stop(KNOWN_FALLS), 0, 100
    for _ in range(runs):
        chances = [rng.choice([0.05, 0.5, 0.9, 0.99]) for _ in range(120)]
        measured = known(*("".join("01"[rng.random() < p] for p in chances) for _ in range(50)))
        alarms += any(stop.says(measured[: n + 1]) for n in range(50))
    assert alarms / runs < 0.05


def test_rules_are_checked() -> None:
    """An unknown rule and no patience are refused."""
    with pytest.raises(InputError, match=r"--stop best: expected best-dev or known-falls"):
        Stop("best").check()
    with pytest.raises(InputError, match=r"--patience 0: expected at least 1"):
        Stop(BEST_DEV, 0).check()


def save(candidates: Candidates, step: int, content: str = "") -> None:
    candidates.save(step, lambda path: (path / "weights").write_text(content or str(step)) and None)


def test_candidates_are_kept_and_published(tmp_path: Path) -> None:
    """They stand beside the checkpoints; the best takes its place in the run whole, and replaces another."""
    candidates = Candidates(tmp_path / "checkpoints", tmp_path)
    save(candidates, 4)
    save(candidates, 12)
    save(candidates, 12, "again")
    assert candidates.steps() == {4, 12}
    candidates.keep({12})
    assert candidates.steps() == {12}
    candidates.publish(12)
    assert candidates.steps() == set()
    assert (tmp_path / "early_stop" / "weights").read_text() == "again"
    candidates.publish(12)
    assert (tmp_path / "early_stop" / "weights").exists()
    save(candidates, 16)
    candidates.publish(16)
    assert (tmp_path / "early_stop" / "weights").read_text() == "16"


def test_the_base_model_is_not_copied(tmp_path: Path) -> None:
    """Where epoch 0 wins there is no directory, nor one that an interrupted run left."""
    candidates = Candidates(tmp_path / "checkpoints", tmp_path)
    save(candidates, 4)
    candidates.publish(4)
    candidates.publish(0)
    assert not (tmp_path / "early_stop").exists()


def test_a_half_written_candidate_does_not_count(tmp_path: Path) -> None:
    """What fails while it is written leaves nothing; the candidate of before stays."""
    candidates = Candidates(tmp_path / "checkpoints", tmp_path)
    save(candidates, 4)

    def fail(path: Path) -> None:
        (path / "weights").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        candidates.save(8, fail)
    assert candidates.steps() == {4}
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["early-stop-4"]
