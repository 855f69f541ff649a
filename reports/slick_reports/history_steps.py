"""The tested comparisons of a history: which runs meet which, whose noise the interval holds, Holm over them all."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from slick.paired import Noise, Paired, paired
from slick.statistics import LEVEL, Estimate, Interval
from slick_reports import numbers
from slick_reports.headline import quoted
from slick_reports.history_numbers import Step
from slick_reports.history_versions import Asked
from slick_reports.wording import points, points_limits, size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

# All steps of a history together: where nothing changed, one history in twenty marks anything.
ALPHA = 0.05


def step_of(
    against: str,
    earlier: Asked,
    later: Asked,
    group: str,
    mask: Mask,
    clusters: Sequence[Hashable],
    strata: Sequence[Hashable],
) -> Step:
    """`later` minus `earlier` on the facts of `mask` that both answered. clusters, strata: of every fact."""
    both = mask & earlier.asked & later.asked
    inside: list[int] = np.flatnonzero(both).tolist()
    before, after = earlier.right[:, both], later.right[:, both]
    pair, chosen = matched_seeds(earlier, later), None
    if pair is not None:
        before, after = before[[pair[0]]], after[[pair[1]]]
        seeds = earlier.seeds[pair[0]], later.seeds[pair[1]]
        # Of two single runs, only where there is something to tell.
        chosen = seeds if None not in seeds or max(len(earlier.runs), len(later.runs)) > 1 else None
    # `paired` knows a fixed control, but no fixed candidate: the two change sides, and back again.
    turned = len(after) == 1 < len(before)
    if turned:
        before, after = after, before
    found = paired(
        after,
        before,
        clusters=[clusters[i] for i in inside],
        strata=[strata[i] for i in inside],
        fixed_control=len(before) == 1,
    )
    if found is not None and turned:
        found = _mirrored(found)
    estimate = _clipped(found.estimate(LEVEL)) if found else None
    p = two_sided(found) if found else None
    lost, gained = (found.lost, found.gained) if found else (0.0, 0.0)
    noise = str(found.noise if found else _noise_of(len(before), len(after)))
    return Step(
        against, earlier.name, later.name, group, len(inside), estimate, lost, gained, p, None, False, noise, chosen
    )


def matched_seeds(earlier: Asked, later: Asked) -> tuple[int, int] | None:
    """Which run of the one meets which of the other where one of them is a single checkpoint, as in `slick report`.

    One trained run says nothing of its seeds, so it meets one run of the other: that of the same seed if there is one.
    None where both have several runs, and where a model that was not trained meets several: that one has no seeds.
    """
    ours, theirs = earlier.seeds, later.seeds
    several = max(len(ours), len(theirs)) > 1
    if min(len(ours), len(theirs)) > 1 or (several and (earlier.fixed or later.fixed)):
        return None
    pairs = [(i, j) for i in range(len(ours)) for j in range(len(theirs))]
    return min(pairs, key=lambda pair: (ours[pair[0]] != theirs[pair[1]], pair))


def seeds_told(step: Step) -> str:
    """ "seed 0 against seed 0": the later version's before the earlier one's; "" where no two seeds met."""
    if step.seeds is None:
        return ""
    there, here = ("no seed" if seed is None else f"seed {seed}" for seed in step.seeds)
    return f"{here} against {there}"


def noise_told(steps: Sequence[Step]) -> str:
    """Which noise the steps' intervals hold, and so what a change is about; "" where there are no steps."""
    shown = [step for step in steps if step.group == numbers.ALL]
    single = [step for step in shown if step.noise == Noise.CHECKPOINTS]
    if not shown:
        return ""
    if not single:
        return "Several seeds a version: the intervals hold the noise of facts and of seeds."
    alone = (
        "one checkpoint against another: their intervals hold the noise of facts alone, and another training seed may "
        "move as much"
    )
    if len(single) == len(shown):
        return f"Every step sets {alone}."
    return (
        f"{len(single)} of {len(shown)} steps set{'s' if len(single) == 1 else ''} {alone}; the others hold the noise "
        "of facts and of seeds."
    )


def two_sided(found: Paired) -> float | None:
    """The p-value of "no difference", either way; None where it is undefined."""
    below, above = found.chance_above(0.0), _mirrored(found).chance_above(0.0)
    return None if below is None or above is None else min(1.0, 2 * min(below, above))


def adjusted(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps with their p-values adjusted by Holm (1979), and marked where that stands at ALPHA."""
    order = sorted((p, place) for place, step in enumerate(steps) if (p := step.p) is not None)
    found, most = list(steps), 0.0
    for rank, (p, place) in enumerate(order):
        # An undefined one counts among the comparisons, and is never marked.
        most = max(most, min(1.0, p * (len(steps) - rank)))
        found[place] = replace(steps[place], adjusted=most, changed=most < ALPHA)
    return tuple(found)


def headline(baseline: str, newest: str, steps: Sequence[Step]) -> str:
    """One sentence: the marked changes, the largest of them, and where the newest version stands to the baseline."""
    changes = [step for step in steps if step.changed and step.against == "previous"]
    told = "No step between two versions is a change that stands after correction"
    if changes:
        most = max(changes, key=lambda step: abs(_value(step)))
        verb = "fell" if _value(most) < 0 else "rose"
        what = "all facts" if most.group == numbers.ALL else f"{most.group} facts"
        places = len({step.later for step in changes})
        told = (
            f"{places} version{'s changed' if places > 1 else ' changed'} accuracy; most: in {quoted(most.later)} it "
            f"{verb} by {size(_value(most))} points on {what} against {quoted(most.earlier)} "
            f"({_limits(most)}, n = {most.n:,})"
        )
    last = [s for s in steps if s.later == newest and s.earlier == baseline and s.group == numbers.ALL]
    if last and last[-1].estimate:
        told += (
            f"; {quoted(newest)} stands at {points(last[-1].estimate.value)} points against the baseline "
            f"{quoted(baseline)} ({_limits(last[-1])})"
        )
    return f"{told}."


def _limits(step: Step) -> str:
    limits, seeds = points_limits(step.estimate.interval if step.estimate else None), seeds_told(step)
    return f"{seeds}; {limits}" if seeds else limits


def _value(step: Step) -> float:
    return step.estimate.value if step.estimate else 0.0


def _noise_of(*runs: int) -> Noise:
    return Noise.SEEDS if max(runs) > 1 else Noise.CHECKPOINTS


def _mirrored(found: Paired) -> Paired:
    return replace(found, value=-found.value, lost=found.gained, gained=found.lost)


def _clipped(estimate: Estimate) -> Estimate:
    if estimate.interval is None:
        return estimate
    low, high = max(estimate.interval.low, -1.0), min(estimate.interval.high, 1.0)
    return replace(estimate, interval=Interval(low, high, estimate.interval.level))
