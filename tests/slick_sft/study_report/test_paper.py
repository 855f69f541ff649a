"""slick_sft.study_report.paper: the paper's tables are complete, and agree with themselves."""

from __future__ import annotations

from slick_sft.study_report import paper
from slick_sft.study_report.categories import NAMES


def test_every_stage_has_every_share() -> None:
    """Seven shares of D, five of D_Known, at both stages."""
    for stage in ("early_stop", "convergence"):
        assert list(paper.SHARES[stage]) == [0, 10, 25, 50, 75, 90, 100]
        assert list(paper.WITHOUT[stage]) == [10, 25, 50, 75, 90]
        assert tuple(paper.SINGLE[stage]) == NAMES


def test_what_stands_in_two_tables_is_the_same() -> None:
    """The set of Unknown facts alone is the mix of 100 %, and the plain half of the IDK table that of 50 %."""
    for stage in ("early_stop", "convergence"):
        assert paper.SINGLE[stage]["only-Unknown"][0] == paper.SHARES[stage][100]
        assert paper.IDK[stage]["plain"][0] == paper.SHARES[stage][50]


def test_fractions_are_fractions() -> None:
    """Nothing was written down in percent."""
    values = [v for of in (*paper.SHARES.values(), *paper.WITHOUT.values()) for v in of.values()]
    values += [v for pair in paper.CURVE.values() for v in pair]
    values += [v for stage in paper.SINGLE.values() for row in stage.values() for v in row]
    assert all(0 <= v <= 1 for v in values)
    assert paper.MODEL["test"] == {"b0": 0.369, "b_kn": 0.073, "b_unk": -0.083, "r2": 0.86}
