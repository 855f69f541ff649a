"""The ledger's file."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slick.errors import InputError
from slick.facts import Fact
from slick_reports.ledger import APPLICATION, VERSION, Entry, Ledger, Result


def fact(i: int, relation: str = "r") -> Fact:
    return Fact.create(f"Q{i}?", [f"A{i}"], relation=relation, subject=f"S{i}")


def entry(version: str = "v1", outcomes: tuple[int, ...] = (1, 0, 2), at: str = "2025-01-01T00:00:00") -> Entry:
    results = [
        Result(fact(i), o, i % 4, 0.25 if i % 4 == 3 else math.nan, f"a{i}", i % 2) for i, o in enumerate(outcomes)
    ]
    return Entry(version, at, "score", "score-1", {"model": {"name": version}, "seed": 0}, results)


def test_a_run_reads_back_as_it_was_added(tmp_path: Path) -> None:
    """Facts, outcomes, categories, chances and answers; and what is known of it."""
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.add([entry(outcomes=(1, 0, 2, 3))]) == [True]
    with Ledger(tmp_path / "l.sqlite", create=False) as ledger:
        (run,) = ledger.runs()
        assert (run.version, run.at, run.kind, run.series) == ("v1", "2025-01-01T00:00:00", "score", "score-1")
        assert (run.baseline, run.record["model"]) == (False, {"name": "v1"})
        columns = ledger.columns(run.id, answers=True)
        facts = ledger.facts()
        assert [facts[int(number)] for number in columns.facts] == [fact(i) for i in range(4)]
        assert columns.outcome.tolist() == [1, 0, 2, 3]
        assert columns.category.tolist() == [0, 1, 2, 3]
        assert np.isnan(columns.unknown).tolist() == [True, True, True, False]
        assert list(columns.answers) == ["a0", "a1", "a2", "a3"]
        assert columns.prior is not None
        assert columns.prior.tolist() == [0, 1, 0, 1]
        assert ledger.columns(run.id).answers == []


def test_a_run_stands_there_once_under_its_version(tmp_path: Path) -> None:
    """It is known by what was measured, not by date or path; another version may have measured just the same."""
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.add([entry("v1"), entry("v1", (0, 0, 0))]) == [True, True]
        record = {"model": {"name": "v1"}, "seed": 0, "source": "elsewhere"}
        again = [Entry(name, "2026-01-01", "score", "score-1", record, entry().results) for name in ("v1", "other")]
        assert ledger.add(again) == [False, True]
        assert [run.version for run in ledger.runs()] == ["v1", "v1", "other"]


def test_runs_are_ordered_by_date(tmp_path: Path) -> None:
    """And where it is equal, as they were added."""
    with Ledger(tmp_path / "l.sqlite") as ledger:
        for version, at in (("b", "2025-02-01"), ("a", "2025-01-01"), ("c", "2025-02-01")):
            ledger.add([entry(version, at=at)])
        assert [run.version for run in ledger.runs()] == ["a", "b", "c"]


def test_one_version_is_the_baseline(tmp_path: Path) -> None:
    """The last that was said to be; its later seeds are too. A run that is there already can become it."""
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.add([entry("v1")], baseline=True)
        ledger.add([entry("v1", (1, 1, 1)), entry("v2")])
        assert [run.baseline for run in ledger.runs()] == [True, True, False]
        assert ledger.add([entry("v2")], baseline=True) == [False]
        assert {run.version for run in ledger.runs() if run.baseline} == {"v2"}


def test_all_runs_are_added_or_none(tmp_path: Path) -> None:
    """A fact's id that stands for another question stops them all."""
    odd = Fact("r", "s", "Another?", ("A0",), "", fact(0).id)
    bad = Entry("v2", "", "score", "score-1", {}, [Result(odd, 1)])
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.add([entry("v0")])
        with pytest.raises(InputError, match=r"is another question there \('Q0\?'\) than in the run \('Another\?'\)"):
            ledger.add([entry("v1", (0, 0, 0)), bad])
        assert [run.version for run in ledger.runs()] == ["v0"]


def without_priors(path: Path) -> None:
    """Makes a ledger of version 1 of it, as earlier releases wrote them."""
    with sqlite3.connect(path, isolation_level=None) as database:
        database.execute("DROP TABLE priors")
        database.execute("PRAGMA user_version = 1")
    database.close()


def version_of(path: Path) -> int:
    with sqlite3.connect(path) as database:
        found = database.execute("PRAGMA user_version").fetchone()[0]
    database.close()
    return int(found)


def test_a_ledger_without_priors_opens_and_stays_as_it_is(tmp_path: Path) -> None:
    """Reading one brings it to no other version, so that an older slick still opens it."""
    path = tmp_path / "l.sqlite"
    with Ledger(path) as ledger:
        ledger.add([entry()])
    without_priors(path)
    with Ledger(path, create=False) as ledger:
        columns = ledger.columns(ledger.runs()[0].id)
        assert (columns.prior, columns.outcome.tolist()) == (None, [1, 0, 2])
    assert version_of(path) == 1


def test_a_ledger_without_priors_takes_them(tmp_path: Path) -> None:
    """Of new runs, and of one that is there already when it is added again."""
    path = tmp_path / "l.sqlite"
    with Ledger(path) as ledger:
        ledger.add([entry(), entry("v0")])
    without_priors(path)
    with Ledger(path) as ledger, Ledger(path) as reader:
        assert ledger.add([entry("v2"), entry()]) == [True, False]
        priors = {run.version: reader.columns(run.id).prior for run in reader.runs()}
        assert priors["v0"] is None
        assert [found.tolist() for found in priors.values() if found is not None] == [[0, 1, 0]] * 2
    assert version_of(path) == VERSION


WRITER = """
import sys
from slick.facts import Fact
from slick_reports.ledger import Entry, Ledger, Result
path, who = sys.argv[1], int(sys.argv[2])
for i in range(5):
    results = [Result(Fact.create(f"Q{j}?", ["a"]), (who + i + j) % 2) for j in range(40)]
    with Ledger(path) as ledger:
        ledger.add([Entry(f"v{who}-{i}", "", "score", "s", {"model": [who, i]}, results)])
"""


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    """Four processes that begin with no file at all: every run is there, every fact once."""
    path = tmp_path / "l.sqlite"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(who)]) for who in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    with Ledger(path, create=False) as ledger:
        assert len(ledger.runs()) == 20
        assert len(ledger.facts()) == 40
        assert all(len(ledger.columns(run.id).facts) == 40 for run in ledger.runs())


def test_it_is_one_file_when_it_is_closed(tmp_path: Path) -> None:
    """So that it can be committed, or cached by CI."""
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.add([entry()])
    assert [path.name for path in tmp_path.iterdir()] == ["l.sqlite"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"no database at all", "no ledger \\(it begins with b'no database"),
        (b"SQLite format 3\0" + b"x" * 4096, "damaged"),
    ],
)
def test_a_file_that_is_none_is_left_as_it_is(tmp_path: Path, content: bytes, told: str) -> None:
    """And exit code 2."""
    path = tmp_path / "l.sqlite"
    path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        Ledger(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("application", "version", "told"),
    [
        (APPLICATION, VERSION + 1, "a ledger of version 3, this slick reads 2; upgrade slick"),
        (APPLICATION, 1, "tables are missing"),
        (7, 1, "an SQLite file, but no slick ledger"),
        (APPLICATION, VERSION, "tables are missing"),
    ],
)
def test_another_database_or_a_future_version_is_refused(
    tmp_path: Path, application: int, version: int, told: str
) -> None:
    """Before anything is written."""
    path = tmp_path / "l.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE t (x)")
        database.execute(f"PRAGMA application_id = {application}")
        database.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(InputError, match=told):
        Ledger(path)


def test_a_ledger_that_is_not_there_is_made_only_to_add(tmp_path: Path) -> None:
    """Reading one makes none."""
    with pytest.raises(InputError, match="no such ledger; `slick history add RUN` makes one"):
        Ledger(tmp_path / "l.sqlite", create=False)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="is a directory"):
        Ledger(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE results SET outcome = x'00'", "damaged"),
        ("UPDATE results SET outcome = category || x'00', category = facts", "damaged"),
        ("DELETE FROM results", "has no results"),
        ("UPDATE runs SET record = '{'", "damaged"),
        ("UPDATE facts SET fact = '{}'", "damaged"),
        ("UPDATE facts SET fact = '[1]'", "damaged"),
        ("UPDATE runs SET record = '[1]'", r"damaged \(found '\[1\]', expected a JSON object"),
        ("UPDATE runs SET record = replace(printf('%.100000c', 'x'), 'x', '[')", "damaged"),
        ("UPDATE runs SET at = 'soon'", "damaged"),
        ("UPDATE runs SET at = '2025-01-01T00:00:00+01:00'", "damaged .*without a zone"),
        ("UPDATE runs SET version = x'00'", "damaged .*expected text"),
        ("UPDATE results SET outcome = ?", "damaged .*outcomes that cannot be"),
        ("UPDATE results SET category = ?", "damaged .*categories that cannot be"),
        ("UPDATE results SET unknown = ?", "damaged .*chances that cannot be"),
        ("UPDATE priors SET prior = ?", "damaged .*answer priors that cannot be"),
        ("UPDATE results SET answers = category", "damaged"),
        ("DELETE FROM facts WHERE id = 2", "damaged .*facts that are not there"),
    ],
)
def test_damage_is_said_and_never_taken_for_results(tmp_path: Path, change: str, told: str) -> None:
    """Whatever of it is read."""
    path = tmp_path / "l.sqlite"
    with Ledger(path) as ledger:
        ledger.add([entry()])
    database = sqlite3.connect(path)
    database.execute(change, (zlib.compress(b"\x63" * (12 if "unknown" in change else 3)),) if "?" in change else ())
    database.commit()
    database.close()
    with Ledger(path, create=False) as ledger, pytest.raises(InputError, match=told):
        _read_all(ledger)


def _read_all(ledger: Ledger) -> None:
    ledger.facts()
    for run in ledger.runs():
        ledger.columns(run.id, answers=True)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), min_size=1, max_size=6, unique_by=lambda t: t[0]))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str]]) -> None:
    """NUL, lone surrogates, quotes: as they were."""
    facts = [Fact.create(q + "\ud800\x00'\"", [a + "\udfff"], relation=q) for q, a in texts]
    path = tmp_path_factory.mktemp("ledger") / "l.sqlite"
    with Ledger(path) as ledger:
        ledger.add([Entry("v", "", "score", "s", {"x": "\ud800"}, [Result(f, 1, answer="\ud800\0") for f in facts])])
        assert sorted(ledger.facts().values(), key=str) == sorted(facts, key=str)
        assert set(ledger.columns(1, answers=True).answers) == {"\ud800\0"}
        assert ledger.runs()[0].record == {"x": "\ud800"}
