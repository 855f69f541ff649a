"""What so many facts and seeds can show: control seeds against other control seeds, and what a smaller margin costs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice
from typing import Any

from slick.errors import InputError
from slick.knowledge_file import KnowledgeFile
from slick.paired import LEDGER_RUNS, Noise, Paired
from slick.power import POWER, Need, need, smallest_margin
from slick.verdict import look_level
from slick_reports import wording
from slick_sft.gate.arms import Arm, Pair, check_arm
from slick_sft.gate.policy import Policy
from slick_sft.gate.sheet import MADE_UP, Sheet

SCHEMA = 1
KIND = "slick gate self-check"
# Two halves of two seeds each: fewer tell nothing of how far seeds lie apart.
LEAST = 4
_SPLITS = 200


@dataclass(frozen=True, slots=True)
class Line:
    """One gated group. noise: of arms of half the runs each, over all ways to halve them. smallest: the margin that
    the policy's seeds and these facts defend; None where it is undefined. enough: what the policy's margin needs.

    largest: the largest difference between two halves; apart: of `splits`, those whose interval excludes 0.
    """

    name: str
    margin: float
    noise: Paired
    discordant: float
    seeds_sd: float
    smallest: float | None
    enough: Need | None
    largest: float = 0.0
    apart: int = 0
    splits: int = 0

    @property
    def defended(self) -> bool:
        return self.smallest is not None and self.smallest <= self.margin

    @property
    def sentence(self) -> str:
        """What the policy asks for against what can be shown."""
        margin = f"{wording.size(self.margin)} points"
        if self.smallest is None:
            return f"{self.name}: the noise is undefined (one subject, or one fact), so no margin can be defended."
        told = f"{self.name}: {self.noise.n:,} facts can defend a margin of {wording.size(self.smallest)} points"
        if self.defended:
            return f"{told}; the policy's {margin} can be shown."
        return f"{told}; the policy asks for {margin}, which {_cost(self.enough)}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "margin": self.margin,
            "smallest_margin": self.smallest,
            "defended": self.defended,
            "noise": self.noise.as_dict(),
            "variance": {"facts": self.noise.item, "runs": self.noise.run, "residual": self.noise.residual},
            "discordant": self.discordant,
            "seeds_sd": self.seeds_sd,
            "needs": self.enough.as_dict() if self.enough else None,
            "largest_difference": self.largest,
            "halves_apart": self.apart,
            "halves": self.splits,
            "sentence": self.sentence,
        }


def self_check(
    control: Arm, policy: Policy, knowledge: KnowledgeFile | None = None, excluded: Collection[str] = ()
) -> list[Line]:
    """The noise of the control's own runs, for every gated group. InputError for fewer than four runs, and for runs
    that differ in more than their seeds. knowledge: the base model's. excluded: ids of facts that no gate will judge.
    """
    runs = len(control.runs)
    if runs < LEAST:
        raise InputError(
            f"--self-check: found {runs} run{'s' * (runs != 1)} of the control, expected at least {LEAST} with "
            "different seeds, to set half of them against the other half"
        )
    if len(set(control.seeds)) < runs and None not in control.seeds:
        raise InputError("--self-check: two runs have one seed; give runs of different seeds")
    check_arm(control, knowledge)
    # Every run on one side, for its answers alone: halves are taken of them.
    sheet = Sheet.of(Pair(control, control, knowledge), policy, excluded)
    lines = []
    for name, group, margin, scores in _gated(sheet, policy):
        mask = sheet.mask(group)
        if not mask.any():
            raise InputError(f"{group}: none of the facts is in it; take it out of the policy, or ask other facts")
        halves = [
            found
            for ours, theirs in halvings(runs)
            if (
                found := sheet.paired(
                    (scores[list(ours)], scores[list(theirs)], scores[:0]), mask, policy.clusters, fixed_control=False
                )
            )
        ]
        lines.append(_line(name, margin, halves, policy, runs))
    return lines


def halvings(runs: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The ways to set half of the runs against as many others, each once; not more than some hundreds."""
    half, whole = runs // 2, range(runs)
    ways = (
        (ours, theirs)
        for ours in combinations(whole, half)
        for theirs in combinations([r for r in whole if r not in ours], half)
        if ours < theirs
    )
    return list(islice(ways, _SPLITS))


def expected(policy: Policy, facts: Mapping[str, int], recorded: int = 0) -> list[Line]:
    """What the policy's facts and seeds can show by the noise that it says to expect; nothing is run.

    facts: gated group → how many facts it has. recorded: runs of the control's recipe that one seed is judged by.
    """
    lines = []
    for name, group, margin in _named(policy):
        n = facts[group]
        noise = _expected_noise(n, policy, recorded)
        smallest, enough = _shown(noise, margin, policy)
        lines.append(Line(name, margin, noise, policy.noise.discordant, policy.noise.seeds_sd, smallest, enough))
    return lines


def as_dict(lines: Sequence[Line], policy: Policy) -> dict[str, Any]:
    """The JSON document."""
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "groups": [line.as_dict() for line in lines],
        "noise": noise_of(lines),
        "policy": policy.as_dict(),
    }


def noise_of(lines: Sequence[Line]) -> dict[str, float]:
    """What a policy may hold under `noise`, in percent and points: the worst of its groups."""
    return {
        "discordant": round(100 * max(line.discordant for line in lines), 2),
        "seeds_sd": round(100 * max(line.seeds_sd for line in lines), 2),
    }


def _named(policy: Policy) -> list[tuple[str, str, float]]:
    return [
        *((group, group, margin) for group, margin in policy.margins.items()),
        *((f"{group} ({MADE_UP})", group, margin) for group, margin in policy.hallucination.items()),
    ]


def _gated(sheet: Sheet, policy: Policy) -> list[tuple[str, str, float, Any]]:
    measures = {False: sheet.right[0], True: sheet.kept()[0]}
    return [(name, group, margin, measures[name.endswith(f"({MADE_UP})")]) for name, group, margin in _named(policy)]


def _line(name: str, margin: float, halves: Sequence[Paired], policy: Policy, runs: int) -> Line:
    noise = _mean(halves)
    planned = _planned(noise, policy.seeds, runs)
    smallest, enough = _shown(planned, margin, policy)
    level = _level(policy)
    apart = sum(
        interval is not None and (interval.low > 0 or interval.high < 0)
        for interval in (half.interval(level) for half in halves)
    )
    # 2 s²/S of a difference is what seeds add; s is one run's.
    sd = math.sqrt(noise.beyond * noise.seeds / 2)
    discordant = (noise.lost + noise.gained) / noise.n
    largest = max((half.value for half in halves), key=abs)
    return Line(name, margin, noise, discordant, sd, smallest, enough, largest, apart, len(halves))


def _mean(halves: Sequence[Paired]) -> Paired:
    """The components' means over all ways to halve the same runs, which share them, so that no way adds freedom."""
    n = len(halves)

    def mean(name: str) -> float:
        return math.fsum(getattr(half, name) for half in halves) / n

    return replace(
        halves[0],
        value=0.0,
        lost=mean("lost"),
        gained=mean("gained"),
        item=mean("item"),
        run=mean("run"),
        residual=mean("residual"),
        effect=mean("effect"),
        defined=all(half.defined for half in halves),
    )


def _planned(noise: Paired, seeds: int, runs: int) -> Paired:
    """The noise of arms of so many seeds. With two sides of one model a fact's part shrinks with the seeds too.

    runs: how many were measured, which are the ledger of one seed.
    """
    share = noise.seeds / seeds
    if seeds == 1:
        # V_run is (s² + s²) / S of the halves, and a ledger's 2 s²; what facts explain of it is not taken out.
        return replace(
            noise,
            item=noise.item * share,
            run=noise.run * share,
            residual=0.0,
            run_df=float(runs - 1),
            seeds=1,
            noise=Noise.LEDGER,
        )
    grown = (seeds - 1) / (noise.seeds - 1) if noise.seeds > 1 else 1.0
    return replace(
        noise,
        item=noise.item * share,
        run=noise.run * share,
        residual=noise.residual * share,
        # What is known of the spread stays as well known as it was measured, however few runs there will be.
        run_df=max(noise.run_df * grown, 1.0),
        seeds=seeds,
        noise=Noise.SEEDS,
    )


def _expected_noise(n: int, policy: Policy, recorded: int) -> Paired:
    seeds, found = policy.seeds, policy.noise
    item = (found.discordant / seeds * n + 2) / n**2
    half = found.discordant * n / 2
    by_ledger = seeds == 1 and recorded >= LEDGER_RUNS
    beyond = 2 * found.seeds_sd**2 / seeds if seeds > 1 or by_ledger else 0.0
    # A ledger's raw spread holds what facts do as well: half of what two runs differ by, each.
    beyond += found.discordant / n if by_ledger else 0.0
    return Paired(
        value=0.0,
        n=n,
        lost=half,
        gained=half,
        noise=Noise.LEDGER if by_ledger else Noise.SEEDS if seeds > 1 else Noise.CHECKPOINTS,
        item=item,
        item_df=float(max(n - 1, 1)),
        run=beyond,
        run_df=float(recorded - 1 if by_ledger else max(2 * (seeds - 1), 1)),
        seeds=seeds,
        defined=n > 1,
    )


def _shown(noise: Paired, margin: float, policy: Policy) -> tuple[float | None, Need | None]:
    """(smallest margin, what the policy's own margin needs where it is smaller)."""
    level = _level(policy)
    smallest = smallest_margin(noise, level=level, power=POWER)
    if smallest is not None and smallest <= margin:
        return smallest, None
    return smallest, need(noise, margin, level=level, power=POWER)


def _level(policy: Policy) -> float:
    return look_level(policy.level, policy.looks)


def _cost(enough: Need | None) -> str:
    wanted = []
    if enough and enough.facts is not None:
        wanted.append(f"about {enough.facts:,} facts")
    if enough and enough.seeds is not None:
        wanted.append(f"about {enough.seeds} seeds an arm")
    return f"would take {' and '.join(wanted)}." if wanted else "no number of facts and seeds within reach would show."
