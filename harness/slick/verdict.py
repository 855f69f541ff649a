"""PASS, FAIL or INCONCLUSIVE: whether a candidate is worse than its control by a margin. Pure.

The rule (DESIGN, "Honest statistics"): with [L, U] the two-sided interval of candidate minus control and m the margin,
PASS iff L > -m, FAIL iff U < -m, otherwise INCONCLUSIVE with what would settle it. A false alarm is a FAIL with a true
drop of at most m, a miss a PASS with a true drop of at least m; at the default level each is held to about 5 %. Where
few facts differ, a FAIL must also stand when outcomes are counted (`slick.counted`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from slick.errors import EXIT_INCONCLUSIVE, EXIT_PASS, EXIT_QUALITY
from slick.paired import Noise, Paired
from slick.power import ASKED_POWER, Need, need
from slick.statistics import LEVEL, Estimate, Interval
from slick.terminal import points


class Outcome(StrEnum):
    PASS = "PASS"  # noqa: S105  a verdict, no password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"

    @property
    def exit_code(self) -> int:
        return {"PASS": EXIT_PASS, "FAIL": EXIT_QUALITY}.get(self, EXIT_INCONCLUSIVE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One category's verdict. estimate: candidate minus control, its interval at the level that the looks leave.

    None for no facts. chance: the p-value against a drop of at most the margin, which a FAIL goes by. need: what would
    settle it, where it is open. noise: what the interval holds.
    """

    name: str
    outcome: Outcome
    margin: float
    estimate: Estimate | None
    chance: float | None = None
    noise: Noise | None = None
    seeds: int = 1
    need: Need | None = None
    reason: str = ""

    @property
    def sentence(self) -> str:
        """The verdict for a human, with its figures, what it is about and what would settle it."""
        what = f"{self.outcome}: {self.name}: " if self.name else f"{self.outcome}: "
        if self.estimate is None:
            return f"{what}no facts, so nothing can be said against the margin of {_plain(self.margin)} points."
        return f"{what}{_figures(self.estimate)}; {self.reason}{self._about()}{self._settled_by()}"

    def _about(self) -> str:
        if self.noise is Noise.CHECKPOINTS:
            return " This is about these two checkpoints, not about training again."
        if self.noise is Noise.LEDGER:
            return " One run an arm; how far seeds lie apart is taken from the ledger."
        return ""

    def _settled_by(self) -> str:
        if self.need is None or self.estimate is None:
            return ""
        wanted = []
        if self.need.facts is not None:
            wanted.append(f"about {self.need.facts - self.estimate.n:,} more facts ({self.need.facts:,} in all)")
        if self.need.seeds is not None:
            more = self.need.seeds - self.seeds
            wanted.append(f"about {more} more seed{'s' * (more != 1)} an arm ({self.need.seeds} in all)")
        if not wanted:
            return " No number of facts and seeds within reach would settle it: the margin is too small for this noise."
        return f" What would settle it: {' and '.join(wanted)}."

    def as_dict(self) -> dict[str, Any]:
        """JSON form; an undefined interval is null."""
        found = self.estimate
        return {
            "name": self.name,
            "verdict": str(self.outcome),
            "margin": self.margin,
            "difference": found.value if found else None,
            "interval": found.interval.as_dict() if found and found.interval else None,
            "facts": found.n if found else 0,
            "method": found.method if found else None,
            "noise": str(self.noise) if self.noise else None,
            "seeds": self.seeds,
            "p_fail": self.chance,
            "need": self.need.as_dict() if self.need else None,
            "sentence": self.sentence,
        }


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdicts of all gated categories, and the one that they add up to."""

    outcome: Outcome
    verdicts: tuple[Verdict, ...]
    level: float
    looks: int

    @property
    def interval_level(self) -> float:
        """The level of its intervals: what one of the looks has."""
        return look_level(self.level, self.looks)

    @property
    def sentence(self) -> str:
        """The whole verdict and, of those it rests on, each one's sentence."""
        named = [v for v in self.verdicts if v.outcome is self.outcome]
        if len(self.verdicts) == 1:
            return self.verdicts[0].sentence
        of = f"{len(named)} of {len(self.verdicts)} gated categories"
        told = {
            Outcome.PASS: "every gated category keeps within its margin.",
            Outcome.FAIL: f"{of} fell beyond the margin (after Holm's correction).",
            Outcome.INCONCLUSIVE: f"{of} are not settled, and none failed.",
        }[self.outcome]
        return " ".join([f"{self.outcome}: {told}", *(v.sentence for v in named)])

    def as_dict(self) -> dict[str, Any]:
        return {
            "verdict": str(self.outcome),
            "level": self.level,
            "looks": self.looks,
            "categories": [verdict.as_dict() for verdict in self.verdicts],
            "sentence": self.sentence,
        }


def judge(
    found: Paired | None,
    margin: float,
    *,
    name: str = "",
    level: float = LEVEL,
    looks: int = 1,
    power: float = ASKED_POWER,
) -> Verdict:
    """The verdict on one difference; `judge_all` for several categories at once."""
    return judge_all({name: (found, margin)}, level=level, looks=looks, power=power).verdicts[0]


def judge_all(
    gated: Mapping[str, tuple[Paired | None, float]],
    *,
    level: float = LEVEL,
    looks: int = 1,
    power: float = ASKED_POWER,
) -> Judgement:
    """The verdict on all gated categories: name → (candidate minus control, margin).

    PASS needs every category to pass, without a correction, since each could stop it. FAIL needs one whose p-value
    stands Holm's step-down over all of them, since each could cause it. looks: how often the same pair will be judged
    in all; every one has its share of the error. Raises ValueError for a margin or a number of looks that cannot be,
    and for no category.
    """
    if not gated:
        raise ValueError("no gated category: a verdict needs at least one")
    if looks < 1:
        raise ValueError(f"looks must be at least 1, found {looks}")
    for name, (_, margin) in gated.items():
        if not 0 < margin < 1:
            raise ValueError(f"margin of {name or 'the verdict'} must lie in (0, 1), found {margin}")
    at = look_level(level, looks)
    chances = {name: found.chance_above(-margin) if found else None for name, (found, margin) in gated.items()}
    failed = holm(chances, (1 - at) / 2)
    verdicts = tuple(
        _verdict(name, found, margin, chances[name], name in failed, at, power)
        for name, (found, margin) in gated.items()
    )
    return Judgement(_whole([verdict.outcome for verdict in verdicts]), verdicts, level, looks)


def look_level(level: float, looks: int) -> float:
    """The level of each of so many looks, which share the error."""
    return 1 - (1 - level) / looks


def holm(chances: Mapping[str, float | None], alpha: float) -> frozenset[str]:
    """The names whose p-values Holm's step-down procedure rejects; one that is undefined counts, and never is.

    Holm 1979 (Scand. J. Stat. 6:65): the smallest against alpha/C, the next against alpha/(C-1), until one stands.
    """
    ordered = sorted((p, name) for name, p in chances.items() if p is not None)
    rejected = []
    for place, (p, name) in enumerate(ordered):
        if p >= alpha / (len(chances) - place):
            break
        rejected.append(name)
    return frozenset(rejected)


def _whole(outcomes: Sequence[Outcome]) -> Outcome:
    if Outcome.FAIL in outcomes:
        return Outcome.FAIL
    return Outcome.PASS if all(outcome is Outcome.PASS for outcome in outcomes) else Outcome.INCONCLUSIVE


def _verdict(
    name: str, found: Paired | None, margin: float, chance: float | None, failed: bool, level: float, power: float
) -> Verdict:
    if found is None:
        return Verdict(name, Outcome.INCONCLUSIVE, margin, None)
    estimate = found.estimate(level)
    interval = estimate.interval
    outcome = Outcome.INCONCLUSIVE
    if interval is not None and interval.low > -margin:
        outcome = Outcome.PASS
    elif failed:
        outcome = Outcome.FAIL
    wanted = need(found, margin, level=level, power=power) if outcome is Outcome.INCONCLUSIVE else None
    alone = chance is not None and chance < (1 - level) / 2
    reason = _reason(outcome, interval, margin, alone=alone)
    return Verdict(name, outcome, margin, estimate, chance, found.noise, found.seeds, wanted, reason)


def _reason(outcome: Outcome, interval: Interval | None, margin: float, *, alone: bool) -> str:
    """alone: whether it would FAIL, were it the only category."""
    m = f"{_plain(margin)} points"
    if outcome is Outcome.PASS:
        return f"a drop of {m} or more, the margin, is ruled out."
    if outcome is Outcome.FAIL:
        return f"the drop is larger than {m}, the margin."
    if interval is None:
        return f"the interval is undefined, so nothing is settled against the margin of {m}."
    if interval.high < -margin and not alone:
        return f"beyond the margin of {m} by its interval, but so few facts differ that counting them does not show it."
    if interval.high < -margin:
        return f"beyond the margin of {m} by itself, but not among so many categories (Holm)."
    if interval.high < 0:
        return f"a real loss, its size not settled against the margin of {m}."
    return f"a drop of {m}, the margin, is neither shown nor ruled out."


def _figures(estimate: Estimate) -> str:
    value, n, interval = points(estimate.value), f"n = {estimate.n:,}", estimate.interval
    if interval is None:
        return f"{value} points, interval undefined, {n}"
    limits = f"{points(interval.low)} to {points(interval.high)}"
    return f"{value} points ({100 * interval.level:g} % interval {limits}, {n})"


def _plain(margin: float) -> str:
    return points(margin).removeprefix("+")
