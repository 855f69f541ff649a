"""Runs batches of token rows through a causal transformers model, what rows have in common only once.

The keys and values of a shared beginning are computed once and copied in front of every row that has it. A row
of a batch then stands as `prefix | padding | own tokens`; positions and the attention mask say which is which.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from slick.batches import Tokens
from slick.fan import Fan

# Bytes of keys and values that are kept of prefixes: of a chunk of facts all sets, unless the model is a large one.
KEPT_BYTES = 2**29
# How far the logits of both ways may lie apart when a model is tried, in units of the largest logit.
_TOLERANCE = 1e-4
_ROUGH_TOLERANCE = 0.1
# Tokens of the longest row of that trial, and the least that tell anything.
_TRIED = 48
_LEAST_TRIED = 12


class _Slots(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """One layer's keys and values in a tensor with room to spare; new ones are written behind `length`."""

    keys: Any
    values: Any

    def __init__(self, room: int, rows: int = 0) -> None:
        super().__init__()
        self.room = room
        self.rows = rows
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        rows, heads = max(self.rows, key_states.shape[0]), key_states.shape[1]
        self.keys = key_states.new_empty(rows, heads, self.room, key_states.shape[3])
        self.values = value_states.new_empty(rows, heads, self.room, value_states.shape[3])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, end = key_states.shape[0], self.length + key_states.shape[2]
        self.keys[:rows, :, self.length : end] = key_states
        self.values[:rows, :, self.length : end] = value_states
        self.length = end
        return self.keys[:rows, :, :end], self.values[:rows, :, :end]

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def selected(self, rows: torch.Tensor, room: int) -> _Slots:
        """The given rows, in a tensor of their own with so many slots."""
        new = _Slots(room)
        keys, values = (old[rows, :, : self.length] for old in (self.keys, self.values))
        new.lazy_initialization(keys, values)
        new.keys[:, :, : self.length] = keys
        new.values[:, :, : self.length] = values
        new.length = self.length
        return new


@dataclass(slots=True)
class Running:
    """A batch that may be continued: its cache, and which slots of it hold tokens (rows × slots, 1 or 0)."""

    cache: Cache
    mask: torch.Tensor

    @property
    def filled(self) -> int:
        return int(_layers(self.cache)[0].length)

    def select(self, rows: torch.Tensor, room: int) -> Running:
        """The given rows (some repeated, some left out), with so many slots in all."""
        mask = self.mask.new_zeros(len(rows), room)
        mask[:, : self.filled] = self.mask[rows, : self.filled]
        return Running(Cache(layers=[layer.selected(rows, room) for layer in _layers(self.cache)]), mask)


class SharedPrefix:
    """A model that computes shared prefixes once.

    reason: why it cannot, or "". window: the longest row for which it can; None for any. fans: whether it also
    computes a row's continuations side by side (see `slick.fan`).
    """

    def __init__(
        self,
        model: Any,
        pad: int,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self.model = model
        self.pad = pad
        self.autocast = autocast
        self.kept_bytes = kept_bytes
        self._takes = _forward_arguments(model)
        self._prefixes: OrderedDict[Tokens, Cache] = OrderedDict()
        self._kept = 0
        self._buffer: Cache | None = None
        self._room = (0, 0)
        self._in_buffer: Tokens | None = None
        self._rows_in_buffer = 0
        self._layers, self.window, self.reason = self._kind()
        if not self.reason:
            self.reason = self._tried()
        self.fans = not self.reason and "position_ids" in self._takes and self._tried_fan()

    def serves(self, longest: int) -> bool:
        """Whether rows of so many tokens (those to come included) can share what they have in common."""
        return not self.reason and (self.window is None or longest <= self.window)

    def start(self, rows: Sequence[Tokens], prefixes: Sequence[int], keep: int, more: int = 0) -> tuple[Any, Running]:
        """Computes rows whose first prefixes[i] tokens are shared.

        Returns the logits (rows × keep × vocabulary, float32) at the last `keep` places of each row (places
        before a row's own tokens hold nothing), and the batch with slots for `more` further tokens. A batch
        that was started before must not be continued after.
        """
        heads = [row[:length] for row, length in zip(rows, prefixes, strict=True)]
        own = [row[length:] for row, length in zip(rows, prefixes, strict=True)]
        width, common = max(map(len, own)), max(prefixes)
        if self.window is not None and any(prefixes) and common + width + more > self.window:
            # A window counts slots: the padding between a short prefix and a short row could push tokens out of it.
            return self.start(rows, [0] * len(rows), keep, more)
        mask = torch.zeros(len(rows), common + width + more, dtype=torch.long)
        ids = torch.full((len(rows), width), self.pad, dtype=torch.long)
        for i, (head, tail) in enumerate(zip(heads, own, strict=True)):
            mask[i, common - len(head) : common] = 1
            mask[i, common + width - len(tail) : common + width] = 1
            ids[i, width - len(tail) :] = torch.tensor(tail)
        mask = mask.to(self.model.device)
        running = Running(self._filled(heads, common, common + width + more), mask)
        logits = self._forward(running, ids.to(self.model.device), keep)
        return logits, running

    def step(self, running: Running, tokens: torch.Tensor) -> torch.Tensor:
        """Continues every row by one token (rows) and returns the next logits (rows × vocabulary, float32)."""
        running.mask[:, running.filled] = 1
        return self._forward(running, tokens[:, None], 1)[:, 0]

    def branch(self, running: Running, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """As `step`, but each row's new token sees what `mask` says (rows × slots, itself the last)."""
        return self._forward(Running(running.cache, mask), tokens[:, None], 1)[:, 0]

    def forward_seeing(
        self, cache: Cache, ids: torch.Tensor, sees: torch.Tensor, positions: torch.Tensor
    ) -> torch.Tensor:
        """The logits (rows × m × vocabulary, float32) of m new tokens a row, each seeing what `sees` says.

        ids, positions: rows × m. sees: rows × m × slots, the new ones included, true or false.
        """
        mask = sees[:, None]
        if getattr(self.model.config, "_attn_implementation", "") != "sdpa":
            # All but torch's own attention add the mask to the scores.
            dtype = next(self.model.parameters()).dtype
            mask = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
        with torch.no_grad(), self.autocast():
            logits = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                **self._last(ids.shape[1]),
            ).logits
        return logits.float()

    def whole(self, rows: Sequence[Tokens], keep: int) -> torch.Tensor:
        """The logits at the last `keep` places of each row, everything computed anew, without any cache."""
        width, least = max(map(len, rows)), min(map(len, rows))
        ids = torch.full((len(rows), width), self.pad, dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
        # Padded behind: what comes later cannot change what stands before, in a recurrent model either.
        first = max(least - keep, 0)
        uncached = {"use_cache": False} if "use_cache" in self._takes else {}
        with torch.no_grad(), self.autocast():
            logits = self.model(input_ids=ids.to(self.model.device), **uncached, **self._last(width - first)).logits
        logits = logits[:, first - width :]
        found = logits.new_zeros(len(rows), keep, logits.shape[2])
        for i, row in enumerate(rows):
            last = logits[i, max(len(row) - keep - first, 0) : len(row) - first]
            found[i, keep - len(last) :] = last
        return found.float()

    def _forward(self, running: Running, ids: torch.Tensor, keep: int) -> torch.Tensor:
        start, end = running.filled, running.filled + ids.shape[1]
        places: dict[str, Any] = {}
        if "position_ids" in self._takes:
            places["position_ids"] = (running.mask[:, :end].cumsum(-1) - 1).clamp(min=0)[:, start:]
        with torch.no_grad(), self.autocast():
            logits = self.model(
                input_ids=ids,
                attention_mask=running.mask[:, :end],
                past_key_values=running.cache,
                use_cache=True,
                **places,
                **self._last(keep),
            ).logits
        return logits[:, -keep:].float()

    def _last(self, keep: int) -> dict[str, int]:
        """Logits of every place would be the largest tensor of all; most models can leave them out."""
        return {"logits_to_keep": keep} if "logits_to_keep" in self._takes else {}

    def _filled(self, heads: Sequence[Tokens], common: int, room: int) -> Cache:
        """A cache whose first `common` slots hold each row's prefix, right-aligned. One buffer serves all batches."""
        one = heads[0] if all(head == heads[0] for head in heads) else None
        cache = self._roomy(len(heads), room)
        if one is None or one != self._in_buffer or len(heads) > self._rows_in_buffer:
            self._in_buffer, self._rows_in_buffer = one, len(heads)
            places: dict[Tokens, list[int]] = {}
            for i, head in enumerate(heads):
                places.setdefault(head, []).append(i)
            for head, rows in sorted(places.items(), key=lambda item: -len(item[0])):
                self._copy(head, cache, rows, common)
        for layer in _layers(cache):
            layer.length = common
        return cache

    def _roomy(self, rows: int, room: int) -> Cache:
        """The buffer, a larger one where it is too small."""
        if self._buffer is None or rows > self._room[0] or room > self._room[1]:
            self._room = (max(rows, self._room[0]), max(room, self._room[1]))
            self._buffer = Cache(layers=[_Slots(self._room[1], self._room[0]) for _ in range(self._layers)])
            self._in_buffer, self._rows_in_buffer = None, 0
        return self._buffer

    def _copy(self, head: Tokens, cache: Cache, places: Sequence[int], common: int) -> None:
        """A prefix in front of the rows at `places`; the longest prefix comes first."""
        together = places[-1] - places[0] + 1 == len(places)
        where: Any = slice(places[0], places[-1] + 1) if together else places
        start = common - len(head)
        sources = _layers(self._prefix(head)) if head else [None] * self._layers
        for source, target in zip(sources, _layers(cache), strict=True):
            if source is not None:
                if not target.is_initialized:
                    target.lazy_initialization(source.keys, source.values)
                target.keys[where, :, start:common] = source.keys
                target.values[where, :, start:common] = source.values
            if start:
                # What the mask hides is still multiplied (by 0), and garbage may be NaN.
                target.keys[where, :, :start] = 0
                target.values[where, :, :start] = 0

    def _prefix(self, tokens: Tokens) -> Cache:
        """The keys and values of a prefix, computed once."""
        cache = self._prefixes.pop(tokens, None)
        if cache is None:
            cache = Cache(layers=[_Slots(len(tokens)) for _ in range(self._layers)])
            ids = torch.tensor([tokens], device=self.model.device)
            self._forward(Running(cache, torch.ones_like(ids)), ids, 1)
            self._kept += _size(cache)
        self._prefixes[tokens] = cache
        while self._kept > self.kept_bytes and len(self._prefixes) > 1:
            _, oldest = self._prefixes.popitem(last=False)
            self._kept -= _size(oldest)
        return cache

    def _kind(self) -> tuple[int, int | None, str]:
        """Number of cached layers, smallest window, and why sharing is out of the question, or ""."""
        if "past_key_values" not in self._takes or "attention_mask" not in self._takes:
            return 0, None, "the model keeps no key-value cache"
        layers = DynamicCache(config=self.model.config).layers
        if not layers:
            return 0, None, "the model does not say what its cache consists of"
        other = sorted({type(layer).__name__ for layer in layers} - {"DynamicLayer", "DynamicSlidingWindowLayer"})
        if other:
            return 0, None, f"its cache holds more than keys and values ({', '.join(other)})"
        windows = [layer.sliding_window for layer in layers if isinstance(layer, DynamicSlidingWindowLayer)]
        return len(layers), min(windows, default=None), ""

    def _tried(self) -> str:
        """Why sharing gives other logits than computing everything anew, on one small example; "" if it does not.

        A long and a short row, so that what counts slots and not tokens is put out by the padding; then a token
        behind each, and a branch from the middle of the long one.
        """
        tokens = self._trial_tokens()
        if len(tokens) < _LEAST_TRIED:
            return f"its attention reaches back {self.window} tokens only"
        long, short, branch = tokens, tokens[:10], (*tokens[:-3], 3)
        try:
            first, running = self.start([long, short], [8, 8], 1, more=2)
            second = self.step(running, torch.tensor([1, 2], device=first.device))
            mask = running.mask[:, : running.filled + 1].clone()
            mask[:, -4 - 1 : -1], mask[:, -1] = 0, 1
            third = self.branch(running, torch.tensor([3, 3], device=first.device), mask)[:1]
            shared = torch.cat([first[:, 0], second, third])
            anew = torch.cat([self.whole([row], 1)[0] for row in (long, short, (*long, 1), (*short, 2), branch)])
        except Exception as error:  # a model's own code may refuse a cache or a mask in any way
            return f"it refuses a shared cache ({type(error).__name__}: {error})"
        finally:
            self._forget()
        return self._differs(shared, anew)

    def _tried_fan(self) -> bool:
        """Whether two continuations a row, side by side, have the logits that they have alone."""
        tokens = self._trial_tokens()
        long, short = tokens, tokens[:10]
        try:
            first, running = self.start([long, short], [8, 8], 1, more=4)
            fan = Fan(self, running, many=2, length=2)
            number = torch.tensor([[0, 1], [0, 1]], device=first.device)
            both = [fan.step(number, 2 * place + number + 1) for place in range(2)]
            beside = torch.stack(both, 2).flatten(0, 2)
            rows = [(*row, *range(k + 1, k + 2 * n, 2)) for row in (long, short) for k in (0, 1) for n in (1, 2)]
            anew = torch.cat([self.whole([row], 1)[0] for row in rows])
        except Exception:  # a model's own code may refuse such a mask in any way
            return False
        finally:
            self._forget()
        return not self._differs(beside, anew)

    def _trial_tokens(self) -> Tokens:
        longest = _TRIED if self.window is None else min(_TRIED, self.window - 3)
        draw = torch.Generator().manual_seed(0)
        size = self.model.config.get_text_config().vocab_size
        return tuple(torch.randint(0, size, (max(longest, 0),), generator=draw).tolist())

    def _forget(self) -> None:
        self._prefixes.clear()
        self._kept, self._buffer, self._room = 0, None, (0, 0)

    def _differs(self, shared: torch.Tensor, anew: torch.Tensor) -> str:
        """By how much logits differ from those computed anew, if by more than rounding does."""
        if not bool(anew.isfinite().all()):
            return ""  # not the sharing's fault; whoever reads the logits says so
        exact = next(self.model.parameters()).dtype in (torch.float32, torch.float64) and self.autocast is nullcontext
        largest = float(anew.abs().max())
        apart = float((shared - anew).abs().max())
        if not apart <= (_TOLERANCE if exact else _ROUGH_TOLERANCE) * max(largest, 1e-6):
            return f"sharing changed its logits by {apart:.2g} of {largest:.2g}"
        return ""


def _layers(cache: Cache) -> list[Any]:
    """The cache's layers, all of them `_Slots`."""
    return list(cache.layers)


def _size(cache: Cache) -> int:
    """Bytes of a cache's keys and values."""
    return sum(t.numel() * t.element_size() for layer in _layers(cache) for t in (layer.keys, layer.values))


def _forward_arguments(model: Any) -> Mapping[str, inspect.Parameter]:
    """What the model's forward takes, looked up behind an adapter's wrapper."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inspect.signature(inner.forward).parameters
