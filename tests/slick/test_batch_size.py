"""slick.batch_size: the size that fits, found once and recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed import HashStore
from transformers import AutoModelForCausalLM, Gemma3TextConfig, GPT2Config, LlamaConfig, MambaConfig

import slick.batch_size
from slick.backend import Backend, load_backend
from slick.batch_size import (
    Longest,
    agreed,
    attempted,
    available_memory,
    fitting,
    longest_of_probe,
    longest_of_score,
    read_size,
    reckoned,
    row_cost,
    search,
    settled,
)
from slick.cli import run
from slick.errors import InputError, RunError
from slick.exemplars import exemplar_pools
from slick.facts import Fact
from slick.probe import CHUNK, TASK, Probe
from slick.processes import ALONE, Processes
from slick.run_writer import RunWriter, recorded_batch_size
from slick.runs import read_run
from slick.sampled import Sampled, probe_prompts
from slick.score import Score
from slick.shared_prefix import SharedPrefix

SMALL = Sampled(n_exemplar_sets=3, n_exemplars=2, n_samples=2, max_gen_toks=6, n_before=1)
QUICK = ["--n-exemplar-sets", "2", "--n-exemplars", "2", "--n-samples", "2", "--n-before", "1", "--max-gen-toks", "4"]


@pytest.fixture
def backend(tiny_model: Path) -> Backend:
    return load_backend("slick-hf", str(tiny_model), batch_size=None)


def probe_of(facts: list[Fact], *, exact: bool = False) -> Probe:
    return Probe(facts, exemplar_pools(facts, facts, seed=0), {}, SMALL, exact=exact)


@pytest.mark.parametrize("text", ["0", "-3", "many", "1.5", ""])
def test_a_size_is_a_number_or_auto(text: str) -> None:
    """Anything else is refused with what is expected."""
    assert (read_size("7"), read_size("auto")) == (7, None)
    with pytest.raises(InputError, match=f"--batch-size {text}: expected at least 1, or auto"):
        read_size(text)


@given(room=st.integers(1, 3000), most=st.integers(1, 2048))
def test_the_search_takes_half_of_the_largest_power_that_fits(room: int, most: int) -> None:
    """A power of two, at least 1, of which twice as many rows fit; every trial doubles the one before."""
    tried: list[int] = []

    def fits(rows: int) -> bool:
        tried.append(rows)
        return rows <= room

    found = search(fits, most)
    assert found & (found - 1) == 0
    assert found == 1 or 2 * found <= min(room, most) < 4 * found
    assert tried == [2**i for i in range(len(tried))]
    assert tried[-1] <= most


@given(more=st.integers(0, 2000), room=st.integers(1, 2000))
def test_more_memory_never_means_fewer_rows(room: int, more: int) -> None:
    """The size rises with what fits, and with what is available; it falls with what a row takes."""
    assert search(lambda rows: rows <= room, 1024) <= search(lambda rows: rows <= room + more, 1024)
    assert reckoned(room, 5) <= reckoned(room + more, 5)
    assert reckoned(room, 5 + more) <= reckoned(room, 5)


def test_where_no_row_fits_nothing_can_be_done() -> None:
    """A trial of one row that fails is an error that says so."""
    with pytest.raises(RunError, match="not even one row fits"):
        search(lambda rows: False, 1024)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_trial_that_runs_out_of_memory_does_not_fit(error: Exception) -> None:
    """However the allocator says it; what trials held is given back after each, and the search goes no further."""
    said: list[int | str] = []

    def trial(rows: int) -> None:
        said.append(rows)
        if rows > 20:
            raise error

    assert search(attempted(trial, lambda: said.append("clean")), 1024) == 8
    assert said == [1, "clean", 2, "clean", 4, "clean", 8, "clean", 16, "clean", 32, "clean"]


def test_another_error_of_a_trial_is_none_of_memory() -> None:
    """It is passed on as it is."""

    def trial(rows: int) -> None:
        raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"):
        search(attempted(trial, lambda: None), 8)


def test_on_a_device_rows_are_tried_at_their_worst(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest prompt with its answer, nothing shared, doubling until a forward pass runs out of memory."""
    lm = backend.lm
    seen: list[tuple[int, int, int, int]] = []
    start = SharedPrefix.start

    def limited(self: Any, rows: Any, prefixes: Any, keep: int, more: int = 0) -> Any:
        seen.append((len(rows), len(rows[0]), keep, more))
        assert not any(prefixes)
        if len(rows) > 9:
            raise torch.OutOfMemoryError("full")
        return start(self, rows, prefixes, keep, more)

    monkeypatch.setattr(SharedPrefix, "start", limited)
    # Any device but a CPU is tried.
    monkeypatch.setattr(type(lm), "device", SimpleNamespace(type="cuda"))
    length = len(lm.encode(["Q: a long question of a tiny model?\nA:"], 6)[0])
    prompts = ["Q: short?\nA:", "Q: a long question of a tiny model?\nA:"]
    assert fitting(lm, Longest(prompts, (), 6)) == 4
    assert [rows for rows, *_ in seen] == [1, 2, 4, 8, 16]
    assert {s[1:] for s in seen} == {(length, 1, 6)}
    answer = len(lm.tokenizer(" P17land 0", add_special_tokens=False)["input_ids"])
    assert fitting(lm, Longest(prompts, ("x", "P17land 0"), 20, exact=True)) == 4
    assert seen[-1][1:] == (length + answer, answer + 1, 20)


def test_what_shares_nothing_is_tried_whole(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model without a key-value cache runs out of memory in its own way."""
    lm = backend.lm
    tried: list[int] = []

    def whole(rows: Any, keep: int) -> None:
        tried.append(len(rows))
        if len(rows) > 3:
            raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(lm.shared, "reason", "it has none")
    monkeypatch.setattr(lm.shared, "whole", whole)
    monkeypatch.setattr(type(lm), "device", SimpleNamespace(type="cuda"))
    assert fitting(lm, Longest(["Q: ?\nA:"], (), 6)) == 1
    assert tried == [1, 2, 4]


def test_on_a_cpu_the_rows_are_reckoned(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the free memory, divided among the processes, holds them; never more than 256, never none."""
    lm, longest = backend.lm, Longest(["Q: ?\nA:"], (), 6)
    length = len(lm.encode(longest.prompts, 6)[0])
    row = row_cost(lm.model, width=length, slots=length + 6, keep=1).bytes
    sizes = {}
    for rows in (0, 1, 3, 4, 64, 10**6):
        monkeypatch.setattr(slick.batch_size, "available_memory", lambda rows=rows: 2 * rows * row)
        sizes[rows] = (fitting(lm, longest), fitting(lm, longest, 2))
    assert sizes == {0: (1, 1), 1: (1, 1), 3: (2, 1), 4: (4, 2), 64: (64, 32), 10**6: (256, 256)}


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(hidden_size=32, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=3, vocab_size=40),
        GPT2Config(n_embd=32, n_head=4, n_layer=2, vocab_size=40),
        Gemma3TextConfig(
            hidden_size=32,
            num_attention_heads=4,
            num_key_value_heads=1,
            head_dim=16,
            num_hidden_layers=2,
            vocab_size=40,
        ),
    ],
    ids=["llama", "gpt2", "gemma3"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_reckoned_cache_is_the_models(config: Any, dtype: torch.dtype) -> None:
    """To the byte: keys and values of all layers, with grouped heads and heads of their own width."""
    model = AutoModelForCausalLM.from_config(config).to(dtype)
    _, running = SharedPrefix(model, 0).start([(1, 2, 3, 4, 5)], [0], 1, more=4)
    held = sum(t.numel() * t.element_size() for layer in running.cache.layers for t in (layer.keys, layer.values))
    assert row_cost(model, width=5, slots=9, keep=1).cache == held


def test_every_part_of_a_rows_cost_grows_with_its_own_size() -> None:
    """Slots make the cache, width the layers, kept places the logits; a model without heads has no cache."""
    model = AutoModelForCausalLM.from_config(LlamaConfig(hidden_size=32, num_hidden_layers=1, vocab_size=40))
    base = row_cost(model, width=5, slots=9, keep=1)
    assert row_cost(model, width=5, slots=18, keep=1).cache == 2 * base.cache
    assert row_cost(model, width=10, slots=9, keep=1).layer == 2 * base.layer
    assert row_cost(model, width=5, slots=9, keep=3).logits == 3 * base.logits
    assert base.bytes == 2 * base.cache + base.layer + base.logits
    mamba = AutoModelForCausalLM.from_config(MambaConfig(hidden_size=32, num_hidden_layers=1, vocab_size=40))
    assert row_cost(mamba, width=5, slots=9, keep=1).cache == 0
    assert row_cost(mamba, width=5, slots=9, keep=1).layer > 0


def test_the_longest_prompts_of_a_selection_are_among_those_looked_at(tiny_facts: list[Fact]) -> None:
    """Of a probe under any of its sets, of a score in its form; the exact estimator's answers too."""
    long = Fact.create("Which country is a place of a rather long name located in?", ["x" * 40], relation="P17")
    facts = [*tiny_facts, long]
    probe = probe_of(facts, exact=True)
    found = longest_of_probe(probe)
    sets = probe.exemplar_sets()
    every = [p for f in probe.facts for kind in sets[f.relation] for p in probe_prompts(f, kind)]
    assert max(map(len, found.prompts)) == max(map(len, every))
    assert len(found.prompts) == 2 * 4 * 4
    assert ("x" * 40 in found.answers, found.room, found.exact) == (True, 6, True)
    scored = longest_of_score(Score(facts, {}, {}, max_gen_toks=9))
    assert scored.prompts[0] == f"Answer the following question.\n{long.question}\n"
    assert (scored.room, scored.exact) == (9, False)


def test_the_available_memory_is_the_least_that_any_limit_leaves(tmp_path: Path) -> None:
    """Of the machine, and of each control group above; files held for convenience do not count."""
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (groups / "a" / "b").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    assert available_memory(proc, groups) == 5000 * 1024
    (proc / "self" / "cgroup").write_text("1:cpu:/x\n0::/a/b\n")
    assert available_memory(proc, groups) == 5000 * 1024

    def limit(directory: Path, most: str, used: int, idle: int) -> None:
        (directory / "memory.max").write_text(f"{most}\n")
        (directory / "memory.current").write_text(f"{used}\n")
        (directory / "memory.stat").write_text(f"anon 1\ninactive_file {idle}\n")

    limit(groups / "a" / "b", "max", 10, 0)
    assert available_memory(proc, groups) == 5000 * 1024
    limit(groups / "a", "3000", 2000, 500)
    assert available_memory(proc, groups) == 1500
    limit(groups / "a" / "b", "1000", 4000, 0)
    assert available_memory(proc, groups) == 0
    (groups / "a" / "b" / "memory.max").write_text("soon\n")
    assert available_memory(proc, groups) == 1500
    assert available_memory(tmp_path / "none", groups) > 2**20


def test_a_system_that_says_nothing_is_thought_modest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither /proc nor sysconf knows, four gibibytes are assumed."""

    def unknown(name: str) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr("os.sysconf", unknown)
    assert available_memory(tmp_path, tmp_path) == 4 * 2**30


def together(size: int, recorded: Callable[[], int | None], finds: list[int]) -> list[int]:
    """What each of several processes is told."""
    store = HashStore()
    with ThreadPoolExecutor(size) as pool:
        return list(
            pool.map(lambda i: agreed(Processes(i, size, i, store), recorded, lambda: finds[i]), reversed(range(size)))
        )


def test_all_processes_take_one_size() -> None:
    """The least that any of them finds; the recorded one, where there is one, without any search."""
    assert agreed(ALONE, lambda: None, lambda: 8) == 8
    assert together(3, lambda: None, [16, 4, 8]) == [4, 4, 4]
    assert together(2, lambda: 32, []) == [32, 32]


def test_only_slick_hf_finds_its_size(tiny_model: Path) -> None:
    """Another backend needs a number."""
    with pytest.raises(InputError, match="--batch-size auto: not for --backend hf"):
        load_backend("hf", str(tiny_model), batch_size=None)


def test_the_size_found_is_used_and_recorded(backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In provenance and in the model; until then rows go one by one."""
    assert (backend.batch_size, backend.lm.rows_per_batch) == (1, 1)
    monkeypatch.setattr(slick.batch_size, "fitting", lambda lm, longest, sharing: 16)
    found = settled(backend, tmp_path / "out", lambda: Longest((), (), 1), ALONE)
    assert found.provenance() == {"name": "slick-hf", "args": {}, "batch_size": 16}
    assert found.lm.rows_per_batch == 16
    assert found.lm is backend.lm


def command(verb: str, model: Path, facts: Path, out: Path, *more: str) -> int:
    options = QUICK if verb == "probe" else ["--max-gen-toks", "4"]
    base = [verb, "--model", str(model), "--facts", str(facts), "--split", "test", "--out", str(out)]
    return run([*base, *options, "--batch-size", "auto", *more])


@pytest.fixture
def facts_file(tmp_path: Path, tiny_facts: list[Fact]) -> Path:
    path = tmp_path / "facts.jsonl"
    path.write_text("".join(json.dumps(fact.as_dict()) + "\n" for fact in tiny_facts))
    return path


@pytest.mark.parametrize("more", [[], ["--estimator", "exact"], ["--store"]])
def test_a_resumed_run_takes_the_size_that_it_began_with(
    tiny_model: Path, facts_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    """Whatever memory is free by then; with a response store too."""
    if more == ["--store"]:
        more = ["--store", str(tmp_path / "store.sqlite")]
    free = 2**20
    monkeypatch.setattr(slick.batch_size, "available_memory", lambda: free)
    assert command("probe", tiny_model, facts_file, tmp_path / "a", *more) == 0
    run_a = read_run(tmp_path / "a")
    settings = run_a.provenance["settings"]
    size = settings["backend"]["batch_size"]
    assert 1 < size < 64
    assert run_a.provenance["backend"] == settings["backend"]
    with RunWriter(tmp_path / "b", TASK, settings, total=12, chunk=CHUNK):
        pass
    assert recorded_batch_size(tmp_path / "b") == size
    free *= 1000
    assert command("probe", tiny_model, facts_file, tmp_path / "b", *more) == 0
    run_b = read_run(tmp_path / "b")
    assert run_b.provenance["settings"] == settings
    samples = [r.samples["slick_probe"].read_bytes() for r in (run_a, run_b)]
    assert samples[0] == samples[1]
    assert command("probe", tiny_model, facts_file, tmp_path / "a", *more) == 0
    assert command("probe", tiny_model, facts_file, tmp_path / "c", *more) == 0
    assert recorded_batch_size(tmp_path / "c") == 256


def test_a_score_finds_its_size_too(tiny_model: Path, facts_file: Path, tmp_path: Path) -> None:
    """And records it."""
    assert command("score", tiny_model, facts_file, tmp_path / "run") == 0
    assert recorded_batch_size(tmp_path / "run") == 256


def test_what_records_no_size_has_none(tmp_path: Path) -> None:
    """An absent directory, an empty one, and one whose record is of another kind."""
    assert recorded_batch_size(tmp_path / "absent") is None
    assert recorded_batch_size(tmp_path) is None
    (tmp_path / "progress.json").write_text('{"settings": {"backend": {"batch_size": "auto"}}}')
    assert recorded_batch_size(tmp_path) is None


def test_another_models_size_is_not_taken_over(tmp_path: Path) -> None:
    """From a run that committed nothing, and so gives way; one that did is refused later, for what differs."""
    settings = {"model": {"name": "small"}, "backend": {"batch_size": 64}}
    with RunWriter(tmp_path, "t", settings, total=1, chunk=1) as writer:
        assert recorded_batch_size(tmp_path, {"name": "small"}) == 64
        assert recorded_batch_size(tmp_path, {"name": "large"}) is None
        writer.commit([{"doc_id": 0}])
    assert recorded_batch_size(tmp_path, {"name": "large"}) == 64
