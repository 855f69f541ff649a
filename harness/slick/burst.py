"""A short measured burst of a probe, and the `Plan` that comes of it. Nothing is written, nothing remembered."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slick.batch_size import longest_of_probe, row_cost
from slick.batches import Tokens
from slick.batches import plan as batches_of
from slick.exact import ExactRequest
from slick.facts import Fact, by_relation
from slick.matching import is_right
from slick.plan import (
    EVERY,
    LEAST_FACTOR,
    Piece,
    Plan,
    Range,
    Reading,
    Stage,
    cost,
    count,
    duration,
    powers,
    share_of,
)
from slick.probe import CHUNK
from slick.sampled import Sampled, probe_prompts
from slick.terminal import percent

if TYPE_CHECKING:
    from slick.backend import Backend
    from slick.probe import Probe

Clock = Callable[[], float]
# Asks for the piece of a number and a size; what it returns tells its work.
Ask = Callable[[int, int], Callable[[], float]]

# A piece grows until it takes about so long: three of them, for each thing that is tried, are a few seconds.
_SECONDS = 0.6
_PIECES = 3
# A server is asked for no more than this, of greedy answers and of samples each.
_HANDFUL = 4
# How a server's pace under full load differs from that of a handful, nobody can say: faster, as a rule.
_SERVER_FACTOR = 5.0
# Prompts are tokenised of so many facts, spread over the relations; the others' are reckoned from them.
_COUNTED = 600
# Of text whose tokenizer is not at hand.
_CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True, slots=True)
class _Asked:
    """A prompt, its fact, and whether it is one of those that make the category."""

    fact: Fact
    prompt: str
    decides: bool


@dataclass(slots=True)
class _Seen:
    """What the burst has seen. hits: fact id → whether a greedy answer was right, of facts asked under all sets."""

    hits: dict[str, bool] = field(default_factory=dict)
    written: list[int] = field(default_factory=list)

    @property
    def mean_written(self) -> float:
        return sum(self.written) / max(len(self.written), 1)

    @property
    def undecided(self) -> Range:
        return share_of(sum(not hit for hit in self.hits.values()), len(self.hits))

    def note(self, probe: Probe, asked: Sequence[_Asked], right: Sequence[bool]) -> None:
        """Greedy answers: of the facts whose deciding prompts are all among those asked."""
        times: Counter[str] = Counter()
        hits: Counter[str] = Counter()
        for item, hit in zip(asked, right, strict=True):
            if item.decides:
                times[item.fact.id] += 1
                hits[item.fact.id] += hit
        for id, n in times.items():
            if n == probe.estimator.n_exemplar_sets:
                self.hits[id] = hits[id] > 0


class _Prompts:
    """The prompts of a probe, made where they are asked for."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.sets = probe.exemplar_sets()

    def of(self, fact: Fact, *, fresh: bool) -> Iterator[_Asked]:
        kinds = self.sets[fact.relation]
        yield from (_Asked(fact, prompt, True) for prompt in probe_prompts(fact, kinds[0], self.probe.chat))
        if fresh:
            yield from (_Asked(fact, prompt, False) for prompt in probe_prompts(fact, kinds[1], self.probe.chat))

    def piece(self, number: int, size: int, *, fresh: bool) -> list[_Asked]:
        """So many prompts of neighbouring facts, as in a chunk; every number stands elsewhere in the selection."""
        facts = self.probe.facts
        e = self.probe.estimator
        needed = min(len(facts), -(-size // (e.n_exemplar_sets + (e.n_before if fresh else 0))))
        first = int(_spread(number) * (len(facts) - needed + 1))
        found = chain.from_iterable(self.of(fact, fresh=fresh) for fact in facts[first : first + needed])
        return list(found)[:size]


def _spread(number: int) -> float:
    """The numbers 0, 1, 2, … as places in [0, 1), each in the middle of a gap (van der Corput): 0, 1/2, 1/4, 3/4, …"""
    place, unit = 0.0, 0.5
    while number:
        number, bit = divmod(number, 2)
        place += bit * unit
        unit /= 2
    return place


def timed(ask: Ask, number: int, size: int, clock: Clock) -> Piece:
    """One piece; its work is counted when it is done."""
    start = clock()
    work = ask(number, size)
    seconds = clock() - start
    return Piece(max(work(), 1.0), max(seconds, 1e-6))


def measured(ask: Ask, sizes: Sequence[int], clock: Clock) -> list[Piece]:
    """Times pieces of growing size, then more of the last one; each has a number of its own.

    The first is a warm-up, which counts only where it takes so long that it has to serve for all.
    """
    warm = timed(ask, 0, sizes[0], clock)
    if warm.seconds > 2 * _SECONDS:
        return [warm]
    place, last = 0, timed(ask, 1, sizes[0], clock)
    while place + 1 < len(sizes) and last.seconds * sizes[place + 1] / sizes[place] <= 2 * _SECONDS:
        place += 1
        last = timed(ask, place + 1, sizes[place], clock)
    return [last, *(timed(ask, place + more, sizes[place], clock) for more in range(2, _PIECES + 1))]


@dataclass(frozen=True, slots=True)
class _Tried:
    """One kind of asking, measured. prompts: of each of the pieces; seconds: the warm-up and smaller pieces too."""

    pieces: list[Piece]
    prompts: int
    seconds: float


class _Counter:
    """Counts tokens as the backend does, or by characters where it cannot be asked."""

    def __init__(self, backend: Backend, room: int) -> None:
        self.backend = backend
        self.room = room
        self.lm = _model_of(backend)
        tokenizer = getattr(self.lm, "tokenizer", None)
        remote = getattr(self.lm, "tokenizer_backend", None) == "remote"
        self.encode = None if remote else getattr(tokenizer, "encode", None)

    @property
    def guesses(self) -> bool:
        return not self.backend.ours and self.encode is None

    def shares(self, longest: int) -> bool:
        """Whether prompts of so many tokens share what they have in common, and their samples one reading."""
        return bool(self.backend.ours and self.lm.shared.serves(longest + self.room))

    def lengths(self, texts: Sequence[str]) -> list[int]:
        if self.encode is not None:
            return [len(self.encode(text)) for text in texts]
        return [-(-len(text) // _CHARACTERS_A_TOKEN) for text in texts]

    def read(self, prompts: Sequence[str]) -> _Read:
        """How many tokens are computed where these prompts are asked together."""
        if not self.backend.ours:
            lengths = self.lengths(prompts)
            return _Read(sum(lengths), 0, sum(lengths), max(lengths), max(lengths))
        # Refuses what a run would refuse.
        rows: list[Tokens] = self.lm.encode(prompts, self.room)
        anew, longest = sum(map(len, rows)), max(map(len, rows))
        if not self.shares(longest):
            return _Read(anew, 0, anew, longest, longest)
        prefixes: set[Tokens] = set()
        own, most = 0, 0
        for batch in batches_of(rows, [1] * len(rows), self.backend.batch_size):
            for i, length in zip(batch.rows, batch.prefixes, strict=True):
                prefixes.add(rows[i][:length])
                own += len(rows[i]) - length
                most = max(most, len(rows[i]) - length)
        return _Read(own, sum(map(len, prefixes)), anew, longest, most)


@dataclass(frozen=True, slots=True)
class _Read:
    """Tokens of prompts: their own, the prefixes that they share, and all anew; the longest row, whole and own part."""

    own: int
    shared: int
    anew: int
    longest: int
    longest_own: int

    @property
    def computed(self) -> int:
        return self.own + self.shared


@dataclass(frozen=True, slots=True)
class _Selection:
    """The tokens of all prompts of a selection, reckoned from some of its facts."""

    reading: Reading
    # Own tokens of all prompts: of what a second stage reads again.
    own: float
    longest: int
    longest_own: int
    shares: bool


def _selected(prompts: _Prompts, counter: _Counter, *, fresh: bool) -> _Selection:
    groups = by_relation(prompts.probe.facts)
    most = max(2, _COUNTED // len(groups))
    own = anew = once = 0.0
    total = counted = longest = longest_own = 0
    for facts in groups.values():
        chosen = facts if len(facts) <= most else [facts[i * len(facts) // most] for i in range(most)]
        asked = [item.prompt for fact in chosen for item in prompts.of(fact, fresh=fresh)]
        read = counter.read(asked)
        scale = len(facts) / len(chosen)
        own += read.own * scale
        once += read.own * scale + read.shared
        anew += read.anew * scale
        total += round(len(asked) * scale)
        counted += len(chosen)
        longest, longest_own = max(longest, read.longest), max(longest_own, read.longest_own)
    shares = counter.shares(longest)
    return _Selection(Reading(total, anew, once if shares else None, counted), own, longest, longest_own, shares)


class Burst:
    """Tries a probe's backend for some seconds. clock: what time is told by."""

    def __init__(self, probe: Probe, backend: Backend, clock: Clock = time.perf_counter) -> None:
        self.probe = probe
        self.backend = backend
        self.clock = clock
        self.server = backend.per_request_seeds
        self.prompts = _Prompts(probe)
        self.counter = _Counter(backend, probe.estimator.max_gen_toks)
        self.seen = _Seen()

    @property
    def e(self) -> Sampled:
        return self.probe.estimator

    def sizes(self, per_fact: int) -> list[int]:
        """One prompt, four, then those of 1, 4, 16 … facts up to a chunk, as far as there are any."""
        if self.server:
            return [min(_HANDFUL, per_fact * len(self.probe.facts))]
        facts = [n for n in (1, 4, 16, 64, CHUNK) if n <= len(self.probe.facts)]
        return sorted({1, min(4, per_fact), *(n * per_fact for n in facts)})

    def tried(self, ask: Callable[[list[_Asked]], Callable[[], float]], *, fresh: bool) -> _Tried:
        """Times one of the methods below. They ask prompts; what they return tells the tokens read and written."""
        sizes = self.sizes(self.e.n_exemplar_sets + (self.e.n_before if fresh else 0))
        last = 0

        def one(number: int, size: int) -> Callable[[], float]:
            nonlocal last
            asked = self.prompts.piece(number, size, fresh=fresh)
            last = len(asked)
            return ask(asked)

        start = self.clock()
        pieces = [timed(one, 0, sizes[0], self.clock)] if self.server else measured(one, sizes, self.clock)
        return _Tried(pieces, last, self.clock() - start)

    def exact(self, asked: list[_Asked]) -> Callable[[], float]:
        e = self.e
        requests = [
            ExactRequest(item.prompt, item.fact.answers, e.temperature, e.top_k, e.max_gen_toks, self.probe.matching)
            for item in asked
        ]
        answers = self.backend.exact(requests)
        self.seen.note(self.probe, asked, [answer.greedy for answer in answers])
        return lambda: self.counter.read([item.prompt for item in asked]).computed + sum(self.behind(asked))

    @cached_property
    def mean_answer(self) -> float:
        facts = self.probe.facts[:: max(1, len(self.probe.facts) // _COUNTED)]
        lengths = self.behind(_Asked(fact, "", True) for fact in facts)
        return sum(lengths) / len(lengths)

    def behind(self, asked: Iterable[_Asked]) -> list[int]:
        """Tokens of the answers that are computed along with prompts."""
        return self.counter.lengths([f" {item.fact.answers[0]}" for item in asked])

    def greedy(self, asked: list[_Asked]) -> Callable[[], float]:
        answers = self.backend.generate([(item.prompt, self.e.greedy_kwargs()) for item in asked])
        right = [is_right(a, item.fact.answers, self.probe.matching) for a, item in zip(answers, asked, strict=True)]
        self.seen.note(self.probe, asked, right)
        return lambda: self.counter.read([item.prompt for item in asked]).computed + self.wrote(answers)

    def wrote(self, answers: Sequence[str]) -> int:
        """Tokens of these answers, each with the one that ended it."""
        written = [min(n + 1, self.e.max_gen_toks) for n in self.counter.lengths(answers)]
        self.seen.written += written
        return sum(written)

    @property
    def samples(self) -> int:
        """Samples a prompt that the burst draws."""
        return min(self.e.n_samples, _HANDFUL) if self.server else self.e.n_samples

    def sampled(self, asked: list[_Asked]) -> Callable[[], float]:
        if self.server:
            asked = asked[:1]
        prompts = [item.prompt for item in asked]
        answers = self.backend.sample(prompts, self.e.sampled_kwargs(), self.samples, self.probe.seed)

        def work() -> float:
            read = self.counter.read(prompts)
            times = 1 if self.counter.shares(read.longest) else self.samples
            return times * read.computed + self.wrote([answer for texts in answers for answer in texts])

        return work

    def stock(self, asked: list[_Asked]) -> Callable[[], float]:
        """What lm-eval's own `hf` does: every answer a request of its own, the prompt read anew."""
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM

        from slick.backend import seed_everything

        seed_everything(self.probe.seed)
        kinds = [self.e.greedy_kwargs(), *[self.e.sampled_kwargs()] * self.e.n_samples]
        requests = [(item.prompt, dict(kwargs)) for item in asked for kwargs in kinds]
        instances = [Instance("generate_until", {}, request, i) for i, request in enumerate(requests)]
        answers: list[str] = HFLM.generate_until(self.backend.lm, instances, disable_tqdm=True)
        return lambda: len(kinds) * self.counter.read([item.prompt for item in asked]).anew + self.wrote(answers)


def make_plan(probe: Probe, backend: Backend, processes: int = 1, clock: Clock = time.perf_counter) -> Plan:
    """Tries `backend` on a few facts of `probe` and reckons the rest. processes: how many divide the work.

    Raises what a run would raise on these facts.
    """
    burst = Burst(probe, backend, clock)
    e = probe.estimator
    used = _memory_used(backend)
    longest = burst.counter.read(longest_of_probe(probe).prompts)
    every = _selected(burst.prompts, burst.counter, fresh=True)
    deciding = _selected(burst.prompts, burst.counter, fresh=False)
    tried = {}
    # What was chosen is tried first: what is wrong with it is said as a run would say it.
    if probe.exact or backend.ours:
        tried["exact"] = burst.tried(burst.exact, fresh=True)
    tried["greedy"] = burst.tried(burst.greedy, fresh=True)
    tried["samples"] = burst.tried(burst.sampled, fresh=False)
    if backend.ours:
        tried["stock"] = burst.tried(burst.stock, fresh=False)
    stages = _stages(burst, tried, every, deciding)
    memory = _Memory(used, burst, max(longest.longest, every.longest), every.longest_own)
    undecided = burst.seen.undecided
    protocol = e.n_exemplar_sets * (1 + e.n_samples)
    exact, two, full = (probe.method == name for name in ("exact", "two-stage sampled", "sampled"))
    offered = [
        ("exact", {"exact": EVERY}, memory.exact, exact),
        ("two-stage sampled", {"greedy": EVERY, "samples": undecided}, memory.sampled, two),
        (f"sampled, all {protocol}", {"greedy": EVERY, "samples": EVERY}, memory.sampled, full),
        (f"lm-eval's hf, {protocol}", {"stock": EVERY}, memory.stock, False),
    ]
    costs = [
        cost(name, [(stages[part], share) for part, share in parts.items()], peak, chosen=chosen, processes=processes)
        for name, parts, peak, chosen in offered
        if parts.keys() <= stages.keys()
    ]
    clusters = Counter(("subject", f.subject) if f.subject else ("fact", f.id) for f in probe.facts)
    return Plan(
        facts=len(probe.facts),
        relations=len(by_relation(probe.facts)),
        n_sets=e.n_exemplar_sets,
        n_before=e.n_before,
        n_exemplars=e.n_exemplars,
        subjects=len(clusters),
        batch_size=backend.batch_size,
        reading=every.reading,
        costs=tuple(costs),
        powers=powers(list(clusters.values())),
        undecided=undecided,
        notes=tuple(_notes(burst, tried, every.reading, processes)),
    )


def _stages(burst: Burst, tried: Mapping[str, _Tried], every: _Selection, deciding: _Selection) -> dict[str, Stage]:
    """Every kind of asking, over all facts."""
    e = burst.e
    written = burst.seen.mean_written
    least = _SERVER_FACTOR if burst.server else LEAST_FACTOR
    prompts, decide = every.reading.prompts, deciding.reading.prompts
    read, whole = every.reading.computed, every.reading.anew
    # Samples of one prompt come from one reading of it, and that finds the first stage's prefixes still there.
    times = 1 if deciding.shares else e.n_samples
    again = deciding.own if deciding.shares else deciding.reading.anew
    drawn = decide * e.n_samples
    found = {
        "greedy": Stage(prompts, read, whole, prompts * written, 0.0, tried["greedy"].pieces, least),
        "samples": Stage(
            drawn, times * again, times * deciding.reading.anew, drawn * written, 0.0, tried["samples"].pieces, least
        ),
    }
    if "exact" in tried:
        found["exact"] = Stage(prompts, read, whole, 0.0, prompts * burst.mean_answer, tried["exact"].pieces)
    if "stock" in tried:
        asked = decide + drawn
        anew = (1 + e.n_samples) * deciding.reading.anew
        found["stock"] = Stage(asked, anew, anew, asked * written, 0.0, tried["stock"].pieces)
    return found


def _notes(burst: Burst, tried: Mapping[str, _Tried], reading: Reading, processes: int) -> Iterator[str]:
    """What was measured, and what was reckoned."""
    seconds = duration(sum(item.seconds for item in tried.values()))
    if burst.server:
        asked = tried["greedy"].prompts + burst.samples
        yield f"The server was asked {asked} requests in {seconds}; its pace under full load may be quite another."
    else:
        sizes = {
            "exact": "exact",
            "greedy": "greedy",
            "samples": f"with {burst.e.n_samples} samples each",
            "stock": f"with lm-eval's {1 + burst.e.n_samples} requests each",
        }
        each = [f"{len(item.pieces)} × {count(item.prompts)} prompts {sizes[name]}" for name, item in tried.items()]
        yield f"Measured in {seconds}: {', '.join(each)}; the rest by the number of tokens, loading left out."
    n = len(burst.seen.hits)
    share = burst.seen.undecided
    yield (
        f"Without a right greedy answer: {sum(not hit for hit in burst.seen.hits.values())} of {n} facts asked; "
        f"samples are expected for {percent(share.value)} % [{percent(share.low)}, {percent(share.high)}] of all."
        if n
        else "No fact was asked under all sets: samples may be needed for any share of them."
    )
    if reading.counted < len(burst.probe.facts):
        yield f"Prompts were tokenised of {count(reading.counted)} facts, spread over the relations."
    if burst.counter.guesses:
        yield f"The backend's tokenizer is not at hand: a token is taken for {_CHARACTERS_A_TOKEN} characters."
    if processes > 1:
        yield f"{processes} processes divide the time; the memory is that of each."


def _model_of(backend: Backend) -> Any:
    return getattr(backend, "lm", None)


def _memory_used(backend: Backend) -> float | None:
    """What this process, or its GPU, holds before anything is asked; None for a backend that computes elsewhere."""
    lm = _model_of(backend)
    device: Any = getattr(lm, "device", None)
    if not hasattr(lm, "model") or not hasattr(device, "type"):
        return None
    if device.type == "cuda":
        import torch

        return float(torch.cuda.memory_allocated(device))
    return float(_resident())


def _resident() -> int:
    """Bytes of memory that this process occupies; at its peak, where the system does not say the present."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # not a Unix
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class _Memory:
    """Expected peaks: what is used before, and a full batch of the longest rows; None where that is not known.

    longest, own: tokens of the longest prompt, whole and without what it shares.
    """

    def __init__(self, used: float | None, burst: Burst, longest: int, own: int) -> None:
        self.used = used
        self.burst = burst
        self.longest = longest
        self.own = own

    def _with(self, width: int, behind: int, keep: int) -> float | None:
        if self.used is None:
            return None
        row = row_cost(self.burst.backend.lm.model, width=width, slots=self.longest + behind, keep=keep)
        return self.used + self.burst.backend.batch_size * row.bytes

    @property
    def exact(self) -> float | None:
        answer = round(self.burst.mean_answer) + 1
        return self._with(self.own + answer, answer, answer)

    @property
    def sampled(self) -> float | None:
        return self._with(self.own, self.burst.e.max_gen_toks, 1)

    @property
    def stock(self) -> float | None:
        return self._with(self.longest, self.burst.e.max_gen_toks, 1)
