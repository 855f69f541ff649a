"""slick.store_command: the verb `slick store`, as a user runs it."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import slick.backend
import slick.store
from slick.cli import run
from slick.facts import Fact
from slick.run_writer import run_started
from slick.runs import read_run
from slick.store import Store, StoredModel

OLD = StoredModel(b"o" * 16, "old model", "0123456789abcdef" * 4, None, "hf")
TUNED = StoredModel(b"t" * 16, "tuned", "fedcba9876543210" * 4, "a" * 64, "slick-hf")
SERVED = StoredModel(b"s" * 16, "served", None, None, "local-completions", resuming=True)
DAY = 86_400.0


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three models, used 100, 10 and 1 days ago."""
    now = slick.store.time.time()
    with Store(tmp_path / "store") as store:
        for model, days, count in ((OLD, 100, 1500), (TUNED, 10, 3), (SERVED, 1, 2)):
            with monkeypatch.context() as patch:
                patch.setattr(slick.store.time, "time", lambda days=days: now - days * DAY)
                store.put(model, [(i.to_bytes(16, "big"), 0, "answer") for i in range(count)])
    return tmp_path / "store"


def held(path: Path) -> dict[str, int]:
    with Store(path) as store:
        return {h.model.name: h.responses for h in store.holdings()}


def test_the_list_says_what_there_is(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Per model: weights, adapter, backend, how much, since when; what only serves resuming is marked."""
    assert run(["store", "list", "--store", str(path)]) == 0
    out = capsys.readouterr().out
    first, *rows = [re.split("  +", line) for line in out.splitlines()]
    assert first == [f"{path}: 1,505 responses of 3 models, {path.stat().st_size:,} bytes on disk"]
    assert [(row[0], *row[1:3], *row[4:]) for row in rows] == [
        ("serves resuming", "2 responses", "12 bytes", "local-completions", "served"),
        ("fedcba987654 + aaaaaaaaaaaa", "3 responses", "18 bytes", "slick-hf", "tuned"),
        ("0123456789ab", "1,500 responses", "9,000 bytes", "hf", "old model"),
    ]
    assert all(re.fullmatch(r"(\d{4}-\d\d-\d\d) to \1", row[3]) for row in rows)


def test_the_environment_names_the_store(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no option does; switched off for runs, the one in the cache can still be looked after."""
    monkeypatch.setenv("SLICK_STORE", str(path))
    assert run(["store", "verify"]) == 0
    assert capsys.readouterr().out == f"{path}: all 1,505 responses are sound\n"
    monkeypatch.setenv("SLICK_STORE", "0")
    monkeypatch.setenv("SLICK_CACHE", str(path.parent))
    path.rename(path.parent / "responses.sqlite")
    assert run(["store", "verify"]) == 0


@pytest.mark.parametrize(
    ("options", "gone", "message"),
    [
        (["--model", "tuned"], {"tuned"}, "removed 3 responses of 1 models (tuned); "),
        (["--model", "0123456789ab"], {"old model"}, "removed 1,500 responses of 1 models (old model); "),
        (["--older-than", "9"], {"tuned", "old model"}, "removed 1,503 responses of 2 models (old model, tuned); "),
        (["--older-than", "500"], set(), "removed 0 responses of 0 models; "),
        (["--older-than", "50", "--model", "tuned"], set(), "removed 0 responses of 0 models; "),
        (["--older-than", "0"], {"old model", "tuned", "served"}, "removed 1,505 responses of 3 models"),
        (["--all"], {"old model", "tuned", "served"}, "removed 1,505 responses of 3 models (old model, served, tuned)"),
    ],
)
def test_pruning(
    path: Path, options: list[str], gone: set[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By name, digits, age, both, or all of it; what went is said, and its space is given back."""
    size = path.stat().st_size
    assert run(["store", "prune", "--store", str(path), *options]) == 0
    out = capsys.readouterr().out
    assert out.startswith(message)
    assert out.endswith(f"; {path.stat().st_size:,} bytes remain\n")
    assert set(held(path)) == {"old model", "tuned", "served"} - gone
    assert (path.stat().st_size < size / 2) == ("old model" in gone)
    assert run(["store", "verify", "--store", str(path)]) == 0


def test_pruning_goes_with_a_run_at_work(path: Path) -> None:
    """Another process has the store open: nothing waits, and its next answers are stored as before."""
    with Store(path) as other:
        assert run(["store", "prune", "--all", "--store", str(path)]) == 0
        assert other.get(OLD, [bytes(16)]) == {}
        other.put(OLD, [(bytes(16), 0, "again")])
    assert held(path) == {"old model": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give --all, or --model, or --older-than, or the last two together"),
        (["--all", "--model", "tuned"], "give --all, or --model"),
        (["--all", "--older-than", "0"], "give --all, or --model"),
        (["--model", "0123"], r"--model 0123: {path} holds nothing of it; found old model, served, tuned"),
        (["--older-than", "-1"], "--older-than"),
    ],
)
def test_pruning_that_is_not_clear_removes_nothing(
    path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither everything nor by a few digits that could be of two models."""
    assert run(["store", "prune", "--store", str(path), *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message.format(path=path) in err
    assert len(held(path)) == 3


@pytest.mark.parametrize("verb", [["list"], ["prune", "--all"], ["verify"]])
def test_a_store_that_is_not_there_or_is_none(
    tmp_path: Path, verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one message, and nothing made or changed."""
    assert run(["store", *verb, "--store", str(tmp_path / "store")]) == 2
    assert f"{tmp_path / 'store'}: no such response store" in capsys.readouterr().err
    (tmp_path / "text").write_text("text")
    assert run(["store", *verb, "--store", str(tmp_path / "text")]) == 2
    assert "text: no response store (it begins with b'text')" in capsys.readouterr().err
    (tmp_path / "empty").touch()
    assert run(["store", *verb, "--store", str(tmp_path / "empty")]) == 2
    assert "empty: is empty, no response store; what it held is lost" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "text"]
    assert (tmp_path / "text").read_text() == "text"
    assert (tmp_path / "empty").read_bytes() == b""


def test_verifying_a_damaged_store(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong is listed, what to do is said, and the file stays as it is."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE responses SET answer = CAST('Answer' AS BLOB) WHERE request = zeroblob(16)")
    before = path.read_bytes()
    assert run(["store", "verify", "--store", str(path)]) == 2
    err = capsys.readouterr().err
    assert f"{path}: damaged; move it away, and the next run begins a new one:\n  response 1: does not match its" in err
    assert err.count("does not match its checksum") == 3
    assert path.read_bytes() == before
    cut = Path(shutil.copy(path, path.parent / "cut"))
    cut.write_bytes(before[:-5000])
    assert run(["store", "verify", "--store", str(cut)]) == 2
    assert "the response store is damaged" in capsys.readouterr().err


def torn_inside(path: Path) -> None:
    """Responses overwritten with what is no page."""
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] + b"\xa5" * (len(content) - half))


def nameless(path: Path) -> None:
    """A name that is no text."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE models SET name = CAST(x'ff' AS TEXT)")


@pytest.mark.parametrize("verb", [["list"], ["prune", "--all"], ["verify"]])
def test_a_store_that_cannot_be_opened(path: Path, verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """No verb could list what is wrong, so none is advised to: the file is to be moved away."""
    content = path.read_bytes()
    for end in (len(content) - 5000, len(content) // 2 // 1024 * 1024, 100):
        path.write_bytes(content[:end])
        assert run(["store", *verb, "--store", str(path)]) == 2
        err = capsys.readouterr().err
        assert "the response store is damaged" in err
        assert "Move it away, and the next run begins a new one, or go on without one (--no-store)" in err
        assert "lists what is wrong" not in err
        assert path.read_bytes() == content[:end]


@pytest.mark.parametrize("verb", [["list"], ["prune", "--all"]])
@pytest.mark.parametrize("damage", [torn_inside, nameless])
def test_looking_after_a_store_that_is_damaged_inside(
    path: Path, verb: list[str], damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """The store is the input here: exit code 2, what to do is said, and the file stays as it is."""
    damage(path)
    before = path.read_bytes()
    assert run(["store", *verb, "--store", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{path}: the response store is damaged (" in err
    assert f"slick store verify --store {path} lists what is wrong" in err
    assert path.read_bytes() == before
    assert run(["store", "verify", "--store", str(path)]) == 2


# --- the verbs that fill it -------------------------------------------------------------------------------------

QUICK = ["--n-exemplar-sets", "2", "--n-exemplars", "2", "--n-samples", "2", "--n-before", "1", "--max-gen-toks", "4"]


@pytest.fixture
def verbs(tiny_model: Path, tiny_facts: list[Fact], tmp_path: Path) -> Callable[..., int]:
    """Runs probe or score on four facts of the tiny model."""
    facts = tmp_path / "facts.jsonl"
    facts.write_text("".join(json.dumps(fact.as_dict()) + "\n" for fact in tiny_facts))

    def call(verb: str, name: str, *more: str) -> int:
        how = QUICK if verb == "probe" else ["--max-gen-toks", "4"]
        chosen = ["--model", str(tiny_model), "--facts", str(facts), "--split", "test", "--limit", "4"]
        return run([verb, *chosen, "--out", str(tmp_path / name), *how, *more])

    return call


def content(run: Path) -> dict[str, bytes]:
    """The files of a run but for times."""
    found = {}
    for path in sorted(run.iterdir()):
        text = re.sub(rb'("(date|total_evaluation_time_seconds)": )[^,]*', rb"\1", path.read_bytes())
        found[re.sub(r"_\d{4}-[\dT.:-]+\.json", "_TIME.json", path.name)] = text
    return found


@pytest.mark.parametrize(
    ("verb", "more", "asked"),
    # 4 facts: 2 greedy answers and 1 of the fresh sets each, and where none is right 2 samples under both sets.
    [("probe", [], 28), ("probe", ["--estimator", "exact"], 12), ("score", [], 4)],
)
def test_a_second_run_asks_for_nothing_and_writes_the_same(
    verbs: Any, tmp_path: Path, verb: str, more: list[str], asked: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """In another directory: every answer from the store, which the files do not betray; and as without a store."""
    store = tmp_path / "store"
    assert verbs(verb, "first", *more, "--store", str(store)) == 0
    assert "were in the store" not in capsys.readouterr().err
    assert verbs(verb, "second", *more, "--store", str(store)) == 0
    assert f"{asked} of {asked} responses were in the store {store}\n" in capsys.readouterr().err
    assert verbs(verb, "bare", *more, "--no-store") == 0
    assert content(tmp_path / "first") == content(tmp_path / "second") == content(tmp_path / "bare")
    started = datetime.fromisoformat(run_started(tmp_path / "first"))
    assert started.timestamp() == read_run(tmp_path / "first").results["date"]
    with Store(store) as opened:
        assert [h.responses for h in opened.holdings()] == [asked]


def test_the_store_lies_in_the_users_cache(verbs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the environment says otherwise; --no-store leaves it alone."""
    monkeypatch.setenv("SLICK_CACHE", str(tmp_path / "cache"))
    assert verbs("score", "off") == 0
    monkeypatch.delenv("SLICK_STORE")
    assert verbs("score", "bare", "--no-store") == 0
    assert not (tmp_path / "cache").exists()
    assert verbs("score", "kept") == 0
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["responses.sqlite"]
    monkeypatch.setenv("SLICK_STORE", str(tmp_path / "elsewhere"))
    assert verbs("score", "other") == 0
    assert (tmp_path / "elsewhere").is_file()


def test_a_served_models_answers_outlive_no_finished_run(
    verbs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --store FILE, which vouches for the name, they are there to resume the run and go with its end."""
    monkeypatch.setenv("SLICK_STORE", str(tmp_path / "store"))
    served = ["--backend", "dummy", "--model", "a-name"]
    assert verbs("score", "first", *served) == 0
    with Store(tmp_path / "store") as store:
        assert store.holdings() == []
    assert verbs("score", "second", *served, "--store", str(tmp_path / "store")) == 0
    with Store(tmp_path / "store") as store:
        assert [(h.model.name, h.responses, h.model.resuming) for h in store.holdings()] == [("a-name", 4, False)]


@pytest.mark.parametrize("verb", ["probe", "score"])
def test_a_store_that_cannot_serve_is_refused_before_a_model_is_loaded(
    verbs: Any, tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, what to do, and no run begun."""
    monkeypatch.setattr(slick.backend, "load_backend", None)
    with Store(tmp_path / "newer") as store:
        store._db.execute("PRAGMA user_version = 2")
    assert verbs(verb, "run", "--store", str(tmp_path / "newer")) == 2
    assert "a response store of version 2, this slick has version 1; upgrade slick" in capsys.readouterr().err
    assert verbs(verb, "run", "--store", str(tmp_path)) == 2
    assert "is a directory, expected the response store's file" in capsys.readouterr().err
    assert verbs(verb, "run", "--store", str(tmp_path / "newer"), "--no-store") == 2
    assert "--store and --no-store: give one of them" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_store_that_breaks_under_a_run_loses_nothing(
    verbs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 4 and what to do; the run goes on without the store, to the same files."""
    store = tmp_path / "store"
    assert verbs("score", "first", "--store", str(store)) == 0
    with closing(sqlite3.connect(store, isolation_level=None)) as db:
        db.execute("UPDATE responses SET answer = CAST('forged' AS BLOB)")
    assert verbs("score", "second", "--store", str(store)) == 4
    err = capsys.readouterr().err
    assert "the response store is damaged (a response does not match its checksum). Move it away" in err
    assert verbs("score", "second", "--no-store") == 0
    assert content(tmp_path / "second") == content(tmp_path / "first")
