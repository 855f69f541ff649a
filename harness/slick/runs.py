"""Runs on disk, in lm-eval's own format; the only module that reads or writes them.

A run is a directory with one `results_*.json` (lm-eval's schema and a "slick" key with the provenance) and
one `samples_<task>_*.jsonl` a task. A probe adds `knowledge.parquet`. While a run is being written its
samples stand in `samples_<task>.jsonl.part` (and, of further processes, in `samples_<task>.*.jsonl.part`), its
settings in `progress.json`, so that it can be resumed, and `progress.lock` says who writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from glob import escape
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from slick.errors import InputError, RunError
from slick.facts import Fact
from slick.files import digest_of, make_directory, read_json, replacing, write_json
from slick.knowledge import CHANCES, COUNTS, Knowledge
from slick.lm_eval_results import knowledge_of_answers, provenance_of_tasks
from slick.locks import Lock
from slick.parts import Extent, whole_chunks
from slick.processes import ALONE, Processes
from slick.redraw import chance_kept

SCHEMA = 1
PROGRESS = "progress.json"
LOCK = "progress.lock"
KNOWLEDGE = "knowledge.parquet"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run. samples: task name → its samples file; empty when none were logged."""

    path: Path
    results: Mapping[str, Any]
    samples: Mapping[str, Path] = field(default_factory=dict)

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What `slick` recorded, or our tasks under lm_eval; empty for a run of other tasks."""
        found = self.results.get("slick")
        return found if isinstance(found, Mapping) else provenance_of_tasks(self.results)

    @property
    def kind(self) -> str:
        """ "probe", "score", or "lm_eval" for a run that lm_eval itself wrote."""
        return str(self.provenance.get("kind", "lm_eval"))


def sample_row(
    doc_id: int,
    fact: Fact,
    requests: Sequence[tuple[str, Mapping[str, Any]]],
    answers: Sequence[Sequence[str]],
    metrics: Mapping[str, Any],
) -> Row:
    """One line of `samples_*.jsonl`. requests[i] = (prompt, generation settings) was answered by answers[i].

    `prompt_hash` covers every prompt of the fact; lm-eval's own covers the first only.
    """
    doc = fact.as_dict()
    return {
        "doc_id": doc_id,
        "doc": doc,
        "target": fact.answers[0],
        "arguments": {
            f"gen_args_{i}": {"arg_0": prompt, "arg_1": dict(kwargs)} for i, (prompt, kwargs) in enumerate(requests)
        },
        "resps": [list(a) for a in answers],
        "filtered_resps": [list(a) for a in answers],
        "filter": "none",
        "metrics": list(metrics),
        "doc_hash": digest_of(doc),
        "prompt_hash": digest_of([prompt for prompt, _ in requests]),
        "target_hash": digest_of(fact.answers[0]),
        **metrics,
    }


class RunWriter:
    """Writes one run of one task, chunk by chunk; a chunk is the unit of commit.

    A writer on a directory that an interrupted run with the same settings left goes on with the chunks that it
    lacks (`done` rows are there). Other settings, other contents, or another command that is writing there are
    refused. Used as a context manager: leaving the block lets go of the directory.

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
        # A name that no process before has used: one that outlives its run by a moment can spoil nothing.
        name = f"samples_{task}.jsonl.part" if self.first else f"samples_{task}.{uuid4().hex[:12]}.jsonl.part"
        self._part = out / name
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
        if not progress.exists():
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
        for part in self._others():
            self._collect(part)

    def _others(self) -> list[Path]:
        """The parts of other processes, of this command and of interrupted ones before it."""
        return sorted(self.out.glob(f"samples_{escape(self.task)}.*.jsonl.part"))

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
                yield _row(line, f"{extent.file} (row {number * self.chunk + i})")

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
        for part in self._others():
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
        document = _results_document(self.task, results, per_relation or {}, provenance, started, seconds)
        write_json(self.out / f"results_{stamp}.json", document)
        (self.out / PROGRESS).unlink()
        self.close()
        return read_run(self.out)


def inspect_run(out: Path, settings: Mapping[str, Any], chunk: int) -> bool:
    """Whether this very run is finished in `out` already. InputError where the directory holds anything else."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, expected a directory for the run; choose another --out")
    if not out.is_dir():
        return False
    here = json.loads(json.dumps(settings, default=str))
    if found := _results_files(out):
        _refuse(differences(_settings_of_results(found[-1]), here), found[-1])
        return True
    progress = out / PROGRESS
    if progress.exists():
        begun = _mapping(read_json(progress))
        # Chunks of another size are other batches: a version of slick that cuts otherwise cannot go on.
        there = {**_mapping(begun.get("settings")), "facts a chunk": begun.get("chunk")}
        _refuse(differences(there, {**here, "facts a chunk": chunk}), progress)
    elif any(path.name != LOCK and not path.match(f".{PROGRESS}.*") for path in out.iterdir()):
        raise InputError(f"{out}: is not empty and holds no run; choose another --out")
    return False


def _refuse(differing: Sequence[tuple[str, Any, Any]], where: Path) -> None:
    if differing:
        shown = "\n".join(f"  {name}: there {old!r}, now {new!r}" for name, old, new in differing[:10])
        raise InputError(
            f"{where}: this directory holds a run with other settings:\n{shown}\nchoose another --out, or remove it"
        )


def _settings_of_results(file: Path) -> Mapping[str, Any]:
    return _mapping(_mapping(_mapping(read_json(file)).get("slick")).get("settings"))


def recorded_batch_size(out: Path) -> int | None:
    """The batch size of the run in `out`, unfinished or finished; None where there is none, or none is recorded."""
    progress = out / PROGRESS
    if found := _results_files(out):
        settings = _settings_of_results(found[-1])
    elif progress.exists():
        settings = _mapping(_mapping(read_json(progress)).get("settings"))
    else:
        return None
    size = _mapping(settings.get("backend")).get("batch_size")
    return size if isinstance(size, int) and size > 0 else None


def _results_document(
    task: str,
    results: Mapping[str, Any],
    per_relation: Mapping[str, Mapping[str, Any]],
    provenance: Mapping[str, Any],
    started: str,
    seconds: float,
) -> dict[str, Any]:
    """lm-eval's results schema (api/…/result_schema), as far as it applies, with our provenance under "slick"."""
    model = provenance.get("model", {})
    versions = provenance.get("versions", {})
    subtasks = {f"{task}_{relation.lower()}": dict(values) for relation, values in per_relation.items()}
    return {
        "results": {
            task: {"alias": task, **results},
            **{n: {"alias": f" - {n}", **v} for n, v in subtasks.items()},
        },
        "group_subtasks": {task: list(subtasks)},
        "configs": {task: {"task": task, "metadata": provenance.get("settings", {})}},
        "versions": {task: SCHEMA},
        "n-shot": {task: provenance.get("settings", {}).get("n_exemplars", 0)},
        "n-samples": {task: {"original": results.get("sample_len", 0), "effective": results.get("sample_len", 0)}},
        "config": {
            "model": provenance.get("backend", {}).get("name", ""),
            "model_args": provenance.get("backend", {}).get("args", {}),
            "batch_size": provenance.get("backend", {}).get("batch_size"),
            "model_sha": model.get("weights"),
        },
        "date": started,
        "lm_eval_version": versions.get("lm_eval"),
        "transformers_version": versions.get("transformers"),
        "model_name": model.get("name", ""),
        "total_evaluation_time_seconds": str(seconds),
        "slick": dict(provenance),
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(dotted name, value there, value here) of everything that differs; nested mappings are entered."""
    found: list[tuple[str, Any, Any]] = []
    for name in sorted({*there, *here}):
        old, new = there.get(name), here.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += [(f"{name}.{inner}", a, b) for inner, a, b in differences(old, new)]
        elif old != new:
            found.append((name, old, new))
    return found


def read_run(path: Path | str) -> Run:
    """The run in a directory (the newest results file below it). InputError says what is missing."""
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such run directory; expected what `slick probe`, `slick score` or lm_eval wrote")
    if (path / PROGRESS).exists() and not _results_files(path):
        raise InputError(f"{path}: this run is not finished; repeat its command to go on where it stopped")
    found = _results_files(path) or sorted(path.rglob("results_*.json"), key=lambda p: p.name)
    if not found:
        raise InputError(f"{path}: holds no results_*.json; is it the --out of `slick probe` or `slick score`?")
    newest = found[-1]
    results = read_json(newest)
    if not isinstance(results, dict) or not isinstance(results.get("results"), dict):
        raise InputError(f'{newest}: has no "results" table; it was not written by lm_eval or slick')
    schema = results.get("slick", {}).get("schema", SCHEMA) if isinstance(results.get("slick"), dict) else SCHEMA
    if isinstance(schema, int) and schema > SCHEMA:
        raise InputError(f"{newest}: schema version {schema}, this slick reads up to {SCHEMA}; upgrade slick")
    stamp = newest.name.removeprefix("results_").removesuffix(".json")
    suffix = f"_{stamp}.jsonl"
    samples = {
        file.name.removeprefix("samples_").removesuffix(suffix): file
        for file in sorted(newest.parent.glob(f"samples_*{suffix}"))
    }
    return Run(path, results, samples)


def run_started(out: Path) -> str:
    """When the run in `out`, unfinished or finished, was started: what tells it from another one of that place."""
    progress = out / PROGRESS
    return str(read_json(progress)["started"] if progress.exists() else read_run(out).results["date"])


def _results_files(path: Path) -> list[Path]:
    return sorted(path.glob("results_*.json"))


def read_samples(path: Path) -> Iterator[Row]:
    """The rows of a samples file. InputError names file and line of one that is cut off or not JSON."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield _row(line, f"{path}:{number}")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _row(line: bytes, where: str) -> Row:
    with suppress(ValueError):
        row = json.loads(line)
        if isinstance(row, dict):
            return row
    raise InputError(f"{where}: not a JSON object; the file may be half-written")


def write_knowledge(path: Path, knowledge: Sequence[Knowledge], provenance: Mapping[str, Any]) -> None:
    """`knowledge.parquet`: one row a fact, the provenance as schema metadata under the key "slick"."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {name: [] for name, _ in _KNOWLEDGE_COLUMNS}
    for k, kept in zip(knowledge, chance_kept(knowledge), strict=True):
        row = {
            **k.fact.as_dict(),
            **dict.fromkeys(CHANCES),
            **k.record(),
            "p_greedy": k.p_greedy,
            "p_sampled": k.p_sampled,
            "category": str(k.category),
            "u": k.u,
            "flagged": k.flagged,
            "keeps": kept,
        }
        for name, values in columns.items():
            values.append(row[name])
    kinds = {
        "string": pa.string(),
        "strings": pa.list_(pa.string()),
        "int": pa.int32(),
        "float": pa.float64(),
        "floats": pa.list_(pa.float64()),
        "bool": pa.bool_(),
    }
    schema = pa.schema(
        [(name, kinds[kind]) for name, kind in _KNOWLEDGE_COLUMNS],
        metadata={"slick": json.dumps(dict(provenance), default=str)},
    )
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns, schema=schema), temporary)


_KNOWLEDGE_COLUMNS = (
    ("id", "string"),
    ("relation", "string"),
    ("subject", "string"),
    ("question", "string"),
    ("answers", "strings"),
    ("split", "string"),
    *((name, "int") for name in COUNTS),
    ("p_greedy", "float"),
    ("p_sampled", "float"),
    ("category", "string"),
    # Null for the sampled estimator; files of before the exact one lack them.
    ("p_by_set", "floats"),
    ("n_samples", "int"),
    ("pruned", "float"),
    ("uncertain", "bool"),
    ("u", "float"),
    ("flagged", "bool"),
    # Null where it is undefined; by either estimator.
    ("keeps", "float"),
)
_KNOWLEDGE_NEEDED = ("id", "relation", "subject", "question", "answers", "split", *COUNTS)


@dataclass(frozen=True, slots=True)
class KnowledgeFile:
    """The knowledge of a probe, and its provenance."""

    knowledge: tuple[Knowledge, ...]
    provenance: Mapping[str, Any]


def read_knowledge(path: Path | str) -> KnowledgeFile:
    """Knowledge from a probe's directory, from its `knowledge.parquet`, or from a `slick_*` run of lm_eval.

    Raises InputError for a file that is cut off, lacks a column, or holds counts that cannot be.
    """
    path = Path(path)
    file = path / KNOWLEDGE if path.is_dir() else path
    if not file.exists():
        if path.is_dir():
            return _knowledge_of_samples(read_run(path))
        raise InputError(f"{path}: no such file; expected the --out directory of `slick probe`")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: not a readable Parquet file ({error}); probe again") from error
    if missing := [name for name in _KNOWLEDGE_NEEDED if name not in table.column_names]:
        raise InputError(f"{file}: lacks the columns {missing}; found {table.column_names}")
    taken = [name for name in (*_KNOWLEDGE_NEEDED, *CHANCES) if name in table.column_names]
    rows = [_knowledge_of_row(row, f"{file} row {i}") for i, row in enumerate(table.select(taken).to_pylist())]
    if not rows:
        raise InputError(f"{file}: holds no facts")
    recorded = (table.schema.metadata or {}).get(b"slick", b"{}")
    try:
        provenance = json.loads(recorded)
    except ValueError as error:
        raise InputError(f"{file}: its provenance is not JSON; probe again") from error
    return KnowledgeFile(tuple(rows), _mapping(provenance))


def _knowledge_of_row(row: Mapping[str, Any], where: str) -> Knowledge:
    try:
        return Knowledge.of_record(Fact.from_dict(row), row)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: not a probed fact ({error})") from error


def _knowledge_of_samples(run: Run) -> KnowledgeFile:
    """Knowledge from the logged samples of `lm_eval --tasks slick_… --log_samples`."""
    rows = [
        _knowledge_of_answers(row, run.provenance, f"{file}:{number}")
        for file in run.samples.values()
        for number, row in enumerate(read_samples(file), 1)
        if "p_correct_greedy" in row
    ]
    if not rows:
        raise InputError(
            f"{run.path}: holds no knowledge; expected a `slick probe` run, or an lm_eval run of a slick_ task "
            "with --log_samples"
        )
    if len({k.chances is None for k in rows}) > 1:
        raise InputError(
            f"{run.path}: holds knowledge by both estimators, of slick_ tasks and of their _exact counterparts; "
            "run the two with an --output_path each"
        )
    return KnowledgeFile(tuple(rows), run.provenance)


def _knowledge_of_answers(row: Row, provenance: Mapping[str, Any], where: str) -> Knowledge:
    try:
        return knowledge_of_answers(row, provenance)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{where}: not a probed fact ({type(error).__name__}: {error})") from error
