"""How numbers are written, the same in every format. Rounding never turns a small number into 0, nor hides a sign."""

from __future__ import annotations

from slick import terminal
from slick.statistics import Estimate, Interval

NONE = "–"
UNDEFINED = "undefined"
NOT_LOGGED = "not measured: no answers were logged"


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction in percent: "61.2"; "<0.1" and ">99.9" at edges that are not there; "–" for None."""
    return NONE if value is None else terminal.percent(value, digits)


def percent_interval(interval: Interval | None) -> str:
    """Limits of a share in percent; "undefined" for None."""
    return f"[{percent(interval.low)}, {percent(interval.high)}]" if interval else UNDEFINED


def points(value: float | None) -> str:
    """A signed difference of fractions in percentage points: "+1.2", "−12.3"; "0.0" only for 0 itself."""
    return NONE if value is None else terminal.points(value)


def size(value: float) -> str:
    """A difference in points without its sign, for sentences that say "fell" or "rose"."""
    return terminal.points(abs(value)).removeprefix("+")


def points_interval(interval: Interval | None) -> str:
    """Limits of a difference in points; "undefined" for None."""
    return f"[{points(interval.low)}, {points(interval.high)}]" if interval else UNDEFINED


def points_limits(interval: Interval | None) -> str:
    """Limits of a difference for a sentence: "−15.0 to −9.2"; "undefined" for None."""
    return f"{points(interval.low)} to {points(interval.high)}" if interval else UNDEFINED


def estimate_points(estimate: Estimate | None) -> str:
    """A difference with its interval: "−12.3 [−15.0, −9.2]"; "–" where there is nothing to compare."""
    return f"{points(estimate.value)} {points_interval(estimate.interval)}" if estimate else NONE


def estimate_percent(estimate: Estimate | None) -> str:
    """A share with its interval: "61.2 [57.0, 65.3]"; "–" where there is nothing to share."""
    return f"{percent(estimate.value)} {percent_interval(estimate.interval)}" if estimate else NONE


def expected(value: float, *, whole: bool = False) -> str:
    """An expected number of facts: "31.3", "<0.1" for a little of one; "31" where counts are whole numbers."""
    if whole:
        return count(value)
    text = f"{value:,.1f}"
    return "<0.1" if value > 0 and text == "0.0" else text


def decimal(value: float) -> str:
    """A mean number of facts over seeds: "31.3"; "31" where it is a whole number."""
    return f"{value:,.0f}" if value == round(value) else expected(value)


def count(value: float | None, runs: int = 1) -> str:
    """A number of facts: "1,204"; with a decimal where it is a mean over several runs: "31.3"; "–" for None."""
    if value is None:
        return NONE
    return f"{value:,.1f}" if runs > 1 else f"{round(value):,}"


def chance(p: float | None) -> str:
    """A p-value: "0.013", "<0.001"; "undefined" for None."""
    if p is None:
        return UNDEFINED
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def level(value: float) -> str:
    """An interval's level: "90 %"."""
    return f"{100 * value:g} %"
