"""Plain tables for the terminal. Rounding never turns a small number into 0 or an incomplete one into 100."""

from __future__ import annotations

from collections.abc import Sequence

from slick.statistics import Interval, wilson


def percent(value: float, digits: int = 1) -> str:
    """A fraction as a percentage; "<0.1" and ">99.9" where rounding would print an edge that is not there."""
    text = f"{100 * value:.{digits}f}"
    edge = 10.0**-digits
    if value > 0 and float(text) == 0:
        return f"<{edge:.{digits}f}"
    if value < 1 and float(text) == 100:
        return f">{100 - edge:.{digits}f}"
    return text


def points(value: float) -> str:
    """A signed difference of fractions in percentage points: "+1.2", "−12.3"; "0.0" only for 0 itself."""
    # Twelve digits: a mean over seeds that is 0 may come out as 1e-17.
    exact = round(100 * value, 12)
    sign = "−" if exact < 0 else "+" if exact > 0 else ""
    size, digits = abs(exact), 1
    # More digits where one would print an edge (0 or 100) that is not there.
    while digits < 12 and float(f"{size:.{digits}f}") in (0.0, 100.0) and size not in (0.0, 100.0):
        digits += 1
    return f"{sign}{size:.{digits}f}"


def interval(value: Interval | None) -> str:
    """An interval of fractions in percent; "undefined" where there is none."""
    return f"[{percent(value.low)}, {percent(value.high)}]" if value else "undefined"


def share(value: float, n: int) -> tuple[str, str, str]:
    """(count, percentage, Wilson interval) of a share of n facts."""
    right = round(value * n)
    estimate = wilson(right, n)
    return f"{right}", percent(value), interval(estimate.interval if estimate else None)


def expected_share(value: float, n: int) -> tuple[str, str, str]:
    """As `share`, of a mean chance: the count is an expected one."""
    estimate = wilson(value * n, n)
    count = f"{value * n:.1f}"
    return (
        "<0.1" if value > 0 and count == "0.0" else count,
        percent(value),
        interval(estimate.interval if estimate else None),
    )


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for i, name in enumerate(header):
        table.add_column(name, justify="left" if i == 0 else "right")
    for row in rows:
        # Text, not markup: names come from files that others wrote.
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
