"""slick.runs: runs on disk, damaged, and read by others."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick.knowledge_file import KNOWLEDGE, read_knowledge
from slick.run_writer import run_started
from slick.runs import Run, differences, read_run, read_samples


def damage(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


def test_a_finished_run_is_read_back(made_up: Any, tmp_path: Path) -> None:
    """Results, samples, provenance and knowledge come back as written, and nothing of the work is left."""
    run = made_up.whole(tmp_path / "run")
    assert run == read_run(str(run.path))
    assert run.kind == "score"
    assert run.provenance["settings"] == made_up.settings
    assert list(read_samples(run.samples["closed_book"])) == [made_up.row(i) for i in range(made_up.total)]
    assert read_knowledge(run.path).knowledge == tuple(made_up.knowledge(i) for i in range(made_up.total))
    assert read_knowledge(run.path / KNOWLEDGE).provenance == run.provenance
    names = sorted(path.name.split("_")[0] for path in run.path.iterdir())
    assert names == ["knowledge.parquet", "results", "samples"]


def test_results_stand_under_the_task_and_its_relations(made_up: Any, tmp_path: Path) -> None:
    """The task's own results first, its relations' as subtasks of the group."""
    results = made_up.whole(tmp_path / "run").results
    assert list(results["results"]) == ["closed_book", "closed_book_r0", "closed_book_r1"]
    assert results["group_subtasks"] == {"closed_book": ["closed_book_r0", "closed_book_r1"]}
    assert results["n-samples"] == {"closed_book": {"original": made_up.total, "effective": made_up.total}}


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


def test_half_written_results_are_named(made_up: Any, tmp_path: Path) -> None:
    """File, line and column; the rest of the run is left alone."""
    run = made_up.whole(tmp_path / "run")
    (results,) = run.path.glob("results_*.json")
    damage(results, 300)
    with pytest.raises(InputError, match=r"results_.+\.json:\d+:\d+: not JSON \(.+half-written"):
        read_run(run.path)


def test_half_written_samples_are_named(made_up: Any, tmp_path: Path) -> None:
    """File and line of the first row that is cut off."""
    run = made_up.whole(tmp_path / "run")
    file = damage(run.samples["closed_book"], -20)
    rows = read_samples(file)
    assert [next(rows)["doc_id"] for _ in range(made_up.total - 1)] == list(range(made_up.total - 1))
    with pytest.raises(InputError, match=rf"samples_.+\.jsonl:{made_up.total}: not a JSON object; .* half-written"):
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


def test_a_row_nested_by_the_thousand_is_named_with_its_line(tmp_path: Path) -> None:
    """The parser's recursion ends before the line does, which is the file's mistake and not ours."""
    file = tmp_path / "samples.jsonl"
    file.write_text('{"a": 1}\n{"a": ' + "[" * 100_000 + "]" * 100_000 + "}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"samples\.jsonl:2: not a JSON object"):
        list(read_samples(file))


def test_a_future_schema_is_refused(made_up: Any, tmp_path: Path) -> None:
    """A file that a later version wrote is not guessed at."""
    run = made_up.whole(tmp_path / "run")
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


def test_results_of_our_tasks_by_a_newer_slick_are_refused(tmp_path: Path) -> None:
    """Under lm_eval the schema stands in a task's metadata."""
    record = {"slick": {"schema": 2, "settings": {}}}
    document = {"results": {"t": {}}, "configs": {"t": {"metadata": record}}}
    (tmp_path / "results_1.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"results_1\.json: schema version 2, this slick reads up to 1; upgrade slick"):
        read_run(tmp_path)


def test_a_results_file_is_a_run_as_well(tmp_path: Path) -> None:
    """Whatever its name, with the samples of its own stamp, and called as its directory is."""
    place = tmp_path / "org__model"
    place.mkdir()
    files = [place / f"{name}.json" for name in ("results_2024-01-01T00-00-00.5", "mine_2025-01-01T00-00-00.5", "b")]
    for file in files:
        file.write_text('{"results": {"arc": {}}}')
        (place / f"samples_arc_{file.stem.rpartition('_')[2]}.jsonl").write_text("{}\n")
    for file in files:
        run = read_run(file)
        assert (run.path, run.name) == (file, "org__model")
        assert run.samples == {"arc": place / f"samples_arc_{file.stem.rpartition('_')[2]}.jsonl"}
    assert read_run(place).name == "org__model"


def test_a_file_that_holds_no_results_is_named(tmp_path: Path) -> None:
    """Samples given in their place, and JSON of something else."""
    (tmp_path / "samples_arc_1.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"samples_arc_1\.jsonl: expected a run's directory, or its results_\*\.json"):
        read_run(tmp_path / "samples_arc_1.jsonl")
    (tmp_path / "report.json").write_text('{"kind": "slick report"}')
    with pytest.raises(InputError, match=r"report\.json: is a 'slick report' document, no run; expected the runs"):
        read_run(tmp_path / "report.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(InputError, match=r'list\.json: has no "results" table'):
        read_run(tmp_path / "list.json")


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


def test_datasets_reads_samples_and_knowledge(made_up: Any, tmp_path: Path) -> None:
    """The two files are what any reader of JSON Lines and Parquet expects."""
    from datasets import load_dataset

    run = made_up.whole(tmp_path / "run")
    kwargs: dict[str, Any] = {"split": "train", "cache_dir": str(tmp_path / "cache")}
    samples = load_dataset("json", data_files=str(run.samples["closed_book"]), **kwargs)
    assert samples["doc_id"][:] == list(range(made_up.total))
    assert samples[1]["resps"] == made_up.row(1)["resps"]
    assert samples[1]["doc"]["answers"] == ["Ä", "b"]
    knowledge = load_dataset("parquet", data_files=str(run.path / KNOWLEDGE), **kwargs)
    assert knowledge["category"][:] == [str(made_up.knowledge(i).category) for i in range(made_up.total)]
    assert knowledge["p_greedy"][-1] == 7 / 8


def test_lm_evals_own_readers_know_our_files(made_up: Any, tmp_path: Path) -> None:
    """Its functions for file names and its results table take ours."""
    from lm_eval.utils import (
        get_file_datetime,
        get_file_task_name,
        get_latest_filename,
        get_results_filenames,
        get_sample_results_filenames,
        make_table,
    )

    run = made_up.whole(tmp_path / "run")
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


def test_the_date_is_written_as_lm_eval_writes_it_and_read_in_either_form(made_up: Any, tmp_path: Path) -> None:
    """Seconds since 1970, which converters of lm-eval's logs rely on; the text of an older run is read as it stands."""
    run = made_up.whole(tmp_path / "run")
    assert isinstance(run.results["date"], float)
    assert datetime.fromisoformat(run_started(run.path)).timestamp() == run.results["date"]
    dates = ((1735689600.25, "2025-01-01T00:00:00"), ("2025-01-02", "2025-01-02"), (None, ""), (True, "True"))
    for recorded, date in dates:
        assert Run(tmp_path, {"date": recorded}).date == date
