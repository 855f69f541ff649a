"""Scores as versions and their seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from slick_reports.history_versions import Asked, versions_of
from slick_reports.ledger_entries import ABSTAINED, RIGHT
from slick_reports.ledger_rows import Columns, Held

WRONG = 0


def score(id: int, version: str = "v", seed: int | None = None, **model: Any) -> Held:
    record = {"model": {"name": "m", **model}, "seed": seed, "source": f"runs/{id}"}
    return Held(id, version, f"2025-01-0{id}", "score", "score-1", False, record)


def two(facts: list[int]) -> tuple[Any, Any, Any, Any]:
    """Columns of two facts that are right."""
    bytes_ = np.int8
    return np.array(facts), np.array([1, 1], bytes_), np.array([-1, -1], bytes_), np.zeros(2, np.float32)


def asked(runs: list[Held], *answers: dict[int, int]) -> list[Asked]:
    """answers: of each run, fact number → outcome; facts are numbered from 1."""
    columns = {
        run.id: Columns(
            np.array(list(of), dtype=np.int64),
            np.array(list(of.values()), dtype=np.int8),
            np.full(len(of), -1, dtype=np.int8),
            np.full(len(of), np.nan, dtype=np.float32),
        )
        for run, of in zip(runs, answers, strict=True)
    }
    return versions_of(runs, columns, {1: 0, 2: 1, 3: 2})


def test_versions_stand_in_the_order_of_their_first_score() -> None:
    """With the seeds of each."""
    runs = [score(1, "a", weights="x"), score(2, "b", weights="y"), score(3, "a", weights="z")]
    a, b = asked(runs, {1: RIGHT}, {1: WRONG}, {1: ABSTAINED, 2: RIGHT})
    assert ([a.name, b.name], a.at, a.sources) == (["a", "b"], "2025-01-01", ("runs/1", "runs/3"))
    assert [run.id for run in a.runs] == [1, 3]
    assert np.array_equal(a.right, [[1, np.nan, np.nan], [0, 1, np.nan]], equal_nan=True)
    assert np.array_equal(a.abstained, [[0, np.nan, np.nan], [1, 0, np.nan]], equal_nan=True)
    assert a.asked.tolist() == [True, False, False]
    assert (a.repeats, b.repeats) == (0, 0)


def test_of_weights_that_were_asked_again_the_latest_answer_counts() -> None:
    """Whatever seed was recorded; other facts keep what they have."""
    runs = [score(1, seed=0, weights="x"), score(2, seed=1, weights="x"), score(3, weights="x")]
    (only,) = asked(runs, {1: RIGHT, 2: RIGHT}, {1: WRONG}, {1: ABSTAINED})
    assert [run.id for run in only.runs] == [3]
    assert np.array_equal(only.right, [[0, 1, np.nan]], equal_nan=True)
    assert np.array_equal(only.abstained, [[1, 0, np.nan]], equal_nan=True)
    assert (only.repeats, only.at, len(only.sources)) == (2, "2025-01-01", 3)


def test_a_model_may_be_scored_in_parts() -> None:
    """Nothing was asked twice, so nothing is a repeat."""
    (only,) = asked([score(1, weights="x"), score(2, weights="x")], {1: RIGHT}, {2: WRONG, 3: RIGHT})
    assert (only.right.tolist(), only.repeats) == ([[1.0, 0.0, 1.0]], 0)


@pytest.mark.parametrize(
    ("one", "other", "seeds"),
    [
        ({"weights": "x", "adapter": "p"}, {"weights": "x", "adapter": "q"}, 2),
        ({"weights": "x", "name": "here"}, {"weights": "x", "name": "there"}, 1),
        ({"weights": None, "name": "org/m"}, {"weights": None, "name": "org/m"}, 1),
        ({"weights": None, "name": "org/m"}, {"weights": None, "name": "org/n"}, 2),
        ({"seed": 0}, {"seed": 1}, 2),
        ({"seed": 0, "weights": "x"}, {"seed": 1, "weights": "x"}, 1),
    ],
)
def test_what_tells_seeds_apart(one: dict[str, Any], other: dict[str, Any], seeds: int) -> None:
    """Weights and adapter; where they are not recorded, name and seed."""
    (only,) = asked([score(1, **one), score(2, **other)], {1: RIGHT}, {1: RIGHT})
    assert len(only.runs) == seeds
    assert only.repeats == 2 - seeds


@pytest.mark.parametrize(
    ("recorded", "seed"), [(3, 3), (0, 0), (None, None), (True, None), ("1", None), (1 << 70, None)]
)
def test_a_seed_is_a_whole_number(recorded: Any, seed: int | None) -> None:
    """Anything else is none; a version of one run without a seed is fixed."""
    (only,) = asked([score(1, seed=recorded)], {1: RIGHT})
    assert (only.seeds, only.fixed) == ((seed,), seed is None)


def test_a_record_of_another_shape_breaks_nothing() -> None:
    """It may be anything that JSON holds."""
    odd = Held(1, "v", "", "score", "score-1", False, {"model": [1]})
    (only,) = asked([odd], {1: RIGHT})
    assert only.sources == ("",)


def test_a_prior_is_what_any_score_recorded() -> None:
    """By fact; a score without it takes none away."""
    columns = {
        1: Columns(*two([1, 2]), [], np.array([1, -1], dtype=np.int8)),
        2: Columns(*two([1, 3])),
    }
    (only,) = versions_of([score(1, weights="x"), score(2, weights="y")], columns, {1: 0, 2: 1, 3: 2})
    assert np.array_equal(only.prior, [1, np.nan, np.nan], equal_nan=True)
