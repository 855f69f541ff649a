"""slick.download: into the cache by a resumed download, and out of a zip that is not trusted."""

from __future__ import annotations

import io
import logging
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from slick import download as module
from slick.download import cache_directory, download, make_cache_directory, unpack
from slick.errors import InputError, RunError

MEMBER = re.compile(r"(?:top/)?(?P<path>(a|b)/\w+\.json)")
BODY = bytes(range(256)) * 4096  # 1 MiB


@dataclass
class Site:
    """A file on a loopback server, and how that server behaves."""

    body: bytes = BODY
    cuts: list[int] = field(default_factory=list)  # how many bytes each next answer sends before it breaks off
    knows_ranges: bool = True
    status: int = 0  # answered instead, where not 0
    url: str = ""
    requests: list[dict[str, str]] = field(default_factory=list)

    def ranges(self) -> list[str]:
        return [request.get("range", "") for request in self.requests]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A running loopback server; the downloader is online, without proxies, and waits for nothing."""
    import huggingface_hub.constants
    from huggingface_hub.utils import close_session

    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.requests.append({name.lower(): value for name, value in self.headers.items()})
            found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(found[1]) if found and site.knows_ranges else 0
            if site.status or (start and start >= len(site.body)):
                self.send_error(site.status or 416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(site.body) - 1}/{len(site.body)}")
            self.send_header("Content-Length", str(len(site.body) - start))
            self.end_headers()
            end = start + site.cuts.pop(0) if site.cuts else len(site.body)
            self.wfile.write(site.body[start:end])
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Keeps the test's output quiet."""

    close_session()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}/dataset.zip"
    yield site
    server.shutdown()
    thread.join()
    server.server_close()
    close_session()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_a_download_arrives_whole_and_leaves_no_part(site: Site, tmp_path: Path) -> None:
    """The file holds the server's bytes, and the temporary name is gone."""
    download(site.url, tmp_path / "x.zip", title="x")
    assert (tmp_path / "x.zip").read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


class Terminal(io.StringIO):
    """Standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_download_shows_progress(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a progress bar under the given title goes to standard error."""
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    download(site.url, tmp_path / "x.zip", title="EntityQuestions")
    assert re.search(r"EntityQuestions: 100%.*1\.05M/1\.05M", terminal.getvalue())


def test_hidden_bars_do_not_hide_a_download(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model hides the libraries' bars; a download shows its own, and leaves them hidden."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    disable_progress_bars()
    try:
        monkeypatch.setattr("sys.stderr", terminal := Terminal())
        download(site.url, tmp_path / "x.zip", title="EntityQuestions")
        assert are_progress_bars_disabled()
    finally:
        enable_progress_bars()
    assert "EntityQuestions: 100%" in terminal.getvalue()


def test_a_file_that_is_there_is_not_asked_for_again(site: Site, tmp_path: Path) -> None:
    """An existing target is complete, since it only ever gets its name when it is."""
    (tmp_path / "x.zip").write_bytes(b"whole")
    download(site.url, tmp_path / "x.zip", title="x")
    assert site.requests == []
    assert (tmp_path / "x.zip").read_bytes() == b"whole"


def test_a_cut_connection_is_resumed_within_the_call(site: Site, tmp_path: Path) -> None:
    """After a cut only the missing bytes are asked for, and the file is whole in the end."""
    site.cuts = [300_000]
    download(site.url, tmp_path / "x.zip", title="x")
    assert (tmp_path / "x.zip").read_bytes() == BODY
    first, second = site.ranges()
    assert first == ""
    # At most one chunk of 64 KiB is lost with the connection.
    assert 300_000 - 2**16 <= int(second.removeprefix("bytes=").removesuffix("-")) <= 300_000


def test_a_download_that_gave_up_is_resumed_by_the_next(site: Site, tmp_path: Path) -> None:
    """When no retry helps, what arrived is kept under a temporary name, and the next call goes on from it."""
    site.cuts = [300_000] + [0] * 20
    with pytest.raises(RunError, match=r"bytes are kept in .*x\.zip\.part, and the next run goes on") as raised:
        download(site.url, tmp_path / "x.zip", title="x")
    assert site.url in str(raised.value)
    assert not (tmp_path / "x.zip").exists()
    kept = (tmp_path / "x.zip.part").stat().st_size
    assert kept >= 300_000 - 2**16
    site.cuts, site.requests = [], []
    download(site.url, tmp_path / "x.zip", title="x")
    assert site.ranges() == [f"bytes={kept}-"]
    assert (tmp_path / "x.zip").read_bytes() == BODY


def test_a_server_that_ignores_ranges_starts_over(site: Site, tmp_path: Path) -> None:
    """A full answer to a request for the rest replaces the part instead of being appended to it."""
    site.knows_ranges = False
    (tmp_path / "x.zip.part").write_bytes(b"stale" * 1000)
    download(site.url, tmp_path / "x.zip", title="x")
    assert (tmp_path / "x.zip").read_bytes() == BODY


def test_a_part_as_long_as_the_file_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    """A part that the server cannot continue (status 416) is dropped, not an endless error."""
    (tmp_path / "x.zip.part").write_bytes(b"x" * len(BODY))
    download(site.url, tmp_path / "x.zip", title="x")
    assert (tmp_path / "x.zip").read_bytes() == BODY


def test_a_missing_file_is_a_run_error_with_its_status(site: Site, tmp_path: Path) -> None:
    """Status 404 is named, and no file appears."""
    site.status = 404
    with pytest.raises(RunError, match=r"dataset\.zip: download failed \(HTTP status 404\)$"):
        download(site.url, tmp_path / "x.zip", title="x")
    assert not (tmp_path / "x.zip").exists()


def test_a_server_that_is_not_there_is_a_run_error(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused connection is one message, not a warning for each try, and leaves no file."""
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "propagate", True)  # so that caplog sees it
    with pytest.raises(RunError, match="download failed"):
        download("http://127.0.0.1:1/dataset.zip", tmp_path / "x.zip", title="x")
    assert list(tmp_path.iterdir()) == []
    assert caplog.messages == []


def test_offline_mode_forbids_the_download(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE is obeyed, and named in the message."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(RunError, match="HF_HUB_OFFLINE"):
        download(site.url, tmp_path / "x.zip", title="x")
    assert site.requests == []


def test_no_token_is_sent(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's hub token never reaches another host."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    download(site.url, tmp_path / "x.zip", title="x")
    assert all("secret" not in value for request in site.requests for value in request.values())


def test_the_usual_chunk_size_is_put_back(site: Site, tmp_path: Path) -> None:
    """Other downloads of the same process keep the hub library's own chunk size."""
    from huggingface_hub import constants

    before = constants.DOWNLOAD_CHUNK_SIZE
    download(site.url, tmp_path / "x.zip", title="x")
    assert constants.DOWNLOAD_CHUNK_SIZE == before > 2**16


def test_unpack_writes_only_the_wanted_members(tmp_path: Path) -> None:
    """Members that match go to their own path; the rest of the archive is left alone."""
    members = {"top/a/one.json": b"[1]", "b/two.json": b"[2]", "top/a/run.sh": b"", "other/a/x.json": b""}
    (tmp_path / "x.zip").write_bytes(zipped(members))
    unpack(tmp_path / "x.zip", tmp_path / "out", MEMBER)
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert written == {"a/one.json", "b/two.json"}
    assert (tmp_path / "out/a/one.json").read_bytes() == b"[1]"


@pytest.mark.parametrize(
    "name", ["../a/x.json", "a/../../x.json", "/a/x.json", "..\\a\\x.json", "C:/a/x.json", "a/x\0.json"]
)
def test_unpack_refuses_an_archive_that_leads_out(tmp_path: Path, name: str) -> None:
    """One member whose name leaves the archive makes all of it suspect, and nothing is written."""
    content = zipped({"a/good.json": b"[]", "a/evil__________.json": b"[]"})
    stored = name.ljust(len("a/evil__________.json"), "z").encode()
    (tmp_path / "x.zip").write_bytes(content.replace(b"a/evil__________.json", stored))
    with pytest.raises(RunError, match="leads out of the archive; refused"):
        unpack(tmp_path / "x.zip", tmp_path / "out", MEMBER)
    assert not (tmp_path / "out").exists()


def test_unpack_refuses_what_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small archive that unpacks to very much is refused before a byte is written."""
    monkeypatch.setattr(module, "UNPACKED_LIMIT", 1000)
    (tmp_path / "x.zip").write_bytes(zipped({"a/x.json": b" " * 1001}))
    with pytest.raises(RunError, match=r"1001 bytes unpacked, expected at most 1000"):
        unpack(tmp_path / "x.zip", tmp_path / "out", MEMBER)
    assert not (tmp_path / "out").exists()


def test_unpack_says_what_it_found_instead(tmp_path: Path) -> None:
    """An archive of something else is refused with the first names in it."""
    (tmp_path / "x.zip").write_bytes(zipped({"photo.jpg": b""}))
    with pytest.raises(RunError, match=r"none of the expected files; found 'photo\.jpg'"):
        unpack(tmp_path / "x.zip", tmp_path / "out", MEMBER)


def test_unpack_shows_how_a_wrong_file_begins(tmp_path: Path) -> None:
    """A log-in page in place of the archive is recognisable in the message."""
    (tmp_path / "x.zip").write_bytes(b"<!DOCTYPE html><title>Please log in")
    with pytest.raises(RunError, match=r"not a whole zip archive .* begins with b'<!DOCTYPE html>"):
        unpack(tmp_path / "x.zip", tmp_path / "out", MEMBER)


def test_unpack_refuses_damage_anywhere_in_the_archive(tmp_path: Path) -> None:
    """Whatever byte of an archive is lost or turned, the outcome is the right content or a RunError."""
    whole = zipped({"a/x.json": b'["some text that is long enough to be deflated, deflated, deflated"]'})
    for place in range(len(whole)):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]):
            (tmp_path / "x.zip").write_bytes(damaged)
            try:
                unpack(tmp_path / "x.zip", tmp_path / "out", MEMBER)
            except RunError:
                continue
            assert b"long enough" in (tmp_path / "out/a/x.json").read_bytes()


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SLICK_CACHE wins over XDG_CACHE_HOME, which counts only when absolute, over ~/.cache."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SLICK_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "own"
    monkeypatch.setenv("SLICK_CACHE", "")
    assert cache_directory() == tmp_path / "xdg" / "slick"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_directory() == tmp_path / "home" / ".cache" / "slick"


def test_a_cache_that_cannot_be_made_names_the_variable(tmp_path: Path) -> None:
    """A cache path below a plain file is the user's to mend, by SLICK_CACHE."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cache cannot be written .*set SLICK_CACHE to a directory that can"):
        make_cache_directory(tmp_path / "file" / "cache")
