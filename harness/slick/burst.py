"""A short measured burst of a probe, and the `Plan` that comes of it. Nothing is written, nothing remembered."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from slick.batch_size import longest_of_probe
from slick.burst_prompts import Asked, Prompts
from slick.exact import ExactRequest
from slick.facts import by_relation
from slick.matching import is_right
from slick.memory import Memory, memory_used
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
from slick.sampled import Sampled
from slick.terminal import percent
from slick.token_count import CHARACTERS_A_TOKEN, Selection, TokenCounter, selected

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

    def note(self, probe: Probe, asked: Sequence[Asked], right: Sequence[bool]) -> None:
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


class Burst:
    """Tries a probe's backend for some seconds. clock: what time is told by."""

    def __init__(self, probe: Probe, backend: Backend, clock: Clock = time.perf_counter) -> None:
        self.probe = probe
        self.backend = backend
        self.clock = clock
        self.server = backend.per_request_seeds
        self.prompts = Prompts(probe)
        self.counter = TokenCounter(backend, probe.estimator.max_gen_toks)
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

    def tried(self, ask: Callable[[list[Asked]], Callable[[], float]], *, fresh: bool) -> _Tried:
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

    def exact(self, asked: list[Asked]) -> Callable[[], float]:
        e = self.e
        requests = [
            ExactRequest(item.prompt, item.fact.answers, e.temperature, e.top_k, e.max_gen_toks, self.probe.matching)
            for item in asked
        ]
        answers = self.backend.exact(requests)
        self.seen.note(self.probe, asked, [answer.greedy for answer in answers])
        prompts, facts = [item.prompt for item in asked], [item.fact for item in asked]
        return lambda: self.counter.read(prompts).computed + sum(self.counter.answers(facts))

    @cached_property
    def mean_answer(self) -> float:
        return self.counter.mean_answer(self.probe.facts)

    def greedy(self, asked: list[Asked]) -> Callable[[], float]:
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

    def sampled(self, asked: list[Asked]) -> Callable[[], float]:
        if self.server:
            asked = asked[:1]
        prompts = [item.prompt for item in asked]
        answers = self.backend.sample(prompts, self.e.sampled_kwargs(), self.samples, self.probe.seed)

        def work() -> float:
            read = self.counter.read(prompts)
            times = 1 if self.counter.shares(read.longest) else self.samples
            return times * read.computed + self.wrote([answer for texts in answers for answer in texts])

        return work

    def stock(self, asked: list[Asked]) -> Callable[[], float]:
        """What lm-eval's own `hf` does: every answer a request of its own, the prompt read anew."""
        from lm_eval.api.instance import Instance
        from lm_eval.models import huggingface

        from slick.backend import seed_everything

        stock: Any = huggingface.HFLM
        seed_everything(self.probe.seed)
        kinds = [self.e.greedy_kwargs(), *[self.e.sampled_kwargs()] * self.e.n_samples]
        requests = [(item.prompt, dict(kwargs)) for item in asked for kwargs in kinds]
        instances = [Instance("generate_until", {}, request, i) for i, request in enumerate(requests)]
        answers: list[str] = stock.generate_until(self.backend.lm, instances, disable_tqdm=True)
        return lambda: len(kinds) * self.counter.read([item.prompt for item in asked]).anew + self.wrote(answers)


def make_plan(probe: Probe, backend: Backend, processes: int = 1, clock: Clock = time.perf_counter) -> Plan:
    """Tries `backend` on a few facts of `probe` and reckons the rest. processes: how many divide the work.

    Raises what a run would raise on these facts.
    """
    burst = Burst(probe, backend, clock)
    e = probe.estimator
    used = memory_used(backend)
    longest = burst.counter.read(longest_of_probe(probe).prompts)
    every = selected(burst.prompts, burst.counter, fresh=True)
    deciding = selected(burst.prompts, burst.counter, fresh=False)
    tried = {}
    # What was chosen is tried first: what is wrong with it is said as a run would say it.
    if probe.exact or backend.ours:
        tried["exact"] = burst.tried(burst.exact, fresh=True)
    tried["greedy"] = burst.tried(burst.greedy, fresh=True)
    tried["samples"] = burst.tried(burst.sampled, fresh=False)
    if backend.ours:
        tried["stock"] = burst.tried(burst.stock, fresh=False)
    stages = _stages(burst, tried, every, deciding)
    answer = round(burst.mean_answer) + 1
    memory = Memory(used, backend, max(longest.longest, every.longest), every.longest_own, e.max_gen_toks, answer)
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


def _stages(burst: Burst, tried: Mapping[str, _Tried], every: Selection, deciding: Selection) -> dict[str, Stage]:
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
        yield f"The backend's tokenizer is not at hand: a token is taken for {CHARACTERS_A_TOKEN} characters."
    if processes > 1:
        yield f"{processes} processes divide the time; the memory is that of each."
