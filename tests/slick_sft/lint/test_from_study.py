"""A prediction from a finished study: the line through its mixes, its own error, and where it says nothing."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.cli import run
from slick.errors import InputError
from slick.files import read_json, write_json
from slick.prompts import DEFAULT_FORM
from slick_sft.lint.from_study import FromStudy, foretold, left_out, training_of
from slick_sft.lint.prediction import Composition, predict

STUDIES = Path(__file__).parents[1] / "study_report" / "conftest.py"
GRID = """
variants: [known-only, unknown-25, unknown-50, unknown-75, unknown-100, unknown-50-zero-weight]
training: {epochs: 4, batch_size: 8, learning_rate: 1.0e-4}
"""
TUNING = {"epochs": 4, "batch_size": 8, "learning_rate": 1e-4}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up study of five mixes, whose Unknown rows cost accuracy."""
    spec = importlib.util.spec_from_file_location("studies", STUDIES)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up.
    sys.modules["studies"] = made
    spec.loader.exec_module(made)
    found: Path = made.make_study(tmp_path_factory.mktemp("study") / "study", GRID + "ptrue: false\n", seeds=1, n=200)
    return found


@pytest.fixture(scope="module")
def read(study: Path) -> FromStudy:
    return FromStudy(study)


@pytest.fixture(scope="module")
def dataset(study: Path, read: FromStudy) -> Callable[..., Composition]:
    """A dataset of the study's kind, a third of it Unknown, but for what is said otherwise."""
    document = read_json(study / "study.json")
    size = read.study.size
    assert size
    whole = Composition(
        document["model"],
        DEFAULT_FORM,
        size,
        size,
        {"Unknown": 0.3},
        training=training_of({**TUNING, "method": "full"}),
    )
    return lambda **other: replace(whole, **other)


def test_the_line_through_the_mixes(read: FromStudy, dataset: Callable[..., Composition]) -> None:
    """At EARLY_STOP little is lost, at full fit what the fits of the others foretell; both with their own error."""
    found = read.predict(dataset())
    early, full = found.changes
    assert (early.at, full.at) == ("EARLY_STOP", "full fit")
    assert full.change < early.change < 0.02
    # Fitting all Unknown rows costs 0.45, 0.35 and 0.05 of the Known categories; at epoch 4 of 4, 63 % are fitted.
    assert full.change == pytest.approx(-(0.45 + 0.35 + 0.05) / 3 * 0.3 * (1 - math.exp(-1)), abs=0.05)
    assert 0 < full.error < 0.1
    assert "5 mixes; the error is that of each mix foretold by the others" in found.source
    more = read.predict(dataset(shares={"Unknown": 0.9}))
    assert more.changes[1].change < full.change


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"model": {"name": "x", "weights": "b" * 64}}, "is of another model"),
        ({"form": "Tell: {question}\n"}, "asks as 'Answer the following question.*and the dataset as 'Tell: "),
        ({"form": ""}, "no prompt of the dataset shows how it asks"),
        ({"conversational": True}, "and the dataset as .* in chats"),
        ({"training": None}, "a training that is not known; name its policy with --policy"),
        ({"training": training_of({**TUNING, "learning_rate": 3e-4})}, "learning_rate 0.0001 and not 0.0003"),
        ({"training": training_of({**TUNING, "batch_size": 32})}, "batch_size 8 and not 32"),
        ({"training": training_of({**TUNING, "method": "lora", "lora_r": 8})}, "method 'full' and not 'lora'"),
        ({"probed": 3}, "trained on facts alone, and .* rows could not be probed"),
        ({"rows": 5000, "probed": 5000}, "and the dataset has 5,000: more than 2 times apart"),
        ({"shares": {"Unknown": 1.01}}, "saw 0 to 100 % of Unknown rows, and the dataset has 101.0 %"),
    ],
)
def test_a_study_of_another_kind_says_nothing(
    read: FromStudy, dataset: Callable[..., Composition], other: dict[str, Any], said: str
) -> None:
    """But why."""
    found = predict(dataset(**other), [read])
    assert found.changes == ()
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(found.reason)


def test_too_few_mixes_and_no_study(study: Path, dataset: Callable[..., Composition], tmp_path: Path) -> None:
    """Three points lie near any line; what is no finished study is refused."""
    few = FromStudy(study)
    few.points = {stage: points[:3] for stage, points in few.points.items()}
    assert "holds 3 mixes whose Known facts were scored, expected at least 4" in few.predict(dataset()).reason
    with pytest.raises(InputError, match="holds no study"):
        FromStudy(tmp_path)
    write_json(tmp_path / "study.json", {**read_json(study / "study.json"), "finished": False})
    with pytest.raises(InputError, match="is not finished"):
        FromStudy(tmp_path)


SHARES = st.lists(st.floats(0, 1), min_size=4, max_size=8, unique_by=lambda x: round(x, 2))


@given(SHARES, st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(0, 1))
def test_a_line_is_foretold_without_error(shares: list[float], a: float, b: float, at: float) -> None:
    """Points that lie on one leave nothing to err by."""
    points = [(x, a + b * x) for x in shares]
    assert foretold(points, at) == pytest.approx(a + b * at, abs=1e-6)
    assert left_out(points) == pytest.approx(0, abs=1e-6)


def test_the_error_is_that_of_points_left_out() -> None:
    """By hand: three points of a line and one that lies 0.3 above it."""
    points = [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (0.5, 0.3)]
    # Without the fourth the line is 0, without the second it is 0.1; without an end it falls by 0.3 to the other one.
    assert left_out(points) == pytest.approx(math.sqrt((0.3**2 + 0.1**2 + 0.3**2 + 0.3**2) / 4))


def test_the_command_predicts(
    study: Path, tiny_model: Path, write: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of another model it says that, and exits as it would have; a study that is none is refused at once."""
    (tmp_path / "gate.yaml").write_text("margins: {Known: 2}\ntuning: {learning_rate: 1.0e-4}\n")
    file = write(range(8))
    words = ["lint", str(file), "--model", str(tiny_model), "--n-exemplar-sets", "2", "--n-exemplars", "2"]
    assert run([*words, "--study", str(study), "--policy", str(tmp_path / "gate.yaml")]) == 0
    assert "is of another model." in capfd.readouterr().out
    assert run([*words, "--study", str(tmp_path)]) == 2
    assert "holds no study; expected the --out of slick study" in capfd.readouterr().err
