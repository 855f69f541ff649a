"""Training curves, from what a tuning run measured beside its model."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.dynamics import DYNAMICS
from slick.knowledge import Category
from slick.statistics import wilson
from slick.training import TRAINING
from slick_reports.arms import group_arms
from slick_reports.curve_numbers import TrainingCurves
from slick_reports.curves import POINTS, share_of, thinned, training_curves
from slick_reports.inputs import read_scored

if TYPE_CHECKING:
    from conftest import Lab


def read(*runs: Path) -> tuple[TrainingCurves | None, tuple[str, ...]]:
    (arm,) = group_arms([read_scored(run) for run in runs], {})
    return training_curves(arm)


def found(*runs: Path) -> TrainingCurves:
    curves, notes = read(*runs)
    assert notes == ()
    assert curves is not None
    return curves


def test_known_and_unknown_rows_and_dev_by_category(lab: Lab) -> None:
    """The training rows first; one seed's shares have Wilson's interval over the rows asked."""
    measured = lab.measurements(3)
    curves = found(lab.arm("a", 0, **lab.tuned("a", 0, measured)))
    assert [(c.watched, c.group) for c in curves.curves] == [
        ("train", "Known"),
        ("train", "Unknown"),
        *(("dev", str(category)) for category in Category),
    ]
    known, unknown, *_ = curves.curves
    assert [p.epoch for p in known.points] == [0.0, 1.0, 2.0, 3.0]
    assert [p.share for p in known.points] == [wilson(n, 100) for n in (30, 50, 70, 90)]
    assert [p.share for p in unknown.points] == [wilson(n, 100) for n in (0, 8, 16, 24)]
    assert (curves.seeds, curves.scored) == ((0,), (3.0,))


def test_the_epoch_that_was_scored_is_told(lab: Lab) -> None:
    """That of the model which dev chose, or the last one; a model of another name has none."""
    for kept, epoch in (("early_stop", 1.0), ("model", 4.0), ("elsewhere", None)):
        settings = lab.tuned(kept, 0, lab.measurements(4), kept=kept)
        assert found(lab.arm(kept, 0, **settings)).scored == (epoch,)


def test_seeds_are_averaged_over_the_epochs_that_all_of_them_have(lab: Lab) -> None:
    """A mean over ever fewer seeds would jump."""
    runs = [lab.arm("a", seed, **lab.tuned("a", seed, lab.measurements(n, f))) for seed, n, f in ((0, 5, 1), (1, 3, 2))]
    curves = found(*runs)
    assert (curves.seeds, curves.scored) == ((0, 1), (5.0, 3.0))
    unknown = curves.of("train")[1]
    assert [p.epoch for p in unknown.points] == [0.0, 1.0, 2.0, 3.0]
    assert [p.share.value for p in unknown.points] == pytest.approx([0.0, 0.12, 0.24, 0.36])
    assert {p.share.method for p in unknown.points} == {"rows and 2 seeds"}
    assert {p.share.n for p in unknown.points} == {100}


def test_seeds_that_share_no_epoch_have_no_curve(lab: Lab) -> None:
    """And that is said."""
    late = [replace(m, epoch=m.epoch + 0.5) for m in lab.measurements(3)]
    runs = [lab.arm("a", s, **lab.tuned("a", s, measured)) for s, measured in ((0, lab.measurements(3)), (1, late))]
    curves, notes = read(*runs)
    assert curves is None
    assert "were measured at different epochs" in notes[0]


def test_nothing_is_said_where_nothing_was_measured(lab: Lab) -> None:
    """Neither of a base model, nor of one that was tuned without."""
    assert read(lab.score("base")) == (None, ())
    assert read(lab.arm("a", 0, training={"dynamics": None})) == (None, ())


def remove(place: Path) -> None:
    for file in (place / TRAINING, place / DYNAMICS):
        file.unlink()


def retrain(place: Path) -> None:
    record = json.loads((place / TRAINING).read_text())
    (place / TRAINING).write_text(json.dumps({**record, "steps": 7}))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (remove, r"has no training curves: its model “.*a-0.model” is not there .*dynamics\.jsonl"),
        (retrain, r"a-0 holds another tuning run than the one that was scored\.$"),
        (lambda place: (place / TRAINING).write_text("{"), r"training\.json:1:2: not JSON"),
        (lambda place: (place / DYNAMICS).unlink(), r"dynamics\.jsonl: cannot be read"),
        (lambda place: (place / DYNAMICS).write_text("{}\n"), r"dynamics\.jsonl:1: not a measurement"),
    ],
)
def test_what_is_missing_of_a_measured_run_is_said(lab: Lab, change: Any, told: str) -> None:
    """The user named the score and not this file, so that the report is made all the same; other seeds have theirs."""
    runs = [lab.arm("a", seed, **lab.tuned("a", seed, lab.measurements(3))) for seed in range(2)]
    change(lab.root / "tuned" / "a-0")
    curves, notes = read(*runs)
    assert curves is not None
    assert curves.seeds == (1,)
    assert len(notes) == 1
    assert re.search(told, notes[0])


def test_a_relative_name_counts_from_above_the_run_as_well(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study's scores name models from its own directory; another tuning run that lies nearer is passed over."""
    settings = lab.tuned("a", 0, lab.measurements(3))
    settings["model"]["name"] = "tuned/a-0/model"
    run = lab.arm("a", 0, **settings)
    here = lab.root / "here"
    (here / "tuned" / "a-0" / "model").mkdir(parents=True)
    (here / "tuned" / "a-0" / TRAINING).write_text("{}")
    monkeypatch.chdir(here)
    assert found(run).scored == (3.0,)
    assert found(Path("..") / run.name).scored == (3.0,)


def test_weights_that_were_removed_after_scoring_are_not_needed(lab: Lab) -> None:
    """A study keeps a tuning run's records and not its model."""
    run = lab.arm("a", 0, **lab.tuned("a", 0, lab.measurements(3)))
    before = read(run)
    shutil.rmtree(lab.root / "tuned" / "a-0" / "model")
    assert read(run) == before
    assert before[0] is not None


@pytest.mark.parametrize("name", ["x" * 5000, "a\x00b", "", "org/model"])
def test_a_model_that_is_no_directory_breaks_nothing(lab: Lab, name: str) -> None:
    """Its name comes from a file."""
    settings = lab.tuned("a", 0, lab.measurements(3))
    run = lab.arm("a", 0, training=settings["training"], model={**lab.model("a"), "name": name})
    curves, notes = read(run)
    assert curves is None
    assert "is not there" in notes[0]


def test_long_curves_are_thinned(lab: Lab) -> None:
    """Their first and last points stay."""
    curves = found(lab.arm("a", 0, **lab.tuned("a", 0, lab.measurements(500))))
    epochs = [[point.epoch for point in curve.points] for curve in curves.curves]
    assert len(epochs[0]) < POINTS
    assert epochs[0][-3:] == [495.0, 498.0, 500.0]
    assert all(of == epochs[0] for of in epochs)


@given(st.integers(1, 300), st.integers(2, 40))
def test_what_is_thinned_goes_by_equal_steps(n: int, most: int) -> None:
    """From the first to the last, of which the last alone may lie nearer."""
    found = thinned(range(n), most)
    assert len(found) <= most
    assert (found[0], found[-1]) == (0, n - 1)
    steps = [b - a for a, b in pairwise(found)]
    assert len(set(steps[:-1])) <= 1
    assert not steps or steps[-1] <= steps[0]


@given(st.lists(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=5))
def test_an_interval_over_seeds_holds_the_rows_own(counts: list[tuple[int, int]]) -> None:
    """It is never narrower than that of the mean over one seed's rows, and stays between 0 and 1."""
    share = share_of(counts)
    assert share is not None
    assert share.interval is not None
    mean = sum(right / asked for right, asked in counts) / len(counts)
    assert share.value == pytest.approx(mean)
    assert 0 <= share.interval.low <= share.value <= share.interval.high <= 1
    n = min(asked for _, asked in counts)
    rows = wilson(min(n, mean * n), n)
    assert rows is not None
    assert rows.interval is not None
    assert share.interval.low <= rows.interval.low + 1e-9
    assert share.interval.high >= rows.interval.high - 1e-9


def test_nothing_asked_is_no_share() -> None:
    """Of any seed."""
    assert share_of([]) is None
    assert share_of([(1, 2), (0, 0)]) is None
