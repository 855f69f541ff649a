"""The response store: what models have answered, in one SQLite file, so that nothing is asked twice.

A response stands under its model, the digest of its request (all that the answer depends on besides the model;
`slick.stored` makes it), the number of its sample and the call that it was asked in, since what else is computed
with it can move its last digit. It carries a checksum over all of these, so that a damaged file gives an error and
never a wrong answer. What is there is never changed: of two processes that make one call, the first one's answer
stands.
"""

from __future__ import annotations

import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Self

from slick.download import cache_directory
from slick.errors import InputError, Mistakes, RunError
from slick.files import make_directory
from slick.sqlite_file import MAGIC, Claim, Form, claim, code_of, connect, tells_of_damage, transaction

VARIABLE = "SLICK_STORE"
FILE = "responses.sqlite"
# "Slck" in the file's header, where other SQLite files have 0 or something else.
APPLICATION = int.from_bytes(b"Slck", "big")
VERSION = 1
# A commit takes milliseconds; who waits this long waits for something that hangs.
PATIENCE_S = 60.0

_CACHE_KIB = 16 * 1024
# Requests come in random order, each to a page of its own: small pages and rare checkpoints write a fourth as much.
_PAGE_BYTES = 1024
_LOG_BYTES = 64 * 2**20
# Keys in one question to SQLite; it is asked for up to 999 of them at a time everywhere.
_ASKED_AT_ONCE = 500
_DAY_S = 86_400.0

_TABLES = (
    # AUTOINCREMENT: a number that was pruned never comes back, so that a process that still knows it finds nothing.
    """CREATE TABLE models (
        id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE,
        name TEXT NOT NULL, weights TEXT, adapter TEXT, backend TEXT NOT NULL, resuming INTEGER NOT NULL,
        first_used REAL NOT NULL, last_used REAL NOT NULL)""",
    """CREATE TABLE calls (
        id INTEGER PRIMARY KEY AUTOINCREMENT, model INTEGER NOT NULL, digest BLOB NOT NULL, made REAL NOT NULL,
        UNIQUE (model, digest))""",
    # The model first, so that one model's responses stand together; samples of a request beside each other.
    """CREATE TABLE responses (
        model INTEGER NOT NULL, request BLOB NOT NULL, sample INTEGER NOT NULL, call INTEGER NOT NULL,
        checksum INTEGER NOT NULL, answer BLOB NOT NULL,
        PRIMARY KEY (model, request, sample, call)) WITHOUT ROWID""",
)

_FORM = Form(APPLICATION, VERSION, _TABLES)

Row = tuple[bytes, int, str]  # (request, sample, answer)
Answers = dict[bytes, dict[int, str]]  # request → sample → answer


@dataclass(frozen=True, slots=True)
class StoredModel:
    """Whose responses they are: `key` alone decides, the rest is for people.

    resuming: the responses serve one run's resuming only, since the model may change behind its name.
    """

    key: bytes
    name: str
    weights: str | None
    adapter: str | None
    backend: str
    resuming: bool = False


@dataclass(frozen=True, slots=True)
class Holding:
    """What a store has of one model. size: bytes of answers; times in seconds since 1970."""

    model: StoredModel
    responses: int
    size: int
    first_used: float
    last_used: float


class Store:
    """One file of responses, open. Several processes may have it open at once.

    Raises InputError when the file cannot serve, RunError when that comes out later. A file that is damaged, or
    something else, is left as it is.

    create: False for who looks after a store that is there. It is the input then, and damage always an InputError.
    """

    def __init__(self, path: Path | str, *, create: bool = True) -> None:
        # Absolute, since SQLite takes the name ":memory:" for no file at all.
        self.path = Path(path).expanduser().absolute()
        self._damage: type[InputError] | type[RunError] = RunError if create else InputError
        _check_place(self.path, create)
        with _explained(self.path, InputError, opening=True):
            self._db = connect(self.path, PATIENCE_S)
        try:
            with _explained(self.path, InputError, opening=True):
                self._claim(create)
        except BaseException:
            self.close()
            raise
        self._touched: set[bytes] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        # Closing checkpoints; what cannot be checkpointed now stays in the -wal file, where the next one finds it.
        with suppress(sqlite3.Error):
            self._db.close()

    def get(self, model: StoredModel, requests: Iterable[bytes], *, call: bytes = b"", before: float = inf) -> Answers:
        """The answers that there are; a request that has none is left out.

        What was asked in this very `call` (its digest) comes first, then what was asked in others that were made
        earlier than `before` (seconds since 1970), the earliest first.
        """
        with _explained(self.path, RunError):
            number = self._number(model)
            if number is None:
                return {}
            if model.key not in self._touched:
                with transaction(self._db):
                    self._touch(model)
            return self._select(number, model, requests, call, before)

    def put(self, model: StoredModel, rows: Iterable[Row], *, call: bytes = b"") -> Answers:
        """Stores the answers of a call in one transaction; returns what stands in their places from now on.

        That is what was given, unless another process was faster, or a row was there before.
        """
        encoded = sorted((request, sample, answer.encode("utf-8", "surrogatepass")) for request, sample, answer in rows)
        there: Answers = {}
        with _explained(self.path, RunError), transaction(self._db):
            number = self._touch(model)
            made = self._record(number, call)
            added = self._db.executemany(
                "INSERT OR IGNORE INTO responses VALUES (?, ?, ?, ?, ?, ?)",
                ((number, r, s, made, _checksum(model.key, r, s, made, a), a) for r, s, a in encoded),
            ).rowcount
            if added < len(encoded):
                there = self._select(number, model, (request for request, _, _ in encoded), call, -inf)
        standing: Answers = {}
        for request, sample, answer in encoded:
            text = there[request][sample] if there else answer.decode("utf-8", "surrogatepass")
            standing.setdefault(request, {})[sample] = text
        return standing

    def holdings(self) -> list[Holding]:
        """What there is of each model, the last used first."""
        with _explained(self.path, RunError, self._damage):
            return [
                Holding(StoredModel(key, name, weights, adapter, backend, bool(resuming)), *numbers)
                for key, name, weights, adapter, backend, resuming, *numbers in self._db.execute(
                    "SELECT key, name, weights, adapter, backend, resuming, count(responses.model), "
                    "coalesce(sum(length(answer)), 0), first_used, last_used "
                    "FROM models LEFT JOIN responses ON responses.model = models.id "
                    "GROUP BY models.id ORDER BY last_used DESC, models.id DESC"
                )
            ]

    def forget(self, models: Iterable[StoredModel]) -> int:
        """Removes all responses of these models, in one transaction; returns how many. The file keeps its size."""
        removed = 0
        with _explained(self.path, RunError, self._damage), transaction(self._db):
            for model in models:
                number = self._number(model)
                if number is not None:
                    removed += self._db.execute("DELETE FROM responses WHERE model = ?", (number,)).rowcount
                    self._db.execute("DELETE FROM calls WHERE model = ?", (number,))
                    self._db.execute("DELETE FROM models WHERE id = ?", (number,))
                self._touched.discard(model.key)
        return removed

    def shrink(self) -> None:
        """Gives the space of what was removed back to the file system."""
        with _explained(self.path, RunError, self._damage):
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def verify(self) -> int:
        """The number of responses, all of them sound. InputError lists what is not."""
        count = 0
        with Mistakes(f"{self.path}: damaged; move it away, and the next run begins a new one:") as mistakes:
            try:
                mistakes.extend(
                    f"SQLite: {line}" for (line,) in self._db.execute("PRAGMA integrity_check(20)") if line != "ok"
                )
                keys = dict(self._db.execute("SELECT id, key FROM models"))
                calls = dict(self._db.execute("SELECT id, model FROM calls"))
                for number, request, sample, made, *response in self._db.execute("SELECT * FROM responses"):
                    count += 1
                    key = keys.get(number) if calls.get(made) == number else None
                    if trouble := _trouble(key, request, sample, made, *response):
                        mistakes.add(f"response {count}: {trouble}")
                # What is there for people only; reading it is what can fail.
                self._db.execute("SELECT name, weights, adapter, backend FROM models").fetchall()
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                mistakes.add(f"SQLite: {error}")
        return count

    def _claim(self, create: bool) -> None:
        """Makes a new file a store if asked to; InputError where an old one is none, or is of another version."""
        self._db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a new file; an old one keeps its own
        with transaction(self._db):
            found, application, version = claim(self._db, _FORM, create=create)
            (page,) = self._db.execute("PRAGMA page_size").fetchone()
            if found is Claim.STRANGER:
                raise InputError(
                    f"{self.path}: an SQLite file, but no response store (application id {application}, expected "
                    f"{APPLICATION}); name another file with --store or {VARIABLE}"
                )
            if found is Claim.OTHER_VERSION:
                raise InputError(_other_version(self.path, version))
            if found is not Claim.MADE and self.path.stat().st_size % page:
                # SQLite sees when whole pages are missing, and takes what is missing of the last one for zeros.
                raise InputError(_damaged(self.path, "cut off within a page", opening=True))
            if found is Claim.TABLES_DIFFER:
                raise InputError(_damaged(self.path, f"its tables are not those of version {VERSION}", opening=True))
        # Write-ahead logging: readers and the writer do not wait for each other, and a commit is one append.
        (mode,) = self._db.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise InputError(
                f"{self.path}: the file system offers no shared memory for write-ahead logging (journal mode {mode}); "
                f"name a file on a local disk with --store or {VARIABLE}, or switch the store off with --no-store"
            )
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_BYTES // page}")

    def _select(
        self, number: int, model: StoredModel, requests: Iterable[bytes], call: bytes, before: float
    ) -> Answers:
        found: Answers = {}
        own, latest = self._db.execute(
            "SELECT max(CASE WHEN digest = ? THEN id END), max(CASE WHEN made < ? THEN id END) "
            "FROM calls WHERE model = ?",
            (call, before, number),
        ).fetchone()
        # In the order in which they stand: twice as fast as in any other.
        wanted = sorted(set(requests))
        for first in range(0, len(wanted), _ASKED_AT_ONCE):
            asked = wanted[first : first + _ASKED_AT_ONCE]
            for request, sample, made, checksum, answer in self._db.execute(
                "SELECT request, sample, call, checksum, answer FROM responses "  # noqa: S608  placeholders only
                f"WHERE model = ? AND request IN ({','.join('?' * len(asked))}) AND (call = ? OR call <= ?)",
                (number, *asked, own, latest),
            ):
                if trouble := _trouble(model.key, request, sample, made, checksum, answer):
                    raise RunError(_damaged(self.path, f"a response {trouble}"))
                samples = found.setdefault(request, {})
                if made == own or sample not in samples:
                    samples[sample] = answer.decode("utf-8", "surrogatepass")
        return found

    def _number(self, model: StoredModel) -> int | None:
        row = self._db.execute("SELECT id FROM models WHERE key = ?", (model.key,)).fetchone()
        return int(row[0]) if row else None

    def _record(self, number: int, call: bytes) -> int:
        """The number of a call, which is entered if it is made for the first time."""
        self._db.execute(
            "INSERT OR IGNORE INTO calls (model, digest, made) VALUES (?, ?, ?)", (number, call, time.time())
        )
        (made,) = self._db.execute("SELECT id FROM calls WHERE model = ? AND digest = ?", (number, call)).fetchone()
        return int(made)

    def _touch(self, model: StoredModel) -> int:
        """Records that the model is used now, for the first time if need be; returns its number."""
        now = time.time()
        self._db.execute(
            "INSERT INTO models (key, name, weights, adapter, backend, resuming, first_used, last_used) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET last_used = excluded.last_used",
            (model.key, model.name, model.weights, model.adapter, model.backend, model.resuming, now, now),
        )
        self._touched.add(model.key)
        number = self._number(model)
        assert number is not None
        return number


def default_path() -> Path:
    """Where the store lies unless an option says otherwise: SLICK_STORE (a file), else the user's cache."""
    named = os.environ.get(VARIABLE, "")
    return Path(named).expanduser() if named not in ("", "0") else cache_directory() / FILE


def switched_off() -> bool:
    """Whether the environment says that responses are not to be stored."""
    return os.environ.get(VARIABLE) == "0"


def days_ago(days: float) -> float:
    """That moment, in seconds since 1970."""
    return time.time() - days * _DAY_S


def _checksum(key: bytes, request: bytes, sample: int, call: int, answer: bytes) -> int:
    return zlib.crc32(answer, zlib.crc32(b"%b%b%d %d" % (key, request, sample, call)))


def _trouble(key: bytes | None, request: Any, sample: Any, call: Any, checksum: Any, answer: Any) -> str:
    """What is wrong with a row; "" if nothing is."""
    if key is None:
        return "belongs to no call of its model"
    numbers = isinstance(sample, int) and isinstance(call, int)
    if not (numbers and isinstance(request, bytes) and isinstance(answer, bytes)):
        return "is not of the kind that slick writes"
    if _checksum(key, request, sample, call, answer) != checksum:
        return "does not match its checksum"
    return ""


def _check_place(path: Path, create: bool) -> None:
    """InputError where no store can be at `path`, found out without touching anything there."""
    elsewhere = f"name another file with --store or {VARIABLE}, or switch the store off with --no-store"
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a directory, expected the response store's file; {elsewhere}")
        if not path.exists():
            if not create:
                raise InputError(f"{path}: no such response store; slick probe and slick score make one")
            _make_place(path, elsewhere)
            return
        with path.open("rb") as file:
            beginning = file.read(len(MAGIC))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); {elsewhere}") from error
    if not beginning and not create:
        raise InputError(
            f"{path}: is empty, no response store; what it held is lost if it was one. The next run begins a new one "
            "in it, or name another file with --store"
        )
    # An empty file is what SQLite itself makes first, and holds nothing that could be lost.
    if beginning and beginning != MAGIC:
        raise InputError(f"{path}: no response store (it begins with {beginning!r}); {elsewhere}")
    # SQLite opens a file that it can only read, and would find out with the first answer.
    if not os.access(path, os.W_OK):
        raise InputError(f"{path}: the response store cannot be written; {elsewhere}")


def _make_place(path: Path, elsewhere: str) -> None:
    try:
        make_directory(path.parent)
    except InputError as error:
        raise InputError(f"{path}: the response store cannot be made ({error.__cause__}); {elsewhere}") from error


def _damaged(path: Path, how: str, *, opening: bool = False) -> str:
    """opening: it cannot even be opened, by slick store verify neither."""
    what = f"{path}: the response store is damaged ({how})"
    if opening:
        return f"{what}. Move it away, and the next run begins a new one, or go on without one (--no-store)"
    return (
        f"{what}. Move it away and repeat the command, which begins a new one, or go on without one (--no-store); "
        f"slick store verify --store {path} lists what is wrong"
    )


def _other_version(path: Path, version: int) -> str:
    what = f"{path}: a response store of version {version}, this slick has version {VERSION}"
    if version > VERSION:
        return f"{what}; upgrade slick, or name another file with --store or {VARIABLE}"
    return f"{what}; move the file away and repeat the command, which begins a new one, or name another with --store"


@contextmanager
def _explained(
    path: Path,
    kind: type[InputError] | type[RunError],
    damage: type[InputError] | type[RunError] | None = None,
    *,
    opening: bool = False,
) -> Iterator[None]:
    """Turns SQLite's errors that are not ours into one that says what to do. damage: the kind of a damaged file's."""
    try:
        yield
    except sqlite3.Error as error:
        if tells_of_damage(error):
            raise (damage or kind)(_damaged(path, str(error), opening=opening)) from error
        message = _explanation(path, error)
        if message is None:
            raise
        raise kind(message) from error
    except UnicodeDecodeError as error:  # of a damaged name, or of SQLite's own message about one
        raise (damage or kind)(_damaged(path, str(error), opening=opening)) from error


def _explanation(path: Path, error: sqlite3.Error) -> str | None:
    without = f"name another file with --store or {VARIABLE}, or go on without a store (--no-store)"
    match code_of(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"{path}: another process has held the response store for {PATIENCE_S:g} s; end it, or {without}"
        case sqlite3.SQLITE_FULL:
            return f"{path}: no space is left for the response store; make some (`slick store prune`), or {without}"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_IOERR:
            return f"{path}: the response store cannot be written ({error}); {without}"
    return None
