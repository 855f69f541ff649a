"""What `--fix` may do to a row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row's answer stands: characters `start` to `end` of the string at `path`.

    end None: the value at `path` is a list of answers, all of it.
    """

    path: tuple[str | int, ...]
    start: int = 0
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """The row goes."""


@dataclass(frozen=True, slots=True)
class Relabel:
    """The row answers something else, once or several times. places: none overlaps another."""

    places: tuple[Place, ...]
    answer: str

    @property
    def from_the_end(self) -> list[Place]:
        """The last place of a string first, so that changing it moves none of the others."""
        return sorted(self.places, key=lambda place: -place.start)


@dataclass(frozen=True, slots=True)
class Weigh:
    """The row's loss counts so many times: its column `weight`."""

    weight: float

    @property
    def shown(self) -> str:
        return f"{self.weight:g}"


Edit = Drop | Relabel | Weigh
# The column that `slick tune` reads a row's weight from.
WEIGHT = "weight"
