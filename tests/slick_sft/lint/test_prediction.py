"""A prediction comes from a study of the same kind, or not at all."""

from __future__ import annotations

from dataclasses import dataclass

from slick_sft.lint.prediction import Change, Composition, Prediction, predict

DATASET = Composition({"weights": "w"}, "Alpaca", 1000, 900, {"Unknown": 0.2})


@dataclass
class Study:
    found: Prediction | None

    def predict(self, dataset: Composition) -> Prediction | None:
        assert dataset is DATASET
        return self.found


def test_no_study_no_prediction() -> None:
    """It says so, and why."""
    assert predict(DATASET).reason == "no study of this model, form and hyperparameters was given"
    assert predict(DATASET, [Study(None)]).reason == "no study is of this model, form and hyperparameters"
    assert predict(DATASET).as_dict()["changes"] == []


def test_the_first_study_that_fits_predicts() -> None:
    """With its own error beside it."""
    found = Prediction((Change("EARLY_STOP", -0.01, 0.02), Change("full fit", -0.05, 0.03)))
    assert predict(DATASET, [Study(None), Study(found)]) is found
    assert found.as_dict() == {
        "changes": [
            {"at": "EARLY_STOP", "change": -0.01, "error": 0.02},
            {"at": "full fit", "change": -0.05, "error": 0.03},
        ],
        "reason": None,
    }
