"""slick.stored: a backend that asks for nothing twice, and mixes nothing up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import slick.store
import slick.stored
from slick.backend import Backend, load_backend
from slick.errors import RunError
from slick.exact import ExactAnswer, ExactRequest
from slick.matching import Matching
from slick.sampled import PAPER, greedy_kwargs
from slick.store import Store
from slick.stored import Stored, stored_model

GREEDY = greedy_kwargs(8)
SAMPLED = PAPER.sampled_kwargs()
WEIGHTS = {"name": "scripted", "weights": "w"}


@dataclass
class Counting:
    """A backend whose every answer is another, so that an answer that was given before shows.

    calls: what it was asked, by method.
    """

    model: Mapping[str, Any] = field(default_factory=lambda: dict(WEIGHTS))
    settings: dict[str, Any] = field(default_factory=lambda: {"name": "counting", "args": {}, "batch_size": 8})
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    given: int = 0

    def _next(self) -> str:
        self.given += 1
        return f"answer {self.given}"

    def generate(self, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
        self.calls.append(("generate", [prompt for prompt, _ in requests]))
        return [self._next() for _ in requests]

    def sample(self, prompts: Sequence[str], kwargs: Mapping[str, Any], n: int, seed: int) -> list[list[str]]:
        self.calls.append(("sample", list(prompts), n, seed))
        return [[self._next() for _ in range(n)] for _ in prompts]

    def provenance(self) -> dict[str, Any]:
        return dict(self.settings)


@dataclass
class Independent(Counting):
    """Sample j of a prompt depends on seed, prompt and j alone."""

    independent_samples = True

    def sample(
        self, prompts: Sequence[str], kwargs: Mapping[str, Any], n: int, seed: int, first: int = 0
    ) -> list[list[str]]:
        self.calls.append(("sample", list(prompts), n, seed, first))
        return [[f"{p} {seed} {j}" for j in range(first, first + n)] for p in prompts]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


def stored(inner: Any, store: Store, **more: Any) -> Any:
    return Stored(inner, store, **more)


# --- greedy -----------------------------------------------------------------------------------------------------


def test_only_what_is_missing_is_asked(store: Store) -> None:
    """In the call's order; who asks later, also through another object, gets what was answered first.

    What a call repeats reaches the backend as it is: that computes it once if it can.
    """
    inner = Counting()
    first = stored(inner, store)
    assert first.generate([("a", GREEDY), ("b", GREEDY)]) == ["answer 1", "answer 2"]
    again = stored(inner, store)
    answers = again.generate([(p, GREEDY) for p in "dbcdca"])
    assert answers == ["answer 3", "answer 2", "answer 4", "answer 5", "answer 6", "answer 1"]
    assert inner.calls == [("generate", ["a", "b"]), ("generate", ["d", "c", "d", "c"])]
    assert (again.served, again.asked) == (2, 4)
    assert again.generate([(p, GREEDY) for p in "dbcdca"]) == answers
    assert again.generate([(p, GREEDY) for p in "abcd"]) == ["answer 1", "answer 2", "answer 4", "answer 3"]
    assert len(inner.calls) == 2


def test_nothing_is_asked_for_nothing(store: Store) -> None:
    """An empty chunk reaches neither backend nor store."""
    inner = Counting()
    assert stored(inner, store).generate([]) == []
    assert stored(inner, store).sample([], SAMPLED, 4, 0) == []
    assert inner.calls == []
    assert store.holdings() == []


@pytest.mark.parametrize(
    "kwargs",
    [
        SAMPLED,
        {"temperature": 0.0},
        {"do_sample": False, "temperature": 0.5},
        {"do_sample": None},
        {"do_sample": True, "temperature": 0.0},
    ],
)
def test_what_is_not_surely_greedy_is_never_stored(store: Store, kwargs: dict[str, Any]) -> None:
    """Its draws have no seed by which to tell them apart; asked twice, it is answered twice, in its place."""
    inner = Counting()
    both = [("a", kwargs), ("g", GREEDY), ("a", kwargs)]
    assert stored(inner, store).generate(both) == ["answer 1", "answer 2", "answer 3"]
    assert stored(inner, store).generate(both) == ["answer 4", "answer 2", "answer 5"]
    assert inner.calls == [("generate", ["a", "g", "a"]), ("generate", ["a", "a"])]


def test_a_failing_backend_leaves_what_was_answered_before(store: Store) -> None:
    """And its error is its own."""
    inner = Counting()
    keeping = stored(inner, store)
    keeping.generate([("a", GREEDY)])
    inner.generate = lambda requests: (_ for _ in ()).throw(RunError("gone"))  # type: ignore[method-assign]
    with pytest.raises(RunError, match="gone"):
        keeping.generate([("a", GREEDY), ("b", GREEDY)])
    assert keeping.generate([("a", GREEDY)]) == ["answer 1"]


def test_the_rest_of_the_backend_shows_through(store: Store) -> None:
    """Model, provenance and whatever else it has; a run's record does not say that there was a store."""
    inner = Counting()
    keeping = stored(inner, store)
    assert keeping.model is inner.model
    assert keeping.provenance() == inner.provenance()
    with pytest.raises(AttributeError, match="per_request_seeds"):
        _ = keeping.per_request_seeds


# --- samples ----------------------------------------------------------------------------------------------------


def test_repeated_samples_stay_distinct(store: Store) -> None:
    """Sample by sample, and under another seed."""
    inner = Counting()
    keeping = stored(inner, store)
    one = keeping.sample(["a", "b"], SAMPLED, 3, 7)
    two = keeping.sample(["a", "b"], SAMPLED, 3, 8)
    assert len({text for answers in (*one, *two) for text in answers}) == 12
    assert keeping.sample(["b", "a"], SAMPLED, 3, 7) == one[::-1]
    assert keeping.sample(["a"], SAMPLED, 3, 8) == two[:1]
    assert len(inner.calls) == 2
    assert (keeping.served, keeping.asked) == (9, 12)


def test_more_samples_of_an_independent_backend_go_on_where_the_first_end(store: Store) -> None:
    """32 after 16 asks for 16; fewer ask for none; a prompt that is new gets all."""
    inner = Independent()
    keeping = stored(inner, store)
    keeping.sample(["a"], SAMPLED, 2, 7)
    assert keeping.sample(["b", "a"], SAMPLED, 4, 7) == [[f"{p} 7 {j}" for j in range(4)] for p in "ba"]
    assert keeping.sample(["a", "b"], SAMPLED, 3, 7) == [[f"{p} 7 {j}" for j in range(3)] for p in "ab"]
    assert inner.calls == [("sample", ["a"], 2, 7, 0), ("sample", ["b"], 4, 7, 0), ("sample", ["a"], 2, 7, 2)]


def test_samples_that_depend_on_their_batch_are_taken_up_with_the_same_number_only(store: Store) -> None:
    """4 samples are other draws than 2 and 2: the prompt is asked wholly anew, and both stay."""
    inner = Counting()
    keeping = stored(inner, store)
    two = keeping.sample(["a"], SAMPLED, 2, 7)
    four = keeping.sample(["a"], SAMPLED, 4, 7)
    assert inner.calls == [("sample", ["a"], 2, 7), ("sample", ["a"], 4, 7)]
    assert not {*two[0]} & {*four[0]}
    assert keeping.sample(["a"], SAMPLED, 2, 7) == two
    assert keeping.sample(["a"], SAMPLED, 4, 7) == four


def test_a_prompt_that_stands_twice_is_drawn_twice(store: Store) -> None:
    """As without a store, where a backend's draws depend on their place."""
    inner = Counting()
    keeping = stored(inner, store)
    first = keeping.sample(["a", "a"], SAMPLED, 2, 7)
    assert len({text for answers in first for text in answers}) == 4
    assert keeping.sample(["a", "a"], SAMPLED, 2, 7) == first
    assert inner.calls == [("sample", ["a", "a"], 2, 7)]


def test_a_part_of_a_call_gets_random_numbers_of_its_own(store: Store) -> None:
    """Else the rest would be drawn with the numbers of what is there; the same part always gets the same ones."""
    seeds = []
    for name in ("one", "two"):
        inner = Counting(model={"name": name, "weights": name})
        keeping = stored(inner, store)
        keeping.sample(["a"], SAMPLED, 2, 7)
        keeping.sample(["a", "b"], SAMPLED, 2, 7)
        assert inner.calls[0] == ("sample", ["a"], 2, 7)
        assert inner.calls[1][:3] == ("sample", ["b"], 2)
        seeds.append(inner.calls[1][3])
    assert seeds[0] == seeds[1] != 7
    assert 0 <= seeds[0] < 2**31


# --- what tells answers apart -----------------------------------------------------------------------------------

VALUES = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(0, 1) | st.sampled_from(["", "a", "\n", "\0"])
SETTINGS = st.dictionaries(st.sampled_from(["until", "top_k", "x"]), VALUES | st.lists(VALUES, max_size=2), max_size=3)
ASKED = st.tuples(
    st.sampled_from(["m", "n"]),
    st.text(st.sampled_from('ab\0"{}é\ud800'), max_size=4),
    SETTINGS,
    st.none() | st.tuples(st.integers(0, 2), st.integers(0, 2)),
)


@given(st.lists(ASKED, min_size=2, max_size=6))
def test_two_requests_share_an_answer_only_if_they_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, asked: list[Any]
) -> None:
    """Model, prompt, settings, greedy or sampled, seed and number: whatever differs keeps the answers apart."""

    def identity(model: str, prompt: str, kwargs: Any, drawn: Any) -> tuple[Any, ...]:
        return model, prompt, json.dumps(kwargs, sort_keys=True), drawn

    given: dict[str, tuple[Any, ...]] = {}
    with Store(tmp_path_factory.mktemp("apart") / "store") as store:
        for model, prompt, settings, drawn in asked:
            counting = Counting(model={"name": model, "weights": model}, given=len(given) * 100)
            keeping = stored(counting, store)
            if drawn is None:
                kwargs = {**settings, "do_sample": False}
                (answer,) = keeping.generate([(prompt, kwargs)])
            else:
                kwargs = {**settings, "do_sample": True}
                seed, index = drawn
                answer = keeping.sample([prompt], kwargs, 3, seed)[0][index]
            mine = identity(model, prompt, kwargs, drawn)
            assert given.setdefault(answer, mine) == mine
        assert len(set(given.values())) == len(given)


MODEL = {"name": "dir", "weights": "w", "adapter": None, "tokenizer": "t", "chat_template": "c"}
BACKEND = {"name": "hf", "args": {"dtype": "float32"}, "batch_size": 8}


def key_of(model: Mapping[str, Any] = MODEL, backend: Mapping[str, Any] = BACKEND, lm: Any = None) -> bytes:
    inner: Any = SimpleNamespace(model=model, provenance=lambda: dict(backend), lm=lm)
    return stored_model(inner, None).key


@pytest.mark.parametrize(
    "other",
    [
        {"model": {**MODEL, "weights": "v"}},
        {"model": {**MODEL, "adapter": "a"}},
        {"model": {**MODEL, "tokenizer": "s"}},
        {"model": {**MODEL, "chat_template": None}},
        {"model": {**MODEL, "quantised": "by something that the fingerprint may learn of"}},
        {"backend": {**BACKEND, "name": "vllm"}},
        {"backend": {**BACKEND, "args": {"dtype": "bfloat16"}}},
        {"backend": {**BACKEND, "batch_size": 9}},
        {"lm": SimpleNamespace(device="cuda")},
    ],
)
def test_two_models_never_mix(other: dict[str, Any]) -> None:
    """Whatever may change an answer, if only where two tokens are nearly level, makes another model."""
    assert key_of(**other) != key_of()


def test_a_models_name_is_no_matter_where_its_weights_are_known() -> None:
    """A copy of a directory is the same model, and so is a second GPU."""
    assert key_of({**MODEL, "name": "elsewhere"}) == key_of()
    gpus = [SimpleNamespace(device=SimpleNamespace(type="cuda", index=i)) for i in (0, 1)]
    assert key_of(lm=gpus[0]) == key_of(lm=gpus[1]) != key_of()
    unknown = {**MODEL, "weights": None}
    assert key_of(unknown) != key_of({**unknown, "name": "other"})


def test_libraries_and_our_own_code_are_part_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version may answer otherwise; an edited checkout has the same version."""
    assert {"torch", "transformers", "lm_eval"} <= set(slick.stored._versions())
    keys = {key_of()}
    monkeypatch.setattr(slick.stored, "_versions", lambda: {"torch": "0"})
    keys.add(key_of())
    monkeypatch.setattr(slick.stored, "_code", lambda: "edited")
    keys.add(key_of())
    assert len(keys) == 3


def test_a_models_configuration_is_part_of_it(tiny_model: Path, tmp_path: Path) -> None:
    """The weights' digest does not cover it: rope, end tokens, added tokens, code; of an adapter's base, too."""
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(model)}))

    def keys() -> tuple[bytes, bytes]:
        return key_of({**MODEL, "name": str(model)}), key_of({**MODEL, "name": str(adapter)})

    seen = [keys()]
    for name in ("config.json", "generation_config.json", "added_tokens.json", "modeling_own.py", "x.jinja"):
        (model / name).write_text("changed")
        seen.append(keys())
    (model / "trainer_state.json").write_text("no matter")
    assert keys() == seen[-1]
    assert len({key for pair in seen for key in pair}) == 12


RUN_1, RUN_2 = "2026-01-01T00:00:00.000001", "2026-01-01T00:00:00.000002"


def test_a_name_that_may_change_behind_itself_serves_one_run_only(store: Store) -> None:
    """A hub or served name: resumed within its run, asked anew outside, and forgotten when the run is finished."""
    served: dict[str, Any] = {"name": "served", "weights": None}
    inner = Counting(model=served)
    one = stored(inner, store, started=lambda: RUN_1, vouched=False)
    one.generate([("a", GREEDY)])
    stored(inner, store, started=lambda: RUN_1, vouched=False).generate([("a", GREEDY)])
    assert len(inner.calls) == 1
    other = stored(inner, store, started=lambda: RUN_2, vouched=False)
    other.generate([("a", GREEDY)])
    assert len(inner.calls) == 2
    assert [h.model.resuming for h in store.holdings()] == [True, True]
    one.finish()
    stored(inner, store, started=lambda: RUN_2, vouched=False).generate([("a", GREEDY)])
    assert len(inner.calls) == 2
    assert [h.responses for h in store.holdings()] == [1]


def test_a_name_that_the_user_vouches_for_or_that_is_settled_serves_everywhere(store: Store) -> None:
    """With --store FILE, with known weights, or with the hub's commit; and finishing forgets nothing."""
    commit = SimpleNamespace(model=SimpleNamespace(config=SimpleNamespace(_commit_hash="c0ffee")))
    hub = Counting(model={"name": "hub/name", "weights": None})
    settled = Counting(model={"name": "hub/name", "weights": None})
    settled.lm = commit  # type: ignore[attr-defined]
    for inner, vouched in ((Counting(), False), (hub, True), (settled, False)):
        for started in (RUN_1, RUN_2):
            keeping = stored(inner, store, started=lambda started=started: started, vouched=vouched)
            keeping.generate([("a", GREEDY)])
            keeping.finish()
        assert len(inner.calls) == 1
    assert [(h.model.weights, h.model.resuming) for h in store.holdings()] == [
        ("c0ffee", False),
        (None, False),
        ("w", False),
    ]


@pytest.mark.parametrize("others_first", [False, True])
def test_a_run_does_not_depend_on_what_is_answered_beside_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, others_first: bool
) -> None:
    """Two chunks of a run share a request: whichever comes first, in whichever process, each has its own answers.

    What was there when the run began serves all of it; resumed, each call finds its own.
    """
    now = datetime.fromisoformat(RUN_1).timestamp()
    monkeypatch.setattr(slick.store.time, "time", lambda: now)
    stored(Counting(), store).generate([("old", GREEDY)])
    now += 60
    chunks: list[list[Any]] = [[(p, GREEDY) for p in chunk] for chunk in (["a", "old", "both"], ["b", "both", "old"])]
    begun = datetime.fromtimestamp(now).isoformat()
    now += 1
    answers = {}
    for i in (1, 0) if others_first else (0, 1):
        inner = Counting(given=10 * (i + 1))
        answers[i] = stored(inner, store, started=lambda: begun).generate(chunks[i])
        assert inner.calls == [("generate", [p for p, _ in chunks[i] if p != "old"])]
    assert answers == {0: ["answer 11", "answer 1", "answer 12"], 1: ["answer 21", "answer 22", "answer 1"]}
    silent = Counting()
    for i in (0, 1):
        assert stored(silent, store, started=lambda: begun).generate(chunks[i]) == answers[i]
    now += 1
    later = datetime.fromtimestamp(now).isoformat()
    again = stored(silent, store, started=lambda: later).generate([("both", GREEDY), ("a", GREEDY)])
    assert again == ["answer 22" if others_first else "answer 12", "answer 11"]
    assert silent.calls == []


def test_samples_of_one_run_do_not_depend_on_another_call(store: Store) -> None:
    """A prompt that two chunks share is drawn in both, with the same numbers, from the first sample on."""
    inner = Independent()
    for prompts in (["a", "b"], ["b", "c"], ["a", "b"]):
        keeping = stored(inner, store, started=lambda: RUN_1)
        assert keeping.sample(prompts, SAMPLED, 2, 7) == [[f"{p} 7 {j}" for j in range(2)] for p in prompts]
    assert inner.calls == [("sample", ["a", "b"], 2, 7, 0), ("sample", ["b", "c"], 2, 7, 0)]


def test_a_backend_that_was_never_asked_has_nothing_to_forget(store: Store) -> None:
    """A run that was finished before has no scope any more."""

    def gone() -> str:
        raise AssertionError("asked for its scope")

    stored(Counting(model={"name": "x", "weights": None}), store, started=gone, vouched=False).finish()


# --- structured answers -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    prompt: str
    answers: tuple[str, ...]
    temperature: float = 0.5


@dataclass(frozen=True)
class Finding:
    greedy: bool
    p: float
    gap: float = float("inf")


def test_structured_answers_come_back_to_the_bit(store: Store) -> None:
    """Numbers, infinities and truth values; equal prompts with other accepted answers are other requests."""
    asked: list[list[Question]] = []

    def ask(questions: list[Question]) -> list[Finding]:
        asked.append(questions)
        return [
            Finding(len(q.answers) > 1, 0.1 + 0.2 / len(q.prompt), 1e-300 if q.prompt == "b" else float("inf"))
            for q in questions
        ]

    a, b, other = Question("a", ("x",)), Question("b", ("x",)), Question("a", ("x", "y"))
    keeping = stored(Counting(), store)
    first = keeping.structured("exact", [a, b, a, other], ask, Finding)
    assert asked == [[a, b, a, other]]
    assert first == [
        Finding(False, 0.1 + 0.2),
        Finding(False, 0.1 + 0.2, 1e-300),
        Finding(False, 0.1 + 0.2),
        Finding(True, 0.1 + 0.2),
    ]
    assert keeping.structured("exact", [other, replace(a, temperature=1.0), b], ask, Finding) == [
        first[3],
        Finding(False, 0.1 + 0.2),
        first[1],
    ]
    assert asked[1:] == [[replace(a, temperature=1.0)]]
    keeping.structured("another", [a], ask, Finding)
    assert asked[2:] == [[a]]


def test_the_exact_estimators_answers_are_stored(store: Store) -> None:
    """Under everything that they depend on; infinity is one of their values."""

    class Exact(Counting):
        def exact(self, requests: Sequence[ExactRequest]) -> list[ExactAnswer]:
            self.calls.append(("exact", list(requests)))
            return [ExactAnswer(True, 1 / 3, 1e-7, float("inf")) for _ in requests]

    inner = Exact()
    request = ExactRequest("a", ("x", "y"), 0.5, 40, 32)
    others = [
        replace(request, prompt="b"),
        replace(request, answers=("x",)),
        replace(request, temperature=1.0),
        replace(request, top_k=1),
        replace(request, max_gen_toks=1),
        replace(request, matching=Matching.NORMALIZED),
    ]
    first = stored(inner, store).exact([request, *others, request])
    assert first == [ExactAnswer(True, 1 / 3, 1e-7, float("inf"))] * 8
    assert stored(inner, store).exact([request, *others, request]) == first
    assert inner.calls == [("exact", [request, *others, request])]


# --- beside lm-eval's own cache ---------------------------------------------------------------------------------


def test_lm_evals_cache_loses_samples_and_mixes_models_where_the_store_does_neither(tmp_path: Path) -> None:
    """The same requests, temperature without do_sample, through `--use_cache` and through the store."""
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM, CachingLM

    class Drawing(LM):
        """Never answers twice the same, and says who it is."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name, self.given = name, 0

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            self.given += len(requests)
            return [f"{self.name} {self.given - len(requests) + i}" for i in range(len(requests))]

        def loglikelihood(self, requests: Any) -> Any:
            raise NotImplementedError

        def loglikelihood_rolling(self, requests: Any) -> Any:
            raise NotImplementedError

    drawn = {"until": ["\n"], "temperature": 0.5}
    repeats = [Instance("generate_until", {}, ("prompt", drawn), i) for i in range(8)]

    def cached(name: str) -> list[str]:
        return CachingLM(Drawing(name), str(tmp_path / "lm_eval.db")).generate_until(repeats)  # type: ignore[return-value]

    assert len(set(cached("one"))) == 8
    assert len(set(cached("one"))) == 1, "a second run draws eight samples, and gets one of them eight times"
    assert cached("two")[0].startswith("one"), "another model gets the first one's answers"

    def ours(name: str) -> list[str]:
        lm: Any = Drawing(name)
        with Store(tmp_path / "ours") as store:
            backend: Any = Counting(model={"name": name, "weights": name})
            inner = Backend(lm, name, {}, 1, {"name": name, "weights": name})
            backend.sample = lambda prompts, kwargs, n, seed: [
                inner.generate([(p, kwargs) for _ in range(n)]) for p in prompts
            ]
            return stored(backend, store).sample(["prompt"], drawn, 8, 0)[0]

    first = ours("one")
    assert len(set(first)) == 8
    assert ours("one") == first
    assert set(ours("two")) == {f"two {i}" for i in range(8)}


def test_the_tiny_model_answers_the_same_through_the_store(tiny_model: Path, store: Store) -> None:
    """Through an lm-eval backend, asked and stored; nothing of it asks a second time."""
    prompts = ["Q: Which country?\nA:", "Q: x\nA:"]
    kwargs = {**SAMPLED, "max_gen_toks": 4, "temperature": 5.0}
    bare = load_backend("hf", str(tiny_model), batch_size=4)
    greedy, drawn = bare.generate([(p, GREEDY) for p in prompts]), bare.sample(prompts, kwargs, 3, 1)
    keeping = stored(bare, store)
    assert keeping.generate([(p, GREEDY) for p in prompts]) == greedy
    assert keeping.sample(prompts, kwargs, 3, 1) == drawn
    silent = stored(replace(bare, lm=SimpleNamespace(device=bare.lm.device)), store)
    assert silent.generate([(p, GREEDY) for p in prompts]) == greedy
    assert silent.sample(prompts, kwargs, 3, 1) == drawn
    assert (silent.served, silent.asked) == (8, 0)
