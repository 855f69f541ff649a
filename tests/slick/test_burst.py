"""slick.burst: a few measured seconds, and the plan that comes of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import slick.token_count
from slick.backend import Backend, load_backend
from slick.burst import make_plan, measured
from slick.cli import run
from slick.errors import InputError
from slick.exemplars import exemplar_pools
from slick.facts import Fact
from slick.plan import Plan
from slick.probe import Probe, run_probe
from slick.processes import Processes
from slick.runs import read_samples
from slick.sampled import Sampled

SMALL = Sampled(n_exemplar_sets=3, n_exemplars=2, n_samples=4, max_gen_toks=6, n_before=1)
QUICK = ["--n-exemplar-sets", "2", "--n-exemplars", "2", "--n-samples", "2", "--n-before", "1", "--max-gen-toks", "4"]


class Clock:
    """Every look at it takes so many seconds."""

    def __init__(self, step: float) -> None:
        self.step = step
        self.now = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture(scope="module")
def backend(tiny_model: Path) -> Backend:
    return load_backend("slick-hf", str(tiny_model), batch_size=16)


def probe_of(facts: list[Fact], estimator: Sampled = SMALL, **options: Any) -> Probe:
    test = [fact for fact in facts if fact.split == "test"]
    return Probe(test, exemplar_pools(facts, test, seed=0), {}, estimator, **options)


def columns(plan: Plan) -> list[str]:
    return [cost.name for cost in plan.costs]


def test_pieces_grow_until_they_take_their_time() -> None:
    """After a warm-up, fourfold while that is expected to stay short; then three of the last size, each elsewhere."""
    now = 0.0
    asked: list[tuple[int, int]] = []

    def ask(number: int, size: int) -> Callable[[], float]:
        nonlocal now
        asked.append((number, size))
        now += 0.01 * size + (0.5 if number == 0 else 0)
        return lambda: 5.0 * size

    pieces = measured(ask, [1, 4, 16, 64, 256], lambda: now)
    assert [size for _, size in asked] == [1, 1, 4, 16, 64, 64, 64]
    assert [number for number, _ in asked] == list(range(7))
    assert [(p.work, round(p.seconds, 6)) for p in pieces] == [(320.0, 0.64)] * 3
    asked.clear()
    assert len(measured(ask, [1], lambda: now)) == 3
    assert [size for _, size in asked] == [1] * 4


def test_a_model_that_is_very_slow_is_asked_once() -> None:
    """Its first prompt serves for all."""
    asked: list[int] = []

    def ask(number: int, size: int) -> Callable[[], float]:
        asked.append(size)
        return lambda: 7.0

    (piece,) = measured(ask, [1, 4, 16], Clock(30.0))
    assert (asked, piece.work, piece.seconds) == ([1], 7.0, 30.0)


def test_the_plan_counts_what_a_run_then_asks(tiny_facts: list[Fact], backend: Backend, tmp_path: Path) -> None:
    """Facts, prompts and answers of the exact and the full sampled probe, by the rows that they write."""
    plan = make_plan(probe_of(tiny_facts), backend, clock=Clock(0.1))
    assert (plan.facts, plan.relations, plan.subjects, plan.batch_size) == (12, 2, 12, 16)
    assert columns(plan) == ["exact", "two-stage sampled", "sampled, all 15", "lm-eval's hf, 15"]
    exact, two, full, stock = plan.costs
    answers = {}
    for name, options in {"exact": {"exact": True}, "full": {"all_samples": True}, "two": {}}.items():
        run = run_probe(probe_of(tiny_facts, **options), backend, tmp_path / name)
        rows = list(read_samples(run.samples["slick_probe"]))
        answers[name] = sum(len(texts) for row in rows for texts in row["resps"])
    assert exact.answers.value == answers["exact"] == 12 * 4
    assert full.answers.value == answers["full"] == 12 * (4 + 3 * 4)
    assert two.answers.low <= answers["two"] <= two.answers.high
    assert stock.answers.value == 12 * 15
    prompts = {r["arg_0"] for row in rows for r in row["arguments"].values()}
    assert plan.reading.prompts == len(prompts) == 48
    assert plan.reading.anew == sum(map(len, backend.lm.encode(sorted(prompts), 6)))
    assert plan.reading.counted == 12


def test_shared_prefixes_are_counted_once(tiny_facts: list[Fact], backend: Backend) -> None:
    """Each exemplar set of a relation once, and the questions; a second stage reads the questions again."""
    plan = make_plan(probe_of(tiny_facts), backend, clock=Clock(0.1))
    exact, _, full, stock = plan.costs
    assert plan.reading.once is not None
    assert exact.read.value == plan.reading.once < plan.reading.anew / 2
    assert plan.reading.once < full.read.value < 2 * plan.reading.once
    assert stock.read == stock.anew
    assert exact.anew.value == plan.reading.anew


def test_of_many_facts_some_are_tokenised(
    tiny_facts: list[Fact], backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And stand for the others, relation by relation; the plan says so."""
    every = make_plan(probe_of(tiny_facts), backend, clock=Clock(0.1))
    monkeypatch.setattr(slick.token_count, "_COUNTED", 6)
    some = make_plan(probe_of(tiny_facts), backend, clock=Clock(0.1))
    assert some.reading.counted == 6
    assert some.reading.prompts == every.reading.prompts
    assert some.reading.anew == pytest.approx(every.reading.anew, rel=0.05)
    assert any("tokenised of 6 facts" in note for note in some.notes)
    assert not any("tokenised of" in note for note in every.notes)


@pytest.mark.parametrize(
    ("options", "chosen"),
    [({}, "two-stage sampled"), ({"all_samples": True}, "sampled, all 15"), ({"exact": True}, "exact")],
)
def test_the_chosen_estimator_is_marked(
    tiny_facts: list[Fact], backend: Backend, options: Mapping[str, Any], chosen: str
) -> None:
    """The others stand beside it."""
    plan = make_plan(probe_of(tiny_facts, **options), backend, clock=Clock(0.1))
    assert [cost.name for cost in plan.costs if cost.chosen] == [chosen]


def test_memory_grows_with_the_batch(tiny_facts: list[Fact], backend: Backend) -> None:
    """By what its rows need, above what the process holds already."""
    small = make_plan(probe_of(tiny_facts), backend, clock=Clock(0.1))
    large = make_plan(probe_of(tiny_facts), backend.resized(10**6), clock=Clock(0.1))
    backend.resized(16)
    for few, many in zip(small.costs, large.costs, strict=True):
        assert few.memory is not None
        assert many.memory is not None
        assert 10**7 < few.memory < many.memory / 10


def test_processes_divide_the_time(tiny_facts: list[Fact], backend: Backend) -> None:
    """And nothing else."""
    one, four = (make_plan(probe_of(tiny_facts), backend, n, Clock(0.1)) for n in (1, 4))
    for alone, among in zip(one.costs, four.costs, strict=True):
        assert among.seconds.value == pytest.approx(alone.seconds.value / 4)
        assert among.answers == alone.answers
    assert any("4 processes divide the time" in note for note in four.notes)


def test_undecided_facts_are_those_without_a_right_greedy_answer(tiny_facts: list[Fact], scripted: Any) -> None:
    """Of the facts that were asked under all sets; half of these know one set's answer."""
    right = {fact.question: fact.answers[0] for fact in tiny_facts if fact.relation == "P17"}
    plan = make_plan(
        probe_of(tiny_facts),
        in_process(scripted)(lambda prompt, j: f" {right.get(prompt.rsplit('Q: ', 1)[1][:-3], 'no')}"),
        clock=Clock(0.01),
    )
    assert plan.undecided.low < 0.5 < plan.undecided.high
    assert columns(plan) == ["two-stage sampled", "sampled, all 15"]
    assert plan.costs[0].answers.value == pytest.approx(48 + plan.undecided.value * 12 * 12)
    assert any("Without a right greedy answer: 4 of 9 facts asked" in note for note in plan.notes)
    assert {cost.memory for cost in plan.costs} == {None}
    assert any("a token is taken for 4 characters" in note for note in plan.notes)


def in_process(scripted: Any) -> Any:
    """A scripted backend of another kind."""

    class Other(scripted):  # type: ignore[misc]
        ours = False
        per_request_seeds = False
        batch_size = 8

        def exact(self, requests: Any) -> Any:
            raise InputError("--backend scripted: shows no probabilities to the exact estimator; use slick-hf")

    return Other


def test_a_server_is_asked_a_handful(tiny_facts: list[Fact], scripted: Any) -> None:
    """Eight requests, which the plan owns up to, with a range that is wide."""
    server = in_process(scripted)(lambda prompt, j: " no idea")
    type(server).per_request_seeds = True
    plan = make_plan(probe_of(tiny_facts, Sampled(n_exemplars=2)), server, clock=Clock(0.1))
    assert len(server.asked) == 4
    ((prompts, _, n, _),) = server.drawn
    assert (len(prompts), n) == (1, 4)
    assert any("The server was asked 8 requests" in note for note in plan.notes)
    for cost in plan.costs:
        assert cost.seconds.high / cost.seconds.value >= 5 - 1e-9
        assert cost.read == cost.anew
    assert plan.undecided.low == 0
    assert plan.undecided.high == 1
    assert any("No fact was asked under all sets" in note for note in plan.notes)


def test_what_a_run_would_refuse_a_plan_refuses(tiny_facts: list[Fact], backend: Backend, scripted: Any) -> None:
    """An estimator that the backend has not, and a prompt that does not fit."""
    with pytest.raises(InputError, match="shows no probabilities"):
        make_plan(probe_of(tiny_facts, exact=True), in_process(scripted)(lambda prompt, j: ""), clock=Clock(0.1))
    with pytest.raises(InputError, match="do not fit the model's context"):
        make_plan(probe_of(tiny_facts, Sampled(max_gen_toks=2040)), backend, clock=Clock(0.1))


@pytest.fixture
def probe(tiny_model: Path, tmp_path: Path, tiny_facts: list[Fact]) -> Callable[..., int]:
    facts = tmp_path / "facts.jsonl"
    facts.write_text("".join(json.dumps(fact.as_dict()) + "\n" for fact in tiny_facts))

    def call(out: Path, *more: str) -> int:
        base = ["probe", "--model", str(tiny_model), "--facts", str(facts), "--split", "test", "--out", str(out)]
        return run([*base, *QUICK, *more])

    return call


def test_a_plan_is_printed_and_nothing_is_written(
    tmp_path: Path, probe: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a run nor remembered answers; afterwards the run is made as if there had been none."""
    store = tmp_path / "store.sqlite"
    assert probe(tmp_path / "run", "--plan", "--estimator", "exact", "--store", str(store)) == 0
    out = capsys.readouterr().out
    for words in ("12 facts of 2 relations", "exact", "(chosen)", "peak memory", "smallest difference", "Measured in"):
        assert words in out
    assert not (tmp_path / "run").exists()
    assert probe(tmp_path / "run", "--estimator", "exact", "--store", str(store)) == 0
    assert "were in the store" not in capsys.readouterr().err
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    assert probe(tmp_path / "run", "--estimator", "exact", "--plan", "--batch-size", "auto") == 0
    assert "this run is finished; repeating it asks nothing" in capsys.readouterr().out
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--top-k", "0"], "top_k = 0: expected at least 1"),
        (["--batch-size", "few"], "--batch-size few: expected at least 1, or auto"),
        (["--estimator", "exact", "--backend", "hf"], "shows no probabilities"),
        (["--backend", "hf", "--batch-size", "auto"], "--batch-size auto: not for --backend hf"),
        (["--seed", "1"], "seed: there 0, now 1"),
        (["--store", "x", "--no-store"], "give one of them"),
    ],
)
def test_a_wrong_option_is_refused_as_without_plan(
    tmp_path: Path, probe: Any, capsys: pytest.CaptureFixture[str], wrong: list[str], message: str
) -> None:
    """The same message and exit code."""
    if "--seed" in wrong:
        assert probe(tmp_path / "run") == 0
    capsys.readouterr()
    errors = []
    for plan in ([], ["--plan"]):
        assert probe(tmp_path / "run", *wrong, *plan) == 2
        errors.append(capsys.readouterr().err)
    assert message in errors[0]
    assert errors[0].splitlines()[-1] == errors[1].splitlines()[-1]


def test_of_several_processes_the_first_one_prints(
    tmp_path: Path, probe: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All measure, since all would work."""

    class Second(Processes):
        first = False  # type: ignore[assignment]

    monkeypatch.setattr("slick.processes.joined", lambda: Second(0, 1))
    assert probe(tmp_path / "run", "--plan") == 0
    assert capsys.readouterr().out == ""
