"""How many facts and seeds a margin needs, and how small a margin facts and seeds can defend.

Power is the chance of a decision: PASS where the arms do not differ, FAIL where the drop is twice the margin. Both lie
one margin away from it, so one number serves both. Margins and differences are fractions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slick.paired import Noise, Paired
from slick.statistics import LEVEL, t_value

POWER = 0.80
# What an open verdict asks for is planned on noise that was itself measured, and on results that happened to be open.
# Planned so, with the seeds' variance at its 60 % upper limit, 79 to 96 % of independent redraws were settled (1 to 5
# seeds an arm, 300 to 1,000 facts, with and without run-to-run noise).
ASKED_POWER = 0.85
# Nobody trains more seeds or asks more facts than these; beyond them a margin counts as out of reach.
MOST_SEEDS = 1_000
MOST_FACTS = 100_000_000
# One kind of more is asked for alone up to so many times what there is; beyond it a little of both is cheaper.
FEW_TIMES = 12


@dataclass(frozen=True, slots=True)
class Need:
    """In all, not on top: facts, and seeds an arm. None: as many as there are will do; neither: out of reach."""

    facts: int | None = None
    seeds: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return {"facts": self.facts, "seeds": self.seeds}


def facts_needed(
    margin: float, discordant: float = 0.10, *, level: float = LEVEL, power: float = POWER, effect: float = 1.0
) -> int:
    """Facts for one pair of checkpoints that do not differ, of whose answers a share `discordant` does.

    n = (z_level + z_power)² · discordant / margin², times the design effect. Raises ValueError for a margin or share
    that cannot be.
    """
    if not 0 < margin <= 1 or not 0 < discordant <= 1:
        raise ValueError(f"margin {margin} and discordant share {discordant}: expected fractions above 0, up to 1")
    return math.ceil(_quantiles(level, power, math.inf) ** 2 * discordant * effect / margin**2)


def seeds_needed(margin: float, sd: float, *, level: float = LEVEL, power: float = POWER) -> int | None:
    """Seeds an arm, however many facts there are, where an arm's accuracy varies by `sd` from seed to seed.

    At least 2; about 2 (z_level + z_power)² sd²/margin² where that is many, more where it is few, since so few tell
    their own spread badly. None beyond MOST_SEEDS.
    """
    if not 0 < margin <= 1 or sd < 0:
        raise ValueError(f"margin {margin} and standard deviation {sd}: expected a margin above 0, up to 1")

    def enough(seeds: int) -> bool:
        return _quantiles(level, power, 2 * (seeds - 1)) * math.sqrt(2 * sd**2 / seeds) <= margin

    return _smallest(enough, 2, MOST_SEEDS)


def smallest_margin(
    found: Paired,
    *,
    facts: int | None = None,
    seeds: int | None = None,
    level: float = LEVEL,
    power: float = POWER,
) -> float | None:
    """The margin that arms as noisy as `found` would defend with this power; by its own facts and seeds if not given.

    None where the noise is undefined.
    """
    if not found.defined:
        return None
    error, df = found.spread(facts, seeds)
    return _quantiles(level, power, df) * error


def need(found: Paired, margin: float, *, level: float = LEVEL, power: float = ASKED_POWER) -> Need:
    """What would settle a verdict that is open: facts, or seeds where these are most of the noise, or both.

    Where facts and seeds should have been enough, the difference lies near the margin: twice as many then.
    """
    if not found.defined:
        return Need(facts=2 * found.n)
    found = found.cautious()

    def enough(facts: int, seeds: int, share: float = 1.0) -> bool:
        shown = smallest_margin(found, facts=facts, seeds=seeds, level=level, power=power)
        return shown is not None and shown <= margin * share

    trained = found.noise is not Noise.CHECKPOINTS
    by_seeds = trained and found.beyond > found.item
    if enough(found.n, found.seeds):
        return Need(seeds=2 * found.seeds) if by_seeds else Need(facts=2 * found.n)
    if by_seeds:
        seeds = _smallest(lambda s: enough(found.n, s), max(found.seeds, 2), MOST_SEEDS)
        if seeds is not None and seeds <= FEW_TIMES * found.seeds:
            return Need(seeds=seeds)
    alone = _smallest(lambda n: enough(n, found.seeds), found.n, MOST_FACTS)
    if alone is not None and (not trained or alone <= FEW_TIMES * found.n):
        return Need(facts=alone)
    # Facts enough for half of the variance that the margin allows, and seeds for the rest.
    facts = _smallest(lambda n: enough(n, MOST_SEEDS, math.sqrt(0.5)), found.n, MOST_FACTS) if trained else None
    if facts is None:
        return Need()
    seeds = _smallest(lambda s: enough(facts, s), max(found.seeds, 2), MOST_SEEDS)
    if seeds is not None and seeds <= found.seeds:
        # The seeds there are will do, and so the fewest facts that are enough for them.
        return Need(facts=alone or facts)
    return Need(facts if facts > found.n else None, seeds) if seeds else Need()


def _quantiles(level: float, power: float, df: float) -> float:
    """How many standard errors a margin must span, to be decided at `level` with `power`."""
    if not 0.5 < power < 1:
        raise ValueError(f"power must lie in (0.5, 1), found {power}")
    return t_value(level, df) + t_value(2 * power - 1, df)


def _smallest(enough: Callable[[int], bool], low: int, high: int) -> int | None:
    """The smallest whole number from low to high that is enough, where more never is too much; None if none is."""
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return low
