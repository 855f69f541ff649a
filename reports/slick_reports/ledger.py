"""The ledger: what versions of a model answered and knew, run by run, in one SQLite file.

Several processes may add at once. A run stands there once under its version, known by what is in it. The facts stand
there once for all runs, and a run's results are compressed columns, so that 20 runs of 20,000 facts take a
few megabytes. Nothing in the file depends on when or where it was written.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from slick.errors import InputError, RunError
from slick.facts import Fact
from slick.files import digest_of, make_directory
from slick.sqlite_file import MAGIC, Claim, Form, claim, code_of, connect, tells_of_damage, transaction
from slick_reports.ledger_rows import Columns, Held, columns_of, held_of, object_of

FILE = "slick-history.sqlite"
# "SlkH" in the file's header, where other SQLite files have 0 or something else.
APPLICATION = int.from_bytes(b"SlkH", "big")
# 2: answer priors. 1: without them; it is read as it is, and becomes 2 when priors are added.
VERSION = 2
# A commit takes milliseconds; who waits this long waits for something that hangs.
PATIENCE_S = 60.0

_TABLES = (
    "CREATE TABLE facts (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, fact TEXT NOT NULL)",
    """CREATE TABLE runs (
        id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, version TEXT NOT NULL, at TEXT NOT NULL,
        kind TEXT NOT NULL, series TEXT NOT NULL, baseline INTEGER NOT NULL, record TEXT NOT NULL)""",
    """CREATE TABLE results (
        run INTEGER PRIMARY KEY REFERENCES runs (id), facts BLOB NOT NULL, outcome BLOB NOT NULL,
        category BLOB NOT NULL, unknown BLOB NOT NULL, answers BLOB NOT NULL)""",
)
_PRIORS = "CREATE TABLE priors (run INTEGER PRIMARY KEY REFERENCES runs (id), prior BLOB NOT NULL)"
_FORM = Form(APPLICATION, VERSION, (*_TABLES, _PRIORS))
_WITHOUT_PRIORS = Form(APPLICATION, 1, _TABLES)


@dataclass(frozen=True, slots=True)
class Result:
    """One fact's result. outcome: 1 right, 0 wrong, 2 wrong by abstaining; of a probe 3, not asked so.

    category: its place among the categories, 3 for Unknown, -1 for none. unknown: the chance that samples call it
    Unknown, where the exact estimator tells; else NaN. answer: the line that was matched. prior: 1 where the relation's
    commonest answer is right, 0 where it is wrong, -1 where that is not recorded.
    """

    fact: Fact
    outcome: int
    category: int = -1
    unknown: float = float("nan")
    answer: str = ""
    prior: int = -1


@dataclass(frozen=True, slots=True)
class Entry:
    """A run as the ledger takes it. at: when it was made, ISO 8601. series: equal for runs that may be compared.

    record: provenance for people and for marks (settings, model, libraries, seed, label, source).
    """

    version: str
    at: str
    kind: str
    series: str
    record: Mapping[str, Any]
    results: Sequence[Result]

    def digest(self) -> str:
        """Of the version and of what was measured, wherever the run lies and whenever it was made."""
        rows = [[r.fact.id, r.outcome, r.category, repr(r.unknown), r.answer] for r in self.results]
        return digest_of(
            [self.version, self.kind, self.series, self.record.get("model"), self.record.get("seed"), rows]
        )


class Ledger:
    """One file, open. Raises InputError when it cannot serve, and leaves a file that is none as it is.

    create: whether a file that is not there is made.
    """

    def __init__(self, path: Path | str, *, create: bool = True) -> None:
        # Absolute, since SQLite takes the name ":memory:" for no file at all.
        self.path = Path(path).expanduser().absolute()
        _check_place(self.path, create)
        with self._explained():
            self._db = connect(self.path, PATIENCE_S)
        try:
            with self._explained():
                self._claim(create)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The last to close folds the log into the file, which can then be committed or cached by itself."""
        with suppress(sqlite3.Error):
            self._db.close()

    def add(self, entries: Iterable[Entry], *, baseline: bool = False) -> list[bool]:
        """Adds runs, all of them or none; returns which are new. baseline: others are set against their version.

        A run that is there already is left as it is, but may become the baseline, and gets answer priors where it was
        recorded without. Raises InputError where a fact's id
        stands for another question.
        """
        added = []
        with self._explained(), transaction(self._db):
            known = {key: (number, fact) for number, key, fact in self._db.execute("SELECT id, key, fact FROM facts")}
            for entry in entries:
                if not self._has(digest := entry.digest()):
                    self._insert(entry, digest, known)
                    added.append(True)
                else:
                    self._add_priors(self._id_of(digest), self._numbered(entry, known))
                    added.append(False)
                if baseline:
                    self._db.execute("UPDATE runs SET baseline = (version = ?)", (self._version_of(digest),))
        return added

    def runs(self) -> list[Held]:
        """Every run, by date and then in the order in which they were added."""
        with self._explained():
            rows = self._db.execute(
                "SELECT id, version, at, kind, series, baseline, record FROM runs ORDER BY at, id"
            ).fetchall()
            return [held_of(row) for row in rows]

    def facts(self) -> dict[int, Fact]:
        """Number → fact."""
        with self._explained():
            rows = self._db.execute("SELECT id, fact FROM facts ORDER BY id").fetchall()
            return {number: Fact.from_dict(object_of(fact)) for number, fact in rows}

    def columns(self, run: int, *, answers: bool = False) -> Columns:
        """The results of a run. answers: also their texts, which take most of the time."""
        with self._explained():
            row = self._db.execute(
                "SELECT facts, outcome, category, unknown, answers FROM results WHERE run = ?", (run,)
            ).fetchone()
            if row is None:
                raise InputError(self._damaged(f"run {run} has no results"))
            prior = None
            if self._has_priors():
                prior = self._db.execute("SELECT prior FROM priors WHERE run = ?", (run,)).fetchone()
            found = columns_of(row[:4], row[4] if answers else None, prior[0] if prior else None)
            there = {number for (number,) in self._db.execute("SELECT id FROM facts")}
            if not there.issuperset(found.facts.tolist()):
                raise InputError(self._damaged(f"run {run} has results of facts that are not there"))
        return found

    def _claim(self, create: bool) -> None:
        with transaction(self._db):
            found, _, version = claim(self._db, _FORM, create=create)
            if found is Claim.OTHER_VERSION and version == _WITHOUT_PRIORS.version:
                found, _, version = claim(self._db, _WITHOUT_PRIORS, create=False)
            if found is Claim.STRANGER:
                raise InputError(f"{self.path}: an SQLite file, but no slick ledger; name another with --ledger")
            if found is Claim.OTHER_VERSION:
                mend = "upgrade slick" if version > VERSION else "begin a new one with another --ledger"
                raise InputError(f"{self.path}: a ledger of version {version}, this slick reads {VERSION}; {mend}")
            if found is Claim.TABLES_DIFFER:
                raise InputError(self._damaged("tables are missing"))
        # Readers and the writer do not wait for each other, and a commit is one append.
        self._db.execute("PRAGMA journal_mode = WAL")

    def _has(self, digest: str) -> bool:
        return self._db.execute("SELECT 1 FROM runs WHERE digest = ?", (digest,)).fetchone() is not None

    def _id_of(self, digest: str) -> int:
        return int(self._db.execute("SELECT id FROM runs WHERE digest = ?", (digest,)).fetchone()[0])

    def _version_of(self, digest: str) -> str:
        return str(self._db.execute("SELECT version FROM runs WHERE digest = ?", (digest,)).fetchone()[0])

    def _insert(self, entry: Entry, digest: str, known: dict[str, tuple[int, str]]) -> None:
        """known: key → (number, text) of the facts that are there; new ones are added to it."""
        import numpy as np

        numbered = self._numbered(entry, known)
        cursor = self._db.execute(
            "INSERT INTO runs (digest, version, at, kind, series, baseline, record) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                digest,
                entry.version,
                entry.at,
                entry.kind,
                entry.series,
                self._is_baseline(entry.version),
                _ascii(entry.record),
            ),
        )
        numbers = [number for number, _ in numbered]
        blobs = [
            np.diff(np.array(numbers, dtype="<i4"), prepend=0).astype("<i4").tobytes(),
            np.array([r.outcome for _, r in numbered], dtype="i1").tobytes(),
            np.array([r.category for _, r in numbered], dtype="i1").tobytes(),
            np.array([r.unknown for _, r in numbered], dtype="<f4").tobytes(),
            _ascii([r.answer for _, r in numbered]).encode(),
        ]
        self._db.execute(
            "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?)", (cursor.lastrowid, *map(zlib.compress, blobs))
        )
        self._add_priors(int(cursor.lastrowid or 0), numbered)

    def _numbered(self, entry: Entry, known: dict[str, tuple[int, str]]) -> list[tuple[int, Result]]:
        """The results in the order of their facts' numbers."""
        return sorted(((self._number(r.fact, known), r) for r in entry.results), key=lambda pair: pair[0])

    def _has_priors(self) -> bool:
        """Asked of the file each time: another process may have brought it to this version meanwhile."""
        return int(self._db.execute("PRAGMA user_version").fetchone()[0]) >= VERSION

    def _add_priors(self, run: int, numbered: Sequence[tuple[int, Result]]) -> None:
        """Where any is recorded and the run has none yet; a ledger without a place for them is given one."""
        priors = [r.prior for _, r in numbered]
        if all(prior < 0 for prior in priors):
            return
        if not self._has_priors():
            self._db.execute(_PRIORS)
            self._db.execute(f"PRAGMA user_version = {VERSION}")
        blob = zlib.compress(bytes(prior & 0xFF for prior in priors))
        self._db.execute("INSERT OR IGNORE INTO priors VALUES (?, ?)", (run, blob))

    def _is_baseline(self, version: str) -> int:
        found = self._db.execute("SELECT max(baseline) FROM runs WHERE version = ?", (version,)).fetchone()[0]
        return int(found or 0)

    def _number(self, fact: Fact, known: dict[str, tuple[int, str]]) -> int:
        # The id may hold what SQLite's text cannot.
        key, text = _ascii(fact.id), _ascii(fact.as_dict())
        if key not in known:
            cursor = self._db.execute("INSERT INTO facts (key, fact) VALUES (?, ?)", (key, text))
            known[key] = (int(cursor.lastrowid or 0), text)
        number, held = known[key]
        if held != text:
            there = Fact.from_dict(object_of(held))
            if (there.question, there.answers) != (fact.question, fact.answers):
                raise InputError(
                    f"{self.path}: fact {fact.id!r:.60} is another question there ({there.question!r:.80}) than in the "
                    f"run ({fact.question!r:.80}); keep a ledger for each set of facts"
                )
        return number

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns errors of SQLite, and of columns that cannot be read, into ones that say what to do."""
        try:
            yield
        except sqlite3.Error as error:
            if tells_of_damage(error):
                raise InputError(self._damaged(str(error))) from error
            if code_of(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise RunError(f"{self.path}: another process has held the ledger for {PATIENCE_S:g} s") from error
            raise RunError(f"{self.path}: the ledger cannot be used ({error}); name another with --ledger") from error
        except (zlib.error, ValueError, KeyError, TypeError) as error:
            raise InputError(self._damaged(str(error))) from error

    def _damaged(self, how: str) -> str:
        return f"{self.path}: the ledger is damaged ({how}); restore it from a copy, or add the runs to a new one"


def _ascii(value: Any) -> str:
    """JSON in which even a lone surrogate is ASCII."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=str)


def _check_place(path: Path, create: bool) -> None:
    """InputError where no ledger can be at `path`, found out without touching anything there."""
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a directory, expected a ledger's file")
        if not path.exists():
            if not create:
                raise InputError(f"{path}: no such ledger; `slick history add RUN` makes one")
            make_directory(path.parent)
            return
        with path.open("rb") as file:
            beginning = file.read(len(MAGIC))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if beginning != MAGIC and (beginning or not create):
        raise InputError(f"{path}: no ledger (it begins with {beginning!r}); name another with --ledger")
    if not os.access(path, os.W_OK):
        raise InputError(f"{path}: the ledger cannot be written, which even reading it needs; copy it")
