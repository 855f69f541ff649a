"""How likely Tango's statistic is, by counting outcomes instead of the normal distribution. Pure.

Where nearly all facts that differ are lost ones, the normal distribution is a poor guide: of pairs of checkpoints that
are worse by exactly the margin it convicts up to 8.7 % (n = 100, 5 % discordant, margin 3 points) and still 5.7 % for
n = 300, where it should convict 5. Counted, no cell of n from 50 to 600, 2 to 20 % discordant and margins of 1 to 5
points exceeds 4.95 % (measured by enumeration; `tests/slick/test_verdict.py` holds some of them).
"""

from __future__ import annotations

import math

from slick.statistics import tango_lost, tango_statistic

# With as many facts of the rarer kind expected, the normal distribution is good to a tenth of a point.
MANY = 50
# Outcomes further off than so many standard deviations do not count.
_FAR = 8.0


def counted_chance(lost: float, gained: float, n: float, difference: float) -> float:
    """The chance of a statistic at most as large as that of these counts, were the true difference `difference`.

    Of lost and gained facts the likeliest shares under that difference are taken; 0 where both kinds are many. Counts
    that clusters have shrunk need not be whole.
    """
    share_lost = tango_lost(gained, lost, n, difference)
    share_gained = max(0.0, share_lost + difference)
    whole = max(1, round(n))
    if whole * min(share_lost, share_gained) >= MANY:
        return 0.0
    seen = tango_statistic(gained, lost, n, difference)
    low, high = _likely(whole, share_lost)
    most = _likely(whole, share_gained)[1]
    chances, reach = [], -1
    for x21 in range(low, high + 1):
        # The more are lost, the more may be gained for a statistic as small.
        while reach < min(most, whole - x21) and tango_statistic(reach + 1, x21, whole, difference) <= seen + 1e-12:
            reach += 1
        chances.append(
            _chance(x21, whole, share_lost) * _up_to(min(reach, whole - x21), whole - x21, share_gained, share_lost)
        )
    return min(1.0, math.fsum(chances))


def _likely(n: int, share: float) -> tuple[int, int]:
    """The counts that n trials of this chance may well bring."""
    far = _FAR * math.sqrt(n * share * (1 - share)) + _FAR
    return max(0, math.floor(n * share - far)), min(n, math.ceil(n * share + far))


def _chance(k: int, n: int, p: float) -> float:
    """The binomial chance of exactly k."""
    if p in (0.0, 1.0):
        return float(k == n * p)
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
    return math.exp(log)


def _up_to(k: int, n: int, share: float, others: float) -> float:
    """The chance of at most k gained among the n facts that are not lost."""
    from scipy.special import bdtr

    if k < 0 or n == 0:
        return float(k >= 0)
    return float(bdtr(k, n, min(1.0, share / (1 - others)))) if others < 1 else 1.0
