"""The verdict of a report: whether any arm lost more than a margin, against its control or against "before"."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from slick.errors import InputError
from slick.paired import Paired
from slick.statistics import Interval
from slick.verdict import Judgement, Outcome, Verdict, holm, judge_all
from slick_reports.arms import Arm
from slick_reports.compare import Comparison
from slick_reports.headline import quoted
from slick_reports.numbers import ALL, KNOWN, Judged, VerdictNumbers
from slick_reports.wording import level, points, points_limits, size


def check_margin(margin: float | None) -> None:
    """Raises InputError for a margin, a fraction, that is none."""
    if margin is not None and not 0 < margin < 1:
        raise InputError(f"--margin: found {100 * margin:g} points, expected more than 0 and less than 100")


def judge(comparison: Comparison, arms: Sequence[Arm], control: Arm | None, margin: float) -> Judged:
    """Non-inferiority of every arm but the control, on the headline's group, at the level of the report's intervals.

    Against the control where there is one, else against "before". PASS needs every arm to pass; a FAIL stands Holm's
    correction over the arms. An arm turns exactly at its two margins: it PASSes with any above `passes_from`, and
    FAILs with any below `fails_below`, all arms being judged by the same.
    """
    groups = comparison.groups()
    group = KNOWN if KNOWN in groups and groups[KNOWN].any() else ALL
    judged = [arm for arm in arms if arm is not control] or list(arms)
    against = control.label if control and judged[0] is not control else None
    found = {arm.label: (comparison.paired(arm.label, against, groups[group]), margin) for arm in judged}
    judgement = judge_all(found)
    name = "before" if against is None else f"the control {quoted(against)}"
    rule = Convicting({label: pair for label, (pair, _) in found.items()}, (1 - judgement.interval_level) / 2)
    verdicts = tuple(_numbers(verdict, group, against, name, rule) for verdict in judgement.verdicts)
    turns = tuple(
        turn for verdict, numbers in zip(judgement.verdicts, verdicts, strict=True) for turn in _turns(verdict, numbers)
    )
    return Judged(str(judgement.outcome), _sentence(judgement, group, name), verdicts, turns)


class Convicting:
    """Which margins convict an arm: `slick.verdict`'s own rule, with counting and with Holm's correction over the arms.

    found: an arm's label → its difference. alpha: what the interval leaves on one side.
    """

    # Of margins: so many steps to 1. What is printed has a thousand.
    STEPS = 100_000

    def __init__(self, found: Mapping[str, Paired | None], alpha: float) -> None:
        self.found, self.alpha = found, alpha
        self._chances: dict[tuple[str, float], float | None] = {}

    def fails(self, label: str, margin: float) -> bool:
        """Whether the arm FAILs where all arms are judged by this margin."""
        own = self._chance(label, margin)
        if own is None or own >= self.alpha:
            return False
        # The strictest that Holm's procedure asks of anyone; the other arms matter only above it.
        if own < self.alpha / len(self.found):
            return True
        return label in holm({name: self._chance(name, margin) for name in self.found}, self.alpha)

    def below(self, label: str, interval: Interval) -> float:
        """The arm FAILs with any margin below this one; 0 where none convicts it. interval: of its difference."""
        low, high = 0.0, max(0.0, -interval.high)
        # Where the interval alone decides, its limit is the answer, to the last digit.
        if high and self.fails(label, high * (1 - 1e-9)):
            return high
        while high - low > 0.1 / self.STEPS:
            middle = (low + high) / 2
            low, high = (middle, high) if self.fails(label, middle) else (low, middle)
        # Down, so that it holds what it says; and to one value on every machine.
        return math.floor(low * self.STEPS) / self.STEPS

    def _chance(self, label: str, margin: float) -> float | None:
        key = label, margin
        if key not in self._chances:
            pair = self.found[label]
            self._chances[key] = pair.chance_above(-margin) if pair else None
        return self._chances[key]


def _numbers(verdict: Verdict, group: str, against: str | None, name: str, rule: Convicting) -> VerdictNumbers:
    interval = verdict.estimate.interval if verdict.estimate else None
    # judge_all names what it judged by the arm's label, which may hold anything.
    whose = f"{_what(group)} in {quoted(verdict.name)} against {name}: "
    told = verdict.sentence.replace(f"{verdict.name}: ", whose, 1)
    return VerdictNumbers(
        verdict.name,
        against or "before",
        group,
        str(verdict.outcome),
        verdict.margin,
        verdict.estimate,
        told,
        max(0.0, -interval.low) if interval else None,
        rule.below(verdict.name, interval) if interval else None,
    )


def _what(group: str) -> str:
    return "Known facts" if group == KNOWN else "all facts"


def _sentence(judgement: Judgement, group: str, name: str) -> str:
    """The whole verdict in one sentence."""
    verdicts, outcome = judgement.verdicts, judgement.outcome
    shown = [v for v in verdicts if v.outcome is outcome]
    worst = min(shown, key=lambda v: v.estimate.value if v.estimate else 0.0)
    margin = f"{size(worst.margin)} points"
    who = quoted(worst.name) if len(verdicts) == 1 else f"{len(shown)} of {len(verdicts)} arms"
    figures = _figures(worst)
    if len(verdicts) > 1:
        figures = f"{'lowest' if len(shown) > 1 else 'namely'} {quoted(worst.name)}: {figures}"
    what = {
        Outcome.PASS: f"in {who} a drop of {margin} or more is ruled out",
        Outcome.FAIL: f"{who} lost more than {margin}",
        Outcome.INCONCLUSIVE: f"in {who} a drop of {margin} is not settled",
    }[outcome]
    return f"{outcome}: {_what(group)}, against {name}: {what} ({figures})."


def _figures(verdict: Verdict) -> str:
    if verdict.estimate is None:
        return "no facts"
    interval = verdict.estimate.interval
    at = f"{level(interval.level)} interval " if interval else "interval "
    return f"{points(verdict.estimate.value)} points, {at}{points_limits(interval)}, n = {verdict.estimate.n:,}"


def _turns(verdict: Verdict, numbers: VerdictNumbers) -> list[str]:
    """What would change a verdict: another margin, or more facts and seeds."""
    passes, fails = numbers.passes_from, numbers.fails_below
    if passes is None or fails is None:
        return []
    told = [f"{quoted(verdict.name)}: {_by_margin(verdict.outcome, passes, fails)}"]
    if verdict.need is not None and verdict.estimate is not None:
        told += [f"{quoted(verdict.name)}: {text}" for text in _by_need(verdict)]
    return told


def _by_margin(outcome: Outcome, passes: float, fails: float) -> str:
    if passes <= 0:
        return "it would PASS with any margin."
    if outcome is Outcome.PASS:
        return f"it would no longer PASS with a margin of {size(passes)} points or less."
    told = f"it would PASS with a margin above {size(passes)} points"
    if fails <= 0:
        return f"{told}, and no margin makes it FAIL."
    if outcome is Outcome.FAIL:
        return f"{told}, and no longer FAIL with one of {size(fails)} points or more."
    return f"{told}, and FAIL with one below {size(fails)} points."


def _by_need(verdict: Verdict) -> list[str]:
    assert verdict.need is not None
    wanted = []
    if verdict.need.facts is not None:
        wanted.append(f"about {verdict.need.facts:,} facts in all")
    if verdict.need.seeds is not None:
        wanted.append(f"about {verdict.need.seeds} seeds an arm in all")
    if not wanted:
        return ["no number of facts and seeds within reach would settle it: the margin is too small for this noise."]
    return [f"{' and '.join(wanted)} would settle it."]
