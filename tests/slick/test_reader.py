"""slick.reader: facts of every source, chosen by split, relation and limit, or one error that says why not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slick import entityquestions, reader
from slick.errors import InputError, RunError
from slick.facts import Fact
from slick.reader import read_facts, read_selection

# Text as UTF-8 can hold it; no blank-only strings, and answers are one line.
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(str.strip)
ANSWER = TEXT.filter(lambda text: not set(text) & {"\n", "\r"})
ROW = st.fixed_dictionaries({"question": TEXT, "answers": st.lists(ANSWER, min_size=1, max_size=3), "relation": TEXT})


def write(rows: list[dict[str, Any]], path: Path) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def rows_of(relation: str, split: str, n: int) -> list[dict[str, Any]]:
    return [
        {"question": f"{relation} {split} {i}?", "answer": "a", "relation": relation, "split": split} for i in range(n)
    ]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two relations over three splits: r1 has train, dev and test, r2 only dev and test."""
    rows = rows_of("r1", "train", 6) + rows_of("r1", "validation", 2) + rows_of("r1", "test", 3)
    return write(rows + rows_of("r2", "dev", 2) + rows_of("r2", "test", 5), tmp_path / "facts.jsonl")


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, object], None]:
    """Installs a source of facts under a name, in place of all others."""

    def install(name: str, facts: object) -> None:
        monkeypatch.setattr(reader, "facts_source", {name: lambda: facts}.get)
        monkeypatch.setattr(reader, "facts_names", lambda: [name])

    return install


def test_all_facts_come_in_the_order_of_the_source(mixed: Path) -> None:
    """Without a choice nothing is left out or moved."""
    facts = read_facts(mixed)
    assert [fact.question for fact in facts] == [json.loads(line)["question"] for line in mixed.open()]
    assert facts == read_facts(str(mixed))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(rows=st.lists(ROW, min_size=1, max_size=5))
def test_json_lines_json_and_parquet_give_equal_facts(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    """Whatever text the rows hold, the same facts with the same ids come out of each format."""
    lines = read_facts(write(rows, tmp_path / "x.jsonl"))
    (tmp_path / "x.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert lines == read_facts(tmp_path / "x.json") == read_facts(tmp_path / "x.parquet")
    assert [(f.question, list(f.answers), f.relation) for f in lines] == [
        (row["question"], row["answers"], row["relation"]) for row in rows
    ]


def test_what_as_dict_writes_is_read_back(tmp_path: Path) -> None:
    """A file of our own facts is a source of the same facts."""
    facts = [Fact.create("q", ["a", "b"], relation="r", subject="s", split="ood", id="x")]
    assert read_facts(write([fact.as_dict() for fact in facts], tmp_path / "x.jsonl")) == facts


def test_a_dataset_dict_gives_splits(tmp_path: Path) -> None:
    """The splits of a DatasetDict are the facts' splits, validation under its name here."""
    import datasets

    part = datasets.Dataset.from_list([{"question": "q", "answers": ["a"]}])
    datasets.DatasetDict({"train": part, "validation": part}).save_to_disk(str(tmp_path / "d"))
    assert [fact.split for fact in read_facts(tmp_path / "d")] == ["train", "dev"]
    assert len(read_facts(tmp_path / "d", split="validation")) == 1


def test_split_and_relations_choose(mixed: Path) -> None:
    """Only the facts of the split and of the relations named, once each."""
    assert len(read_facts(mixed, split="test")) == 8
    assert len(read_facts(mixed, split="validation")) == len(read_facts(mixed, split="dev")) == 4
    assert len(read_facts(mixed, split="test", relations=["r2", "r2"])) == 5
    assert len(read_facts(mixed, relations=["r1"])) == 11
    assert read_facts(mixed, relations=[]) == read_facts(mixed)


def test_limit_draws_in_proportion_after_the_choice(mixed: Path) -> None:
    """The limit holds for what split and relations leave, the same facts for the same seed."""
    drawn = read_facts(mixed, split="test", limit=4, seed=1)
    assert Counter(fact.relation for fact in drawn) == {"r1": 2, "r2": 2}  # of 3 and 5: 1.5 and 2.5
    assert drawn == read_facts(mixed, split="test", limit=4, seed=1)
    assert any(drawn != read_facts(mixed, split="test", limit=4, seed=seed) for seed in range(2, 9))
    assert len(read_facts(mixed, split="test", limit=100)) == 8


def test_a_selection_comes_with_the_whole_source(mixed: Path) -> None:
    """What exemplars are drawn from is read together with the facts that are asked."""
    chosen, everything = read_selection(mixed, split="test", relations=["r1"], limit=2)
    assert chosen == read_facts(mixed, split="test", relations=["r1"], limit=2)
    assert everything == read_facts(mixed)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused_before_anything_is_read(limit: int) -> None:
    """No download starts for a wrong number."""
    with pytest.raises(InputError, match=f"limit: found {limit}, expected at least 1"):
        read_facts("entityq", limit=limit)


def test_an_unknown_split_lists_the_splits_with_counts(mixed: Path) -> None:
    """What there is, and how much of it, stands in the message."""
    with pytest.raises(InputError, match=r"no facts of split 'tset'; found train \(6\), dev \(4\), test \(8\)"):
        read_facts(mixed, split="tset")


def test_a_split_of_facts_without_splits_says_so(tmp_path: Path) -> None:
    """Asking for a split of data that has none names the remedy."""
    path = write([{"question": "q", "answer": "a"}], tmp_path / "x.jsonl")
    with pytest.raises(InputError, match="found 1 facts without splits; leave the split out, or give the data"):
        read_facts(path, split="test")


def test_a_relation_that_lacks_the_split_is_not_left_out_in_silence(mixed: Path) -> None:
    """Of two relations named, the one without facts in the split is an error."""
    with pytest.raises(InputError, match=r"relation r2: found dev \(2\), test \(5\)"):
        read_facts(mixed, split="train", relations=["r1", "r2"])
    assert {fact.relation for fact in read_facts(mixed, split="train")} == {"r1"}


def test_unknown_relations_are_all_named_with_the_nearest(mixed: Path) -> None:
    """Each unknown relation gets a line with those present and what was probably meant."""
    with pytest.raises(InputError, match=r"'R1': found r1, r2; did you mean 'r1'") as raised:
        read_facts(mixed, relations=["R1", "P17", "r2"])
    assert "'P17': found r1, r2" in str(raised.value)
    assert "'r2': found" not in str(raised.value)


def test_a_dropped_relation_of_entityquestions_says_why(named: Callable[[str, object], None]) -> None:
    """The five relations that the paper leaves out are known, and cannot be asked for."""
    named("entityq", [Fact.create("q", ["a"], relation="P131", split="test")])
    with pytest.raises(InputError, match="'P276': the paper leaves it out, as too like one of its 12"):
        read_facts("entityq", relations=["P276"])


def test_a_relation_is_only_dropped_where_the_paper_s_splits_are_read(tmp_path: Path) -> None:
    """A user's own file may have a relation P276, and may lack it for no deeper reason."""
    path = write([{"question": "q", "answer": "a", "relation": "P276"}], tmp_path / "x.jsonl")
    assert len(read_facts(path, relations=["P276"])) == 1
    with pytest.raises(InputError, match="'P20': found P276"):
        read_facts(path, relations=["P20"])


def test_a_directory_with_a_copy_of_entityquestions_is_read_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that holds EntityQuestions' files, even under dataset/, gives the paper's splits."""
    facts = [Fact.create("q", ["a"], relation="P17", split="test")]
    monkeypatch.setattr(entityquestions, "read_directory", lambda path: facts)
    (tmp_path / "dataset" / "test").mkdir(parents=True)
    (tmp_path / "dataset" / "test" / "P17.test.json").write_text("[]")
    assert read_facts(tmp_path) == facts


def test_a_name_is_taken_before_a_path_of_that_name(
    named: Callable[[str, object], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`lab` is the source called lab; a `Path`, or ./lab, is always a path."""
    facts = [Fact.create("q", ["a"], relation="r")]
    named("lab", facts)
    monkeypatch.chdir(tmp_path)
    Path("lab").mkdir()
    assert read_facts("lab") == facts
    for path in (Path("lab"), "./lab"):
        with pytest.raises(InputError, match="neither an EntityQuestions copy"):
            read_facts(path)


@pytest.mark.parametrize("returned", [[], ["q"]])
def test_a_named_source_that_gives_no_facts_is_a_run_error(
    named: Callable[[str, object], None], returned: object
) -> None:
    """What an installed package returns is not the user's mistake."""
    named("lab", returned)
    with pytest.raises(RunError, match="facts source 'lab': returned no list of facts"):
        read_facts("lab")


def test_a_missing_path_suggests_names_and_neighbours(mixed: Path, named: Callable[[str, object], None]) -> None:
    """A slip of the pen in a name or a path is answered with what there is."""
    named("entityq", [])
    with pytest.raises(InputError, match=r"no such file .* names are entityq; did you mean 'entityq'"):
        read_facts("entitiyq")
    with pytest.raises(InputError, match=r"did you mean 'facts\.jsonl'"):
        read_facts(mixed.with_name("fact.jsonl"))


@pytest.mark.parametrize("path", ["~nobody-of-that-name/x.jsonl", "x" * 5000])
def test_a_path_that_no_system_can_have_is_an_input_error(path: str) -> None:
    """An unknown home directory or a name without end is the user's to mend."""
    with pytest.raises(InputError, match="cannot be read"):
        read_facts(path)


def test_a_file_that_cannot_be_opened_is_an_input_error(tmp_path: Path) -> None:
    """What looks like a file and is none that can be read is named with the reason."""
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    with pytest.raises(InputError, match=r"loop\.jsonl: (cannot be read|no such file)"):
        read_facts(tmp_path / "loop.jsonl")


def test_all_mistakes_of_a_file_are_reported_together(tmp_path: Path) -> None:
    """Lines that cannot be read and rows that are no facts stand in one error, exit code 2."""
    path = tmp_path / "x.jsonl"
    path.write_text('{"question": "q", "answers": []}\n{"question": "half\n{"question": "q", "answer": "a"}\n')
    with pytest.raises(InputError, match="cannot be read as facts:") as raised:
        read_facts(path)
    assert f"{path}:1: answers: found an empty list" in str(raised.value)
    assert f"{path}:2:14: not JSON" in str(raised.value)
    assert f"{path}:3" not in str(raised.value)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_an_error(tmp_path: Path, content: str) -> None:
    """No facts are never a result."""
    (tmp_path / "x.jsonl").write_text(content)
    with pytest.raises(InputError, match="no rows; expected at least one fact"):
        read_facts(tmp_path / "x.jsonl")


def test_empty_parquet_and_datasets_are_errors(tmp_path: Path) -> None:
    """A file with the right columns and no rows is as empty as one without anything."""
    import datasets

    schema = pa.schema([("question", pa.string()), ("answers", pa.list_(pa.string()))])
    pq.write_table(schema.empty_table(), tmp_path / "x.parquet")
    datasets.Dataset(schema.empty_table()).save_to_disk(str(tmp_path / "d"))
    for path in (tmp_path / "x.parquet", tmp_path / "d"):
        with pytest.raises(InputError, match="no rows; expected at least one fact"):
            read_facts(path)


def test_rows_of_parquet_that_are_no_facts_are_named_by_number(tmp_path: Path) -> None:
    """Parquet has no lines; its rows count from 1."""
    pq.write_table(pa.table({"question": ["q", None, " "], "answer": ["a", "b", "c"]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"x\.parquet row 2: question: missing[^\0]*row 3: question: found ' '"):
        read_facts(tmp_path / "x.parquet")


def test_the_reader_loads_no_heavy_library() -> None:
    """Reading JSON Lines needs neither pyarrow nor datasets nor the hub's client."""
    import subprocess
    import sys

    code = (
        "import slick.reader, sys; print([m for m in sys.modules if m.split('.')[0] in "
        "('pyarrow', 'datasets', 'huggingface_hub', 'torch', 'numpy', 'pandas')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
