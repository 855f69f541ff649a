"""slick.run_writer: runs killed, gone on with, and kept from others."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed import HashStore

import slick.run_writer
from slick.errors import InputError
from slick.knowledge_file import KNOWLEDGE
from slick.locks import Lock
from slick.processes import Processes
from slick.run_writer import LOCK, RunWriter, inspect_run, run_started
from slick.runs import PROGRESS, Run, read_run, sample_row


def content(run: Run) -> tuple[bytes, bytes, dict[str, Any]]:
    """What must be equal of two runs: samples, knowledge, and results but for their date."""
    (samples,) = run.samples.values()
    results = {name: value for name, value in run.results.items() if name != "date"}
    return samples.read_bytes(), (run.path / KNOWLEDGE).read_bytes(), results


def listing(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("chunks", "torn"),
    [*product(range(3), ["", "{", '{"doc_id": 0, "resps": [["Pa', '{"doc_id": 99}\n', '{"a": 1}\n{"b']), (3, "")],
)
def test_a_killed_run_resumes_to_the_same_bytes(made_up: Any, tmp_path: Path, chunks: int, torn: str) -> None:
    """Killed between chunks, inside a line or inside a chunk: what was not committed is done again."""
    expected = content(made_up.whole(tmp_path / "whole"))
    killed = made_up.writer(tmp_path / "killed")
    for first in range(0, made_up.total, made_up.chunk)[:chunks]:
        killed.commit([made_up.row(i) for i in range(first, min(first + made_up.chunk, made_up.total))])
    with (killed.out / "samples_closed_book.jsonl.part").open("a") as file:
        file.write(torn)
    del killed
    resumed = made_up.writer(tmp_path / "killed")
    assert resumed.done == min(chunks * made_up.chunk, made_up.total)
    made_up.commit_rest(resumed)
    assert content(made_up.finish(resumed)) == expected


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_run_cut_at_any_byte_resumes_to_the_same_bytes(
    made_up: Any, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever part of the samples reached the disk, whole chunks are kept and the rest is done again."""
    tmp_path = tmp_path_factory.mktemp("cut")
    expected = content(made_up.whole(tmp_path / "whole"))
    killed = made_up.writer(tmp_path / "killed")
    made_up.commit_rest(killed)
    part = killed.out / "samples_closed_book.jsonl.part"
    kept = part.read_bytes()[: data.draw(st.integers(0, part.stat().st_size))]
    part.write_bytes(kept)
    resumed = made_up.writer(tmp_path / "killed")
    lines = kept.count(b"\n")
    assert resumed.done == (made_up.total if lines == made_up.total else lines // made_up.chunk * made_up.chunk)
    assert [r["doc_id"] for r in resumed.rows()] == list(range(resumed.done))
    made_up.commit_rest(resumed)
    assert content(made_up.finish(resumed)) == expected


class Killed(BaseException):
    """What a killed process would not live to see."""


def kill_at(monkeypatch: pytest.MonkeyPatch, name: str, wanted: Callable[..., bool]) -> None:
    """Makes the call of slick.run_writer.`name` that `wanted` is true of the last of the process."""
    original = getattr(slick.run_writer, name)

    def killed(*args: Any, **kwargs: Any) -> Any:
        if wanted(*args):
            raise Killed("killed")
        return original(*args, **kwargs)

    monkeypatch.setattr(slick.run_writer, name, killed)


@pytest.mark.parametrize("last_call", ["write_knowledge", "write_json"])
def test_a_run_killed_while_it_finishes_asks_nothing_again(
    made_up: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last_call: str
) -> None:
    """All answers are there: only the files that sum them up are written again."""
    expected = content(made_up.whole(tmp_path / "whole"))
    killed = made_up.writer(tmp_path / "killed")
    made_up.commit_rest(killed)
    with monkeypatch.context() as patch:
        kill_at(patch, last_call, lambda *_: True)
        with pytest.raises(Killed, match="killed"):
            made_up.finish(killed)
    with pytest.raises(InputError, match="this run is not finished; repeat its command"):
        read_run(tmp_path / "killed")
    resumed = made_up.writer(tmp_path / "killed")
    assert resumed.done == made_up.total
    assert content(made_up.finish(resumed)) == expected


def test_a_run_killed_after_its_results_is_finished(made_up: Any, tmp_path: Path) -> None:
    """The progress file that was not removed any more does not make it unfinished."""
    run = made_up.whole(tmp_path / "run")
    (run.path / PROGRESS).write_text("{}")
    assert made_up.writer(run.path).finished
    assert read_run(run.path) == run


def test_a_run_killed_before_its_first_row_starts_anew(made_up: Any, tmp_path: Path) -> None:
    """An empty directory, and one with a half-written progress file only, hold nothing to lose."""
    expected = content(made_up.whole(tmp_path / "whole"))
    for name in ("", f".{PROGRESS}.abc.part"):
        out = tmp_path / f"killed{name}"
        out.mkdir()
        if name:
            (out / name).write_text('{"ta')
        run = made_up.writer(out)
        assert run.done == 0
        made_up.commit_rest(run)
        assert content(made_up.finish(run)) == expected


def test_a_finished_run_is_recognised(made_up: Any, tmp_path: Path) -> None:
    """The same settings again: finished, nothing is to do and nothing is touched."""
    run = made_up.whole(tmp_path / "run")
    before = listing(run.path)
    again = made_up.writer(run.path)
    assert (again.finished, again.done) == (True, 0)
    assert listing(run.path) == before


@pytest.mark.parametrize("state", ["finished", "interrupted"])
def test_other_settings_are_refused_with_the_differences_named(made_up: Any, tmp_path: Path, state: str) -> None:
    """Every differing setting with both its values, nested ones by their path; nothing is touched."""
    out = tmp_path / "run"
    if state == "finished":
        made_up.whole(out)
    else:
        made_up.writer(out).commit([made_up.row(i) for i in range(made_up.chunk)])
    before = listing(out)
    with pytest.raises(InputError, match="this directory holds a run with other settings") as caught:
        made_up.writer(out, seed=1, model={"weights": "other"}, extra=True)
    text = str(caught.value)
    assert "  extra: there None, now True" in text
    assert "  model.weights: there 'w', now 'other'" in text
    assert "  seed: there 0, now 1" in text
    assert "matching" not in text
    assert text.endswith("choose another --out, or remove it")
    assert listing(out) == before


def begun(made_up: Any, out: Path, **changed: Any) -> Path:
    """A directory whose run ended before its first chunk."""
    with made_up.writer(out, **changed):
        pass
    return out


@pytest.mark.parametrize("empty", ["", "samples_closed_book.jsonl.part", "samples_other.0a-1b.jsonl.part"])
def test_a_run_that_committed_nothing_gives_way_to_other_settings(made_up: Any, tmp_path: Path, empty: str) -> None:
    """The files are those of a run in a new directory, begun when it was begun; an empty part is nothing."""
    out = begun(made_up, tmp_path / "run", seed=1)
    earlier = run_started(out)
    if empty:
        (out / empty).touch()
    assert not inspect_run(out, made_up.settings, made_up.chunk)
    assert run_started(out) == earlier
    with made_up.writer(out) as run:
        assert run.done == 0
        assert run_started(out) > earlier
        assert json.loads((out / PROGRESS).read_text())["settings"] == made_up.settings
        made_up.commit_rest(run)
        finished = made_up.finish(run)
    assert content(finished) == content(made_up.whole(tmp_path / "whole"))
    assert len(listing(out)) == 3


def test_a_run_that_committed_nothing_keeps_its_start(made_up: Any, tmp_path: Path) -> None:
    """With the same settings it is the same run: what it stored so far counts on."""
    before = listing(begun(made_up, tmp_path / "run"))
    assert listing(begun(made_up, tmp_path / "run")) == before


def test_a_run_that_committed_nothing_yet_is_not_taken_from_its_process(made_up: Any, tmp_path: Path) -> None:
    """Other settings do not take the directory from a command that is in its first chunk."""
    out = begun(made_up, tmp_path / "run")
    command = [sys.executable, "-c", HOLD, str(out / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "taken\n"
        before = listing(out)
        with pytest.raises(InputError, match=rf"another process \(pid {other.pid} on .+\) is writing there"):
            made_up.writer(out, seed=1)
        assert listing(out) == before
        other.kill()


def test_what_was_committed_before_the_lock_was_ours_is_kept(
    made_up: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another command's first chunk comes between looking at the directory and having it for oneself."""
    out = begun(made_up, tmp_path / "run")
    take = Lock.take

    def after_the_other(path: Path) -> Lock:
        monkeypatch.setattr(Lock, "take", take)
        with made_up.writer(out) as other:
            other.commit([made_up.row(i) for i in range(made_up.chunk)])
        return take(path)

    monkeypatch.setattr(Lock, "take", after_the_other)
    with pytest.raises(InputError, match="this directory holds a run with other settings"):
        made_up.writer(out, seed=1)
    assert made_up.writer(out).done == made_up.chunk


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("thesis.tex", "years of work"),
        ("samples_closed_book.jsonl.part", '{"doc_id": 0'),
        ("samples_closed_book.0a-1b.jsonl.part", '{"doc_id": 0}\n'),
        ("samples_closed_book_2020.jsonl", ""),
        (KNOWLEDGE, ""),
        (PROGRESS, '{"settings": {"seed": 0}, "done": 3}'),
    ],
)
def test_a_directory_with_anything_else_does_not_give_way(made_up: Any, tmp_path: Path, name: str, text: str) -> None:
    """Rows, be they cut off, a run that was being finished, a user's own file, another program's progress."""
    out = begun(made_up, tmp_path / "run")
    (out / name).write_text(text)
    before = listing(out)
    with pytest.raises(InputError, match="this directory holds a run with other settings"):
        made_up.writer(out, seed=1)
    assert listing(out) == before


def test_a_process_that_outlives_a_run_that_gave_way_spoils_nothing(made_up: Any, tmp_path: Path) -> None:
    """A chunk that it commits late, with the earlier settings, does not become the new run's."""
    store = HashStore()
    out = tmp_path / "run"

    def of(rank: int) -> RunWriter:
        # Not by the first one's writer, which would wait for the others.
        return RunWriter(
            out,
            "closed_book",
            {"seed": 1},
            total=made_up.total,
            chunk=made_up.chunk,
            processes=Processes(rank, 2, rank, store),
        )

    of(0).close()
    late = of(1)
    with made_up.writer(out) as run:
        late.commit([{"doc_id": i, "of": "other settings"} for i in range(made_up.chunk)])
        run.commit([made_up.row(i) for i in range(made_up.chunk, 2 * made_up.chunk)])
    resumed = made_up.writer(out)
    assert [row["doc_id"] for row in resumed.rows()] == [*range(made_up.chunk, 2 * made_up.chunk)]
    for first in (0, 2 * made_up.chunk):
        resumed.commit([made_up.row(i) for i in range(first, min(first + made_up.chunk, made_up.total))])
    assert content(made_up.finish(resumed)) == content(made_up.whole(tmp_path / "whole"))
    assert len(listing(out)) == 3


HOLD = """
import sys
from pathlib import Path
from slick.locks import Lock
lock = Lock.take(Path(sys.argv[1]))
print("taken", flush=True)
sys.stdin.read()
"""


def test_a_run_that_another_process_writes_is_refused(made_up: Any, tmp_path: Path) -> None:
    """The other one is named and nothing is touched; once it is dead, the run is gone on with."""
    out = tmp_path / "run"
    with made_up.writer(out) as run:
        run.commit([made_up.row(i) for i in range(made_up.chunk)])
    command = [sys.executable, "-c", HOLD, str(out / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "taken\n"
        before = listing(out)
        with pytest.raises(InputError, match=rf"run: another process \(pid {other.pid} on .+\) is writing there"):
            made_up.writer(out)
        assert listing(out) == before
        other.kill()
    resumed = made_up.writer(out)
    assert resumed.done == made_up.chunk
    made_up.commit_rest(resumed)
    assert content(made_up.finish(resumed)) == content(made_up.whole(tmp_path / "whole"))


def test_a_run_that_another_process_finished_meanwhile_is_finished(
    made_up: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking at the directory and having it for oneself, the other one may have come to its end."""
    take = Lock.take

    def after_the_other(path: Path) -> Lock:
        monkeypatch.setattr(Lock, "take", take)
        made_up.whole(path.parent)
        return take(path)

    monkeypatch.setattr(Lock, "take", after_the_other)
    assert made_up.writer(tmp_path / "run").finished
    assert LOCK not in listing(tmp_path / "run")


def test_leaving_a_writer_lets_go_of_the_directory(made_up: Any, tmp_path: Path) -> None:
    """Also when it could not be opened, or when it ends by an error; the lock never stays behind."""

    def use() -> None:
        with made_up.writer(tmp_path / "run") as run:
            assert LOCK in listing(run.out)
            run.commit([made_up.row(i) for i in range(made_up.chunk)])
            raise Killed("killed")

    with pytest.raises(Killed, match="killed"):
        use()
    with pytest.raises(InputError, match="other settings"):
        made_up.writer(tmp_path / "run", seed=1)
    assert list(listing(tmp_path / "run")) == [PROGRESS, "samples_closed_book.jsonl.part"]
    assert LOCK not in listing(made_up.whole(tmp_path / "run").path)


def test_chunks_of_another_size_are_refused(made_up: Any, tmp_path: Path) -> None:
    """A version that cuts the facts otherwise would ask in other batches; a finished run is one all the same."""
    out = tmp_path / "run"
    with made_up.writer(out) as run:
        run.commit([made_up.row(i) for i in range(made_up.chunk)])
    with pytest.raises(InputError, match=rf"other settings:\n  facts a chunk: there {made_up.chunk}, now 4\n"):
        RunWriter(out, "closed_book", made_up.settings, total=made_up.total, chunk=4)
    made_up.whole(out)
    assert RunWriter(out, "closed_book", made_up.settings, total=made_up.total, chunk=4).finished


def test_a_directory_with_something_else_is_refused(made_up: Any, tmp_path: Path) -> None:
    """What is not a run is not written into."""
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="is not empty and holds no run; choose another --out"):
        made_up.writer(tmp_path)
    assert listing(tmp_path) == {"thesis.tex": b"years of work"}


def test_a_file_in_the_directorys_place_is_refused(made_up: Any, tmp_path: Path) -> None:
    """A run is a directory; the file stays."""
    out = tmp_path / "run"
    out.write_text("x")
    with pytest.raises(InputError, match="run: is a file, expected a directory"):
        made_up.writer(out)
    with pytest.raises(InputError, match="cannot be written"):
        made_up.writer(out / "below")
    assert out.read_text() == "x"


@pytest.mark.parametrize("found", ["[]", "{}", '{"results": {}}', '{"slick": []}', '{"slick": {"settings": 3}}'])
def test_results_of_another_program_are_refused(made_up: Any, tmp_path: Path, found: str) -> None:
    """A directory with results that this run did not write is another run."""
    (tmp_path / "results_2020.json").write_text(found)
    with pytest.raises(InputError, match="this directory holds a run with other settings"):
        made_up.writer(tmp_path)
    assert listing(tmp_path) == {"results_2020.json": found.encode()}


def test_half_written_results_in_the_way_are_named(made_up: Any, tmp_path: Path) -> None:
    """The file is named with line and column."""
    (tmp_path / "results_2020.json").write_text('{"results": {')
    with pytest.raises(InputError, match=r"results_2020\.json:1:\d+: not JSON"):
        made_up.writer(tmp_path)


AWKWARD = st.text() | st.text(st.sampled_from('\ud800\udfff\x00\u2028\u0085\r\n\\"a'), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(AWKWARD, min_size=1, max_size=3))
def test_any_answer_survives_a_round_trip(
    made_up: Any, tmp_path_factory: pytest.TempPathFactory, answers: list[str]
) -> None:
    """NUL, line separators and lone surrogates come back as they were, and no answer breaks its line."""
    run = RunWriter(tmp_path_factory.mktemp("run") / "run", "t", {}, total=1, chunk=1)
    written = sample_row(0, made_up.facts[0], [("p", made_up.greedy)], [answers], {})
    run.commit([written])
    (read,) = run.rows()
    # Two halves that meet are one character in JSON, whoever writes it.
    assert read == json.loads(json.dumps(written))
    assert (run.out / "samples_t.jsonl.part").read_bytes().count(b"\n") == 1
