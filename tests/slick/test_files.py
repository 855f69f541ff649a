"""slick.files: whole files or none, and errors that name what stands in the way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick.errors import InputError
from slick.files import (
    digest_of,
    make_directory,
    read_json,
    replacing,
    replacing_directory,
    sha256_of,
    write_json,
)


class Stop(Exception):
    """What interrupts a write."""


def names(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir())


def test_a_file_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    """Until the block ends the old file stands; then the new one, and nothing else beside it."""
    target = tmp_path / "new" / "file.txt"
    with replacing(target) as temporary:
        temporary.write_text("first")
        assert not target.exists()
        assert temporary.parent == target.parent
    with replacing(target) as temporary:
        temporary.write_text("second")
        assert target.read_text() == "first"
    assert target.read_text() == "second"
    assert names(target.parent) == ["file.txt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """The half-written file is removed, the error passes through."""
    target = tmp_path / "file.txt"
    target.write_text("old")

    def fail() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half of the n")
            raise Stop("disk full")

    with pytest.raises(Stop, match="disk full"):
        fail()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_a_failed_first_write_leaves_nothing(tmp_path: Path) -> None:
    """Where there was no file, there is none."""

    def fail() -> None:
        with replacing(tmp_path / "file.txt"):
            raise Stop("disk full")

    with pytest.raises(Stop, match="disk full"):
        fail()
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_files_are_as_readable_as_the_umask_says(tmp_path: Path) -> None:
    """What is written is not private to its writer."""
    old = os.umask(0o027)
    try:
        write_json(tmp_path / "file.json", {})
        with replacing_directory(tmp_path / "directory"):
            pass
    finally:
        os.umask(old)
    assert (tmp_path / "file.json").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "directory").stat().st_mode & 0o777 == 0o750


def test_a_directory_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    """It appears with all it holds; an empty directory may stand there before."""
    for target in (tmp_path / "new" / "out", tmp_path / "empty"):
        if target.name == "empty":
            target.mkdir()
        with replacing_directory(target) as temporary:
            (temporary / "a").write_text("a")
            (temporary / "b").mkdir()
            assert not target.exists() or names(target) == []
        assert names(target) == ["a", "b"]
    assert names(tmp_path) == ["empty", "new"]
    assert names(tmp_path / "new") == ["out"]


def test_a_failed_directory_leaves_nothing(tmp_path: Path) -> None:
    """Neither the target nor the half-filled directory is left."""

    def fail() -> None:
        with replacing_directory(tmp_path / "out") as temporary:
            (temporary / "a").write_text("a")
            raise Stop("disk full")

    with pytest.raises(Stop, match="disk full"):
        fail()
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_directory_that_holds_something_is_not_replaced(tmp_path: Path, kind: str) -> None:
    """What is there stays, and the message says what to do."""
    target = tmp_path / "out"
    if kind == "file":
        target.write_text("precious")
    else:
        target.mkdir()
        (target / "precious").write_text("")

    def write() -> None:
        with replacing_directory(target):
            raise AssertionError("not reached")

    with pytest.raises(InputError, match="out: exists already; choose another --out"):
        write()
    assert names(tmp_path) == ["out"]
    assert target.is_file() or names(target) == ["precious"]


def test_a_path_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    """The message names the directory and the reason, and nothing is made."""
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "deeper"

    def write_file() -> None:
        with replacing(below / "out.json"):
            raise AssertionError("not reached")

    def write_directory() -> None:
        with replacing_directory(below / "out"):
            raise AssertionError("not reached")

    for write in (write_file, write_directory, lambda: make_directory(below), lambda: make_directory(below.parent)):
        with pytest.raises(InputError, match=r"file.*: cannot be written \(.+\); choose another --out"):
            write()
    assert names(tmp_path) == ["file"]


def test_a_directory_in_the_files_place_is_named(tmp_path: Path) -> None:
    """A file cannot replace a directory; nothing is left beside it."""
    (tmp_path / "out.json").mkdir()
    with pytest.raises(InputError, match=r"out\.json: is a directory, expected a file"):
        write_json(tmp_path / "out.json", {})
    assert names(tmp_path) == ["out.json"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_directory_without_permission_cannot_be_written(tmp_path: Path) -> None:
    """A read-only directory is named before any work is lost."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(InputError, match=r"closed: cannot be written \(Permission denied\)"):
        make_directory(closed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.characters(categories=["Cs"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_json_survives_a_round_trip(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    """Any value, also text with lone surrogates, NUL and line separators, comes back equal."""
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_json(path, value)
    assert read_json(path) == value
    path.read_text(encoding="utf-8")


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    """NaN is no JSON; it is refused rather than written for other readers to stumble over."""
    path = tmp_path / "value.json"
    write_json(path, 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("nan"))
    assert read_json(path) == 1
    assert names(tmp_path) == ["value.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1', r"value\.json:1:8: not JSON .*half-written"),
        (b"", r"value\.json:1:1: not JSON"),
        (b'{\n  "a" 1}', r"value\.json:2:7: not JSON"),
        (b'{"a": "\xff"}', r"value\.json: not UTF-8 text \(byte 7\)"),
        (b"[" * 100_000, r"value\.json: not JSON that can be read \(.*recursion"),
        (b"1" * 5_000, r"value\.json: not JSON that can be read \(.*4300 digits"),
    ],
)
def test_json_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    """File, line and column of what is wrong."""
    path = tmp_path / "value.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_json(path)


def test_a_missing_json_file_is_named(tmp_path: Path) -> None:
    """Absent, or a directory: the reason is the system's."""
    with pytest.raises(InputError, match=r"none\.json: cannot be read \(No such file or directory\)"):
        read_json(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path)


def test_a_hash_of_files_covers_names_order_and_bytes(tmp_path: Path) -> None:
    """Any change of what is hashed is another hash; where the files lie is not."""
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"1")
    b.write_bytes(b"2")
    first = sha256_of(a, b)
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "a").write_bytes(b"1")
    (other / "b").write_bytes(b"2")
    assert sha256_of(other / "a", other / "b") == first
    hashes = {first, sha256_of(b, a), sha256_of(a)}
    b.write_bytes(b"3")
    hashes.add(sha256_of(a, b))
    b.rename(tmp_path / "c")
    hashes.add(sha256_of(a, tmp_path / "c"))
    assert len(hashes) == 5


def test_a_digest_is_of_the_value_and_not_of_its_order() -> None:
    """Keys may come in any order; lists may not; a lone surrogate has a digest too."""
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of([1, 2]) != digest_of([2, 1])
    assert digest_of("\ud800") != digest_of("\\ud800")
    assert digest_of("ü") == digest_of(json.loads('"\\u00fc"'))
