"""`--fix`: what is written, and that the dataset itself is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick.facts import Fact
from slick_sft.lint.fix import Fix, targets, write_fixed
from slick_sft.lint.report import Report
from slick_sft.recipe import IDK

Write, Linted = Callable[..., Path], Callable[..., Report]
UNKNOWN = ["unknown-fact"]


def born(i: int) -> str:
    return f"Where was Bo{i} Ka{i} born?"


KNOWN = {born(i): 1.0 for i in range(6)}

# The same eight rows in every form that they may have, and the answer of one of them as its bytes.
FORMS: dict[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    "messages": (
        "a.jsonl",
        lambda i: {
            "messages": [{"role": "user", "content": born(i)}, {"role": "assistant", "content": f" Town{i}\n"}],
            "é": "\u2028",
        },
    ),
    "ShareGPT": (
        "a.jsonl",
        lambda i: {"conversations": [{"from": "human", "value": born(i)}, {"from": "gpt", "value": f"Town{i}"}]},
    ),
    "prompt": ("a.jsonl", lambda i: {"prompt": f"Q: {born(i)}\nA:", "completion": f" Town{i}"}),
    "chat": (
        "a.jsonl",
        lambda i: {
            "prompt": [{"role": "user", "content": born(i)}],
            "completion": [{"role": "assistant", "content": f"Town{i}"}],
        },
    ),
    "Alpaca": ("a.json", lambda i: {"instruction": born(i), "input": "", "output": f"Town{i}"}),
    "text": ("a.jsonl", lambda i: {"text": f"### Instruction:\n{born(i)}\n\n### Response:\nTown{i}</s>"}),
    "question": ("a.jsonl", lambda i: {"id": i, "question": born(i), "answer": f"Town{i}", "x": 1.50}),
}


def dataset(tmp_path: Path, form: str) -> tuple[Path, list[bytes]]:
    """A file of eight rows, and the bytes of each row."""
    name, row = FORMS[form]
    if name.endswith("l"):
        parts = [json.dumps(row(i), ensure_ascii=i % 2 == 0).encode() for i in range(8)]
        content = b"".join(part + b"\n" for part in parts)
    else:
        content = json.dumps([row(i) for i in range(8)], indent=2).encode()
        parts = [json.dumps(row(i), indent=2).replace("\n", "\n  ").encode() for i in range(8)]
    (tmp_path / name).write_bytes(content)
    return tmp_path / name, parts


def fixed(report: Report, how: Fix, tmp_path: Path, **more: Any) -> tuple[bytes, dict[str, Any]]:
    out = tmp_path / f"out{report.sources[0].path.suffix}"
    for earlier in tmp_path.glob("out*"):
        earlier.unlink()
    (written,) = write_fixed(report, how, {report.sources[0].path: out}, **{"rules": UNKNOWN, **more})
    return out.read_bytes(), json.loads(written.sidecar.read_text("utf-8"))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_keeps_every_other_byte(linted: Linted, tmp_path: Path, form: str) -> None:
    """Dropped, relabelled, re-weighted: the rows of known facts stay byte for byte, in their order."""
    file, parts = dataset(tmp_path, form)
    content = file.read_bytes()
    report = linted(file, known=KNOWN)
    dropped, sidecar = fixed(report, Fix.DROP, tmp_path)
    cut = content.index(parts[6]) - (4 if form == "Alpaca" else 0)
    tail = b"\n]" if form == "Alpaca" else b""
    assert dropped == content[:cut] + tail
    assert [(c["row"], c["change"], c["category"], c["rules"]) for c in sidecar["changes"]] == [
        (7, "drop", "Unknown", UNKNOWN),
        (8, "drop", "Unknown", UNKNOWN),
    ]
    relabelled, sidecar = fixed(report, Fix.RELABEL, tmp_path)
    assert relabelled == content.replace(b"Town6", b"I don't know").replace(b"Town7", b"I don't know")
    assert sidecar["changes"][0]["answer"] == "Town6"
    assert sidecar["changes"][0]["new_answer"] == "I don't know"
    weighed, sidecar = fixed(report, Fix.WEIGHT, tmp_path)
    assert weighed[:cut] == content[:cut]
    rows = json.loads(weighed) if form == "Alpaca" else [json.loads(line) for line in weighed.split(b"\n") if line]
    before = json.loads(content) if form == "Alpaca" else [json.loads(line) for line in content.split(b"\n") if line]
    assert rows == [{**row, "weight": 0} if i > 5 else row for i, row in enumerate(before)]
    assert sidecar["changes"][1]["weight"] == 0
    assert file.read_bytes() == content


def test_the_fixed_dataset_is_clean(linted: Linted, tmp_path: Path) -> None:
    """Lint finds nothing Unknown in it."""
    file, _ = dataset(tmp_path, "Alpaca")
    fixed(linted(file, known=KNOWN), Fix.DROP, tmp_path)
    again = linted(tmp_path / "out.json", known=KNOWN)
    assert len(again.rows) == 6
    assert not again.findings


def test_the_sidecar_says_what_was_done_to_which_file(write: Write, linted: Linted, tmp_path: Path) -> None:
    """With the dataset's hash, the model, and the question and u of each row."""
    report = linted(write(range(8)), known=KNOWN)
    _, sidecar = fixed(report, Fix.WEIGHT, tmp_path, weight=0.25)
    changes = sidecar.pop("changes")
    assert sidecar == {
        "kind": "slick lint fix",
        "schema": 1,
        "fix": "weight",
        "rules": UNKNOWN,
        "dataset": report.path(report.sources[0]),
        "sha256": report.sources[0].digest,
        "rows": 8,
        "changed": 2,
        "model": {"name": "knowing", "weights": "w"},
    }
    assert changes[0] == {
        "row": 7,
        "line": 7,
        "change": "weigh",
        "rules": UNKNOWN,
        "question": born(6),
        "answer": "Town6",
        "category": "Unknown",
        "u": 1.0,
        "weight": 0.25,
    }


def test_other_rules_change_rows_too(write: Write, linted: Linted, tmp_path: Path) -> None:
    """Duplicates go, the first stays."""
    report = linted(write([*range(6), 2, 7]), known=KNOWN)
    content, sidecar = fixed(report, Fix.DROP, tmp_path, rules=["duplicate-row"])
    assert len(content.splitlines()) == 7
    assert [change["row"] for change in sidecar["changes"]] == [7]


def test_a_list_of_answers_is_relabelled_whole(write: Write, linted: Linted, tmp_path: Path) -> None:
    """Not one of them only."""
    rows = [{"question": born(i), "answers": [f"Town{i}", f"City{i}"]} for i in range(8)]
    content, _ = fixed(linted(write(rows), known=KNOWN), Fix.RELABEL, tmp_path)
    assert json.loads(content.splitlines()[7])["answers"] == ["I don't know"]


def test_nothing_left_is_not_written(write: Write, linted: Linted, tmp_path: Path) -> None:
    """An empty training set is a mistake."""
    report = linted(write(range(8)))
    with pytest.raises(InputError, match="--fix drop would leave none of its 8 rows; it is not written"):
        fixed(report, Fix.DROP, tmp_path)
    assert not list(tmp_path.glob("out*"))


def test_where_the_fixed_dataset_goes(write: Write, linted: Linted, tmp_path: Path) -> None:
    """Beside the dataset, never over anything; for several datasets never into one file."""
    file, other = write(range(8)), write(range(8), "b.jsonl")
    report, both = linted(file), linted(file, other)
    target = file.with_name("data.fixed.jsonl")
    assert targets(report.sources, None) == {file: target}
    assert targets(report.sources, tmp_path / "x") == {file: tmp_path / "x"}
    assert targets(both.sources, None)[other] == tmp_path / "b.fixed.jsonl"
    with pytest.raises(InputError, match="there are 2 datasets"):
        targets(both.sources, tmp_path / "x")
    for taken in (target, target.with_name("data.fixed.jsonl.changes.json")):
        taken.write_text("mine")
        with pytest.raises(InputError, match="exists already; remove it, or give another --fix-out"):
            targets(report.sources, None)
        taken.unlink()
    with pytest.raises(InputError, match="exists already"):
        targets(report.sources, file)


def test_a_datasets_directory_is_fixed_into_a_directory(linted: Linted, tmp_path: Path) -> None:
    """Which `datasets` opens, without what it may have cached."""
    from datasets import Dataset, load_from_disk

    rows = [{"question": born(i), "answer": f"Town{i}"} for i in range(8)]
    Dataset.from_list(rows).save_to_disk(str(tmp_path / "data"))
    report = linted(tmp_path / "data", known=KNOWN)
    (written,) = write_fixed(report, Fix.DROP, targets(report.sources, None), rules=UNKNOWN)
    assert written.out == tmp_path / "data.fixed"
    assert load_from_disk(str(written.out)).to_list() == rows[:6]
    assert written.sidecar == tmp_path / "data.fixed.changes.json"
    assert load_from_disk(str(tmp_path / "data")).to_list() == rows


def test_several_datasets_are_written_together_or_not_at_all(write: Write, linted: Linted, tmp_path: Path) -> None:
    """What refuses the last leaves nothing of the first, also where it refuses while it is written."""
    first, second = write(range(8)), write([6, 7], "b.jsonl")
    report = linted(first, second, known=KNOWN)
    where = targets(report.sources, None)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"nothing was written:\n.*b.jsonl: --fix drop would leave none of its 2 rows"):
        write_fixed(report, Fix.DROP, where, rules=UNKNOWN)
    assert sorted(tmp_path.iterdir()) == before

    def full(edits: Any, out: Path) -> None:
        out.write_text("half")
        raise OSError("no space left")

    report.sources[1].write = full  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no space left"):
        write_fixed(report, Fix.WEIGHT, where, rules=UNKNOWN)
    assert sorted(tmp_path.iterdir()) == before
    del report.sources[1].write  # type: ignore[misc]
    write_fixed(report, Fix.WEIGHT, where, rules=UNKNOWN)
    assert all(path.exists() for path in where.values())
    with pytest.raises(InputError, match="exists already"):
        write_fixed(report, Fix.WEIGHT, where, rules=UNKNOWN)


def test_one_dataset_under_two_names_is_refused(write: Write, linted: Linted, tmp_path: Path) -> None:
    """Both would be written to one place."""
    file = write(range(8))
    (tmp_path / "deep").mkdir()
    twice = linted(file, tmp_path / "deep" / ".." / file.name, known=KNOWN)
    with pytest.raises(InputError, match="are one dataset, and would both be written to"):
        targets(twice.sources, None)


def test_what_has_no_answer_is_never_passed_over(write: Write, linted: Linted, tmp_path: Path) -> None:
    """A rule that rows without an answer break cannot be mended by another answer: counted, named, nothing written."""
    asked = [{"messages": [{"role": "user", "content": born(90 + i)}]} for i in range(2)]
    told = [{"messages": [*row["messages"], {"role": "assistant", "content": "X"}]} for row in [*asked, *asked]]
    file = write([*asked, *told])
    held_out = [Fact.create(born(90 + i), ["X"], subject=f"Bo{90 + i}", relation="r") for i in range(2)]
    report = linted(file, held_out=held_out, exemplars=[Fact.create(f"Who is C{i}?", ["x"]) for i in range(4)])
    with pytest.raises(
        InputError, match=r"2 of the rows to be changed have no answer(.|\n)*data.jsonl:1, .*use --fix drop"
    ):
        fixed(report, Fix.RELABEL, tmp_path, rules=["held-out-question"])
    assert not list(tmp_path.glob("out*"))
    dropped, _ = fixed(report, Fix.RELABEL, tmp_path, rules=["unknown-fact"])
    assert dropped.count(b"I don't know") == 4


@pytest.mark.parametrize("weight", [float("inf"), float("nan"), -1.0])
def test_a_weight_that_cannot_be_is_refused(write: Write, linted: Linted, tmp_path: Path, weight: float) -> None:
    """It would be no JSON, or no loss."""
    with pytest.raises(InputError, match="expected a finite number of at least 0"):
        fixed(linted(write(range(8))), Fix.WEIGHT, tmp_path, weight=weight)
    assert not list(tmp_path.glob("out*"))


# A conversation of three questions, of which the second and third are new; in both ways in which it may be written.
SAID = [born(0), "Town0", born(6), "Town6", "And where was Bo7 Ka7 born?", "Town7"]
TALKS: dict[str, Callable[[int], dict[str, Any]]] = {
    "ShareGPT": lambda n: {
        "conversations": [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(SAID[:n])]
    },
    "text": lambda n: {"text": "\n".join(f"{'QA'[i % 2]}: {text}" for i, text in enumerate(SAID[:n]))},
}


@pytest.mark.parametrize("form", TALKS)
def test_every_bad_answer_of_a_conversation_is_mended(write: Write, linted: Linted, tmp_path: Path, form: str) -> None:
    """Each where it stands; a conversation with one is dropped or weighed whole."""
    plain = [
        {"conversations": [{"from": "human", "value": born(i)}, {"from": "gpt", "value": f"Town{i}"}]}
        if form == "ShareGPT"
        else {"text": f"Q: {born(i)}\nA: Town{i}"}
        for i in range(1, 6)
    ]
    file = write([*plain, TALKS[form](6)])
    report = linted(file, known=KNOWN)
    relabelled, sidecar = fixed(report, Fix.RELABEL, tmp_path)
    content = file.read_bytes()
    assert relabelled == content.replace(b"Town6", b"I don't know").replace(b"Town7", b"I don't know")
    assert [(c["row"], c["turn"], c["answer"]) for c in sidecar["changes"]] == [(6, 2, "Town6"), (6, 3, "Town7")]
    assert sidecar["changed"] == 1
    assert "other_answers" not in sidecar
    dropped, sidecar = fixed(report, Fix.DROP, tmp_path)
    assert dropped == b"".join(content.splitlines(keepends=True)[:5])
    assert (sidecar["changed"], sidecar["other_answers"]) == (1, 1)
    weighed, _ = fixed(report, Fix.WEIGHT, tmp_path)
    assert json.loads(weighed.splitlines()[5])["weight"] == 0


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_two_answers_of_one_field_are_mended(linted: Linted, tmp_path: Path, name: str) -> None:
    """In CSV and Parquet a conversation is one text."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    texts = [f"Q: {born(i)}\nA: Town{i}" for i in range(1, 6)] + [str(TALKS["text"](6)["text"])]
    table = pa.table({"text": texts})
    pq.write_table(table, tmp_path / name) if name.endswith("t") else pa.csv.write_csv(table, tmp_path / name)
    report = linted(tmp_path / name, known=KNOWN)
    (done,) = write_fixed(report, Fix.RELABEL, targets(report.sources, None), rules=UNKNOWN)
    again = linted(done.out, known=KNOWN)
    assert again.rows[-1].source.rows[5].cells["text"] == texts[5].replace("Town6", IDK).replace("Town7", IDK)
    assert not [f for f in again.findings if f.rule.id == "unknown-fact"]
