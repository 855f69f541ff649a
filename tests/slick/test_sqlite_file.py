"""What our SQLite files have in common."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from slick.sqlite_file import MAGIC, Claim, Form, claim, code_of, connect, tells_of_damage, transaction

FORM = Form(7, 2, ("CREATE TABLE t (x INTEGER)",))


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = connect(tmp_path / "f.sqlite", 0.05)
    yield opened
    opened.close()


def test_an_empty_file_becomes_one_of_ours(db: sqlite3.Connection, tmp_path: Path) -> None:
    """With the form's tables and header; the next one finds it."""
    with transaction(db):
        assert claim(db, FORM, create=True) == (Claim.MADE, 7, 2)
    assert claim(db, FORM, create=True) == claim(db, FORM, create=False) == (Claim.OURS, 7, 2)
    db.execute("INSERT INTO t VALUES (1)")
    assert (tmp_path / "f.sqlite").read_bytes().startswith(MAGIC)


def test_other_files_are_told_apart_and_left_alone(db: sqlite3.Connection) -> None:
    """Another application's, another version, other tables; an empty one where none is to be made."""
    assert claim(db, FORM, create=False)[0] is Claim.STRANGER
    with transaction(db):
        claim(db, FORM, create=True)
    for other, found in (
        (Form(8, 2, FORM.tables), Claim.STRANGER),
        (Form(7, 3, FORM.tables), Claim.OTHER_VERSION),
        (Form(7, 2, ("CREATE TABLE u (x INTEGER)",)), Claim.TABLES_DIFFER),
    ):
        assert claim(db, other, create=True) == (found, 7, 2)
    assert [name for (name,) in db.execute("SELECT name FROM sqlite_master")] == ["t"]


def test_a_file_with_tables_of_someone_elses_is_a_stranger(db: sqlite3.Connection) -> None:
    """Its header may be as empty as a new file's."""
    db.execute("CREATE TABLE mine (x INTEGER)")
    assert claim(db, FORM, create=True) == (Claim.STRANGER, 0, 0)


def test_a_transaction_is_whole_or_nothing(db: sqlite3.Connection) -> None:
    """What was raised within passes through."""
    db.execute("CREATE TABLE t (x INTEGER)")

    def interrupted() -> None:
        with transaction(db):
            db.execute("INSERT INTO t VALUES (1)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with transaction(db):
        db.execute("INSERT INTO t VALUES (2)")
    assert db.execute("SELECT x FROM t").fetchall() == [(2,)]


def test_who_waits_too_long_is_told(db: sqlite3.Connection, tmp_path: Path) -> None:
    """One process writes at a time."""
    other = connect(tmp_path / "f.sqlite", 0.0)
    with transaction(db), pytest.raises(sqlite3.OperationalError) as error, transaction(other):
        pass
    other.close()
    assert code_of(error.value) == sqlite3.SQLITE_BUSY
    assert not tells_of_damage(error.value)


def test_damage_is_told_from_other_errors(tmp_path: Path) -> None:
    """A file of anything else, and text that is none."""
    (tmp_path / "x").write_bytes(b"words" * 500)
    opened = connect(tmp_path / "x", 0.0)
    with pytest.raises(sqlite3.DatabaseError) as error:
        claim(opened, FORM, create=False)
    opened.close()
    assert code_of(error.value) == sqlite3.SQLITE_NOTADB
    assert tells_of_damage(error.value)
    assert tells_of_damage(sqlite3.OperationalError("Could not decode to UTF-8 column 'x'"))
    assert code_of(sqlite3.ProgrammingError("closed")) == sqlite3.SQLITE_MISUSE
