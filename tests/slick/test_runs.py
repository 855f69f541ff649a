"""slick.runs: runs on disk, killed, resumed, damaged, and read by others."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import slick.runs
from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import CHANCES, Chances, Knowledge
from slick.locks import Lock
from slick.redraw import chance_kept
from slick.runs import (
    KNOWLEDGE,
    LOCK,
    PROGRESS,
    Row,
    Run,
    RunWriter,
    differences,
    read_knowledge,
    read_run,
    read_samples,
    sample_row,
    write_knowledge,
)

TOTAL, CHUNK = 8, 3
FACTS = [Fact.create(f"Where is {i}?", ["Ä", "b"], relation=f"r{i % 2}", split="test") for i in range(TOTAL)]
SETTINGS = {"seed": 0, "model": {"weights": "w"}, "matching": "strict"}
GREEDY = {"until": ["\n"], "do_sample": False}


def knowledge_of(i: int) -> Knowledge:
    return Knowledge(FACTS[i], i, TOTAL, i, TOTAL, 1, 5)


def row(i: int) -> Row:
    """A row whose second answer is there for odd facts only, as a probe's samples are."""
    requests = [(f"Q: {i}\nA:", GREEDY)] * (1 + i % 2)
    return sample_row(i, FACTS[i], requests, [[f" answer\u2028 {i}"]] * len(requests), {"exact_match": float(i % 2)})


def writer(out: Path, **changed: Any) -> RunWriter:
    return RunWriter(out, "closed_book", SETTINGS | changed, total=TOTAL, chunk=CHUNK)


def commit_rest(run: RunWriter) -> None:
    for first in range(run.done, TOTAL, CHUNK):
        run.commit([row(i) for i in range(first, min(first + CHUNK, TOTAL))])


def finish(run: RunWriter) -> Run:
    return run.finish(
        {"sample_len": TOTAL, "exact_match,none": 0.5, "exact_match_stderr,none": 0.2},
        provenance={"schema": 1, "kind": "score", "model": {"name": "m", "weights": "w"}, "versions": {"lm_eval": "0"}},
        knowledge=[knowledge_of(i) for i in range(TOTAL)],
        per_relation={r: {"sample_len": 4, "exact_match,none": 0.5} for r in ("r0", "r1")},
        seconds=1.5,
    )


def whole_run(out: Path) -> Run:
    run = writer(out)
    commit_rest(run)
    return finish(run)


def content(run: Run) -> tuple[bytes, bytes, dict[str, Any]]:
    """What must be equal of two runs: samples, knowledge, and results but for their date."""
    (samples,) = run.samples.values()
    results = {name: value for name, value in run.results.items() if name != "date"}
    return samples.read_bytes(), (run.path / KNOWLEDGE).read_bytes(), results


def listing(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def test_a_finished_run_is_read_back(tmp_path: Path) -> None:
    """Results, samples, provenance and knowledge come back as written, and nothing of the work is left."""
    run = whole_run(tmp_path / "run")
    assert run == read_run(str(run.path))
    assert run.kind == "score"
    assert run.provenance["settings"] == SETTINGS
    assert list(read_samples(run.samples["closed_book"])) == [row(i) for i in range(TOTAL)]
    assert read_knowledge(run.path).knowledge == tuple(knowledge_of(i) for i in range(TOTAL))
    assert read_knowledge(run.path / KNOWLEDGE).provenance == run.provenance
    names = sorted(name.split("_")[0] for name in listing(run.path))
    assert names == ["knowledge.parquet", "results", "samples"]


def test_results_stand_under_the_task_and_its_relations(tmp_path: Path) -> None:
    """The task's own results first, its relations' as subtasks of the group."""
    results = whole_run(tmp_path / "run").results
    assert list(results["results"]) == ["closed_book", "closed_book_r0", "closed_book_r1"]
    assert results["group_subtasks"] == {"closed_book": ["closed_book_r0", "closed_book_r1"]}
    assert results["n-samples"] == {"closed_book": {"original": TOTAL, "effective": TOTAL}}


@pytest.mark.parametrize(
    ("chunks", "torn"),
    [*product(range(3), ["", "{", '{"doc_id": 0, "resps": [["Pa', '{"doc_id": 99}\n', '{"a": 1}\n{"b']), (3, "")],
)
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path: Path, chunks: int, torn: str) -> None:
    """Killed between chunks, inside a line or inside a chunk: what was not committed is done again."""
    expected = content(whole_run(tmp_path / "whole"))
    killed = writer(tmp_path / "killed")
    for first in range(0, TOTAL, CHUNK)[:chunks]:
        killed.commit([row(i) for i in range(first, min(first + CHUNK, TOTAL))])
    with (killed.out / "samples_closed_book.jsonl.part").open("a") as file:
        file.write(torn)
    del killed
    resumed = writer(tmp_path / "killed")
    assert resumed.done == min(chunks * CHUNK, TOTAL)
    commit_rest(resumed)
    assert content(finish(resumed)) == expected


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_run_cut_at_any_byte_resumes_to_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever part of the samples reached the disk, whole chunks are kept and the rest is done again."""
    tmp_path = tmp_path_factory.mktemp("cut")
    expected = content(whole_run(tmp_path / "whole"))
    killed = writer(tmp_path / "killed")
    commit_rest(killed)
    part = killed.out / "samples_closed_book.jsonl.part"
    kept = part.read_bytes()[: data.draw(st.integers(0, part.stat().st_size))]
    part.write_bytes(kept)
    resumed = writer(tmp_path / "killed")
    lines = kept.count(b"\n")
    assert resumed.done == (TOTAL if lines == TOTAL else lines // CHUNK * CHUNK)
    assert [r["doc_id"] for r in resumed.rows()] == list(range(resumed.done))
    commit_rest(resumed)
    assert content(finish(resumed)) == expected


class Killed(BaseException):
    """What a killed process would not live to see."""


def kill_at(monkeypatch: pytest.MonkeyPatch, name: str, wanted: Callable[..., bool]) -> None:
    """Makes the call of slick.runs.`name` that `wanted` is true of the last of the process."""
    original = getattr(slick.runs, name)

    def killed(*args: Any, **kwargs: Any) -> Any:
        if wanted(*args):
            raise Killed("killed")
        return original(*args, **kwargs)

    monkeypatch.setattr(slick.runs, name, killed)


@pytest.mark.parametrize("last_call", ["write_knowledge", "write_json"])
def test_a_run_killed_while_it_finishes_asks_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last_call: str
) -> None:
    """All answers are there: only the files that sum them up are written again."""
    expected = content(whole_run(tmp_path / "whole"))
    killed = writer(tmp_path / "killed")
    commit_rest(killed)
    with monkeypatch.context() as patch:
        kill_at(patch, last_call, lambda *_: True)
        with pytest.raises(Killed, match="killed"):
            finish(killed)
    with pytest.raises(InputError, match="this run is not finished; repeat its command"):
        read_run(tmp_path / "killed")
    resumed = writer(tmp_path / "killed")
    assert resumed.done == TOTAL
    assert content(finish(resumed)) == expected


def test_a_run_killed_after_its_results_is_finished(tmp_path: Path) -> None:
    """The progress file that was not removed any more does not make it unfinished."""
    run = whole_run(tmp_path / "run")
    (run.path / PROGRESS).write_text("{}")
    assert writer(run.path).finished
    assert read_run(run.path) == run


def test_a_run_killed_before_its_first_row_starts_anew(tmp_path: Path) -> None:
    """An empty directory, and one with a half-written progress file only, hold nothing to lose."""
    expected = content(whole_run(tmp_path / "whole"))
    for name in ("", f".{PROGRESS}.abc.part"):
        out = tmp_path / f"killed{name}"
        out.mkdir()
        if name:
            (out / name).write_text('{"ta')
        run = writer(out)
        assert run.done == 0
        commit_rest(run)
        assert content(finish(run)) == expected


def test_a_finished_run_is_recognised(tmp_path: Path) -> None:
    """The same settings again: finished, nothing is to do and nothing is touched."""
    run = whole_run(tmp_path / "run")
    before = listing(run.path)
    again = writer(run.path)
    assert (again.finished, again.done) == (True, 0)
    assert listing(run.path) == before


@pytest.mark.parametrize("state", ["finished", "interrupted"])
def test_other_settings_are_refused_with_the_differences_named(tmp_path: Path, state: str) -> None:
    """Every differing setting with both its values, nested ones by their path; nothing is touched."""
    out = tmp_path / "run"
    if state == "finished":
        whole_run(out)
    else:
        writer(out).commit([row(i) for i in range(CHUNK)])
    before = listing(out)
    with pytest.raises(InputError, match="this directory holds a run with other settings") as caught:
        writer(out, seed=1, model={"weights": "other"}, extra=True)
    text = str(caught.value)
    assert "  extra: there None, now True" in text
    assert "  model.weights: there 'w', now 'other'" in text
    assert "  seed: there 0, now 1" in text
    assert "matching" not in text
    assert text.endswith("choose another --out, or remove it")
    assert listing(out) == before


HOLD = """
import sys
from pathlib import Path
from slick.locks import Lock
lock = Lock.take(Path(sys.argv[1]))
print("taken", flush=True)
sys.stdin.read()
"""


def test_a_run_that_another_process_writes_is_refused(tmp_path: Path) -> None:
    """The other one is named and nothing is touched; once it is dead, the run is gone on with."""
    out = tmp_path / "run"
    with writer(out) as run:
        run.commit([row(i) for i in range(CHUNK)])
    command = [sys.executable, "-c", HOLD, str(out / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "taken\n"
        before = listing(out)
        with pytest.raises(InputError, match=rf"run: another process \(pid {other.pid} on .+\) is writing there"):
            writer(out)
        assert listing(out) == before
        other.kill()
    resumed = writer(out)
    assert resumed.done == CHUNK
    commit_rest(resumed)
    assert content(finish(resumed)) == content(whole_run(tmp_path / "whole"))


def test_a_run_that_another_process_finished_meanwhile_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking at the directory and having it for oneself, the other one may have come to its end."""
    take = Lock.take

    def after_the_other(path: Path) -> Lock:
        monkeypatch.setattr(Lock, "take", take)
        whole_run(path.parent)
        return take(path)

    monkeypatch.setattr(Lock, "take", after_the_other)
    assert writer(tmp_path / "run").finished
    assert LOCK not in listing(tmp_path / "run")


def test_leaving_a_writer_lets_go_of_the_directory(tmp_path: Path) -> None:
    """Also when it could not be opened, or when it ends by an error; the lock never stays behind."""

    def use() -> None:
        with writer(tmp_path / "run") as run:
            assert LOCK in listing(run.out)
            raise Killed("killed")

    with pytest.raises(Killed, match="killed"):
        use()
    with pytest.raises(InputError, match="other settings"):
        writer(tmp_path / "run", seed=1)
    assert list(listing(tmp_path / "run")) == [PROGRESS]
    assert LOCK not in listing(whole_run(tmp_path / "run").path)


def test_chunks_of_another_size_are_refused(tmp_path: Path) -> None:
    """A version that cuts the facts otherwise would ask in other batches; a finished run is one all the same."""
    out = tmp_path / "run"
    with writer(out) as run:
        run.commit([row(i) for i in range(CHUNK)])
    with pytest.raises(InputError, match=rf"other settings:\n  facts a chunk: there {CHUNK}, now 4\n"):
        RunWriter(out, "closed_book", SETTINGS, total=TOTAL, chunk=4)
    whole_run(out)
    assert RunWriter(out, "closed_book", SETTINGS, total=TOTAL, chunk=4).finished


def test_a_directory_with_something_else_is_refused(tmp_path: Path) -> None:
    """What is not a run is not written into."""
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="is not empty and holds no run; choose another --out"):
        writer(tmp_path)
    assert listing(tmp_path) == {"thesis.tex": b"years of work"}


def test_a_file_in_the_directorys_place_is_refused(tmp_path: Path) -> None:
    """A run is a directory; the file stays."""
    out = tmp_path / "run"
    out.write_text("x")
    with pytest.raises(InputError, match="run: is a file, expected a directory"):
        writer(out)
    with pytest.raises(InputError, match="cannot be written"):
        writer(out / "below")
    assert out.read_text() == "x"


@pytest.mark.parametrize("found", ["[]", "{}", '{"results": {}}', '{"slick": []}', '{"slick": {"settings": 3}}'])
def test_results_of_another_program_are_refused(tmp_path: Path, found: str) -> None:
    """A directory with results that this run did not write is another run."""
    (tmp_path / "results_2020.json").write_text(found)
    with pytest.raises(InputError, match="this directory holds a run with other settings"):
        writer(tmp_path)
    assert listing(tmp_path) == {"results_2020.json": found.encode()}


def test_half_written_results_in_the_way_are_named(tmp_path: Path) -> None:
    """The file is named with line and column."""
    (tmp_path / "results_2020.json").write_text('{"results": {')
    with pytest.raises(InputError, match=r"results_2020\.json:1:\d+: not JSON"):
        writer(tmp_path)


def test_differences_enter_nested_mappings() -> None:
    """Only what differs, sorted, absent values as None."""
    there = {"a": 1, "b": {"c": 1, "d": 2}, "e": {"f": 1}, "g": [1]}
    here = {"a": 1, "b": {"c": 1, "d": 3}, "e": 5, "h": 0}
    assert differences(there, here) == [
        ("b.d", 2, 3),
        ("e", {"f": 1}, 5),
        ("g", [1], None),
        ("h", None, 0),
    ]
    assert differences(there, there) == []


AWKWARD = st.text() | st.text(st.sampled_from('\ud800\udfff\x00\u2028\u0085\r\n\\"a'), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(AWKWARD, min_size=1, max_size=3))
def test_any_answer_survives_a_round_trip(tmp_path_factory: pytest.TempPathFactory, answers: list[str]) -> None:
    """NUL, line separators and lone surrogates come back as they were, and no answer breaks its line."""
    run = RunWriter(tmp_path_factory.mktemp("run") / "run", "t", {}, total=1, chunk=1)
    written = sample_row(0, FACTS[0], [("p", GREEDY)], [answers], {})
    run.commit([written])
    (read,) = run.rows()
    # Two halves that meet are one character in JSON, whoever writes it.
    assert read == json.loads(json.dumps(written))
    assert (run.out / "samples_t.jsonl.part").read_bytes().count(b"\n") == 1


def damage(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


def test_half_written_results_are_named(tmp_path: Path) -> None:
    """File, line and column; the rest of the run is left alone."""
    run = whole_run(tmp_path / "run")
    (results,) = run.path.glob("results_*.json")
    damage(results, 300)
    with pytest.raises(InputError, match=r"results_.+\.json:\d+:\d+: not JSON \(.+half-written"):
        read_run(run.path)


def test_half_written_samples_are_named(tmp_path: Path) -> None:
    """File and line of the first row that is cut off."""
    run = whole_run(tmp_path / "run")
    file = damage(run.samples["closed_book"], -20)
    rows = read_samples(file)
    assert [next(rows)["doc_id"] for _ in range(TOTAL - 1)] == list(range(TOTAL - 1))
    with pytest.raises(InputError, match=rf"samples_.+\.jsonl:{TOTAL}: not a JSON object; .* half-written"):
        next(rows)


@pytest.mark.parametrize("line", [b"[1]", b"3", b"", b"\xff", b'{"a": 1} x'])
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: bytes) -> None:
    """Anything but one JSON object a line."""
    file = tmp_path / "samples.jsonl"
    file.write_bytes(b'{"a": 1}\n' + line + b'\n{"a": 2}\n')
    with pytest.raises(InputError, match=r"samples\.jsonl:2: not a JSON object"):
        list(read_samples(file))


def test_missing_samples_are_named(tmp_path: Path) -> None:
    """The system's reason is passed on."""
    with pytest.raises(InputError, match=r"none\.jsonl: cannot be read \(No such file"):
        list(read_samples(tmp_path / "none.jsonl"))


def test_half_written_knowledge_is_named(tmp_path: Path) -> None:
    """A Parquet file that is cut off, or is none, or is not there."""
    run = whole_run(tmp_path / "run")
    file = damage(run.path / KNOWLEDGE, -10)
    with pytest.raises(InputError, match=r"knowledge\.parquet: not a readable Parquet file .+; probe again"):
        read_knowledge(run.path)
    file.write_bytes(b"")
    with pytest.raises(InputError, match=r"knowledge\.parquet: not a readable Parquet file"):
        read_knowledge(file)
    with pytest.raises(InputError, match="none: no such file; expected the --out directory of `slick probe`"):
        read_knowledge(tmp_path / "none")


def parquet(path: Path, change: Callable[[Any], Any], metadata: Mapping[str, str] | None = None) -> Path:
    """A probe's knowledge file, changed."""
    import pyarrow.parquet as pq

    write_knowledge(path, [knowledge_of(i) for i in range(TOTAL)], {"schema": 1})
    table = change(pq.read_table(path))
    pq.write_table(table if metadata is None else table.replace_schema_metadata(metadata), path)
    return path


def exact_knowledge_of(i: int) -> Knowledge:
    chances = Chances(tuple(j / 160**2 for j in range(i, i + TOTAL)), n_samples=i + 1, pruned=1e-7, uncertain=i == 2)
    return Knowledge(FACTS[i], max(0, i - 3), TOTAL, before_right=1, before_total=5, chances=chances)


def test_exact_knowledge_is_read_back(tmp_path: Path) -> None:
    """Every digit of it, beside sampled knowledge, whose columns are null; u and flags stand there for readers."""
    import pyarrow.parquet as pq

    knowledge = [exact_knowledge_of(i) for i in range(TOTAL - 1)] + [knowledge_of(TOTAL - 1)]
    file = tmp_path / "k.parquet"
    write_knowledge(file, knowledge, {})
    assert read_knowledge(file).knowledge == tuple(knowledge)
    table = pq.read_table(file).to_pydict()
    assert table["u"] == [k.u for k in knowledge]
    assert table["flagged"] == [k.flagged for k in knowledge]
    assert table["p_sampled"] == [k.p_sampled for k in knowledge]
    assert [table[name][-1] for name in (*CHANCES, "u", "flagged")] == [None] * 6


def test_the_chance_to_keep_a_category_stands_beside_it(tmp_path: Path) -> None:
    """Of enough facts it is `chance_kept`'s; of too few it is null, never 0 or 1."""
    import pyarrow.parquet as pq

    facts = [Fact.create(f"Q{i}?", ["a"]) for i in range(40)]
    knowledge = [Knowledge(fact, i % (TOTAL + 1), TOTAL, 1, 16) for i, fact in enumerate(facts)]
    for written in (knowledge, knowledge[:5]):
        write_knowledge(tmp_path / "k.parquet", written, {})
        assert pq.read_table(tmp_path / "k.parquet").to_pydict()["keeps"] == chance_kept(written)
    assert chance_kept(knowledge[:5]) == [None] * 5


def test_knowledge_of_before_the_exact_estimator_is_read(tmp_path: Path) -> None:
    """A file without its columns holds sampled knowledge."""
    file = parquet(tmp_path / "k.parquet", lambda t: t.drop_columns([*CHANCES, "u", "flagged", "keeps"]))
    assert read_knowledge(file).knowledge == tuple(knowledge_of(i) for i in range(TOTAL))


@pytest.mark.parametrize(
    ("chances", "message"),
    [
        ({"p_by_set": [0.5] * (TOTAL - 1)}, "8 greedy answers but chances of 7 sets"),
        ({"p_by_set": [1.5] * TOTAL}, "1.5 is no probability"),
        ({"p_by_set": [None] * TOTAL}, "NoneType"),
        ({"n_samples": None}, "NoneType"),
        ({"n_samples": 0}, "0 samples a set cannot be"),
    ],
)
def test_chances_that_cannot_be_are_named_by_their_row(tmp_path: Path, chances: dict[str, Any], message: str) -> None:
    """As counts that cannot be."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = tmp_path / "k.parquet"
    write_knowledge(file, [exact_knowledge_of(0), exact_knowledge_of(1)], {})
    table = pq.read_table(file)
    rows = table.to_pylist()
    rows[1] |= chances
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)
    with pytest.raises(InputError, match=rf"k\.parquet row 1: not a probed fact \(.*{message}"):
        read_knowledge(file)


def test_knowledge_that_lacks_a_column_is_named(tmp_path: Path) -> None:
    """All missing columns and what was found instead."""
    file = parquet(tmp_path / "k.parquet", lambda t: t.drop_columns(["greedy_right", "subject"]))
    with pytest.raises(InputError, match=r"k\.parquet: lacks the columns \['subject', 'greedy_right'\]; found \['id'"):
        read_knowledge(file)


def test_knowledge_without_rows_is_refused(tmp_path: Path) -> None:
    """A probe of nothing tells nothing."""
    with pytest.raises(InputError, match=r"k\.parquet: holds no facts"):
        read_knowledge(parquet(tmp_path / "k.parquet", lambda t: t.slice(0, 0)))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("greedy_right", TOTAL + 1, "9 right of 8 greedy answers cannot be"),
        ("greedy_total", 0, "right of 0 greedy answers cannot be"),
        ("greedy_right", None, "NoneType"),
        ("answers", None, "answers must be a list"),
    ],
)
def test_knowledge_that_cannot_be_is_named_by_its_row(tmp_path: Path, column: str, value: object, message: str) -> None:
    """Counts and answers that no probe can have written."""

    def change(table: Any) -> Any:
        import pyarrow as pa

        at = table.column_names.index(column)
        values = [*table.column(column).to_pylist()[:-1], value]
        return table.set_column(at, column, pa.array(values, table.schema.field(column).type))

    with pytest.raises(InputError, match=rf"k\.parquet row {TOTAL - 1}: not a probed fact \(.*{message}"):
        read_knowledge(parquet(tmp_path / "k.parquet", change))


@pytest.mark.parametrize(("recorded", "found"), [('{"schema": 1}', {"schema": 1}), ("[1]", {}), (None, {})])
def test_the_provenance_of_knowledge_is_a_mapping(tmp_path: Path, recorded: str | None, found: dict[str, Any]) -> None:
    """Files of other origin may have none."""
    metadata = {"slick": recorded} if recorded else {}
    assert read_knowledge(parquet(tmp_path / "k.parquet", lambda t: t, metadata)).provenance == found


def test_a_provenance_that_is_not_json_is_named(tmp_path: Path) -> None:
    """Half a provenance is none."""
    with pytest.raises(InputError, match=r"k\.parquet: its provenance is not JSON; probe again"):
        read_knowledge(parquet(tmp_path / "k.parquet", lambda t: t, {"slick": "{"}))


def test_a_future_schema_is_refused(tmp_path: Path) -> None:
    """A file that a later version wrote is not guessed at."""
    run = whole_run(tmp_path / "run")
    (results,) = run.path.glob("results_*.json")
    document = json.loads(results.read_text())
    document["slick"]["schema"] = 2
    results.write_text(json.dumps(document))
    with pytest.raises(InputError, match="schema version 2, this slick reads up to 1; upgrade slick"):
        read_run(run.path)


def test_a_directory_without_a_run_is_named(tmp_path: Path) -> None:
    """Absent, empty, or with results that are none."""
    with pytest.raises(InputError, match="none: no such run directory"):
        read_run(tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no results_\*\.json"):
        read_run(tmp_path)
    (tmp_path / "results_1.json").write_text('{"accuracy": 1}')
    with pytest.raises(InputError, match=r'results_1\.json: has no "results" table'):
        read_run(tmp_path)


def test_a_run_of_another_task_is_read_too(tmp_path: Path) -> None:
    """lm_eval puts its files one directory lower; its newest results are taken, with their own samples."""
    below = tmp_path / "org__model"
    below.mkdir()
    for stamp in ("2024-01-01T00-00-00.5", "2025-01-01T00-00-00.5"):
        (below / f"results_{stamp}.json").write_text('{"results": {"arc": {}}}')
        (below / f"samples_arc_{stamp}.jsonl").write_text("{}\n")
    run = read_run(tmp_path)
    assert run.samples == {"arc": below / "samples_arc_2025-01-01T00-00-00.5.jsonl"}
    assert (run.kind, run.provenance) == ("lm_eval", {})
    with pytest.raises(InputError, match="holds no knowledge; expected a `slick probe` run"):
        read_knowledge(tmp_path)


def test_datasets_reads_samples_and_knowledge(tmp_path: Path) -> None:
    """The two files are what any reader of JSON Lines and Parquet expects."""
    from datasets import load_dataset

    run = whole_run(tmp_path / "run")
    kwargs: dict[str, Any] = {"split": "train", "cache_dir": str(tmp_path / "cache")}
    samples = load_dataset("json", data_files=str(run.samples["closed_book"]), **kwargs)
    assert samples["doc_id"][:] == list(range(TOTAL))
    assert samples[1]["resps"] == row(1)["resps"]
    assert samples[1]["doc"]["answers"] == ["Ä", "b"]
    knowledge = load_dataset("parquet", data_files=str(run.path / KNOWLEDGE), **kwargs)
    assert knowledge["category"][:] == [str(knowledge_of(i).category) for i in range(TOTAL)]
    assert knowledge["p_greedy"][-1] == 7 / 8


def test_lm_evals_own_readers_know_our_files(tmp_path: Path) -> None:
    """Its functions for file names and its results table take ours."""
    from lm_eval.utils import (
        get_file_datetime,
        get_file_task_name,
        get_latest_filename,
        get_results_filenames,
        get_sample_results_filenames,
        make_table,
    )

    run = whole_run(tmp_path / "run")
    files = [str(path) for path in run.path.iterdir()]
    (results,) = get_results_filenames(files)
    (samples,) = get_sample_results_filenames(files)
    assert get_file_task_name(Path(samples).name) == "closed_book"
    assert get_file_datetime(Path(samples).stem) == get_file_datetime(Path(results).stem)
    assert get_latest_filename(["/results_2020-01-01T00-00-00.000001.json", results]) == results
    table = make_table(json.loads(Path(results).read_text()))
    assert "|closed_book" in table
    assert "closed_book_r1" in table
    assert "exact_match" in table
