"""A backend that remembers: what it was asked before is answered from the response store.

What an answer depends on is its key: the model and everything that computes with it (`stored_model`), the whole
prompt, the settings, and for samples the seed and the sample's number.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import cache
from hashlib import blake2b
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from slick.files import digest_of, sha256_of
from slick.provenance import adapter_base, is_adapter, versions_of
from slick.store import Answers, Store, StoredModel

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from slick.backend import Backend, Request
    from slick.exact import ExactAnswer, ExactRequest

Q = TypeVar("Q", bound="DataclassInstance")
A = TypeVar("A", bound="DataclassInstance")

K = TypeVar("K", bytes, bytes | None)

# Sixteen bytes: two of a billion requests collide with a chance of 1e-21.
_DIGEST_BYTES = 16
_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
# What turns weights into answers. Another version may answer otherwise.
_LIBRARIES = ("lm_eval", "torch", "transformers", "tokenizers", "peft", "vllm")
# What of a model directory decides its answers besides the weights and the tokenizer, which the fingerprint has.
_CONFIGURATION = (
    *("config.json", "generation_config.json", "adapter_config.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "*.jinja", "*.py"),
)


class Stored:
    """Stands in for `inner`, a `slick.backend.Backend`; whatever is not answered here is the inner one's affair.

    Of each call, only what is missing is asked, in the order of the call; the answers are on disk when the call
    returns. A killed run therefore repeats at most the call it was killed in.

    independent_samples: an inner backend that has this attribute, and it true, promises that sample j of a prompt
    depends on seed, prompt and j alone, and that `sample(…, first=i)` gives the samples i, i + 1, … of n. Of any
    other, samples are taken up again only by a call with the same n.
    started: when the run began that asks (ISO 8601), known when it asks first. What was stored later counts only
    in the very call that it was asked in: else a run's batches, and with them its last digits, would depend on
    which of its chunks, or which of two runs, came first. None: everything counts.
    vouched: the user answers for a model that may change behind its name; else its responses serve this run only.
    """

    def __init__(
        self, inner: Backend, store: Store, started: Callable[[], str] | None = None, *, vouched: bool = True
    ) -> None:
        self.inner = inner
        self.store = store
        self.served = self.asked = 0
        self._started = started
        self._vouched = vouched
        self._known_model: StoredModel | None = None
        self._known_start: float | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def stored_model(self) -> StoredModel:
        """Found when it is first needed: a run has claimed its directory by then."""
        if self._known_model is None:
            scope = None if self._vouched or self._started is None else self._started
            self._known_model = stored_model(self.inner, scope)
        return self._known_model

    @property
    def _before(self) -> float:
        """Until when the answers of other calls count."""
        if self._known_start is None:
            self._known_start = datetime.fromisoformat(self._started()).timestamp() if self._started else inf
        return self._known_start

    def generate(self, requests: Sequence[Request]) -> list[str]:
        """As the backend's. Only greedy answers are stored: others would need a seed to be told apart."""
        keys = [
            _key(_header("greedy", dict(kwargs)), prompt) if _greedy(kwargs) else None for prompt, kwargs in requests
        ]
        return self._recall(keys, lambda places: self.inner.generate([requests[i] for i in places]))

    def sample(self, prompts: Sequence[str], kwargs: Mapping[str, Any], n: int, seed: int) -> list[list[str]]:
        """As the backend's."""
        if not prompts:
            return []
        independent = bool(getattr(self.inner, "independent_samples", False))
        header = _header("sample", {"settings": dict(kwargs), "seed": seed, "n": None if independent else n})
        keys = _distinct([_key(header, prompt) for prompt in prompts])
        call = _key(b"%d" % n, "".join(map(bytes.hex, keys)))
        found = self.store.get(self.stored_model, keys, call=call, before=self._before)
        # The samples that are there in one piece from the first: the backend draws on from there.
        begun = [next((j for j in range(n) if j not in found.get(key, {})), n) for key in keys]
        self.served += sum(have for have in begun if independent or have == n)
        missing = [i for i, have in enumerate(begun) if have < n]
        if independent:
            for first in sorted({begun[i] for i in missing}):
                places = [i for i in missing if begun[i] == first]
                more: dict[str, Any] = {"first": first} if first else {}
                answers = self.inner.sample([prompts[i] for i in places], kwargs, n - first, seed, **more)
                self._put_samples([keys[i] for i in places], answers, first, call, found)
        elif missing:
            # The draws of a part would use the random numbers that the rest has used: it gets numbers of its own.
            own_seed = seed if len(missing) == len(keys) else _seed_of(seed, [keys[i] for i in missing])
            answers = self.inner.sample([prompts[i] for i in missing], kwargs, n, own_seed)
            self._put_samples([keys[i] for i in missing], answers, 0, call, found)
        return [[found[key][j] for j in range(n)] for key in keys]

    def exact(self, requests: Sequence[ExactRequest]) -> list[ExactAnswer]:
        """As the backend's."""
        from slick.exact import ExactAnswer

        return self.structured("exact", requests, self.inner.exact, ExactAnswer)

    def structured(
        self, kind: str, requests: Sequence[Q], ask: Callable[[Sequence[Q]], Sequence[A]], answer: Callable[..., A]
    ) -> list[A]:
        """Answers that are dataclasses of JSON's values, to requests that are, too; `answer` is their class.

        ask: the inner backend's method. kind: the method's name, that its keys may not meet those of another.
        """
        keys = [_key(_header(kind, asdict(request)), "") for request in requests]
        texts = self._recall(keys, lambda places: [json.dumps(asdict(a)) for a in ask([requests[i] for i in places])])
        return [answer(**json.loads(text)) for text in texts]

    def finish(self) -> None:
        """Removes what only the resuming of this run could have used."""
        if self._known_model and self._known_model.resuming:
            self.store.forget([self._known_model])

    def _recall(self, keys: Sequence[bytes | None], ask: Callable[[list[int]], Sequence[str]]) -> list[str]:
        """One answer a key, from the store or from `ask` (places in the call → answers). Key None: never stored."""
        if not any(keys):
            return list(ask(list(range(len(keys))))) if keys else []
        keys = _distinct(keys)
        call = _key(b"", "".join(key.hex() for key in keys if key))
        known = self.store.get(self.stored_model, filter(None, keys), call=call, before=self._before)
        missing = [i for i, key in enumerate(keys) if key not in known]
        self.served += len(keys) - len(missing)
        self.asked += len(missing)
        fresh = dict(zip(missing, ask(missing) if missing else [], strict=True))
        rows = [(key, 0, text) for i, text in fresh.items() if (key := keys[i])]
        if rows:
            known |= self.store.put(self.stored_model, rows, call=call)
        return [fresh[i] if key is None else known[key][0] for i, key in enumerate(keys)]

    def _put_samples(
        self, keys: Sequence[bytes], answers: Sequence[Sequence[str]], first: int, call: bytes, found: Answers
    ) -> None:
        """Stores the samples `first`, `first` + 1, … of each key, and adds them to what was found."""
        self.asked += sum(map(len, answers))
        rows = [(key, j, text) for key, texts in zip(keys, answers, strict=True) for j, text in enumerate(texts, first)]
        for key, samples in self.store.put(self.stored_model, rows, call=call).items():
            found.setdefault(key, {}).update(samples)


def stored_model(backend: Backend, scope: Callable[[], str] | None) -> StoredModel:
    """Whose answers these are: the weights, and everything that computes with them, as far as it can be known.

    Also what may only decide near-ties (batch size, kind of device, library versions, this package's own code):
    a run's record of them must be true of the answers it has from the store.
    """
    model, provenance = dict(backend.model), backend.provenance()
    name = str(model.pop("name", ""))
    lm = getattr(backend, "lm", None)
    # A hub name is settled once transformers has resolved it to a commit.
    commit = getattr(getattr(getattr(lm, "model", None), "config", None), "_commit_hash", None)
    settled = bool(model.get("weights") or commit)
    device = getattr(lm, "device", None)
    identity = {
        "model": {**model, "name": None if model.get("weights") else name, "commit": commit},
        "configuration": _configuration(Path(name)),
        "backend": provenance,
        "device": str(getattr(device, "type", device)),
        "libraries": _versions(),
        "code": _code(),
        "scope": None if settled or scope is None else scope(),
    }
    return StoredModel(
        bytes.fromhex(digest_of(identity))[:_DIGEST_BYTES],
        name,
        model.get("weights") or commit,
        model.get("adapter"),
        str(provenance.get("name", "")),
        resuming=not settled and scope is not None,
    )


def _configuration(path: Path) -> list[str]:
    """Digests of the configuration of a model directory, and of the base of an adapter; none for other names."""
    if not path.is_dir():
        return []
    files = sorted({file for pattern in _CONFIGURATION for file in path.glob(pattern)})
    return [sha256_of(*files), *(_configuration(Path(adapter_base(path))) if is_adapter(path) else [])]


@cache
def _code() -> str:
    """This package's source: an editable install changes without changing its version."""
    return sha256_of(*sorted(Path(__file__).parent.glob("*.py")))


@cache
def _versions() -> dict[str, str]:
    return versions_of(_LIBRARIES)


def _greedy(kwargs: Mapping[str, Any]) -> bool:
    """Whether one request has one answer. Both are asked for: some backends obey the one, some the other."""
    return kwargs.get("do_sample") is False and not kwargs.get("temperature")


def _distinct(keys: Sequence[K]) -> list[K]:
    """The keys, those of requests that stand in the call for the second time, third, … made keys of their own.

    A request that a call repeats is then answered as often as it would be without a store.
    """
    times: Counter[K] = Counter()
    distinct: list[Any] = []
    for key in keys:
        times[key] += 1
        distinct.append(key if key is None or times[key] == 1 else _key(b"%b %d" % (key, times[key]), ""))
    return distinct


def _seed_of(seed: int, keys: Sequence[bytes]) -> int:
    return int(digest_of([seed, [key.hex() for key in keys]])[:7], 16)


def _header(kind: str, settings: Mapping[str, Any]) -> bytes:
    """What a request is besides its prompt. JSON holds no NUL: it ends where the prompt begins."""
    return f"{kind}\0{_JSON.encode(settings)}\0".encode()


def _key(header: bytes, prompt: str) -> bytes:
    """The digest of a request."""
    return blake2b(header + prompt.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
