"""`knowledge.parquet`, where a probe's knowledge stands; and the knowledge in the samples of lm_eval's runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slick.errors import InputError
from slick.facts import Fact
from slick.files import mapping_of, replacing
from slick.knowledge import CHANCES, COUNTS, Knowledge
from slick.lm_eval_results import knowledge_of_answers
from slick.redraw import chance_kept
from slick.runs import SCHEMA, Row, Run, read_run, read_samples

KNOWLEDGE = "knowledge.parquet"


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

    Of lm_eval's runs also the results file serves.
    Raises InputError for a file that is cut off, lacks a column, or holds counts that cannot be.
    """
    path = Path(path)
    file = path / KNOWLEDGE if path.is_dir() else path
    if not file.exists():
        if path.is_dir():
            return _knowledge_of_samples(read_run(path))
        raise InputError(f"{path}: no such file; expected the --out directory of `slick probe`")
    if file.suffix == ".json":
        return _knowledge_of_samples(read_run(file))
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
    schema = mapping_of(provenance).get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise InputError(f"{file}: schema version {schema}, this slick reads up to {SCHEMA}; upgrade slick")
    return KnowledgeFile(tuple(rows), mapping_of(provenance))


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
