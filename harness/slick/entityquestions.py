"""EntityQuestions (Sciavolino et al. 2021): its relations, the paper's splits of it, and where it lies.

A copy is a directory with `{train,dev,test}/P*.{split}.json`, each a JSON list of {"question", "answers"}.
Every file is checked against a shipped SHA-256 sum of its normalised rows before a row of it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path

from slick.download import cache_directory, download, make_cache_directory, unpack
from slick.errors import InputError, Mistakes, RunError
from slick.facts import Fact
from slick.files import replacing_directory

URL = "https://nlp.cs.princeton.edu/projects/entity-questions/dataset.zip"
DIRECTORY_VARIABLE = "SLICK_ENTITYQUESTIONS"

IN_DISTRIBUTION = (
    *("P131", "P136", "P17", "P19", "P26", "P264"),
    *("P36", "P40", "P495", "P69", "P740", "P800"),
)
OUT_OF_DISTRIBUTION = ("P127", "P50", "P407", "P176", "P170", "P175", "P112")
# Left out by the paper, each too like one of the 12; their test subjects still count for its filter 2.
DROPPED = ("P276", "P20", "P106", "P413", "P159")
RELATIONS = (*IN_DISTRIBUTION, *OUT_OF_DISTRIBUTION, *DROPPED)

TEMPLATES = {
    "P17": "Which country is [X] located in?",
    "P19": "Where was [X] born?",
    "P20": "Where did [X] die?",
    "P26": "Who is [X] married to?",
    "P36": "What is the capital of [X]?",
    "P40": "Who is [X]'s child?",
    "P50": "Who is the author of [X]?",
    "P69": "Where was [X] educated?",
    "P106": "What kind of work does [X] do?",
    "P112": "Who founded [X]?",
    "P127": "Who owns [X]?",
    "P131": "Where is [X] located?",
    "P136": "What type of music does [X] play?",
    "P159": "Where is the headquarter of [X]?",
    "P170": "Who was [X] created by?",
    "P175": "Who performed [X]?",
    "P176": "Which company is [X] produced by?",
    "P264": "What music label is [X] represented by?",
    "P276": "Where is [X] located?",
    "P407": "Which language was [X] written in?",
    "P413": "What position does [X] play?",
    "P495": "Which country was [X] created in?",
    "P740": "Where was [X] founded?",
    "P800": "What is [X] famous for?",
}

_SPLITS = ("train", "dev", "test")
# (the split here, the split in the data, its relations): the order in which facts are read.
_PUBLISHED = (
    *((split, split, IN_DISTRIBUTION) for split in _SPLITS),
    ("ood", "test", OUT_OF_DISTRIBUTION),
    ("ood_dev", "dev", OUT_OF_DISTRIBUTION),
)
_MEMBER = re.compile(r"(?:dataset/)?(?P<path>(train|dev|test)/P\d+\.\2\.json|LICENSE)")

Row = tuple[str, tuple[str, ...]]  # a question and its answers
Files = Mapping[tuple[str, str], Sequence[Row]]  # by (split of the data, relation)


def subject_of(relation: str, question: str) -> str:
    """The question less its relation's template; "" when the relation has none or the question does not fit."""
    before, found, after = TEMPLATES.get(relation, "").partition("[X]")
    fits = found and question.startswith(before) and question.endswith(after)
    return question[len(before) : len(question) - len(after)] if fits else ""


def why_absent(relation: str) -> str:
    """Why the paper's splits have no facts of `relation`; "" when nothing is known of it."""
    if relation in DROPPED:
        return "the paper leaves it out, as too like one of its 12 relations"
    return ""


def paper_facts(files: Files) -> list[Fact]:
    """The paper's splits, rebuilt from the rows of all 72 files by its two filters (PAPER.md, "Data").

    Only rows with exactly one answer are kept; a train row is dropped when its subject is the subject of
    any test row of any relation. Rows that occur twice stay twice, with the same id, since the paper's
    totals count rows. Order: split (train, dev, test, ood, ood_dev), relation as listed above, row.
    """
    tested = {
        subject_of(relation, question)
        for (split, relation), rows in files.items()
        if split == "test"
        for question, _ in rows
    } - {""}
    facts = []
    for split, source, relations in _PUBLISHED:
        for relation in relations:
            for question, answers in files[source, relation]:
                subject = subject_of(relation, question)
                if len(answers) == 1 and not (split == "train" and subject in tested):
                    facts.append(Fact.create(question, answers, relation=relation, subject=subject, split=split))
    return facts


def load() -> list[Fact]:
    """The facts called "entityq": the paper's splits of the copy that `locate` finds."""
    return read_directory(locate())


def read_directory(path: str | Path) -> list[Fact]:
    """The paper's splits of the copy in `path` (or `path`/dataset, as the authors' archive unpacks).

    Raises InputError naming every file that is missing, unreadable, or differs from the published one.
    The last copy read is kept in memory, since each of its tasks asks for it.
    """
    return list(_facts_in(_root(Path(path)).resolve()))


def locate(given: str | None = None) -> Path:
    """The directory of a copy: the one `given`, else SLICK_ENTITYQUESTIONS, else the cache, else downloaded.

    Raises InputError when the directory given, or named by the variable, holds no copy;
    RunError when the download fails.
    """
    named = {"the directory given": given, DIRECTORY_VARIABLE: os.environ.get(DIRECTORY_VARIABLE)}
    for origin, name in named.items():
        if name:
            path = Path(name).expanduser()
            if not is_copy(path):
                raise InputError(
                    f"{path} ({origin}): no copy of EntityQuestions; expected a directory with "
                    f"train/, dev/ and test/ that hold P17.train.json and so on; unzip {URL}"
                )
            return _root(path)
    cached = _cached()
    return cached if cached.is_dir() else fetch()


def is_copy(path: Path) -> bool:
    """Whether `path` looks like a copy, true or not: one of its three folders holds a relation's file."""
    return any(any((_root(path) / split).glob(f"P*.{split}.json")) for split in _SPLITS)


def fetch() -> Path:
    """Download the authors' archive and move its checked files into the cache by one rename."""
    from huggingface_hub.utils import WeakFileLock

    target = _cached()
    cache = make_cache_directory(target.parent)
    archive = cache / "entityquestions.zip"
    try:
        with WeakFileLock(cache / "entityquestions.lock"):
            if target.is_dir():  # another process has fetched it while this one waited
                return target
            download(URL, archive, title="EntityQuestions")
            try:
                with replacing_directory(target) as temporary:
                    unpack(archive, temporary, _MEMBER)
                    read_files(temporary, f"{URL}: not the archive that the shipped sums were made of")
            finally:
                archive.unlink()  # unpacked, or of no use
    except (RunError, InputError, OSError) as error:
        raise RunError(
            f"EntityQuestions was in no directory given, not in {DIRECTORY_VARIABLE} and not in {target}, "
            f"so its archive was tried:\n{error}\n"
            f"Without it: unzip a copy and name its directory by {DIRECTORY_VARIABLE}=DIR, by --facts DIR "
            "(slick), or by --metadata entityquestions=DIR (lm_eval)"
        ) from error
    return target


def read_files(path: Path, complaint: str) -> Files:
    """The rows of all 72 files, checked against the shipped sums.

    Raises InputError that begins with `complaint` and names each file that is missing, unreadable or different.
    """
    files: dict[tuple[str, str], list[Row]] = {}
    with Mistakes(complaint) as mistakes:
        for name, expected in published_sums().items():
            split, file = name.split("/")
            try:
                rows = _rows(path / name)
            except (OSError, ValueError, RecursionError) as error:
                mistakes.add(f"{name}: {_reason(error)}")
                continue
            if (found := rows_sum(rows)) != expected:
                mistakes.add(
                    f"{name}: its rows differ from the published ones: SHA-256 {found[:12]}…, expected {expected[:12]}…"
                )
            files[split, file.split(".")[0]] = rows
    return files


def rows_sum(rows: Sequence[Row]) -> str:
    """SHA-256 of the normalised rows: one JSON list of [question, answers], without spaces, in UTF-8."""
    text = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache(maxsize=1)
def published_sums() -> dict[str, str]:
    """`rows_sum` of each published file, by its name within a copy ("train/P17.train.json")."""
    text = (resources.files("slick") / "data" / "entityquestions.sha256.json").read_text("utf-8")
    sums: dict[str, str] = json.loads(text)
    return sums


@lru_cache(maxsize=1)
def _facts_in(path: Path) -> tuple[Fact, ...]:
    if path == _cached().resolve():
        advice = f"delete it to have it downloaded anew, or set {DIRECTORY_VARIABLE} to a true copy"
    else:
        advice = f"unzip {URL} afresh, or name another directory"
    return tuple(paper_facts(read_files(path, f"{path}: not a true copy of EntityQuestions; {advice}")))


def _rows(path: Path) -> list[Row]:
    rows: list[Row] = []
    value = json.loads(path.read_text("utf-8"))
    if not isinstance(value, list):
        raise ValueError("expected a JSON list")
    for number, row in enumerate(value, start=1):
        match row:
            case {"question": str(question), "answers": [*answers]} if all(
                isinstance(answer, str) for answer in answers
            ):
                rows.append((question, tuple(answers)))
            case _:
                raise ValueError(f'row {number}: expected {{"question": string, "answers": [strings]}}')
    return rows


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror or error})"
    return f"cannot be read ({error}); it may be half-written"


def _cached() -> Path:
    return cache_directory() / "entityquestions"


def _root(path: Path) -> Path:
    unpacked = path / "dataset"
    return unpacked if unpacked.is_dir() and not (path / "train").is_dir() else path
