"""Whether a control has anything to lose: where it knows nothing itself, two arms that are equal show nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from slick.verdict import Judgement, Outcome, Verdict
from slick_reports import wording

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from slick.paired import Paired
    from slick.statistics import Interval, Scores
    from slick_sft.gate.report import Group
    from slick_sft.gate.sheet import Mask, Sheet

# A control that has lost more of what its base knew was hurt by the training itself.
_FAR = 0.5


def nothing_to_lose(
    sheet: Sheet, scores: Scores, mask: Mask, clusters: Sequence[str], *, margin: float, level: float, made_up: bool
) -> str:
    """Why the control could not be found worse on these facts; empty where it could.

    scores: the control's, runs × facts, as the group is judged. Its share must be above the margin, and above what
    each relation's commonest answer gets, by intervals of `level`.
    """
    share = wording.percent(float(scores[:, mask].mean()))
    what = "makes up nearly all of these answers" if made_up else "knows nothing of these facts"
    does = "right or abstaining" if made_up else "right"
    told = f"the control itself {what} ({share} % {does}, by its interval not above "
    then = "): there is nothing to lose, so that nothing is shown."

    def beyond(other: Scores, facts: Mask) -> Interval | None:
        found: Paired | None = sheet.paired((scores, other[None], scores[:0]), facts, clusters, fixed_control=True)
        return found.interval(level) if found else None

    if _reaches(beyond(np.zeros(scores.shape[1]), mask), margin):
        return f"{told}the margin of {wording.size(margin)} points{then}"
    known = mask & ~np.isnan(sheet.priors)
    if known.any() and _reaches(beyond(np.nan_to_num(sheet.priors), known), 0.0):
        prior = wording.percent(float(sheet.priors[known].mean()))
        return f"{told}the {prior} % of each relation's commonest answer{then}"
    return ""


def opened(judgement: Judgement, reasons: Mapping[str, str]) -> Judgement:
    """The judgement, with every verdict but a FAIL left open where there is a reason: a loss that is shown is one."""
    verdicts = tuple(_opened(verdict, reasons.get(verdict.name, "")) for verdict in judgement.verdicts)
    passed = all(verdict.outcome is Outcome.PASS for verdict in verdicts)
    outcome = Outcome.INCONCLUSIVE if judgement.outcome is Outcome.PASS and not passed else judgement.outcome
    return replace(judgement, verdicts=verdicts, outcome=outcome)


def fallen(groups: Collection[Group]) -> list[str]:
    """Where the control fell far below the untuned model: both arms may have lost there what is not seen."""
    return [
        f"{group.name}: the control answers {wording.percent(group.control.share)} % rightly, less than half of the "
        f"{wording.percent(group.base)} % that the untuned model's probe found: training itself took that, and the "
        "verdict speaks only of what is left."
        for group in groups
        if group.base is not None and group.control.share < _FAR * group.base
    ]


def _reaches(interval: Interval | None, limit: float) -> bool:
    return interval is None or interval.low <= limit


def _opened(verdict: Verdict, reason: str) -> Verdict:
    if not reason or verdict.outcome is Outcome.FAIL:
        return verdict
    # No number of facts or seeds would settle it.
    return replace(verdict, outcome=Outcome.INCONCLUSIVE, reason=reason, need=None)
