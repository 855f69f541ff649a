"""Finding a learning rate: what is held out, what is chosen, and that nothing stays."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from slick.errors import InputError, RunError
from slick_sft.cli import learning_rate
from slick_sft.formats import TrainingSet
from slick_sft.learning_rate import Trial, choose, find_learning_rate, held_out_rows
from slick_sft.train import Tuning

KNOWN, UNKNOWN = {"category": "MaybeKnown"}, {"category": "Unknown"}


def rows_of(kinds: str, weights: tuple[float, ...] | None = None) -> TrainingSet:
    """K for a Known row, U for an Unknown one."""
    rows = [{"prompt": "a", "completion": "b"} for _ in kinds]
    sidecar = tuple(KNOWN if kind == "K" else UNKNOWN for kind in kinds)
    return TrainingSet(rows, "digest", "set", weights=weights, sidecar=sidecar)  # type: ignore[arg-type]


@given(st.text("KU", min_size=16, max_size=400), st.integers(0, 5))
def test_known_rows_are_held_out_where_there_are_enough(kinds: str, seed: int) -> None:
    """A tenth, at least 8 and at most 256; Known ones if they are twice as many; always the same."""
    held, known = held_out_rows(rows_of(kinds), seed)
    assert len(held) == min(256, max(8, round(len(kinds) / 10)))
    assert known == (kinds.count("K") >= 2 * len(held))
    assert not known or all(kinds[i] == "K" for i in held)
    assert held_out_rows(rows_of(kinds), seed) == (held, known)


def test_a_row_without_weight_is_not_held_out() -> None:
    """It has no token to be judged by."""
    held, _ = held_out_rows(rows_of("K" * 40, tuple(float(i % 2) for i in range(40))), 0)
    assert all(i % 2 for i in held)


def test_a_tiny_set_is_refused() -> None:
    """Fewer than 16 rows leave nothing to train on."""
    with pytest.raises(InputError, match="15 rows; expected at least 16"):
        held_out_rows(rows_of("K" * 15), 0)


@given(st.lists(st.tuples(st.floats(1e-7, 1), st.one_of(st.floats(0, 9), st.just(math.nan))), min_size=1))
def test_the_lowest_loss_on_held_out_rows_is_chosen(items: list[tuple[float, float]]) -> None:
    """Of equal losses the lowest rate; a rate that diverged never; where all did, it is said."""
    trials = [Trial(rate, 2.0, 1.0, 2.0, after) for rate, after in items]
    sound = [(after, rate) for rate, after in items if not math.isnan(after)]
    if not sound:
        with pytest.raises(RunError, match="every learning rate that was tried diverges; give lower ones"):
            choose(trials)
    else:
        best = choose(trials)
        assert (best.after, best.rate) == min(sound)


def test_the_trials_are_of_the_same_start_and_nothing_stays(
    tuning: Callable[..., Tuning], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rate starts from the base model; too high ones diverge and are not chosen; no file is left anywhere."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found = find_learning_rate(tuning(watch=None), [1e30, 1e-7, 3e-3], steps=12)
    assert [trial.rate for trial in found.trials] == [1e-7, 3e-3, 1e30]
    assert len({trial.before for trial in found.trials}) == 1
    assert len({trial.first for trial in found.trials}) == 1
    slow, right, wild = found.trials
    assert wild.diverged
    assert right.after < slow.after == pytest.approx(slow.before, abs=1e-3)
    assert found.best is right
    assert found.held_out == 8
    assert found.notes == ("the held-out rows are of all kinds: too few rows are known to be Known",)
    assert list(tmp_path.iterdir()) == []


def test_a_choice_at_the_end_of_the_grid_is_noted(tuning: Callable[..., Tuning], data: TrainingSet) -> None:
    """The best of all may lie beyond it."""
    known = replace(data, sidecar=(KNOWN,) * 32)
    found = find_learning_rate(tuning(data=known, watch=None), [1e-7, 1e-3], steps=3)
    assert found.notes == ("0.001 is at the high end; widen --rates",)


@pytest.mark.parametrize("rates", [[], [0.0], [1e-3, -1.0], [math.inf]])
def test_rates_that_cannot_be_are_refused(tuning: Callable[..., Tuning], rates: list[float]) -> None:
    """Rates are numbers above 0."""
    with pytest.raises(InputError, match=r"--rates .*: expected numbers above 0"):
        find_learning_rate(tuning(), rates)


def test_the_command_prints_a_table_and_ends_with_the_rate(tiny_model: Path, data: TrainingSet) -> None:
    """The last line is the rate alone, for scripts; the table has a line a rate."""
    app = typer.Typer()
    app.command()(learning_rate)
    command = ["--model", str(tiny_model), "--data", data.source, "--rates", "1e-7,1e-3", "--steps", "2"]
    result = CliRunner().invoke(app, [*command, "--batch-size", "8", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "0.001"
    assert "loss by learning rate; 8 rows held out" in result.stdout
    assert [line.split()[-1] for line in result.stdout.splitlines() if line.strip().startswith("0.001 ")] == ["lowest"]
    with pytest.raises(InputError, match="--rates x: expected numbers with commas between"):
        learning_rate(model=str(tiny_model), data=Path(data.source), rates="x")
