"""The exact estimator's `Teacher` for a transformers model: prompts in tokens, next-token logits out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from slick.batches import Batch, Tokens, plan
from slick.decoding import largest
from slick.exact import ExactRequest
from slick.shared_prefix import Running, SharedPrefix
from slick.vocabulary import Vocabulary
from slick.walk import Heads, Row

# Tokens that a batch can be continued by, and the share of its rows (1 in so many) for which a pass is worth it:
# computed anew, a branch costs its question again.
_BRANCHES = 4
_WORTH = 8
_NOTHING = Heads(np.empty((0, 0), np.int64), np.empty((0, 0)), np.empty(0, np.int64))
# So much of a prompt's end decides how an answer behind it is usually split into tokens.
_CONTEXT = 24


class PromptTeacher:
    """Answers for the prompts of some exact requests; prompts: their tokens, in the same order."""

    def __init__(
        self,
        model: SharedPrefix,
        tokenizer: Any,
        vocabulary: Vocabulary,
        requests: Sequence[ExactRequest],
        prompts: Sequence[Tokens],
        batch_size: int,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.vocabulary = vocabulary
        self.requests = requests
        self.prompts = prompts
        self.batch_size = batch_size
        self._usual: dict[tuple[str, str], Tokens] = {}

    def read(self, rows: Sequence[Row], top_k: int) -> Iterator[BatchReading]:
        """See `slick.walk.Teacher`: a reading a batch."""
        tokens = [self.prompts[row.request] + row.path for row in rows]
        for batch in plan(tokens, [row.keep for row in rows], self.batch_size):
            yield BatchReading(self.model, batch, [rows[i] for i in batch.rows], [tokens[i] for i in batch.rows], top_k)

    def usual(self, request: int, answer: str) -> Tokens:
        """The tokens that the tokenizer gives `answer` behind the end of the prompt."""
        end = self.requests[request].prompt[-_CONTEXT:].rpartition("\n")[2]
        key = (end, answer)
        if key not in self._usual:
            self._usual[key] = self._split(*key)
        return self._usual[key]

    def _split(self, end: str, answer: str) -> Tokens:
        text = answer if not end or end.endswith(" ") else f" {answer}"
        before, both = self.tokenizer([end, end + text], add_special_tokens=False)["input_ids"]
        behind = tuple(both[len(before) :])
        written = self.vocabulary.text(behind).strip()
        if both[: len(before)] == before and written == answer.strip().encode("utf-8", "surrogatepass"):
            return behind
        return self.vocabulary.segment(text.encode("utf-8", "surrogatepass"))


class BatchReading:
    """A batch of rows (see `slick.walk.Reading`), kept running so that it can be continued where rows branch off.

    A branch is one more token behind some place of its row. It takes the next free slot of the batch and sees, by
    the mask, its own past alone: the prompt and the tokens of its path, not what else was written in the row.
    """

    def __init__(
        self, model: SharedPrefix, batch: Batch, rows: Sequence[Row], tokens: Sequence[Tokens], top_k: int
    ) -> None:
        self.rows = batch.rows
        self._model = model
        self._asked = rows
        most = max(row.keep for row in rows)
        self._running: Running | None = None
        if model.serves(max(map(len, tokens)) + _BRANCHES):
            logits, self._running = model.start(tokens, batch.prefixes, most, more=_BRANCHES)
        else:
            logits = model.whole(tokens, most)
        wanted = torch.tensor([[place >= most - row.keep for place in range(most)] for row in rows])
        self.heads = _heads(logits[wanted.to(logits.device)], top_k)
        self._left = _BRANCHES if self._running is not None else 0
        # Of a request, the rows that it has in this batch; of a path, the slots that it sees.
        self._of_request: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            self._of_request.setdefault(row.request, []).append(place)
        self._seen: dict[tuple[int, Tokens], torch.Tensor] = {}

    def branch(self, rows: Sequence[Row], top_k: int) -> tuple[Sequence[int], Heads]:
        """One row of the batch takes up one branch at a time; nothing, where too few rows would."""
        chosen: dict[int, tuple[int, torch.Tensor]] = {}
        for i, row in enumerate(rows):
            place, seen = self._parent(row) if self._left else (None, None)
            if place is not None and seen is not None and place not in chosen:
                chosen[place] = (i, seen)
        if not chosen or _WORTH * len(chosen) < len(self._asked):
            return (), _NOTHING
        assert self._running is not None
        running, self._left = self._running, self._left - 1
        mask = running.mask[:, : running.filled + 1].clone()
        mask[:, -1] = 1
        tokens = torch.full((len(self._asked),), self._model.pad)
        for place, (i, seen) in chosen.items():
            mask[place, : len(seen)] = seen
            mask[place, len(seen) : -1] = 0
            tokens[place] = rows[i].path[-1]
            self._seen[place, rows[i].path] = mask[place]
        logits = self._model.branch(running, tokens.to(mask.device), mask)
        places = torch.tensor(list(chosen), device=logits.device)
        return [i for i, _ in chosen.values()], _heads(logits[places], top_k)

    def _parent(self, row: Row) -> tuple[int | None, torch.Tensor | None]:
        """The row of the batch that has all of the path but its last token, and the slots which that sees."""
        parent = row.path[:-1]
        for place in self._of_request.get(row.request, ()):
            if (place, parent) in self._seen:
                return place, self._seen[place, parent]
            written = self._asked[place].path
            if written[: len(parent)] == parent:
                assert self._running is not None
                end = self._running.mask.shape[1] - _BRANCHES
                seen = self._running.mask[place, : end - len(written) + len(parent)]
                return place, seen
        return None, None


def _heads(logits: torch.Tensor, top_k: int) -> Heads:
    values, tokens = largest(logits, top_k)
    return Heads(tokens.cpu().numpy(), values.double().cpu().numpy(), logits.argmax(-1).cpu().numpy())
