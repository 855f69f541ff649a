"""slick.entityquestions: the paper's splits, the check of every file, and where a copy is looked for."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick import entityquestions as eq
from slick.errors import InputError, RunError

SHARED = Path(os.environ.get("SLICK_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
COPY = SHARED / "data" / "entityquestions"
needs_copy = pytest.mark.skipif(not COPY.is_dir(), reason=f"no true copy of EntityQuestions at {COPY}")

# PAPER.md, "Data": totals per relation, in the order of IN_DISTRIBUTION and OUT_OF_DISTRIBUTION.
TRAIN = (7646, 7516, 7890, 7921, 7456, 7324, 6815, 6110, 7674, 6721, 7271, 1356)
TEST = (965, 967, 996, 999, 951, 958, 880, 801, 993, 840, 942, 189)
OOD = (990, 967, 623, 972, 850, 980, 466)

Rows = list[tuple[str, tuple[str, ...]]]


def question(relation: str, subject: str) -> str:
    return eq.TEMPLATES[relation].replace("[X]", subject)


def tiny_files() -> dict[tuple[str, str], Rows]:
    """All 72 files with one row each, of a subject that occurs nowhere else."""
    return {
        (split, relation): [(question(relation, f"{split} {relation}"), (f"answer {relation}",))]
        for split in ("train", "dev", "test")
        for relation in eq.RELATIONS
    }


def write_copy(files: dict[tuple[str, str], Rows], path: Path, *, indent: int | None = None) -> Path:
    for (split, relation), rows in files.items():
        file = path / split / f"{relation}.{split}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps([{"question": q, "answers": a} for q, a in rows], indent=indent))
    return path


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No test sees the user's own copy, nor the copy of the test before it, nor the network."""
    monkeypatch.delenv(eq.DIRECTORY_VARIABLE, raising=False)
    monkeypatch.setenv("SLICK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(eq, "URL", "http://127.0.0.1:1/dataset.zip")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    eq._facts_in.cache_clear()
    yield
    eq._facts_in.cache_clear()


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of tiny files, for which the shipped sums are exchanged."""
    files = tiny_files()
    sums = {f"{split}/{relation}.{split}.json": eq.rows_sum(rows) for (split, relation), rows in files.items()}
    monkeypatch.setattr(eq, "published_sums", lambda: sums)
    return write_copy(files, tmp_path / "tiny")


@needs_copy
def test_every_total_of_the_paper_comes_out_exactly() -> None:
    """12 train, 12 test and 7 out-of-distribution totals, and 10,461 dev rows."""
    counts = Counter((fact.split, fact.relation) for fact in eq.read_directory(COPY))
    assert tuple(counts["train", relation] for relation in eq.IN_DISTRIBUTION) == TRAIN
    assert tuple(counts["test", relation] for relation in eq.IN_DISTRIBUTION) == TEST
    assert tuple(counts["ood", relation] for relation in eq.OUT_OF_DISTRIBUTION) == OOD
    splits = Counter(fact.split for fact in eq.read_directory(COPY))
    assert (splits["train"], splits["test"], splits["ood"], splits["dev"]) == (81700, 10481, 5848, 10461)


@needs_copy
def test_the_true_copy_has_the_shipped_sums_and_subjects() -> None:
    """Each of the 72 sums is that of the true copy, and every fact's subject is found by its template."""
    files = eq.read_files(COPY, "the true copy")
    assert len(files) == len(eq.published_sums()) == 72
    facts = eq.read_directory(COPY)
    assert all(fact.question == question(fact.relation, fact.subject) for fact in facts)
    assert len({fact.id for fact in facts}) == len(facts) - 154  # identical rows stay, with equal ids


@needs_copy
def test_the_templates_are_those_of_the_authors() -> None:
    """Our templates equal those that the data's authors give."""
    theirs = json.loads((COPY / "relation_query_templates.json").read_text())
    assert {relation: theirs[relation] for relation in eq.RELATIONS} == eq.TEMPLATES


def test_the_relations_are_24_in_three_kinds() -> None:
    """12 in-distribution, 7 out-of-distribution and 5 dropped relations, each with a template and three sums."""
    assert (len(eq.IN_DISTRIBUTION), len(eq.OUT_OF_DISTRIBUTION), len(eq.DROPPED)) == (12, 7, 5)
    assert set(eq.RELATIONS) == set(eq.TEMPLATES)
    assert len(set(eq.RELATIONS)) == 24
    expected = {f"{split}/{relation}.{split}.json" for split, relation in tiny_files()}
    assert set(eq.published_sums()) == expected


@pytest.mark.parametrize(
    ("relation", "text", "subject"),
    [
        ("P17", "Which country is Oslo located in?", "Oslo"),
        ("P40", "Who is Ada's child's child?", "Ada's child"),
        ("P131", "Where is Where is located? located?", "Where is located?"),
        ("P17", "which country is Oslo located in?", ""),
        ("P131", "Where is located?", ""),
        ("P9999", "Which country is Oslo located in?", ""),
        ("", "", ""),
    ],
)
def test_subject_of(relation: str, text: str, subject: str) -> None:
    """The subject is the question less its relation's template, or nothing where that does not fit."""
    assert eq.subject_of(relation, text) == subject


@given(relation=st.sampled_from(eq.RELATIONS), subject=st.text())
def test_subject_of_undoes_the_template(relation: str, subject: str) -> None:
    """Whatever is put into a template is found again."""
    assert eq.subject_of(relation, question(relation, subject)) == subject


def test_splits_of_the_three_kinds_of_relation() -> None:
    """The 12 give train, dev and test; the 7 give ood (their test) and ood_dev; the 5 give nothing."""
    facts = eq.paper_facts(tiny_files())
    by_split: dict[str, list[str]] = {}
    for fact in facts:
        by_split.setdefault(fact.split, []).append(fact.relation)
    twelve, seven = list(eq.IN_DISTRIBUTION), list(eq.OUT_OF_DISTRIBUTION)
    assert by_split == {"train": twelve, "dev": twelve, "test": twelve, "ood": seven, "ood_dev": seven}
    assert {fact.subject.split()[0] for fact in facts if fact.split == "ood"} == {"test"}
    assert {fact.subject.split()[0] for fact in facts if fact.split == "ood_dev"} == {"dev"}


def test_filter_1_keeps_rows_with_exactly_one_answer() -> None:
    """Rows without an answer or with several are left out of every split."""
    files = tiny_files()
    for (split, relation), rows in files.items():
        rows.append((question(relation, f"{split} two"), ("a", "b")))
        rows.append((question(relation, f"{split} none"), ()))
    assert eq.paper_facts(files) == eq.paper_facts(tiny_files())


@pytest.mark.parametrize("tested_in", ["P17", "P50", "P276"])
@pytest.mark.parametrize("answers", [("a",), ("a", "b")])
def test_filter_2_drops_train_rows_of_tested_subjects(tested_in: str, answers: tuple[str, ...]) -> None:
    """A train row goes when any test row of any relation, with any number of answers, has its subject."""
    files = tiny_files()
    files["test", tested_in].append((question(tested_in, "shared"), answers))
    files["train", "P19"].append((question("P19", "shared"), ("a",)))
    files["dev", "P19"].append((question("P19", "shared"), ("a",)))
    facts = [fact for fact in eq.paper_facts(files) if fact.relation == "P19" and fact.subject == "shared"]
    assert [fact.split for fact in facts] == ["dev"]


def test_a_question_without_a_subject_shares_it_with_no_other() -> None:
    """Rows that do not fit their template have no subject to be dropped by."""
    files = tiny_files()
    files["test", "P17"].append(("What?", ("a",)))
    files["train", "P19"].append(("Who?", ("a",)))
    assert "Who?" in {fact.question for fact in eq.paper_facts(files)}


def test_identical_rows_stay_rows() -> None:
    """A row that occurs twice is two facts with one id, since the paper's totals count rows."""
    files = tiny_files()
    files["test", "P17"] *= 2
    first, second = (f for f in eq.paper_facts(files) if (f.split, f.relation) == ("test", "P17"))
    assert first == second


def test_a_copy_is_read_however_its_files_are_spaced(tiny: Path, tmp_path: Path) -> None:
    """The sums are over rows: pretty-printed files are as true as compact ones, here or under dataset/."""
    spaced = write_copy(tiny_files(), tmp_path / "spaced" / "dataset", indent=4)
    assert eq.read_directory(tiny) == eq.read_directory(spaced.parent) == eq.paper_facts(tiny_files())


def test_reading_twice_gives_lists_of_one_s_own(tiny: Path) -> None:
    """Changing the list that a caller got does not change what the next caller gets."""
    eq.read_directory(tiny).clear()
    assert len(eq.read_directory(tiny)) == len(eq.paper_facts(tiny_files()))


def test_every_file_that_is_not_true_is_named_at_once(tiny: Path) -> None:
    """Missing, half-written, changed and misshapen files each get a line, and so does the remedy."""
    (tiny / "train/P17.train.json").unlink()
    half = (tiny / "dev/P19.dev.json").read_text()[:-9]
    (tiny / "dev/P19.dev.json").write_text(half)
    (tiny / "test/P26.test.json").write_text(json.dumps([{"question": "Q", "answers": ["A"]}]))
    (tiny / "test/P36.test.json").write_text(json.dumps([{"question": "Q", "answers": "A"}]))
    (tiny / "test/P40.test.json").write_text("7")
    (tiny / "test/P50.test.json").write_bytes(b"\xff\xfe[]")
    with pytest.raises(InputError, match="not a true copy of EntityQuestions; unzip http") as raised:
        eq.read_directory(tiny)
    lines = {line.split(":")[0].strip(): line for line in str(raised.value).splitlines()[1:]}
    assert len(lines) == 6
    assert lines["train/P17.train.json"].endswith("missing")
    assert "may be half-written" in lines["dev/P19.dev.json"]
    assert "its rows differ from the published ones: SHA-256" in lines["test/P26.test.json"]
    assert 'row 1: expected {"question": string' in lines["test/P36.test.json"]
    assert "cannot be read" in lines["test/P40.test.json"]
    assert "cannot be read" in lines["test/P50.test.json"]


@pytest.mark.parametrize("change", ["question", "answer", "order", "added", "removed"])
def test_any_change_of_the_rows_changes_the_sum(change: str) -> None:
    """A row more, less, different or elsewhere gives another sum."""
    rows: Rows = [("q1", ("a",)), ("q2", ("b", "c"))]
    changed = {
        "question": [("q1 ", ("a",)), rows[1]],
        "answer": [rows[0], ("q2", ("b c",))],
        "order": rows[::-1],
        "added": [*rows, rows[1]],
        "removed": rows[:1],
    }[change]
    assert eq.rows_sum(changed) != eq.rows_sum(rows)


def test_a_damaged_cache_says_how_to_mend_it(tiny: Path, tmp_path: Path) -> None:
    """A copy in the cache that went bad is named with what to delete."""
    cached = tmp_path / "cache" / "entityquestions"
    write_copy(tiny_files(), cached)
    (cached / "dev/P17.dev.json").write_text("[]")
    with pytest.raises(InputError, match=r"delete it to have it downloaded anew[^\0]*dev/P17\.dev\.json"):
        eq.load()


def test_locate_takes_the_directory_given_first(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given directory, then SLICK_ENTITYQUESTIONS, then the cache."""
    other = write_copy(tiny_files(), tmp_path / "other")
    cached = write_copy(tiny_files(), tmp_path / "cache" / "entityquestions")
    assert eq.locate() == cached
    monkeypatch.setenv(eq.DIRECTORY_VARIABLE, str(other))
    assert eq.locate() == other
    assert eq.locate(str(tiny)) == tiny
    assert eq.load() == eq.read_directory(other)


def test_locate_refuses_a_directory_that_holds_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong directory is an error, never passed over in silence for the next place."""
    with pytest.raises(InputError, match=r"nowhere \(the directory given\): no copy of EntityQuestions"):
        eq.locate(str(tmp_path / "nowhere"))
    monkeypatch.setenv(eq.DIRECTORY_VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match=r"\(SLICK_ENTITYQUESTIONS\): no copy .*P17\.train\.json"):
        eq.locate()


def archive_of(path: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(path.rglob("*.json")):
            archive.writestr(f"dataset/{file.relative_to(path).as_posix()}", file.read_bytes())
        archive.writestr("dataset/one-off/test/P17.test.json", "[]")
        archive.writestr("__MACOSX/dataset/train/._P17.train.json", "")
        archive.writestr("dataset/LICENSE", "MIT")


@pytest.fixture
def served(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """What the authors' site answers: the tiny copy as an archive, unless a test writes something else."""
    archive_of(tiny, tmp_path / "source.zip")
    answer = io.BytesIO((tmp_path / "source.zip").read_bytes())
    monkeypatch.setattr(eq, "download", lambda url, target, title: target.write_bytes(answer.getvalue()))
    return answer


def test_what_is_nowhere_is_downloaded_into_the_cache(served: io.BytesIO, tmp_path: Path) -> None:
    """The archive's files and licence end up in the cache, its other files and the archive itself do not."""
    assert eq.load() == eq.paper_facts(tiny_files())
    cache = tmp_path / "cache"
    assert {path.name for path in cache.iterdir()} - {"entityquestions.lock"} == {"entityquestions"}
    assert {p.name for p in (cache / "entityquestions").iterdir()} == {"train", "dev", "test", "LICENSE"}
    assert len(list((cache / "entityquestions").rglob("*.json"))) == 72


def test_a_second_load_does_not_download(served: io.BytesIO) -> None:
    """What is in the cache is used from there."""
    eq.load()
    served.truncate(0)
    eq._facts_in.cache_clear()
    assert len(eq.load()) == len(eq.paper_facts(tiny_files()))


@pytest.mark.parametrize("content", [b"<html>", None])
def test_a_wrong_archive_leaves_the_cache_empty(
    served: io.BytesIO, tiny: Path, tmp_path: Path, content: bytes | None
) -> None:
    """A page in place of the archive, or an archive of other rows, is refused, and nothing stays behind."""
    if content is None:
        (tiny / "dev/P17.dev.json").write_text("[]")
        archive_of(tiny, tmp_path / "source.zip")
        content = (tmp_path / "source.zip").read_bytes()
    served.seek(0)
    served.truncate()
    served.write(content)
    with pytest.raises(RunError, match=r"its archive was tried:[^\0]*(not a whole zip|dev/P17\.dev\.json)"):
        eq.load()
    assert {path.name for path in (tmp_path / "cache").iterdir()} <= {"entityquestions.lock"}


def test_without_network_the_error_names_both_ways_out(tmp_path: Path) -> None:
    """What was tried, the directory option and the variable stand in the message."""
    with pytest.raises(RunError, match=r"1/dataset\.zip: download failed") as raised:
        eq.load()
    for expected in (
        "--facts DIR",
        "--metadata entityquestions=DIR",
        "SLICK_ENTITYQUESTIONS=DIR",
        str(tmp_path / "cache"),
    ):
        assert expected in str(raised.value)
    assert raised.value.exit_code == 4
