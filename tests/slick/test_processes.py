"""slick.processes: several processes make the run that one makes.

Most tests let threads stand for processes, which meet in a store of torch's; one starts real ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import HashStore

import slick.probe
import slick.processes
import slick.score
from slick import cli
from slick.backend import load_backend
from slick.errors import InputError, RunError
from slick.exemplars import exemplar_pools
from slick.facts import Fact
from slick.knowledge_file import KNOWLEDGE
from slick.parts import whole_chunks
from slick.probe import Probe, run_probe
from slick.processes import ALONE, Processes, joined
from slick.run_writer import LOCK, RunWriter
from slick.runs import PROGRESS, Run, sample_row
from slick.sampled import Sampled
from slick.score import Score, run_score

CHUNK = 3
SMALL = Sampled(n_exemplar_sets=2, n_exemplars=2, n_samples=3, max_gen_toks=6, n_before=1)


@pytest.fixture(autouse=True)
def _small_chunks_and_short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slick.probe, "CHUNK", CHUNK)
    monkeypatch.setattr(slick.score, "CHUNK", CHUNK)
    monkeypatch.setattr(slick.processes, "_POLL_S", 0.001)


@pytest.fixture
def probe(tiny_facts: list[Fact]) -> Probe:
    """The 20 facts that are no exemplars: seven chunks, the last one short."""
    facts = [fact for fact in tiny_facts if fact.split != "dev"]
    return Probe(facts, exemplar_pools(tiny_facts, facts, seed=0), {}, SMALL, source="tiny")


def half_known(facts: Sequence[Fact]) -> Callable[[str, int | None], str]:
    """Every answer is right or wrong by its own luck."""
    right = {fact.question: fact.answers[0] for fact in facts}

    def answer(prompt: str, sample: int | None) -> str:
        question = [line for line in prompt.replace("Q: ", "").splitlines() if line in right][-1]
        luck = hashlib.sha256(repr((prompt, sample)).encode()).digest()[0]
        return f" {right[question]}\n" if luck < 80 else f" wrong {luck}"

    return answer


def among(size: int, work: Callable[[Processes], Any]) -> list[Any]:
    """What `work` returned or raised in each of `size` processes."""
    store = HashStore()
    ends: list[Any] = [None] * size

    def process(rank: int) -> None:
        processes = Processes(rank, size, rank, store)
        try:
            ends[rank] = work(processes)
        except BaseException as error:
            processes.first_to_fail()
            ends[rank] = error

    threads = [threading.Thread(target=process, args=[rank]) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


def content(run: Run) -> tuple[bytes, bytes | None, dict[str, Any]]:
    """What must be equal of two runs: samples, knowledge, and results but for date and time."""
    (samples,) = run.samples.values()
    timeless = {n: v for n, v in run.results.items() if n not in ("date", "total_evaluation_time_seconds")}
    knowledge = run.path / KNOWLEDGE
    return samples.read_bytes(), knowledge.read_bytes() if knowledge.exists() else None, timeless


def meeting_first(size: int, answer: Callable[[str, int | None], str]) -> Callable[[str, int | None], str]:
    """Answers once all have been asked something: none may do all the work before the others have begun."""
    barrier, begun = threading.Barrier(size), threading.local()

    def answered(prompt: str, sample: int | None) -> str:
        if not hasattr(begun, "yes"):
            begun.yes = True
            barrier.wait(60)
        return answer(prompt, sample)

    return answered


@pytest.mark.parametrize("size", [2, 3])
def test_several_processes_make_the_run_of_one(
    tmp_path: Path, probe: Probe, tiny_facts: list[Fact], scripted: Any, size: int
) -> None:
    """Each answers some chunks, no chunk is answered twice, all return the same run, and no part is left."""
    answer = half_known(tiny_facts)
    whole = scripted(answer)
    expected = content(run_probe(probe, whole, tmp_path / "one"))
    shared = meeting_first(size, answer)
    backends = [scripted(shared) for _ in range(size)]
    out = tmp_path / "several"
    runs = among(size, lambda processes: run_probe(probe, backends[processes.rank], out, processes))
    assert runs == [runs[0]] * size
    assert content(runs[0]) == expected
    assert all(backend.asked for backend in backends)
    assert sum(len(backend.asked) for backend in backends) == len(whole.asked)
    names = sorted(path.name.split("_")[0] for path in out.iterdir())
    assert names == ["knowledge.parquet", "results", "samples"]


def test_scoring_is_shared_as_well(tmp_path: Path, tiny_facts: list[Fact], scripted: Any) -> None:
    """The same mechanism serves `slick score`; a second call finds the run finished, in every process."""
    score = Score(tiny_facts, {}, {})
    answer = half_known(tiny_facts)
    expected = content(run_score(score, scripted(answer), tmp_path / "one"))
    out = tmp_path / "two"
    for lives in (None, 0):
        runs = among(2, lambda processes, n=lives: run_score(score, scripted(answer, lives=n), out, processes))
        assert [content(run) for run in runs] == [expected] * 2


@pytest.mark.parametrize("seed", range(12))
def test_killed_and_resumed_with_other_numbers_of_processes(
    tmp_path: Path, probe: Probe, tiny_facts: list[Fact], scripted: Any, seed: int
) -> None:
    """Whoever dies when, and however its part is torn: whole chunks are kept, the bytes are those of one process."""
    draw = random.Random(seed)
    answer = half_known(tiny_facts)
    whole = scripted(answer)
    expected = content(run_probe(probe, whole, tmp_path / "one"))
    out = tmp_path / "killed"
    for _ in range(2):
        # At most a chunk each, a chunk being two calls: six of the seven in all.
        size, lives = draw.choice([1, 2, 3]), [draw.randrange(4) for _ in range(3)]

        def dying(processes: Processes, lives: list[int] = lives) -> Run:
            return run_probe(probe, scripted(answer, lives=lives[processes.rank]), out, processes)

        assert not any(isinstance(end, Run) for end in among(size, dying))
        for part in out.glob("*.part"):
            with part.open("ab") as file:
                file.write(draw.choice([b"", b"{", b'{"doc_id": 0, "re', b'{"doc_id": 0}\n{"d']))
    kept = {n for part in out.glob("*.part") for n, _ in whole_chunks(part, chunk=CHUNK, total=len(probe.facts))}
    size = draw.choice([1, 2])
    backends = [scripted(answer) for _ in range(size)]
    run = among(size, lambda processes: run_probe(probe, backends[processes.rank], out, processes))[0]
    assert content(run) == expected
    missing = [fact for i, fact in enumerate(probe.facts) if i // CHUNK not in kept]
    asked = sum(len(backend.asked) for backend in backends)
    assert asked == len(missing) * len(whole.asked) // len(probe.facts)


def test_a_run_killed_while_it_merges_is_merged_again(
    tmp_path: Path, probe: Probe, tiny_facts: list[Fact], scripted: Any, killed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked again, and the half-merged file does not stay."""
    answer = half_known(tiny_facts)
    expected = content(run_probe(probe, scripted(answer), tmp_path / "one"))
    out = tmp_path / "two"
    shared = meeting_first(2, answer)

    def half(*_: object) -> None:
        (out / ".samples_slick_probe.jsonl.part.x.part").write_text("half")
        raise killed

    with monkeypatch.context() as patch:
        patch.setattr("slick.parts.Extent.copy", half)
        ends = among(2, lambda processes: run_probe(probe, scripted(shared), out, processes))
    assert isinstance(ends[0], killed)
    assert content(run_probe(probe, scripted(answer, lives=0), out)) == expected
    assert sorted(path.name.split("_")[0] for path in out.iterdir()) == ["knowledge.parquet", "results", "samples"]


def test_one_process_that_fails_ends_all(
    tmp_path: Path, probe: Probe, tiny_facts: list[Fact], scripted: Any, killed: Any
) -> None:
    """The others stop at their next chunk, or while they wait, and what they committed is kept."""
    answer = meeting_first(2, half_known(tiny_facts))

    def work(processes: Processes) -> Run:
        return run_probe(probe, scripted(answer, lives=processes.rank * 100 or 1), tmp_path, processes)

    ends = among(2, work)
    assert isinstance(ends[0], killed)
    assert isinstance(ends[1], RunError)
    assert "another process of this run failed; its message says why" in str(ends[1])
    assert (tmp_path / PROGRESS).exists()
    assert not (tmp_path / LOCK).exists()


def test_a_directory_that_is_refused_ends_all(tmp_path: Path, probe: Probe, scripted: Any) -> None:
    """The first process says why; the others hear that it failed."""
    (tmp_path / "thesis.tex").touch()
    ends = among(2, lambda processes: run_probe(probe, scripted(str), tmp_path, processes))
    assert [type(end) for end in ends] == [InputError, RunError]


def writer(out: Path, processes: Processes, **settings: Any) -> RunWriter:
    return RunWriter(out, "t", settings, total=6, chunk=3, processes=processes)


def test_processes_with_different_settings_are_refused(tmp_path: Path) -> None:
    """Another model file or library on one machine must not be mixed in."""
    ends = among(2, lambda processes: list(writer(tmp_path, processes, model=processes.rank).chunks("")))
    assert isinstance(ends[1], RunError)
    assert "processes of this run have different settings" in str(ends[1])


def test_a_run_that_committed_nothing_gives_way_to_several_processes(
    tmp_path: Path, probe: Probe, tiny_facts: list[Fact], scripted: Any, killed: Any
) -> None:
    """With other settings, and of another number of processes; they agree, and the files are those of one."""
    answer = half_known(tiny_facts)
    out = tmp_path / "several"
    for size in (2, 1):
        first = replace(probe, seed=size)
        ends = among(size, lambda processes, p=first: run_probe(p, scripted(answer, lives=0), out, processes))
        assert any(isinstance(end, killed) for end in ends)
    shared = meeting_first(2, answer)
    runs = among(2, lambda processes: run_probe(probe, scripted(shared), out, processes))
    assert runs == [runs[0]] * 2
    assert content(runs[0]) == content(run_probe(probe, scripted(answer), tmp_path / "one"))
    assert sorted(path.name.split("_")[0] for path in out.iterdir()) == ["knowledge.parquet", "results", "samples"]


def test_machines_without_a_common_directory_are_told(tmp_path: Path) -> None:
    """Chunks that another machine wrote to a disk of its own are missing where they are merged."""
    barrier = threading.Barrier(2)

    def work(processes: Processes) -> None:
        out = tmp_path / str(processes.rank)
        out.mkdir()
        run = writer(out, processes)
        for first in run.chunks(""):
            barrier.wait(60)
            fact = Fact.create("Where?", ["there"])
            run.commit(sample_row(first + i, fact, [("p", {})], [["a"]], {}) for i in range(3))

    first, _ = among(2, work)
    assert isinstance(first, RunError)
    assert "of other processes are not there; all machines must write to one shared file system" in str(first)


def test_silence_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no launcher looks after the processes, one that was killed does not keep the others for ever."""
    meeting = Processes(0, 2, 0, HashStore()).meet()
    monkeypatch.setattr(slick.processes, "SILENCE_S", 0.0)
    with pytest.raises(RunError, match="other processes have been silent for 0 hours; end them, and repeat"):
        meeting.hear("nothing")


class LostStore:
    """A store whose host is gone."""

    def lost(self, *_: object) -> Any:
        raise RuntimeError("Connection was closed")

    add = set = get = check = lost


def test_a_lost_launcher_is_named() -> None:
    """Whatever is being done with the store; and whoever cannot ask who failed first prints its own message."""
    processes = Processes(1, 2, 1, LostStore())
    meeting = processes.meet()
    for use in (meeting.alive, meeting.check, meeting.part, lambda: meeting.tell("a", ""), lambda: meeting.hear("a")):
        with pytest.raises(RunError, match=r"lost contact with the other processes \(Connection was closed\)"):
            use()
    assert processes.first_to_fail()


# --- who we are ------------------------------------------------------------------------------------------------


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets the launcher's variables, and no others of them; nothing is known of earlier commands of this process."""
    joined.cache_clear()
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)

    def launch(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    yield launch
    joined.cache_clear()


def test_without_a_launcher_a_process_is_alone(launched: Callable[..., None]) -> None:
    """No variables, or those of a single process."""
    assert joined.__wrapped__() is ALONE
    launched(WORLD_SIZE="1", RANK="0")
    assert joined.__wrapped__() is ALONE
    assert (ALONE.alone, ALONE.first) == (True, True)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "2"}, r"environment's RANK is not set \(WORLD_SIZE: 2\), .* or unset WORLD_SIZE"),
        ({"WORLD_SIZE": "2", "RANK": "x"}, "environment's RANK is 'x'"),
        ({"WORLD_SIZE": "-2"}, "environment's WORLD_SIZE is '-2'"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK is 2 and WORLD_SIZE is 2; expected a rank from 0 to 1"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "process 0 of 2 does not find the others: .*MASTER_ADDR"),
    ],
)
def test_a_half_set_environment_is_named(
    launched: Callable[..., None], variables: dict[str, str], message: str
) -> None:
    """Variables that some other program set, or that lack something."""
    launched(**variables)
    with pytest.raises((InputError, RunError), match=message):
        joined.__wrapped__()


def test_the_environment_is_hidden_while_a_model_is_loaded(launched: Callable[..., None]) -> None:
    """From libraries that would take the process for a part of one model; it is there again afterwards."""
    launched(WORLD_SIZE="2", RANK="1", LOCAL_RANK="1", TORCHELASTIC_RUN_ID="x", ACCELERATE_USE_FSDP="true")
    before = dict(os.environ)
    with Processes(1, 2, 1, HashStore()).apart():
        assert set(before) - set(os.environ) >= {"WORLD_SIZE", "RANK", "TORCHELASTIC_RUN_ID", "ACCELERATE_USE_FSDP"}
    assert dict(os.environ) == before
    with ALONE.apart():
        assert dict(os.environ) == before


def test_an_error_is_printed_once(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the process that failed first; the others end with their exit code and are silent."""
    store = HashStore()
    command = ["probe", "--model", str(tiny_model), "--facts", str(tmp_path / "none"), "--out", str(tmp_path / "run")]
    printed = []
    for rank in (1, 0):
        here = cache(lambda rank=rank: Processes(rank, 2, rank, store))
        here()
        monkeypatch.setattr(slick.processes, "joined", here)
        assert cli.run(command) == 2
        printed.append(capsys.readouterr().err)
    assert "no such file or directory" in printed[0]
    assert printed[1] == ""


def test_a_usage_error_is_printed_once(launched: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    """All find it before they meet; number 0 prints it."""
    for rank, text in (("1", ""), ("0", "No such option: --nonsense")):
        launched(WORLD_SIZE="2", RANK=rank)
        assert cli.run(["probe", "--nonsense"]) == 2
        assert text in (err := capsys.readouterr().err)
        assert bool(err) == bool(text)


# --- models ----------------------------------------------------------------------------------------------------


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Two GPUs, as far as the choice of one goes; the numbers that were made the current one."""
    import torch

    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


def test_each_process_takes_its_own_gpu(two_gpus: list[int]) -> None:
    """By its number on its machine, unless a device is named; one without a GPU is told."""
    from lm_eval.api.registry import get_model

    from slick.backend import _device

    kind = get_model("hf")
    second = Processes(3, 4, 1, HashStore())
    assert [_device(kind, device, second) for device in (None, "cuda")] == ["cuda:1"] * 2
    assert two_gpus == [1, 1]
    assert [_device(kind, device, second) for device in ("cpu", "cuda:0")] == ["cpu", "cuda:0"]
    assert [_device(kind, None, ALONE), _device(get_model("dummy"), None, second)] == [None, None]
    with pytest.raises(InputError, match="process 2 of this machine has no GPU, 2 are visible; start as many"):
        _device(kind, None, Processes(2, 3, 2, HashStore()))


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("dummy", {}, "--backend dummy: not known to run in 2 processes side by side; start one process, and spread"),
        ("hf", {"tp_plan": "auto"}, "--model-args tp_plan: 2 processes each load a whole model; start one process"),
        ("hf", {"parallelize": True}, "--model-args parallelize: 2 processes each load a whole model"),
    ],
)
def test_a_model_spread_over_devices_wants_one_process(
    tiny_model: Path, name: str, args: dict[str, Any], message: str
) -> None:
    """What splits a model over devices by itself would be loaded once a process."""
    with pytest.raises(InputError, match=message):
        load_backend(name, str(tiny_model), args, processes=Processes(0, 2, 0, HashStore()))


PROGRAM = """
import json, os, sys
import slick.probe
from slick.backend import Backend
from slick.processes import joined
from slick.run_writer import RunWriter

slick.probe.CHUNK = 3
generate, commit = Backend.generate, RunWriter.commit
seen = {"chunks": 0}

def watched(self, requests):
    import torch.distributed
    seen["model"] = [self.lm.world_size, self.lm.rank, str(self.lm.device), torch.distributed.is_initialized()]
    return generate(self, requests)

def after_all_have_begun(self, rows):
    rows = list(rows)
    if not seen["chunks"]:
        begun = joined().meet()
        begun.add("begun")
        begun.wait(lambda: begun.add("begun", 0) == 2)
    seen["chunks"] += 1
    commit(self, rows)

Backend.generate, RunWriter.commit = watched, after_all_have_begun
from slick.cli import run
code = run(sys.argv[2:])
with open(f"{sys.argv[1]}.{joined().rank}", "w") as file:
    json.dump({**seen, "size": joined().size, "environment": os.environ.get("WORLD_SIZE")}, file)
sys.exit(code)
"""


def test_two_real_processes_make_the_run_of_one(
    tmp_path: Path, tiny_model: Path, tiny_facts: list[Fact], capsys: pytest.CaptureFixture[str]
) -> None:
    """accelerate's launcher, a real model on the CPU, an interrupted run: the bytes of an unbroken one in one process.

    Each process holds a whole model of its own, and one of them prints.
    """
    facts = tmp_path / "facts.jsonl"
    facts.write_text("".join(json.dumps(fact.as_dict()) + "\n" for fact in tiny_facts), encoding="utf-8")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")

    def command(out: str) -> list[str]:
        small = ["--n-exemplar-sets", "2", "--n-samples", "2", "--n-before", "1", "--max-gen-toks", "3"]
        where = ["--model", str(tiny_model), "--facts", str(facts), "--split", "test", "--out", str(tmp_path / out)]
        return ["probe", *where, *small]

    assert cli.run(command("one")) == 0
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunWriter, "commit", committing_once(RunWriter.commit))
        assert cli.run(command("two")) == 4
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launcher += ["--main_process_port", "0", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    done = subprocess.run(
        [*launcher, str(program), str(tmp_path / "seen"), *command("two")],
        # With it accelerate makes a process group also where there is no GPU; ours must keep it from that.
        env=os.environ | {"ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, two = slick.runs.read_run(tmp_path / "one"), slick.runs.read_run(tmp_path / "two")
    assert content(two) == content(one)
    assert done.stdout.count("facts probed") == 1
    seen = [json.loads((tmp_path / f"seen.{rank}").read_text()) for rank in range(2)]
    assert [s["model"] for s in seen] == [[1, 0, "cpu", False]] * 2
    assert [(s["size"], s["environment"]) for s in seen] == [(2, "2")] * 2
    # Of four chunks one was there.
    assert sorted(s["chunks"] for s in seen) == [1, 2]


def committing_once(commit: Callable[..., None]) -> Callable[..., None]:
    def once(self: RunWriter, rows: Any) -> None:
        if self.done:
            raise KeyboardInterrupt
        commit(self, rows)

    return once
