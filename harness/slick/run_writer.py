"""Writes runs, in such a way that a killed one can be gone on with.

While a run is being written its samples stand in `samples_<task>.jsonl.part` (and, of further processes, in
`samples_<task>.*.jsonl.part`), its settings in `progress.json`, so that it can be resumed, and `progress.lock`
says who writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from glob import escape
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from slick.errors import InputError, RunError
from slick.files import digest_of, make_directory, mapping_of, read_json, replacing, write_json
from slick.knowledge import Knowledge
from slick.knowledge_file import KNOWLEDGE, write_knowledge
from slick.locks import Lock
from slick.parts import Extent, whole_chunks
from slick.processes import ALONE, Processes
from slick.runs import PROGRESS, Row, Run, differences, read_run, results_document, results_files, row_of

LOCK = "progress.lock"


class RunWriter:
    """Writes one run of one task, chunk by chunk; a chunk is the unit of commit.

    A writer on a directory that an interrupted run with the same settings left goes on with the chunks that it
    lacks (`done` rows are there). Other settings, other contents, or another command that is writing there are
    refused; but an interrupted run that committed nothing gives way to one with other settings. Used as a context
    manager: leaving the block lets go of the directory.

    Of several `processes` each has a writer. The first one's claims the directory, merges and finishes; the
    others' write parts of their own. However many there are, and were before, the files come out the same.
    """

    def __init__(
        self,
        out: Path,
        task: str,
        settings: Mapping[str, Any],
        *,
        total: int,
        chunk: int,
        processes: Processes = ALONE,
    ) -> None:
        self.out = out
        self.task = task
        self.settings = json.loads(json.dumps(settings, default=str))
        self.total = total
        self.chunk = chunk
        self.first = processes.first
        self._meeting = processes.meet()
        self._lock: Lock | None = None
        self._extents: dict[int, Extent] = {}
        self._todo: list[int] = []
        # A name that no process before has used: one that outlives its run by a moment can spoil nothing. It says
        # with what settings, since the run that such a one belonged to may have given way to another.
        self._others_of_run = f"{task}.{digest_of([self.settings, chunk])[:12]}-"
        other = f"samples_{self._others_of_run}{uuid4().hex[:12]}.jsonl.part"
        self._part = out / (f"samples_{task}.jsonl.part" if self.first else other)
        self.finished = self._open() if self.first else self._follow()
        if self.finished:
            self._meeting.part()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the directory; what was committed stays, to be gone on with."""
        if self._lock:
            self._lock.release()

    def _open(self) -> bool:
        """The first process: makes the directory ours, finds what is there, and tells the others what is to do."""
        try:
            finished = self._claim()
            if not finished:
                self._recover()
                self._todo = [number for number in range(-(-self.total // self.chunk)) if number not in self._extents]
        except BaseException:
            self.close()
            raise
        claim = {"finished": finished, "settings": digest_of(self.settings), "todo": self._todo}
        self._meeting.tell("claim", json.dumps(claim))
        return finished

    def _follow(self) -> bool:
        """Another process: hears what is to do."""
        claim = json.loads(self._meeting.hear("claim"))
        if claim["settings"] != digest_of(self.settings):
            raise RunError(
                f"{self.out}: the processes of this run have different settings; start all with the same command, "
                "model files and library versions"
            )
        self._todo = claim["todo"]
        return bool(claim["finished"])

    def _claim(self) -> bool:
        """Whether this very run is finished already. Otherwise makes the directory ours."""
        if inspect_run(self.out, self.settings, self.chunk):
            return True
        make_directory(self.out)
        self._lock = Lock.take(self.out / LOCK)
        # Once more: until the lock was ours, another command may have been at work.
        if inspect_run(self.out, self.settings, self.chunk):
            self.close()
            return True
        progress = self.out / PROGRESS
        if not progress.exists() or _begun_otherwise(progress, self.settings, self.chunk):
            for part in self.out.glob("samples_*.jsonl.part"):
                part.unlink()  # empty: else the directory had been refused
            started = datetime.now().isoformat()
            write_json(
                progress, {"task": self.task, "started": started, "chunk": self.chunk, "settings": self.settings}
            )
        return False

    @property
    def done(self) -> int:
        """Rows of the whole chunks that are known to be on disk."""
        return sum(min(self.chunk, self.total - number * self.chunk) for number in self._extents)

    def _recover(self) -> None:
        """Finds the whole chunks that an interrupted run left, and cuts off what stands behind the last of ours."""
        for unmerged in self.out.glob(f".{escape(self._part.name)}.*"):
            unmerged.unlink()
        if not self._part.exists() and self._named().exists():
            self._named().replace(self._part)  # stopped while it finished: named, but without results
        if self._part.exists():
            self._collect(self._part)
            with self._part.open("rb+") as file:
                file.truncate(max((extent.end for extent in self._extents.values()), default=0))
        self._collect_others()

    def _collect(self, part: Path) -> None:
        for number, extent in whole_chunks(part, chunk=self.chunk, total=self.total):
            self._extents.setdefault(number, extent)

    def _collect_others(self) -> None:
        for part in sorted(self.out.glob(f"samples_{escape(self._others_of_run)}*.jsonl.part")):
            self._collect(part)

    def _named(self) -> Path:
        """Where the samples of the finished run stand."""
        return self.out / f"samples_{self.task}_{self._stamp()}.jsonl"

    def _stamp(self) -> str:
        return self._started().replace(":", "-")

    def _started(self) -> str:
        return run_started(self.out)

    def rows(self) -> Iterator[Row]:
        """The rows written so far, in their order."""
        for number in sorted(self._extents):
            extent = self._extents[number]
            for i, line in enumerate(extent.lines()):
                yield row_of(line, f"{extent.file} (row {number * self.chunk + i})")

    def chunks(self, label: str) -> Iterator[int]:
        """The first row of every chunk that falls to this process; each goes to the process that is free first.

        Shows the progress of all. For the first process, all chunks are committed when this ends.
        """
        from tqdm import tqdm

        left = self.total - self.done
        with tqdm(total=self.total, initial=self.done, desc=label, unit="fact", disable=not self.first) as bar:

            def all_done() -> bool:
                done = self._meeting.add("rows", 0)
                bar.update(self.total - left + done - bar.n)
                return done >= left

            while (turn := self._meeting.add("turn") - 1) < len(self._todo):
                yield self._todo[turn] * self.chunk
                self._meeting.check()
                all_done()
            if self.first and not self._meeting.processes.alone:
                self._meeting.wait(all_done)
                self._collect_others()
                self._check_complete()

    def _check_complete(self) -> None:
        if self.done < self.total:
            missing = [number for number in self._todo if number not in self._extents]
            raise RunError(
                f"{self.out}: the chunks {missing[:10]} of other processes are not there; "
                "all machines must write to one shared file system"
            )

    def commit(self, rows: Iterable[Row]) -> None:
        """Appends one chunk and has it on disk when this returns."""
        rows = list(rows)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        data = text.encode("utf-8", "backslashreplace")
        with self._part.open("ab") as file:
            start = file.tell()
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._extents[rows[0]["doc_id"] // self.chunk] = Extent(self._part, start, len(data))
        self._meeting.add("rows", len(rows))
        self._meeting.alive()

    def finished_by(self, finish: Callable[[], Run]) -> Run:
        """The finished run: the first process makes it with `finish`, the others wait for it."""
        if self.first:
            run = finish()
            samples = {task: str(path) for task, path in run.samples.items()}
            self._meeting.tell("finished", json.dumps({"results": run.results, "samples": samples}))
        else:
            told = json.loads(self._meeting.hear("finished"))
            run = Run(self.out, told["results"], {task: Path(path) for task, path in told["samples"].items()})
        self._meeting.part()
        return run

    def _merge(self) -> None:
        """Brings all chunks into our part, in their order, and removes the others."""
        ordered = [self._extents[number] for number in sorted(self._extents)]
        starts = [0]
        for extent in ordered:
            starts.append(starts[-1] + extent.size)
        if any(e.file != self._part or e.start != start for e, start in zip(ordered, starts, strict=False)):
            with replacing(self._part) as temporary, temporary.open("wb") as file:
                for extent in ordered:
                    extent.copy(file)
                file.flush()
                os.fsync(file.fileno())
        self._extents = {
            number: Extent(self._part, start, self._extents[number].size)
            for number, start in zip(sorted(self._extents), starts, strict=False)
        }
        for part in self.out.glob(f"samples_{escape(self.task)}.*.jsonl.part"):
            part.unlink()

    def finish(
        self,
        results: Mapping[str, Any],
        *,
        provenance: Mapping[str, Any],
        knowledge: Sequence[Knowledge] | None = None,
        per_relation: Mapping[str, Mapping[str, Any]] | None = None,
        seconds: float,
    ) -> Run:
        """Names the samples, writes the results last, and returns the finished run."""
        started, stamp = self._started(), self._stamp()
        self._merge()
        provenance = {**provenance, "settings": self.settings}
        if knowledge is not None:
            write_knowledge(self.out / KNOWLEDGE, knowledge, provenance)
        self._part.replace(self._named())
        document = results_document(self.task, results, per_relation or {}, provenance, started, seconds)
        write_json(self.out / f"results_{stamp}.json", document)
        (self.out / PROGRESS).unlink()
        self.close()
        return read_run(self.out)


def inspect_run(out: Path, settings: Mapping[str, Any], chunk: int) -> bool:
    """Whether this very run is finished in `out` already. InputError where the directory holds anything else.

    An unfinished run with other settings is nothing else as long as it has committed nothing that could be lost.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, expected a directory for the run; choose another --out")
    if not out.is_dir():
        return False
    here = json.loads(json.dumps(settings, default=str))
    if found := results_files(out):
        _refuse(differences(_settings_of_results(found[-1]), here), found[-1])
        return True
    progress = out / PROGRESS
    if progress.exists():
        if (differing := _begun_otherwise(progress, here, chunk)) and not _nothing_committed(out):
            _refuse(differing, progress)
    elif any(path.name != LOCK and not path.match(f".{PROGRESS}.*") for path in out.iterdir()):
        raise InputError(f"{out}: is not empty and holds no run; choose another --out")
    return False


def _begun_otherwise(progress: Path, here: Mapping[str, Any], chunk: int) -> list[tuple[str, Any, Any]]:
    """What differs between the unfinished run that `progress` belongs to and one with the settings `here`."""
    begun = mapping_of(read_json(progress))
    # Chunks of another size are other batches: a version of slick that cuts otherwise cannot go on.
    there = {**mapping_of(begun.get("settings")), "facts a chunk": begun.get("chunk")}
    return differences(there, {**here, "facts a chunk": chunk})


def _nothing_committed(out: Path) -> bool:
    """Whether `out` holds an unfinished run of ours, and neither a row of it nor anything else."""
    begun = mapping_of(read_json(out / PROGRESS))
    ours = {"task", "started", "chunk", "settings"} <= {*begun}
    return ours and all(
        path.name in (PROGRESS, LOCK)
        or path.match(f".{PROGRESS}.*")
        or (path.match("samples_*.jsonl.part") and _is_empty(path))
        for path in out.iterdir()
    )


def _is_empty(file: Path) -> bool:
    # One that is gone by now was removed by the run that is at work there, which the lock tells.
    with suppress(FileNotFoundError):
        return file.stat().st_size == 0
    return True


def _refuse(differing: Sequence[tuple[str, Any, Any]], where: Path) -> None:
    if differing:
        shown = "\n".join(f"  {name}: there {old!r}, now {new!r}" for name, old, new in differing[:10])
        raise InputError(
            f"{where}: this directory holds a run with other settings:\n{shown}\nchoose another --out, or remove it"
        )


def _settings_of_results(file: Path) -> Mapping[str, Any]:
    return mapping_of(mapping_of(mapping_of(read_json(file)).get("slick")).get("settings"))


def recorded_batch_size(out: Path, model: Mapping[str, Any] | None = None) -> int | None:
    """The batch size of the run in `out`, unfinished or finished; None where there is none, or none is recorded.

    model: for whom it is asked. A run of another model that committed nothing, and so gives way, is none.
    """
    progress = out / PROGRESS
    if found := results_files(out):
        settings = _settings_of_results(found[-1])
    elif progress.exists():
        settings = mapping_of(mapping_of(read_json(progress)).get("settings"))
        asked = settings.get("model") if model is None else json.loads(json.dumps(model, default=str))
        if settings.get("model") != asked and _nothing_committed(out):
            return None
    else:
        return None
    size = mapping_of(settings.get("backend")).get("batch_size")
    return size if isinstance(size, int) and size > 0 else None


def run_started(out: Path) -> str:
    """When the run in `out`, unfinished or finished, was started: what tells it from another one of that place."""
    progress = out / PROGRESS
    if progress.exists():
        return str(read_json(progress)["started"])
    recorded = read_run(out).results["date"]
    return recorded if isinstance(recorded, str) else datetime.fromtimestamp(recorded).isoformat()
