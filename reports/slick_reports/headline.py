"""The sentences of a report: what fell and by how much, what that rests on, and what it does not show.

The group they speak of is fixed beforehand (Known facts, or all where none has a category), never chosen by its result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slick.statistics import Estimate
from slick_reports.numbers import ALL, KNOWN, ArmNumbers, GroupNumbers, direction
from slick_reports.text import short
from slick_reports.wording import NONE, level, percent, points, points_limits, size


def quoted(label: str) -> str:
    return f"“{short(label)}”"


def headline_group(arms: Sequence[ArmNumbers]) -> str:
    """Known facts where there are any, else all."""
    known = arms[0].group(KNOWN)
    return KNOWN if known is not None and known.n else ALL


def headline(arms: Sequence[ArmNumbers], control: str | None) -> str:
    """The first thing a reader sees: the largest fall with its interval, or that none is shown."""
    name = headline_group(arms)
    rows = [(arm, row) for arm in arms if (row := arm.group(name)) is not None]
    fallen = [pair for pair in rows if direction(pair[1].change.estimate) == "fell"]
    what = "Known facts" if name == KNOWN else "All facts"
    if fallen:
        worst = min(fallen, key=lambda pair: _value(pair[1]))
        told = _fall(what, len(fallen), len(arms), *worst) + _against(worst[1], control)
    else:
        told = _no_fall(what, rows) + _below_control(rows, control)
    return told


def _value(row: GroupNumbers) -> float:
    return row.change.estimate.value if row.change.estimate else 0.0


def _fall(what: str, fallen: int, of: int, arm: ArmNumbers, row: GroupNumbers) -> str:
    where = f"in {quoted(arm.label)}"
    if of > 1:
        where = f"in {fallen} of {of} arms, most {where}:"
    return f"{what}: accuracy fell {where} by {size(_value(row))} points, {_from_to(row)}"


def _from_to(row: GroupNumbers) -> str:
    estimate, before, after = row.change.estimate, row.before.accuracy, row.after.accuracy
    if estimate is None or before is None or after is None:
        return "of no facts."
    limits = f"{level(estimate.interval.level)} interval of the difference " if estimate.interval else "interval "
    limits += points_limits(estimate.interval)
    return f"from {percent(before.value)} % to {percent(after.value)} % ({limits}, n = {row.n:,})."


def _against(row: GroupNumbers, control: str | None) -> str:
    estimate = row.against_control
    if estimate is None or control is None:
        return ""
    limits = (
        f"{points(estimate.interval.low)} to {points(estimate.interval.high)}" if estimate.interval else "undefined"
    )
    compared = {"fell": "lower", "rose": "higher"}.get(direction(estimate))
    if compared is None:
        return f" Against the control {quoted(control)} no difference is shown ({points(estimate.value)}; {limits})."
    return f" That is {size(estimate.value)} points {compared} than the control {quoted(control)} ({limits})."


def _no_fall(what: str, rows: Sequence[tuple[ArmNumbers, GroupNumbers]]) -> str:
    """A fall that is not shown is not a fall ruled out, so the sentence says how large one could still be."""
    risen = [(arm, row) for arm, row in rows if direction(row.change.estimate) == "rose"]
    lows = [e.interval.low for _, row in rows if (e := row.change.estimate) and e.interval]
    told = f"{what}: no fall in accuracy is shown"
    if risen:
        arm, row = max(risen, key=lambda pair: _value(pair[1]))
        told += f", and it rose in {quoted(arm.label)} by {size(_value(row))} points, {_from_to(row)}"
    else:
        told += "."
    if len(lows) < len(rows):
        return f"{told} An interval is undefined, so nothing is ruled out."
    if min(lows) < 0:
        told += f" The intervals still hold a fall of up to {size(min(lows))} points."
    return told


def _below_control(rows: Sequence[tuple[ArmNumbers, GroupNumbers]], control: str | None) -> str:
    """An arm may lose what its control gained: no fall to before, and still the worse for its rows."""
    below = [(arm, e) for arm, row in rows if direction(e := row.against_control) == "fell" and e]
    if not below or control is None:
        return ""
    arm, estimate = min(below, key=lambda pair: pair[1].value)
    return (
        f" But {quoted(arm.label)} is {size(estimate.value)} points lower than the control {quoted(control)} "
        f"({points_limits(estimate.interval)})."
    )


def noise(arms: Sequence[ArmNumbers], met: Mapping[str, tuple[int | None, int | None]] | None = None) -> str:
    """Which noise the intervals hold, and so what the figures are about.

    met: an arm's label → the one seed of it and the one of the control that stand for the two, where it is so.
    """
    single = [arm for arm in arms if len(arm.seeds) == 1]
    several = [arm for arm in arms if len(arm.seeds) > 1]
    if not several:
        return "One checkpoint per arm: this is about these checkpoints, not about training in general."
    if not single:
        counts = sorted({len(arm.seeds) for arm in several})
        return f"{' to '.join(map(str, counts))} seeds per arm: the intervals hold the noise of facts and of seeds."
    names = ", ".join(quoted(arm.label) for arm in single)
    verb = "is one checkpoint" if len(single) == 1 else "are one checkpoint each"
    return (
        f"{names} {verb}: those figures are about the checkpoint, not about training in general. "
        f"{_met(met or {})} intervals of the arms with several seeds hold the noise of facts and of seeds."
    )


def _met(met: Mapping[str, tuple[int | None, int | None]]) -> str:
    """The sentence on the seeds that stand for arms, and how the next one begins."""
    if not met:
        return "The"
    named = [(quoted(label), *("not recorded" if s is None else s for s in pair)) for label, pair in met.items()]
    pairs = ", ".join(f"{label} seed {ours} against seed {theirs}" for label, ours, theirs in named)
    return (
        f"Against the control: two checkpoints ({pairs}); those differences, and verdicts on them, are not about "
        "training in general. The other"
    )


def finding(arm: ArmNumbers, name: str, control: str | None) -> str:
    """One sentence an arm: its change on the headline's group, and every group whose difference excludes 0."""
    row = arm.group(name)
    if row is None:
        return f"{quoted(arm.label)}: nothing to compare."
    told = f"{quoted(arm.label)}: {name} {_told(row.change.estimate)}"
    apart = {"before": [(r.group, r.change.estimate) for r in arm.groups]}
    if control is not None and not arm.is_control:
        told += f"; against {quoted(control)} {_told(row.against_control)}"
        apart["the control"] = [(r.group, r.against_control) for r in arm.groups]
    for other, estimates in apart.items():
        shown = [f"{group} {points(e.value)}" for group, e in estimates if e and direction(e) != "open"]
        told += f". Differences to {other} that exclude 0: {', '.join(shown) or 'none'}"
    return f"{told}."


def _told(estimate: Estimate | None) -> str:
    return f"{points(estimate.value)} points ({points_limits(estimate.interval)})" if estimate else NONE


def caveats(arms: Sequence[ArmNumbers], control: str | None) -> list[str]:
    """What the figures do not hold."""
    found = [
        "Intervals are not corrected for the number of comparisons: where nothing changed, 1 in 10 excludes 0.",
    ]
    steps = {arm.label: arm.training.get("steps") for arm in arms}
    if len({value for value in steps.values() if value is not None}) > 1:
        told = ", ".join(f"{quoted(label)} {short(str(n or 'not recorded'))}" for label, n in steps.items())
        found.append(
            f"The arms took different numbers of steps ({told}); fewer steps change less, whatever the rows were."
        )
    if control is None:
        found.append("Without a control arm, a fall may come from tuning as such, whatever the rows were.")
    return found


def method(matching: str, *, alike: bool, judge: str = "", subjects: bool = True) -> list[str]:
    """How the figures were come by. alike: whether every run asked and judged in the same way.

    judge: who judged the answers where it was not `slick`; subjects: whether any fact names one.
    """
    right = f"as {judge}, by its own filters and metric, says"
    if not judge:
        right = f"when its first line, stripped, matches an accepted answer ({short(matching)})"
    clusters = (
        "Facts of one subject count as a cluster." if subjects else "No fact names a subject, so each stands alone."
    )
    asked = "Every fact was asked in one form on both sides." if alike else "Not every run asked in the same way."
    return [
        f"{asked} An answer is right {right}.",
        "Differences are paired, fact by fact. One checkpoint: Tango's score interval. Several seeds: facts and seeds "
        f"both vary. {clusters} The accuracy of one run carries Wilson's interval.",
        "The answer prior is the accuracy of always giving a relation's commonest answer. Lost and gained count facts, "
        "averaged over an arm's seeds.",
    ]
