"""`slick-hf`: lm-eval's transformers backend, made for many questions behind few exemplar sets.

The same greedy answers as `hf`, token for token, but what prompts have in common is computed once, the samples
of a prompt come from one prefill, equal requests are computed once, and it has the exact estimator. Where a
model or a request is not made for that, lm-eval's own way is taken, and said.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import has_bos_prefix, postprocess_generated_text
from transformers import LogitsProcessor, LogitsProcessorList

from slick.batches import Tokens, plan
from slick.checkpoint import decode_plainly, ending_tokens
from slick.decoding import Ended, Sampling, decode, draw, uniforms
from slick.errors import InputError, RunError
from slick.exact import ExactAnswer, ExactRequest
from slick.prompts import too_long
from slick.shared_prefix import SharedPrefix
from slick.teacher import PromptTeacher
from slick.vocabulary import Vocabulary, read_vocabulary, special_tokens
from slick.walk import NOT_NUMBERS, walk

_log = logging.getLogger("lm_eval.slick")

# Requests with any other setting are answered by lm-eval's own code.
_KNOWN = {"until", "max_gen_toks", "do_sample", "temperature", "top_k", "top_p", "seed"}

# Requests of one walk, which keeps what the model said of all of them in memory.
_EXACT_AT_ONCE = 2048

# Samples side by side share the keys and values of their prompt: so many times the rows take no more memory.
_FANNED = 4

# Registered, it is a mere LM to type checkers.
_HFLM: Any = HFLM


@register_model("slick-hf")
class SlickHF(_HFLM):  # type: ignore[misc]  # lm_eval is untyped
    """A causal language model. Arguments are HFLM's.

    truncates: whether a prompt that is too long loses its beginning, as in lm-eval, or is an InputError.
    notes: what a user should know of this model, a sentence each.
    """

    # Sample j of a prompt depends on seed, prompt and j alone, so that more can be drawn later.
    independent_samples = True
    truncates = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.backend != "causal":
            raise InputError(
                f"slick-hf: {type(self.model).__name__} is an encoder-decoder; expected a causal language model"
            )
        self.notes = [note] if (note := decode_plainly(self.model)) else []
        autocast: Any = nullcontext
        if self.mixed_precision_dtype is not None:
            autocast = lambda: torch.autocast(self.device.type, dtype=self.mixed_precision_dtype)  # noqa: E731
        self.shared = SharedPrefix(self.model, self.tokenizer.pad_token_id or 0, autocast)
        if self.shared.reason:
            self.notes.append(f"prompts share nothing, since {self.shared.reason}")
        for note in self.notes:
            _log.warning("slick-hf: %s", note)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return read_vocabulary(self.tokenizer, ending_tokens(self))

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """lm-eval's entry. Equal greedy requests are one; of equal sampled ones each is a sample of its own."""
        from tqdm import tqdm

        found: dict[int, str] = {}
        groups: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault(json.dumps(request.args[1], sort_keys=True, default=str), []).append(i)
        hidden = disable_tqdm or self.rank != 0
        with tqdm(total=len(requests), disable=hidden, desc="Running generate_until requests") as bar:
            for members in groups.values():
                answers = self._group([requests[i].args[0] for i in members], requests[members[0]].args[1], bar)
                found.update(zip(members, answers, strict=True))
        for i, request in enumerate(requests):
            self.cache_hook.add_partial("generate_until", request.args, found[i])
        return [found[i] for i in range(len(requests))]

    def _group(self, prompts: Sequence[str], kwargs: Mapping[str, Any], bar: Any) -> list[str]:
        """The answers to requests of one setting, prompt by prompt."""
        if not self._understands(kwargs):
            answers = self._stock(prompts, kwargs)
            bar.update(len(prompts))
            return answers
        times = Counter(prompts)
        drawn: dict[str, list[str]] = {}
        if kwargs.get("do_sample"):
            seed = int(kwargs.get("seed", torch.initial_seed()))
            # Prompts that are asked equally often share their batches.
            for n in sorted(set(times.values())):
                asked = [prompt for prompt in times if times[prompt] == n]
                drawn.update(zip(asked, self.sample(asked, kwargs, n, seed, bar), strict=True))
        else:
            drawn = {p: [a] * times[p] for p, a in zip(times, self.greedy(list(times), kwargs, bar), strict=True)}
            bar.update(len(prompts) - len(times))
        taken = {prompt: iter(answers) for prompt, answers in drawn.items()}
        return [next(taken[prompt]) for prompt in prompts]

    def _understands(self, kwargs: Mapping[str, Any]) -> bool:
        """Whether these settings are ours to decode; anything else is lm-eval's."""
        if self.think_end_token is not None or not set(kwargs) <= _KNOWN:
            return False
        if not kwargs.get("do_sample"):
            return not kwargs.get("temperature")
        complete = kwargs.get("top_p") == 1.0 and int(kwargs.get("top_k", 0)) > 0
        return complete and float(kwargs.get("temperature", 0)) > 0

    def _stock(self, prompts: Sequence[str], kwargs: Mapping[str, Any]) -> list[str]:
        self.encode(prompts, int(kwargs.get("max_gen_toks", self.max_gen_toks)))  # refuses prompts that do not fit
        plain = {name: value for name, value in kwargs.items() if name != "seed"}
        if set(kwargs) <= _KNOWN and self.think_end_token is None:
            plain |= self._row_ends(_listed(kwargs.get("until")))
        requests = [Instance("generate_until", {}, (prompt, dict(plain)), i) for i, prompt in enumerate(prompts)]
        answers: list[str] = super().generate_until(requests, disable_tqdm=True)
        return answers

    def greedy(self, prompts: Sequence[str], kwargs: Mapping[str, Any], bar: Any = None) -> list[str]:
        """One greedy answer a prompt. kwargs: `until` and `max_gen_toks` as lm-eval takes them."""
        return [answers[0] for answers in self._answers(prompts, kwargs, None, 1, bar)]

    def sample(
        self,
        prompts: Sequence[str],
        kwargs: Mapping[str, Any],
        n: int,
        seed: int,
        bar: Any = None,
        first: int = 0,
    ) -> list[list[str]]:
        """The samples number `first` to `first` + n - 1 of each prompt. kwargs: also `temperature` and `top_k`."""
        self._check_plain()
        sampling = Sampling(float(kwargs["temperature"]), int(kwargs["top_k"]), seed, first)
        return self._answers(prompts, kwargs, sampling, n, bar)

    def _answers(
        self,
        prompts: Sequence[str],
        kwargs: Mapping[str, Any],
        sampling: Sampling | None,
        n: int,
        bar: Any,
    ) -> list[list[str]]:
        until, length = _listed(kwargs.get("until")), int(kwargs.get("max_gen_toks", self.max_gen_toks))
        rows = self.encode(prompts, length)
        if not rows:
            return []
        if not self.shared.serves(max(map(len, rows)) + length):
            if sampling is None:
                return [[answer] for answer in self._stock(prompts, kwargs)]
            return self._sample_apart(prompts, rows, until, length, sampling, n, bar)
        found: list[list[str]] = [[] for _ in prompts]
        ended = self._ended(until)
        size = self.rows_per_batch // n
        if n > 1 and self.shared.fans:
            size = _FANNED * self.rows_per_batch // n
        for batch in plan(rows, [1] * len(rows), max(1, size)):
            numbers = None
            if sampling is not None:
                numbers = np.stack([uniforms(sampling, prompts[i], n, length) for i in batch.rows])
            asked = [rows[i] for i in batch.rows]
            written = decode(self.shared, asked, batch.prefixes, length, ended, sampling, numbers)
            texts = [self._text(text, until) for text in self.tokenizer.batch_decode(written, skip_special_tokens=True)]
            for place, i in enumerate(batch.rows):
                found[i] = texts[place * n : (place + 1) * n]
            if bar is not None:
                bar.update(len(texts))
        return found

    def _row_ends(self, until: Sequence[str]) -> dict[str, list[int]]:
        """What tells transformers' generation which tokens end an answer, each row for itself."""
        ends = self.vocabulary.line_ends if list(until) == ["\n"] else self.vocabulary.ends
        return {"eos_token_id": sorted(ends)} if ends else {}

    def _sample_apart(
        self,
        prompts: Sequence[str],
        rows: Sequence[Tokens],
        until: Sequence[str],
        length: int,
        sampling: Sampling,
        n: int,
        bar: Any,
    ) -> list[list[str]]:
        """Samples where prompts share nothing: by transformers' generation, each token drawn by its own number."""
        found: list[list[str]] = [[] for _ in prompts]
        eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        for batch in plan(rows, [len(row) for row in rows], max(1, self.rows_per_batch // n)):
            width = max(len(rows[i]) for i in batch.rows)
            ids = torch.full((len(batch.rows), width), self.shared.pad, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for place, i in enumerate(batch.rows):
                ids[place, width - len(rows[i]) :] = torch.tensor(rows[i])
                mask[place, width - len(rows[i]) :] = 1
            numbers = np.concatenate([uniforms(sampling, prompts[i], n, length) for i in batch.rows])
            draws = _Draws(sampling, torch.from_numpy(numbers).to(self.device), width)
            written = self._model_generate(
                context=ids.repeat_interleave(n, 0).to(self.device),
                attention_mask=mask.repeat_interleave(n, 0).to(self.device),
                max_length=width + length,
                stop=[*until, eos],
                do_sample=False,
                logits_processor=[draws],
                **self._row_ends(until),
            )
            texts = self.tokenizer.batch_decode(written[:, width:], skip_special_tokens=True)
            for place, i in enumerate(batch.rows):
                found[i] = [self._text(text, until) for text in texts[place * n : (place + 1) * n]]
            if bar is not None:
                bar.update(len(texts))
        return found

    def _model_generate(self, context: torch.Tensor, max_length: int, stop: list[str], **kwargs: Any) -> torch.Tensor:
        """lm-eval's, which would take logits that are no numbers for token 0."""
        given = {"context": context, "max_length": max_length, "stop": stop}
        written: torch.Tensor = numbers_only(super()._model_generate)(**given, **kwargs)
        return written

    def _text(self, text: str, until: Sequence[str]) -> str:
        eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        return str(postprocess_generated_text(text, stop=[*until, eos], think_end_token=None))

    def _ended(self, until: Sequence[str]) -> Ended:
        vocabulary = self.vocabulary
        if list(until) == ["\n"]:
            return lambda written: written[-1] in vocabulary.line_ends
        stops = [stop.encode("utf-8", "surrogatepass") for stop in until if stop]
        known = self.tokenizer.get_added_vocab()
        ends = vocabulary.ends | {known[stop] for stop in until if known.get(stop) in special_tokens(self.tokenizer)}
        # Tokens that write nothing may stand between those that spell a stop.
        reach = max(map(len, stops), default=0) + 8

        def ended(written: Sequence[int]) -> bool:
            tail = vocabulary.text(written[-reach:])
            return written[-1] in ends or any(stop in tail for stop in stops)

        return ended

    def _check_plain(self) -> None:
        """Raise InputError where an answer is not the first thing that the model writes."""
        if self.think_end_token is not None:
            raise InputError("think_end_token: an answer behind a thought has no chance of its own; leave it out")

    def exact(self, requests: Sequence[ExactRequest]) -> list[ExactAnswer]:
        """What `slick.walk` finds; requests of different settings are walked apart."""
        self._check_plain()
        found: list[ExactAnswer | None] = [None] * len(requests)
        groups: dict[tuple[float, int], list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault((request.temperature, request.top_k), []).append(i)
        for members in groups.values():
            asked = [requests[i] for i in members]
            rows = self.encode([r.prompt for r in asked], max(r.max_gen_toks for r in asked))
            teacher = PromptTeacher(self.shared, self.tokenizer, self.vocabulary, asked, rows, self.rows_per_batch)
            for i, answer in zip(members, walk(asked, teacher, self.vocabulary), strict=True):
                found[i] = answer
        return [answer for answer in found if answer is not None]

    def slick_exact(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """lm-eval's entry for the exact tasks: the JSON of an `ExactAnswer` a request."""
        from tqdm import tqdm

        asked = [ExactRequest.of_settings(*request.args) for request in requests]
        found: list[str] = []
        hidden = disable_tqdm or self.rank != 0
        with tqdm(total=len(asked), disable=hidden, desc="Running slick_exact requests") as bar:
            for first in range(0, len(asked), _EXACT_AT_ONCE):
                answers = self.exact(asked[first : first + _EXACT_AT_ONCE])
                found += [answer.as_json() for answer in answers]
                bar.update(len(answers))
        return found

    @property
    def exact_notes(self) -> list[str]:
        """Where the exact estimator is not exact on this model, a sentence each."""
        if self.vocabulary.exact:
            return []
        return [
            "what a token writes depends on its neighbours with this tokenizer, so that the exact estimator may miss "
            "ways to write an answer, by an unknown amount; compare it with samples, as --verify 100 does"
        ]

    @property
    def tie(self) -> float:
        """Logits nearer than that may change places by rounding; a few units of the last place at 32."""
        kinds = {torch.float64: 1e-9, torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.5}
        dtype = self.mixed_precision_dtype or next(self.model.parameters()).dtype
        return kinds.get(dtype, kinds[torch.bfloat16])

    @property
    def rows_per_batch(self) -> int:
        """The batch size; for lm_eval's `auto` what its own trial finds to fit the memory, once."""
        if str(self.batch_size).startswith("auto"):
            self.batch_size_per_gpu = self._detect_batch_size()
        return int(self.batch_size)

    def encode(self, prompts: Sequence[str], room: int) -> list[Tokens]:
        """The tokens of each prompt, as lm-eval has them, with room for so many more in the model's context."""
        longest = self.max_length - room
        if longest < 1:
            raise InputError(f"max_gen_toks = {room}: the model's context is {self.max_length} tokens; ask for fewer")
        rows = []
        bos = getattr(self.tokenizer, "bos_token", None)
        for special, group in _runs(prompts, lambda prompt: has_bos_prefix(prompt, bos)):
            options = {} if self.add_bos_token is None else {"add_special_tokens": self.add_bos_token}
            options |= {"add_special_tokens": False} if special else {}
            options |= {"truncation": True} if self.truncation else {}
            rows += [tuple(ids) for ids in self.tokenizer(group, **options)["input_ids"]]
        for i, row in enumerate(rows):
            if not row:
                raise InputError(
                    f"prompt {prompts[i]!r}: the tokenizer makes no tokens of it; there is nothing to go on from"
                )
            if len(row) > longest:
                if not self.truncates:
                    raise InputError(too_long(prompts[i], len(row), room, self.max_length))
                _log.warning("slick-hf: a prompt of %s tokens loses its first %s", len(row), len(row) - longest)
                rows[i] = row[-longest:]
        return rows


def numbers_only(generate: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """lm-eval's `_model_generate` of a transformers model, but logits that are not numbers raise RunError."""

    def checked(**kwargs: Any) -> torch.Tensor:
        processors = LogitsProcessorList([_Numbers(), *kwargs.pop("logits_processor", ())])
        return generate(logits_processor=processors, **kwargs)

    return checked


class _Numbers(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Stops a generation whose logits are not numbers."""

    def __call__(self, _: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if not bool(scores.amax(-1).isfinite().all()):
            raise RunError(NOT_NUMBERS)
        return scores


class _Draws(LogitsProcessor):  # type: ignore[misc]
    """Leaves of each row's logits the one token that its number draws. width: of the prompts."""

    def __init__(self, sampling: Sampling, numbers: torch.Tensor, width: int) -> None:
        self.sampling = sampling
        self.numbers = numbers
        self.width = width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        chosen = draw(scores, self.sampling, self.numbers[:, input_ids.shape[1] - self.width])
        return torch.full_like(scores, -torch.inf).scatter(1, chosen[:, None], 0.0)


def _listed(until: Any) -> list[str]:
    return [until] if isinstance(until, str) else list(until or [])


def _runs(prompts: Sequence[str], key: Any) -> list[tuple[bool, list[str]]]:
    """Neighbouring prompts with the same key, together."""
    runs: list[tuple[bool, list[str]]] = []
    for prompt in prompts:
        value = bool(key(prompt))
        if not runs or runs[-1][0] != value:
            runs.append((value, []))
        runs[-1][1].append(prompt)
    return runs
