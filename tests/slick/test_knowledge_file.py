"""slick.knowledge_file: what a probe found out, written and read, and what it cannot have found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError
from slick.facts import Fact
from slick.knowledge import CHANCES, Chances, Knowledge
from slick.knowledge_file import KNOWLEDGE, read_knowledge, write_knowledge
from slick.redraw import chance_kept

TOTAL = 8
FACTS = [Fact.create(f"Where is {i}?", ["Ä", "b"], relation=f"r{i % 2}", split="test") for i in range(TOTAL)]


def knowledge_of(i: int) -> Knowledge:
    return Knowledge(FACTS[i], i, TOTAL, i, TOTAL, 1, 5)


def parquet(path: Path, change: Callable[[Any], Any], metadata: Mapping[str, str] | None = None) -> Path:
    """A probe's knowledge file, changed."""
    import pyarrow.parquet as pq

    write_knowledge(path, [knowledge_of(i) for i in range(TOTAL)], {"schema": 1})
    table = change(pq.read_table(path))
    pq.write_table(table if metadata is None else table.replace_schema_metadata(metadata), path)
    return path


def exact_knowledge_of(i: int) -> Knowledge:
    chances = Chances(tuple(j / 160**2 for j in range(i, i + TOTAL)), n_samples=i + 1, pruned=1e-7, uncertain=i == 2)
    return Knowledge(FACTS[i], max(0, i - 3), TOTAL, before_right=1, before_total=5, chances=chances)


def test_half_written_knowledge_is_named(made_up: Any, tmp_path: Path) -> None:
    """A Parquet file that is cut off, or is none, or is not there."""
    run = made_up.whole(tmp_path / "run")
    file = run.path / KNOWLEDGE
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"knowledge\.parquet: not a readable Parquet file .+; probe again"):
        read_knowledge(run.path)
    file.write_bytes(b"")
    with pytest.raises(InputError, match=r"knowledge\.parquet: not a readable Parquet file"):
        read_knowledge(file)
    with pytest.raises(InputError, match="none: no such file; expected the --out directory of `slick probe`"):
        read_knowledge(tmp_path / "none")


def test_exact_knowledge_is_read_back(tmp_path: Path) -> None:
    """Every digit of it, beside sampled knowledge, whose columns are null; u and flags stand there for readers."""
    import pyarrow.parquet as pq

    knowledge = [exact_knowledge_of(i) for i in range(TOTAL - 1)] + [knowledge_of(TOTAL - 1)]
    file = tmp_path / "k.parquet"
    write_knowledge(file, knowledge, {})
    assert read_knowledge(file).knowledge == tuple(knowledge)
    table = pq.read_table(file).to_pydict()
    assert table["u"] == [k.u for k in knowledge]
    assert table["flagged"] == [k.flagged for k in knowledge]
    assert table["p_sampled"] == [k.p_sampled for k in knowledge]
    assert [table[name][-1] for name in (*CHANCES, "u", "flagged")] == [None] * 6


def test_the_chance_to_keep_a_category_stands_beside_it(tmp_path: Path) -> None:
    """Of enough facts it is `chance_kept`'s; of too few it is null, never 0 or 1."""
    import pyarrow.parquet as pq

    facts = [Fact.create(f"Q{i}?", ["a"]) for i in range(40)]
    knowledge = [Knowledge(fact, i % (TOTAL + 1), TOTAL, 1, 16) for i, fact in enumerate(facts)]
    for written in (knowledge, knowledge[:5]):
        write_knowledge(tmp_path / "k.parquet", written, {})
        assert pq.read_table(tmp_path / "k.parquet").to_pydict()["keeps"] == chance_kept(written)
    assert chance_kept(knowledge[:5]) == [None] * 5


def test_knowledge_of_before_the_exact_estimator_is_read(tmp_path: Path) -> None:
    """A file without its columns holds sampled knowledge."""
    file = parquet(tmp_path / "k.parquet", lambda t: t.drop_columns([*CHANCES, "u", "flagged", "keeps"]))
    assert read_knowledge(file).knowledge == tuple(knowledge_of(i) for i in range(TOTAL))


@pytest.mark.parametrize(
    ("chances", "message"),
    [
        ({"p_by_set": [0.5] * (TOTAL - 1)}, "8 greedy answers but chances of 7 sets"),
        ({"p_by_set": [1.5] * TOTAL}, "1.5 is no probability"),
        ({"p_by_set": [None] * TOTAL}, "NoneType"),
        ({"n_samples": None}, "NoneType"),
        ({"n_samples": 0}, "0 samples a set cannot be"),
    ],
)
def test_chances_that_cannot_be_are_named_by_their_row(tmp_path: Path, chances: dict[str, Any], message: str) -> None:
    """As counts that cannot be."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = tmp_path / "k.parquet"
    write_knowledge(file, [exact_knowledge_of(0), exact_knowledge_of(1)], {})
    table = pq.read_table(file)
    rows = table.to_pylist()
    rows[1] |= chances
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)
    with pytest.raises(InputError, match=rf"k\.parquet row 1: not a probed fact \(.*{message}"):
        read_knowledge(file)


def test_knowledge_that_lacks_a_column_is_named(tmp_path: Path) -> None:
    """All missing columns and what was found instead."""
    file = parquet(tmp_path / "k.parquet", lambda t: t.drop_columns(["greedy_right", "subject"]))
    with pytest.raises(InputError, match=r"k\.parquet: lacks the columns \['subject', 'greedy_right'\]; found \['id'"):
        read_knowledge(file)


def test_knowledge_without_rows_is_refused(tmp_path: Path) -> None:
    """A probe of nothing tells nothing."""
    with pytest.raises(InputError, match=r"k\.parquet: holds no facts"):
        read_knowledge(parquet(tmp_path / "k.parquet", lambda t: t.slice(0, 0)))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("greedy_right", TOTAL + 1, "9 right of 8 greedy answers cannot be"),
        ("greedy_total", 0, "right of 0 greedy answers cannot be"),
        ("greedy_right", None, "NoneType"),
        ("answers", None, "answers must be a list"),
    ],
)
def test_knowledge_that_cannot_be_is_named_by_its_row(tmp_path: Path, column: str, value: object, message: str) -> None:
    """Counts and answers that no probe can have written."""

    def change(table: Any) -> Any:
        import pyarrow as pa

        at = table.column_names.index(column)
        values = [*table.column(column).to_pylist()[:-1], value]
        return table.set_column(at, column, pa.array(values, table.schema.field(column).type))

    with pytest.raises(InputError, match=rf"k\.parquet row {TOTAL - 1}: not a probed fact \(.*{message}"):
        read_knowledge(parquet(tmp_path / "k.parquet", change))


@pytest.mark.parametrize(("recorded", "found"), [('{"schema": 1}', {"schema": 1}), ("[1]", {}), (None, {})])
def test_the_provenance_of_knowledge_is_a_mapping(tmp_path: Path, recorded: str | None, found: dict[str, Any]) -> None:
    """Files of other origin may have none."""
    metadata = {"slick": recorded} if recorded else {}
    assert read_knowledge(parquet(tmp_path / "k.parquet", lambda t: t, metadata)).provenance == found


def test_a_provenance_that_is_not_json_is_named(tmp_path: Path) -> None:
    """Half a provenance is none."""
    with pytest.raises(InputError, match=r"k\.parquet: its provenance is not JSON; probe again"):
        read_knowledge(parquet(tmp_path / "k.parquet", lambda t: t, {"slick": "{"}))
