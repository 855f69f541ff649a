"""What our SQLite files have in common: how they are told from other files, opened, and written in whole pieces.

What is said where one cannot serve is the caller's, who knows what the file is for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

MAGIC = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class Form:
    """What a kind of files is known by. application, version: of the header; tables: the statements that make them."""

    application: int
    version: int
    tables: tuple[str, ...]


class Claim(StrEnum):
    """What an open file turned out to be."""

    MADE = "made now"
    OURS = "of this form"
    STRANGER = "another application's"
    OTHER_VERSION = "of another version"
    TABLES_DIFFER = "with other tables"


def connect(path: Path, patience_s: float) -> sqlite3.Connection:
    """Open, without transactions of Python's own. patience_s: how long a statement waits for another process."""
    return sqlite3.connect(path, timeout=patience_s, isolation_level=None, cached_statements=16)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All that is written within, or nothing of it; no other process writes meanwhile."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def claim(db: sqlite3.Connection, form: Form, *, create: bool) -> tuple[Claim, int, int]:
    """(what the file is, its application id, its version). create: whether an empty one is made one of ours.

    To be called within a transaction, so that of two processes one makes the file.
    """
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    application, version = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("application_id", "user_version")
    )
    if create and not tables and not application and not version:
        for table in form.tables:
            db.execute(table)
        db.execute(f"PRAGMA application_id = {form.application}")
        db.execute(f"PRAGMA user_version = {form.version}")
        return Claim.MADE, form.application, form.version
    if application != form.application:
        found = Claim.STRANGER
    elif version != form.version:
        found = Claim.OTHER_VERSION
    elif not {*form.tables} <= {sql for (sql,) in db.execute("SELECT sql FROM sqlite_master")}:
        found = Claim.TABLES_DIFFER
    else:
        found = Claim.OURS
    return found, application, version


def code_of(error: sqlite3.Error) -> int:
    """SQLite's primary result code."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)) & 0xFF


def tells_of_damage(error: sqlite3.Error) -> bool:
    decoding = str(error).startswith("Could not decode to UTF-8")  # Python's own, without a code
    return decoding or code_of(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
