"""The exact estimator's `Teacher` for a transformers model: prompts in tokens, next-token logits out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from slick.batches import Batch, Tokens, plan
from slick.decoding import largest
from slick.exact import ExactRequest, Heads, Row
from slick.shared_prefix import SharedPrefix
from slick.vocabulary import Vocabulary

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

    def heads(self, rows: Sequence[Row], top_k: int) -> Heads:
        """See `slick.exact.Teacher`."""
        tokens = [self.prompts[row.request] + row.path for row in rows]
        keep = [row.keep for row in rows]
        firsts = np.concatenate([[0], np.cumsum(keep)])
        parts = [
            (batch, self._batch([tokens[i] for i in batch.rows], batch, [keep[i] for i in batch.rows], top_k))
            for batch in plan(tokens, keep, self.batch_size)
        ]
        width = max(part.tokens.shape[1] for _, part in parts)
        found = Heads(
            np.zeros((firsts[-1], width), dtype=np.int64),
            np.full((firsts[-1], width), -np.inf),
            np.zeros(firsts[-1], dtype=np.int64),
        )
        for batch, part in parts:
            places = np.concatenate([np.arange(firsts[i], firsts[i + 1]) for i in batch.rows])
            found.tokens[places, : part.tokens.shape[1]] = part.tokens
            found.logits[places, : part.logits.shape[1]] = part.logits
            found.best[places] = part.best
        return found

    def _batch(self, rows: Sequence[Tokens], batch: Batch, keep: Sequence[int], top_k: int) -> Heads:
        most = max(keep)
        if self.model.serves(max(map(len, rows))):
            logits, _ = self.model.start(rows, batch.prefixes, most)
        else:
            logits = self.model.whole(rows, most)
        wanted = torch.tensor([[place >= most - k for place in range(most)] for k in keep], device=logits.device)
        chosen = logits[wanted]
        values, tokens = largest(chosen, top_k)
        return Heads(tokens.cpu().numpy(), values.double().cpu().numpy(), chosen.argmax(-1).cpu().numpy())

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
