"""How much a row's loss counts: its column `weight`, 1 where there is none."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from slick.rows import shown
from slick_sft.lint.edits import WEIGHT


def weight_of(cells: Mapping[str, Any]) -> float:
    """A finite number of at least 0; in CSV it is text. Raises ValueError, with what was found and expected."""
    value = cells.get(WEIGHT, 1)
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, str)):
            raise ValueError
        weight = float(value)
    except (ValueError, OverflowError):
        weight = -1.0
    if not 0 <= weight <= sys.float_info.max:
        raise ValueError(f"{WEIGHT}: found {shown(value)}, expected a finite number of at least 0, such as 0 or 0.5")
    return weight
