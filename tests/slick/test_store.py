"""slick.store: one file of responses, shared by processes, that is never wrong and never spoilt."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import slick.store
from slick.errors import InputError, RunError
from slick.store import APPLICATION, VERSION, Store, StoredModel, days_ago, default_path, switched_off

A = StoredModel(b"a" * 16, "model-a", "weights-a", None, "hf")
B = StoredModel(b"b" * 16, "model-b", None, None, "local-completions", resuming=True)


def request(i: int) -> bytes:
    return i.to_bytes(16, "big")


def filled(path: Path, rows: int = 2000) -> Path:
    """A store of `rows` responses of one model, closed."""
    with Store(path) as store:
        store.put(A, [(request(i), 0, f" answer {i}") for i in range(rows)])
    return path


def executed(path: Path, *statements: str) -> Path:
    """The file after plain SQLite has worked on it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)
    return path


# --- what is put is got -----------------------------------------------------------------------------------------


class Shelf(RuleBasedStateMachine):
    """A store against a dictionary: two models, few requests and samples, any text, closed and opened at will."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "store"
        self.store = Store(self.path)
        self.expected: dict[StoredModel, dict[bytes, dict[int, str]]] = {}

    @rule(
        model=st.sampled_from([A, B]),
        rows=st.lists(
            st.tuples(
                st.integers(0, 5).map(request),
                st.integers(0, 3),
                st.text(st.characters() | st.characters(categories=["Cs"]), max_size=5),
            ),
            max_size=6,
        ),
    )
    def put(self, model: StoredModel, rows: list[tuple[bytes, int, str]]) -> None:
        known = self.expected.setdefault(model, {})
        added: dict[bytes, dict[int, str]] = {}
        # Sorted as the store does it, since the first of two answers to one request stands.
        for key, sample, answer in sorted(rows, key=lambda r: (r[0], r[1], r[2].encode("utf-8", "surrogatepass"))):
            stands = known.setdefault(key, {}).setdefault(sample, answer)
            added.setdefault(key, {})[sample] = stands
        assert self.store.put(model, rows) == added

    @rule(model=st.sampled_from([A, B]))
    def forget(self, model: StoredModel) -> None:
        assert self.store.forget([model]) == sum(map(len, self.expected.pop(model, {}).values()))

    @rule()
    def shrink(self) -> None:
        self.store.shrink()

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store(self.path)

    @invariant()
    def holds_what_was_put(self) -> None:
        for model in (A, B):
            assert self.store.get(model, [request(i) for i in range(6)]) == self.expected.get(model, {})
        assert self.store.verify() == sum(len(v) for m in self.expected.values() for v in m.values())
        assert {h.model: h.responses for h in self.store.holdings()} == {
            model: sum(map(len, known.values())) for model, known in self.expected.items()
        }

    def teardown(self) -> None:
        self.store.close()
        self.directory.cleanup()


TestShelf = Shelf.TestCase
TestShelf.settings = settings(max_examples=20, stateful_step_count=12)


def test_what_is_not_there_is_left_out(tmp_path: Path) -> None:
    """Of no requests, too; a model nobody has heard of has nothing and is not recorded."""
    with Store(tmp_path / "store") as store:
        assert store.get(A, [request(1)]) == {}
        assert store.holdings() == []
        store.put(A, [(request(1), 3, "x")])
        assert store.get(A, []) == {}
        assert store.get(A, [request(2)]) == {}
        assert store.get(A, [request(1), request(2), request(1)]) == {request(1): {3: "x"}}


def test_more_requests_than_sqlite_takes_at_once(tmp_path: Path) -> None:
    """A call may be as long as it likes."""
    with Store(filled(tmp_path / "store", 5000)) as store:
        found = store.get(A, [request(i) for i in range(6000)])
    assert found == {request(i): {0: f" answer {i}"} for i in range(5000)}


def test_the_first_answer_stands(tmp_path: Path) -> None:
    """What was there is returned in place of what was given, so that all who ask have the same."""
    with Store(tmp_path / "store") as store:
        store.put(A, [(request(1), 0, "first")])
        assert store.put(A, [(request(1), 0, "second"), (request(1), 1, "other")]) == {
            request(1): {0: "first", 1: "other"}
        }


def test_a_holding_says_whose_and_how_much_and_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes as they are stored; a later use is recorded once a session, of an answer that was there as well."""
    now = 1000.0
    monkeypatch.setattr(slick.store.time, "time", lambda: now)
    with Store(tmp_path / "store") as store:
        store.put(A, [(request(1), 0, "é"), (request(1), 1, "xy")])
        now = 2000.0
        store.put(B, [(request(1), 0, "")])
    now = 3000.0
    with Store(tmp_path / "store") as store:
        store.get(A, [request(1)])
        a, b = store.holdings()
    assert (a.model, a.responses, a.size, a.first_used, a.last_used) == (A, 2, 4, 1000.0, 3000.0)
    assert (b.model, b.responses, b.size, b.first_used, b.last_used) == (B, 1, 0, 2000.0, 2000.0)
    assert days_ago(0.01) == 3000.0 - 864.0


def test_a_number_that_was_pruned_never_comes_back(tmp_path: Path) -> None:
    """A process that goes on after its model was pruned mixes nothing up."""
    with Store(tmp_path / "store") as one, Store(tmp_path / "store") as other:
        one.put(A, [(request(1), 0, "of a")])
        assert other.forget([A]) == 1
        other.put(B, [(request(1), 0, "of b")])
        assert one.get(A, [request(1)]) == {}
        one.put(A, [(request(2), 0, "of a")])
        assert other.get(B, [request(1), request(2)]) == {request(1): {0: "of b"}}
        assert other.verify() == 2


def test_an_interrupted_transaction_leaves_nothing(tmp_path: Path) -> None:
    """All rows of a call, or none."""

    def rows() -> Iterator[tuple[bytes, int, str]]:
        yield request(1), 0, "x"
        raise KeyboardInterrupt

    with Store(tmp_path / "store") as store:
        with pytest.raises(KeyboardInterrupt):
            store.put(A, rows())
        store._db.execute("CREATE TEMP TRIGGER t BEFORE INSERT ON responses BEGIN SELECT RAISE(FAIL, 'no'); END")
        with pytest.raises(sqlite3.IntegrityError, match="no"):
            store.put(A, [(request(1), 0, "x")])
        assert store.holdings() == []


# --- several processes ------------------------------------------------------------------------------------------

WRITER = """
import sys
from slick.store import Store, StoredModel
path, name, first = sys.argv[1], sys.argv[2], int(sys.argv[3])
own, both = StoredModel(name.encode(), name, None, None, "hf"), StoredModel(b"both", "both", None, None, "hf")
with Store(path) as store:
    print("open", flush=True)
    sys.stdin.readline()
    for call in range(40):
        rows = [((first + 50 * call + i).to_bytes(16, "big"), 0, f"{name} {i}") for i in range(50)]
        store.put(own, rows)
        shared = store.put(both, [(call.to_bytes(16, "big"), 0, name)])
        assert store.get(own, [r for r, _, _ in rows]) == {r: {s: a} for r, s, a in rows}
        print(shared[call.to_bytes(16, "big")][0], flush=True)
"""


def test_two_processes_fill_one_store(tmp_path: Path) -> None:
    """They create it together, write at once, lose nothing, and agree on what stands."""
    path = tmp_path / "new" / "store"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name, str(first)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, first in (("one", 0), ("two", 1000))
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    done = [writer.communicate() for writer in writers]
    assert [(writer.returncode, err) for writer, (_, err) in zip(writers, done, strict=True)] == [(0, "")] * 2
    agreed = done[0][0].splitlines()
    assert agreed == done[1][0].splitlines()
    assert len(agreed) == 40
    with Store(path) as store:
        assert {h.model.name: h.responses for h in store.holdings()} == {"one": 2000, "two": 2000, "both": 40}
        assert store.verify() == 4040


def test_a_store_that_is_held_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits in vain is told what for; at the start it is the input's fault, later the run's."""
    monkeypatch.setattr(slick.store, "PATIENCE_S", 0.05)
    path = filled(tmp_path / "store", 1)
    with Store(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RunError, match=r"another process has held the response store for 0\.05 s; end it, or name"):
            store.put(A, [(request(1), 0, "x")])
        with pytest.raises(InputError, match="another process has held"):
            Store(path)
        other.execute("ROLLBACK")
        store.put(A, [(request(1), 0, "x")])


def test_a_new_store_waits_for_the_one_who_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changing to write-ahead logging needs the file alone."""
    monkeypatch.setattr(slick.store, "PATIENCE_S", 0.05)
    path = executed(filled(tmp_path / "store", 1), "PRAGMA journal_mode = DELETE")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM models").fetchone()
        with pytest.raises(InputError, match="another process has held"):
            Store(path)
    with Store(path) as store:
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


# --- bad input --------------------------------------------------------------------------------------------------


def bytes_of(path: Path) -> bytes | None:
    """Of what is there, if it is a file."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def refused(path: Path, message: str, *, create: bool = True) -> None:
    """Opening `path` is refused, and changes no byte of it."""
    before = bytes_of(path)
    with pytest.raises(InputError, match=message):
        Store(path, create=create)
    assert bytes_of(path) == before


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (
            VERSION + 1,
            rf"store: a response store of version {VERSION + 1}, this slick has version 1; upgrade slick, or",
        ),
        (0, r"store: a response store of version 0, this slick has version 1; move the file away and repeat"),
    ],
)
def test_a_store_of_another_version(tmp_path: Path, version: int, message: str) -> None:
    """Newer or older, it is named and left alone."""
    refused(executed(filled(tmp_path / "store", 3), f"PRAGMA user_version = {version}"), message)


@pytest.mark.parametrize("content", [b"\n", b"{}", b"SQLite format 3", b"PK\x03\x04" + bytes(9000), bytes(4096)])
def test_a_file_that_is_no_sqlite_file(tmp_path: Path, content: bytes) -> None:
    """Something else lies in the store's place."""
    (tmp_path / "store").write_bytes(content)
    refused(tmp_path / "store", r"store: no response store \(it begins with b.*\); name another file with --store")


def test_an_sqlite_file_of_something_else(tmp_path: Path) -> None:
    """lm-eval's request cache is one; with an application id of its own or without."""
    path = executed(tmp_path / "store", "CREATE TABLE unnamed (key TEXT PRIMARY KEY, value BLOB)")
    refused(path, r"store: an SQLite file, but no response store \(application id 0, expected \d+\); name another file")
    refused(executed(path, "PRAGMA application_id = 7"), r"application id 7, expected")


def test_an_empty_file_is_a_new_store(tmp_path: Path) -> None:
    """SQLite makes it first, and nothing can be lost of it; but who lists or prunes does not make it one."""
    (tmp_path / "store").touch()
    refused(tmp_path / "store", "store: is empty, no response store; .* The next run begins a new one", create=False)
    with Store(tmp_path / "store") as store:
        assert store.verify() == 0


def test_an_sqlite_file_without_tables_is_a_new_store(tmp_path: Path) -> None:
    """For who fills it; who lists or prunes leaves it alone."""
    path = executed(tmp_path / "store", "VACUUM")
    assert path.stat().st_size > 0
    refused(path, r"an SQLite file, but no response store \(application id 0", create=False)
    with Store(path) as store:
        assert store.verify() == 0


def test_no_file_where_one_must_be(tmp_path: Path) -> None:
    """Who lists or prunes does not make one."""
    refused(tmp_path / "store", r"store: no such response store; slick probe and slick score make one", create=False)
    assert list(tmp_path.iterdir()) == []


def test_places_where_no_store_can_be(tmp_path: Path) -> None:
    """A directory, a file's child, a system's directory, a name that is too long."""
    refused(tmp_path, "is a directory, expected the response store's file; name another file with --store")
    (tmp_path / "file").touch()
    refused(tmp_path / "file" / "store", r"store: the response store cannot be made \(.+\); name another file")
    refused(Path("/proc/slick/store"), r"the response store cannot be made \(.+\); .*switch the store off")
    refused(tmp_path / ("x" * 300), "File name too long")


def test_a_name_that_sqlite_would_take_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ ":memory:" is a file's name like any other."""
    monkeypatch.chdir(tmp_path)
    filled(Path(":memory:"), 1)
    assert [p.name for p in tmp_path.iterdir()] == [":memory:"]


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Files from now on can be read only, as on a file system that is mounted so."""
    connect = sqlite3.connect

    def mount() -> None:
        monkeypatch.setattr(slick.store.os, "access", lambda path, mode: mode != os.W_OK)
        monkeypatch.setattr(
            slick.store.sqlite3, "connect", lambda path, **kwargs: connect(f"file:{path}?mode=ro", uri=True, **kwargs)
        )

    return mount


def test_a_place_that_is_read_only(tmp_path: Path, read_only: Callable[[], None]) -> None:
    """An old store there, and none."""
    path = filled(tmp_path / "store", 1)
    read_only()
    refused(path, "store: the response store cannot be written; name another file with --store")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store"]
    refused(tmp_path / "new", r"new: the response store cannot be written \(unable to open database file\); name")


def test_a_file_system_without_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where write-ahead logging does not work, the store says so instead of being slow and wrong."""

    class Deaf(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            return super().execute("SELECT 'delete'" if "journal_mode" in sql else sql, *args)

    connect = sqlite3.connect
    monkeypatch.setattr(slick.store.sqlite3, "connect", lambda *a, **k: connect(*a, factory=Deaf, **k))
    with pytest.raises(InputError, match=r"no shared memory .*journal mode delete\); name a file on a local disk"):
        Store(tmp_path / "store")


def test_a_full_disk_is_a_run_error(tmp_path: Path) -> None:
    """What was there stays; the run can be gone on with."""
    with Store(filled(tmp_path / "store")) as store:
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(RunError, match=r"no space is left for the response store; make some \(`slick store prune`"):
            store.put(A, [(request(10**6 + i), 0, "x" * 100) for i in range(10_000)])
        assert store.verify() == 2000


def test_an_unforeseen_error_keeps_its_type(tmp_path: Path) -> None:
    """A bug is not dressed up as somebody's file."""
    with Store(tmp_path / "store") as store:
        store._db.execute("DROP TABLE responses")
        store._db.execute("CREATE TABLE responses (model)")
        with pytest.raises(sqlite3.OperationalError, match="has 1 columns but 6 values"):
            store.put(A, [(request(1), 0, "x")])


# --- damage -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("sound") / "store")


def complaint(action: Callable[[], object]) -> str:
    """What a SlickError says of it; "" if it went well."""
    try:
        action()
    except (InputError, RunError) as error:
        return str(error)
    return ""


def noticed(path: Path) -> bool:
    """Whether a damaged store is noticed when it is opened or verified; asserts that no answer of it is wrong."""

    def read() -> None:
        found = store.get(A, [request(i) for i in range(2000)])
        assert all(answers == {0: f" answer {int.from_bytes(key, 'big')}"} for key, answers in found.items())

    if refusal := complaint(lambda: Store(path).close()):
        assert re.search("damaged|no response store|of version", refusal)
        return True
    with Store(path) as store:
        reading, verifying = complaint(read), complaint(store.verify)
    assert not reading or "damaged" in reading
    assert not verifying or "damaged; move it away" in verifying
    return bool(verifying)


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_store_that_was_cut_off(sound: Path, tmp_path: Path, share: float) -> None:
    """At any byte: it is refused, or what is read of it is right and verify tells."""
    path = tmp_path / "cut"
    content = sound.read_bytes()
    path.write_bytes(content[: max(1, int(share * len(content)))])
    cut = path.read_bytes()
    assert noticed(path)
    assert path.read_bytes() == cut


@given(st.integers(100, 10**9), st.binary(min_size=1, max_size=64))
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_store_that_was_overwritten_in_places(sound: Path, tmp_path: Path, place: int, noise: bytes) -> None:
    """Behind the header, any bytes: no answer is ever wrong, and verify tells of every response that is touched."""
    content = bytearray(sound.read_bytes())
    place %= len(content) - len(noise)
    changed = content[place : place + len(noise)] != noise
    content[place : place + len(noise)] = noise
    path = tmp_path / "noise"
    path.write_bytes(content)
    found = noticed(path)
    if changed and any(sound.read_bytes().find(f" answer {i}".encode()) == place for i in range(2000)):
        assert found


def test_a_corrupted_page_is_found_mid_run(sound: Path, tmp_path: Path) -> None:
    """A run that meets it ends with what to do; a store that was opened before is no exception."""
    path = Path(shutil.copy(sound, tmp_path / "store"))
    with Store(path) as store:
        content = path.read_bytes()
        with path.open("r+b") as file:
            for page in range(3, len(content) // 4096):
                file.seek(page * 4096)
                file.write(os.urandom(4096))
        with pytest.raises(
            RunError, match=r"store: the response store is damaged \(database disk image is malformed\)"
        ):
            store.get(A, [request(i) for i in range(2000)])


def test_a_changed_answer_is_found(sound: Path, tmp_path: Path) -> None:
    """One letter of one answer, one sample's number, another model's number: SQLite sees nothing, the checksum does."""
    for name, change in {
        "letter": "answer = CAST(' answer 8' AS BLOB)",
        "sample": "sample = 5",
        "text": "answer = ' answer 7'",
        "model": "model = 77",
        "call": "call = 0",
    }.items():
        path = executed(
            Path(shutil.copy(sound, tmp_path / name)),
            f"UPDATE responses SET {change} WHERE answer = CAST(' answer 7' AS BLOB)",
        )
        with Store(path) as store:
            if name != "model":
                with pytest.raises(
                    RunError, match=r"damaged \(a response (does not match its checksum|is not of the kind)"
                ):
                    store.get(A, [request(7)])
            else:
                assert store.get(A, [request(7)]) == {}
            with pytest.raises(InputError, match=r"(?s)damaged; move it away, and the next run.*\n  response \d+: "):
                store.verify()


def test_a_model_whose_name_is_no_text(sound: Path, tmp_path: Path) -> None:
    """Damage in what is there for people only is said to be damage, too."""
    path = executed(Path(shutil.copy(sound, tmp_path / "store")), "UPDATE models SET name = CAST(x'ff' AS TEXT)")
    with Store(path) as store, pytest.raises(RunError, match=r"damaged \(Could not decode"):
        store.holdings()


@pytest.mark.parametrize("table", ["models", "responses"])
def test_a_store_without_a_table(sound: Path, tmp_path: Path, table: str) -> None:
    """Marked as a store, and none."""
    path = executed(Path(shutil.copy(sound, tmp_path / "store")), f"DROP TABLE {table}")
    refused(path, r"damaged \(its tables are not those of version 1\)")


# --- where it lies ----------------------------------------------------------------------------------------------


def test_where_the_store_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's cache; SLICK_STORE names another file, and 0 switches it off."""
    monkeypatch.setenv("SLICK_CACHE", str(tmp_path))
    monkeypatch.delenv("SLICK_STORE")
    assert default_path() == tmp_path / "responses.sqlite"
    assert not switched_off()
    monkeypatch.setenv("SLICK_STORE", "~/mine")
    assert default_path() == Path("~/mine").expanduser()
    assert not switched_off()
    monkeypatch.setenv("SLICK_STORE", "0")
    assert default_path() == tmp_path / "responses.sqlite"
    assert switched_off()


def test_a_store_is_marked_in_its_header(tmp_path: Path) -> None:
    """So that `file` and other readers can tell what it is, before the first checkpoint as well."""
    with Store(tmp_path / "store"):
        header = (tmp_path / "store").read_bytes()[:100]
    assert int.from_bytes(header[68:72], "big") == APPLICATION
    assert int.from_bytes(header[60:64], "big") == VERSION
