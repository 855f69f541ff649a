"""Many continuations of each row of a batch, side by side in the row's own slots.

A continuation takes a slot a token and sees, by the mask, its row's prompt and its own tokens alone. So the keys
and values of a prompt are neither copied for its samples nor read once for each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from slick.shared_prefix import Running, SharedPrefix


class Fan:
    """`many` continuations of every row of a started batch, of at most `length` tokens each.

    The batch must have many × length free slots. nobody: the number that fills up a row with fewer continuations
    than others; what it is given is computed and seen by none.
    """

    def __init__(self, model: SharedPrefix, running: Running, many: int, length: int) -> None:
        self._model = model
        self._running = running
        self.nobody = many
        rows, start = running.mask.shape[0], running.filled
        self._next = running.mask[:, :start].sum(-1)[:, None].repeat(1, many + 1)
        self._sees = running.mask.new_zeros((rows, many + 1, start + many * length), dtype=torch.bool)
        self._sees[:, :, :start] = running.mask[:, None, :start] > 0

    def step(self, which: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Continues some continuations by one token each.

        which: their numbers, tokens: their tokens (both rows × m). Returns the next logits (rows × m × vocabulary,
        float32).
        """
        rows, m = which.shape
        start = self._running.filled
        row = torch.arange(rows, device=which.device)[:, None]
        own = torch.arange(m, device=which.device)
        sees = self._sees[row, which, : start + m]
        sees[:, own, start + own] = True
        self._sees[row, which, start + own[None]] = which < self.nobody
        positions = self._next[row, which]
        self._next[row, which] = positions + 1
        return self._model.forward_seeing(self._running.cache, tokens, sees, positions)

    def keep(self, rows: torch.Tensor, length: int) -> None:
        """Leaves out all but these rows; `length` further tokens a continuation are still to come."""
        self._running = self._running.select(rows, self._running.filled + self.nobody * length)
        self._next, self._sees = self._next[rows], self._sees[rows]
