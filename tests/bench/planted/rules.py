"""The rules that judge a gate: the gate's own, and what people use today. Each from right and wrong answers alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slick.paired import Ledger, Paired, paired
from slick.statistics import tango
from slick.verdict import Outcome, judge

if TYPE_CHECKING:
    from slick.statistics import Scores

# What lm-eval's comparator and a usual test call significant.
ALPHA = 0.05


@dataclass(frozen=True)
class Draw:
    """What one gate sees. candidate, control: runs × facts, 0 or 1, paired by seed. clusters, strata: of the facts.

    ledger: accuracies of other runs of the control's recipe.
    """

    candidate: Scores
    control: Scores
    clusters: Sequence[Hashable]
    strata: Sequence[Hashable]
    ledger: Sequence[float] = ()

    @property
    def drop(self) -> float:
        return float(self.control.mean() - self.candidate.mean())

    def lost_and_gained(self) -> tuple[int, int]:
        """Over all pairs of runs."""
        return int((self.candidate < self.control).sum()), int((self.candidate > self.control).sum())


# The outcome at a margin.
Judged = Callable[[float], Outcome]


@dataclass(frozen=True)
class Rule:
    """name: in gate.json. title: for people. seeds: runs an arm. own: the gate's."""

    name: str
    title: str
    seeds: int
    read: Callable[[Draw], Judged]
    own: bool = False


def found_by_gate(draw: Draw, ledger: Ledger | None = None) -> Paired:
    """What `slick gate` finds: facts clustered by subject, relations fixed by design."""
    found = paired(draw.candidate, draw.control, clusters=draw.clusters, strata=draw.strata, ledger=ledger)
    assert found is not None
    return found


def _gate(draw: Draw) -> Judged:
    found = found_by_gate(draw)
    return lambda margin: judge(found, margin).outcome


def _gate_with_ledger(draw: Draw) -> Judged:
    found = found_by_gate(draw, Ledger.of(draw.ledger))
    return lambda margin: judge(found, margin).outcome


def _point_threshold(draw: Draw) -> Judged:
    """FAIL iff the drop that was measured is larger than the margin."""
    return lambda margin: Outcome.FAIL if _beyond(draw, margin) else Outcome.PASS


def _unpaired_z(draw: Draw) -> Judged:
    """lm-eval's comparator: FAIL iff the candidate is lower and p < 0.05, two-sided, as if the two had been asked
    different facts. It knows no margin."""
    n = draw.candidate.shape[1]
    shares = (float(draw.candidate.mean()), float(draw.control.mean()))
    # Its standard errors are lm-eval's: sample deviation over the root of n.
    error = math.sqrt(sum(share * (1 - share) / (n - 1) for share in shares))
    outcome = Outcome.FAIL if draw.drop > 0 and _normal_p(draw.drop, error) < ALPHA else Outcome.PASS
    return lambda margin: outcome


def _mcnemar(draw: Draw) -> Judged:
    """FAIL iff the drop that was measured is larger than the margin and the exact test finds any difference."""
    from scipy.special import bdtr

    lost, gained = draw.lost_and_gained()
    p = min(1.0, 2 * float(bdtr(min(lost, gained), lost + gained, 0.5))) if lost + gained else 1.0
    return lambda margin: Outcome.FAIL if _beyond(draw, margin) and p < ALPHA else Outcome.PASS


def _tango(draw: Draw) -> Judged:
    """By the published interval of one pair; of several, each fact of each pair as a fact of its own."""
    lost, gained = draw.lost_and_gained()
    estimate = tango(lost, gained, draw.candidate.size)
    assert estimate is not None
    assert estimate.interval is not None
    low, high = estimate.interval.low, estimate.interval.high

    def judged(margin: float) -> Outcome:
        if low > -margin:
            return Outcome.PASS
        return Outcome.FAIL if high < -margin else Outcome.INCONCLUSIVE

    return judged


def _beyond(draw: Draw, margin: float) -> bool:
    """Whether the drop that was measured is larger, and not by rounding alone."""
    return draw.drop > margin + 1e-12


def _normal_p(difference: float, error: float) -> float:
    """Two-sided."""
    if error == 0:
        return 0.0 if difference else 1.0
    return math.erfc(abs(difference) / error / math.sqrt(2))


RULES = (
    Rule("point_threshold", "point threshold", 1, _point_threshold),
    Rule("point_threshold_3", "point threshold on the mean of 3 seeds", 3, _point_threshold),
    Rule("unpaired_z", "unpaired z, as lm-eval's comparator", 1, _unpaired_z),
    Rule("mcnemar", "beyond the margin and McNemar p < 0.05", 1, _mcnemar),
    Rule("tango_single_pair", "Tango's interval, one pair", 1, _tango),
    Rule("tango_stacked_3", "Tango's interval, 3 seeds stacked as facts", 3, _tango),
    Rule("slick_1", "slick gate, 1 seed (these checkpoints)", 1, _gate, own=True),
    Rule("slick_1_ledger", "slick gate, 1 seed and a ledger of 8 runs", 1, _gate_with_ledger, own=True),
    Rule("slick_3", "slick gate, 3 seeds", 3, _gate, own=True),
    Rule("slick_5", "slick gate, 5 seeds", 5, _gate, own=True),
)
