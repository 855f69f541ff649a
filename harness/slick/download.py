"""Fetching one archive into the user's cache: resumed when cut off, unpacked without trusting it."""

from __future__ import annotations

import logging
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from slick.errors import InputError, RunError
from slick.files import make_directory

CACHE_VARIABLE = "SLICK_CACHE"

# Unpacked, EntityQuestions takes 25 MB; an archive that claims much more is not what we asked for.
UNPACKED_LIMIT = 256 * 2**20

# What zipfile raises on a file that is no zip, or a damaged one; OSError and ValueError for an offset that
# lies nowhere, RuntimeError for encryption.
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError)

_HTTP_RANGE_NOT_SATISFIABLE = 416


def cache_directory() -> Path:
    """Where downloads are kept: SLICK_CACHE, else XDG_CACHE_HOME/slick, else ~/.cache/slick. Not created."""
    if own := os.environ.get(CACHE_VARIABLE):
        return Path(own).expanduser()
    # The XDG specification says that a relative path in its variables is to be ignored.
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (shared if shared.is_absolute() else Path("~/.cache").expanduser()) / "slick"


def make_cache_directory(path: Path) -> Path:
    """`path`, created; InputError names SLICK_CACHE when it cannot be written."""
    try:
        return make_directory(path)
    except InputError as error:
        raise InputError(
            f"{path}: the cache cannot be written ({error.__cause__}); set {CACHE_VARIABLE} to a directory that can"
        ) from error


def download(url: str, target: Path, *, title: str) -> None:
    """Fetch `url` to `target`, showing progress under `title`; an existing `target` is taken as complete.

    A download that was cut off stays beside `target` as `NAME.part` and is continued from there, within
    this call and by a later one. HF_HUB_OFFLINE=1 forbids it, as it forbids every download. One process
    at a time (see `huggingface_hub.utils.WeakFileLock`).
    Raises RunError saying what was tried and what went wrong.
    """
    if target.exists():
        return
    part = target.with_name(f"{target.name}.part")
    error = _fetch(url, part, title)
    if error is not None and _status(error) == _HTTP_RANGE_NOT_SATISFIABLE:
        # What we hold is not shorter than what the server offers: it is not a part of it.
        part.unlink()
        error = _fetch(url, part, title)
    if error is not None:
        raise RunError(f"{url}: download failed ({_cause(error)}){_kept(part)}") from error
    part.replace(target)


def unpack(archive: Path, into: Path, member: re.Pattern[str]) -> None:
    """Write the members of a zip that match `member` to `into` / (their group "path").

    Other members are ignored, but one whose name leads out of the archive (absolute, "..", a drive or a
    backslash) makes the whole archive suspect.
    Raises RunError when `archive` is no whole zip, is suspect, too large, or holds no wanted member.
    """
    for path, content in _contents(archive, member):
        target = into / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _contents(archive: Path, member: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(archive) as opened:
            wanted = _wanted(opened, member)
            for info, path in wanted:
                # read gives no more than the size that `_wanted` has added up, and checks the CRC.
                yield path, opened.read(info)
    except _DAMAGED as error:
        raise RunError(
            f"{archive.name}: not a whole zip archive ({error}); it begins with {_beginning(archive)}"
        ) from error


def _wanted(archive: zipfile.ZipFile, member: re.Pattern[str]) -> list[tuple[zipfile.ZipInfo, str]]:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    for info in infos:
        # ZipInfo cuts the name at a NUL and may turn backslashes into slashes; the name as stored counts.
        if _leads_out(info.orig_filename):
            raise RunError(f"zip archive: member {info.orig_filename!r} leads out of the archive; refused")
    wanted = [(info, found["path"]) for info in infos if (found := member.fullmatch(info.filename))]
    if not wanted:
        names = ", ".join(repr(info.filename) for info in infos[:5])
        raise RunError(f"zip archive: holds none of the expected files; found {names or 'nothing'}")
    if (size := sum(info.file_size for info, _ in wanted)) > UNPACKED_LIMIT:
        raise RunError(f"zip archive: {size} bytes unpacked, expected at most {UNPACKED_LIMIT}; refused")
    return wanted


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name


def _fetch(url: str, part: Path, title: str) -> Exception | None:
    """Append to `part` what is missing of `url`; the error that stopped it, or None."""
    from huggingface_hub.file_download import http_get

    try:
        with part.open("ab") as file, _suited_to_one_small_file():
            http_get(url, file, resume_size=file.tell(), displayed_filename=title)
    except Exception as error:
        # http_get lets its HTTP library's errors through, and that library is httpx or httpx2 by release.
        return error
    return None


@contextmanager
def _suited_to_one_small_file() -> Iterator[None]:
    """Has http_get write, and show as progress, 64 KiB at a time, and try again without a warning each time.

    Its own 10 MiB are held in memory until they are full, and lost when the connection is cut: of an archive
    no larger than that, nothing would ever be resumed. What stopped it in the end is in our own error.
    Bars that a program has hidden are shown here, unless the user's environment hides them.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    hidden = are_progress_bars_disabled() and constants.HF_HUB_DISABLE_PROGRESS_BARS is None
    if hidden:
        enable_progress_bars()

    logger = logging.getLogger("huggingface_hub.file_download")
    usual = constants.DOWNLOAD_CHUNK_SIZE, logger.level
    constants.DOWNLOAD_CHUNK_SIZE = 2**16
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        if hidden:
            disable_progress_bars()
        constants.DOWNLOAD_CHUNK_SIZE = usual[0]
        logger.setLevel(usual[1])


def _status(error: Exception) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _cause(error: Exception) -> str:
    if status := _status(error):
        return f"HTTP status {status}"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _kept(part: Path) -> str:
    size = part.stat().st_size if part.exists() else 0
    if not size:
        part.unlink(missing_ok=True)
        return ""
    return f"; {size} bytes are kept in {part}, and the next run goes on from there"


def _beginning(path: Path) -> str:
    with path.open("rb") as file:
        return repr(file.read(40))
