"""Training loss as the report reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from slick_reports.inputs import read_scored
from slick_reports.loss import POINTS, loss_curves

if TYPE_CHECKING:
    from conftest import Lab


def curves(lab: Lab, loss: Any) -> Any:
    return loss_curves([read_scored(lab.arm("a", 3, training={"loss": loss}))])


def test_a_curve_a_run_by_rising_step(lab: Lab) -> None:
    """With its seed."""
    (curve,) = curves(lab, [{"step": 20, "loss": 1.5, "lr": 0.1}, {"step": 10, "loss": 2}])
    assert (curve.seed, curve.points) == (3, ((10.0, 2.0), (20.0, 1.5)))


@pytest.mark.parametrize(
    "loss", [None, "x", {}, [], [{"step": 1, "loss": 1.0}], [{"step": 1}, 3, {"step": "1", "loss": True}, {"loss": 2}]]
)
def test_what_is_no_curve_is_left_out(lab: Lab, loss: Any) -> None:
    """Others may have written the record; one point is no curve."""
    assert curves(lab, loss) == ()


def test_a_long_curve_is_thinned_by_means(lab: Lab) -> None:
    """Its area stays."""
    (curve,) = curves(lab, [{"step": i, "loss": float(i)} for i in range(1000)])
    assert len(curve.points) == POINTS
    assert curve.points[0] == (2.0, 2.0)
    assert sum(y for _, y in curve.points) / POINTS == pytest.approx(499.5)
