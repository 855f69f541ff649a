"""Which token rows are computed together, and what they share. Pure but for numpy.

Batches are a function of the rows and of the batch size alone: never of free memory, of what a store already
holds or of the number of processes. So the same call gives the same numbers wherever it is repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Prefixes of fewer tokens cost more to set up than they save.
_WORTH_SHARING = 8
# Batches whose rows are mixed where a beginning has few.
_MIXED = 8

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """rows: indices of the rows computed together. prefixes[i]: how many first tokens of rows[i] it shares with
    others, which are computed once; 0 for none."""

    rows: tuple[int, ...]
    prefixes: tuple[int, ...]


def plan(rows: Sequence[Tokens], keep: Sequence[int], batch_size: int) -> list[Batch]:
    """Every row in one batch. keep[i]: how many last tokens of rows[i] must stand outside the shared prefix (>= 1).

    Rows with the same beginning stand together, the longer ones first. A batch holds at most `batch_size` rows:
    of one beginning, or of several that few rows have, or rows that share nothing.
    """
    batches: list[list[tuple[int, int]]] = []
    few: list[tuple[int, int]] = []
    alone: list[tuple[int, int]] = []

    def closed(items: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
        """Batches of like lengths; in each, rows of one beginning side by side, where one copy serves them all."""
        places = {i: place for place, (i, _) in enumerate(items)}
        for part in _parts(sorted(items, key=lambda item: (item[1] - len(rows[item[0]]), item[0])), batch_size):
            yield sorted(part, key=lambda item: (rows[item[0]][: item[1]], -len(rows[item[0]]), places[item[0]]))

    for group, length in _groups(rows, keep):
        items = [(i, length) for i in group]
        if not length:
            alone += items
        elif 2 * len(items) >= batch_size:
            batches += closed(items)
        else:
            few += items
            # Rows of many beginnings are mixed, since like lengths are what spares padding; but not of too many at
            # a time, since their prefixes must all be at hand.
            if len(few) >= _MIXED * batch_size:
                batches += closed(few)
                few = []
    batches += [*closed(few), *closed(alone)]
    return [Batch(tuple(i for i, _ in part), tuple(length for _, length in part)) for part in batches]


def _parts(items: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    """As few parts of at most `size` as there can be, all of nearly the same size."""
    parts = -(-len(items) // size)
    for n in range(parts):
        yield items[n * len(items) // parts : (n + 1) * len(items) // parts]


def _groups(rows: Sequence[Tokens], keep: Sequence[int]) -> Iterator[tuple[list[int], int]]:
    """Runs of rows, sorted, whose neighbours have half of the shorter one in common, and the length all share."""
    import numpy as np

    if not rows:
        return
    order = sorted(range(len(rows)), key=rows.__getitem__)
    lengths = np.array([len(rows[i]) for i in order])
    # Padded with a token that no vocabulary has, so that a row ends its own prefix.
    padded = np.full((len(rows), int(lengths.max()) + 1), -1, dtype=np.int64)
    for place, i in enumerate(order):
        padded[place, : len(rows[i])] = rows[i]
    differs = padded[1:] != padded[:-1]
    differs[:, -1] = True
    common = differs.argmax(axis=1)
    # Equal rows part where both end.
    common = np.minimum(common, np.minimum(lengths[1:], lengths[:-1]))
    cuts = np.flatnonzero(2 * common < np.minimum(lengths[1:], lengths[:-1])) + 1
    for start, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(order)], strict=True):
        group = order[start:end]
        length = min(len(rows[i]) - keep[i] for i in group)
        if len(group) > 1:
            length = min(length, int(common[start : end - 1].min()))
        yield group, length if len(group) > 1 and length >= _WORTH_SHARING else 0
