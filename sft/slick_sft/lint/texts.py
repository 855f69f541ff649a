"""Datasets that are text: JSON Lines, a JSON list, CSV. Every byte that is not to be changed stays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slick.errors import InputError, Mistakes
from slick.rows import shown
from slick_sft.lint import csv_text, json_text
from slick_sft.lint.edits import WEIGHT, Drop, Edit, Relabel, Weigh
from slick_sft.lint.sources import Row, Source

_BOM = b"\xef\xbb\xbf"


@dataclass
class _Bytes(Source):
    content: bytes = b""

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass
class JsonLines(_Bytes):
    """spans: where each row's line stands, its line break included."""

    spans: list[tuple[int, int]] = field(default_factory=list)

    def write(self, edits: Mapping[int, Edit], out: Path) -> None:
        """As `Source.write`. A line that is dropped takes its line break along."""
        parts, position = [], 0
        for i, (start, end) in enumerate(self.spans):
            if (edit := edits.get(i)) is None:
                continue
            parts.append(self.content[position:start])
            if not isinstance(edit, Drop):
                line = self.content[start:end].decode("utf-8")
                parts.append(_edited_json(line, edit).encode("utf-8"))
            position = end
        out.write_bytes(b"".join([*parts, self.content[position:]]))


@dataclass
class JsonList(_Bytes):
    """text: of the file, without a byte order mark. spans: where each row's object stands in it."""

    text: str = ""
    spans: list[tuple[int, int]] = field(default_factory=list)

    def write(self, edits: Mapping[int, Edit], out: Path) -> None:
        """As `Source.write`. What separates two rows that stay is what separated the second from the one before."""
        kept = [i for i in range(len(self.spans)) if not isinstance(edits.get(i), Drop)]
        if not kept:
            raise ValueError("nothing would be left")
        parts = [self.text[: self.spans[0][0]]]
        for place, i in enumerate(kept):
            if place:
                parts.append(self.text[self.spans[i - 1][1] : self.spans[i][0]])
            start, end = self.spans[i]
            row, edit = self.text[start:end], edits.get(i)
            parts.append(row if edit is None else _edited_json(row, edit))
        parts.append(self.text[self.spans[-1][1] :])
        mark = _BOM if self.content.startswith(_BOM) else b""
        out.write_bytes(mark + "".join(parts).encode("utf-8"))


@dataclass
class Csv(_Bytes):
    text: str = ""
    delimiter: str = ","
    header: csv_text.Record = field(default_factory=lambda: csv_text.Record(1, 0, 0, 0, ()))
    columns: tuple[str, ...] = ()
    records: list[csv_text.Record] = field(default_factory=list)

    def write(self, edits: Mapping[int, Edit], out: Path) -> None:
        """As `Source.write`. Where a column `weight` has to be added, every line gets a field more, else 1."""
        adds_weight = any(isinstance(edit, Weigh) for edit in edits.values()) and WEIGHT not in self.columns
        parts, position = [], 0
        if adds_weight:
            parts.append(self.text[: self.header.end] + self.delimiter + WEIGHT)
            position = self.header.end
        for i, record in enumerate(self.records):
            edit = edits.get(i)
            if edit is None and not adds_weight:
                continue
            parts.append(self.text[position : record.start])
            if isinstance(edit, Drop):
                position = record.whole
                continue
            parts.append(self._edited(record, edit, adds_weight))
            position = record.end
        mark = _BOM if self.content.startswith(_BOM) else b""
        out.write_bytes(mark + "".join([*parts, self.text[position:]]).encode("utf-8"))

    def _edited(self, record: csv_text.Record, edit: Edit | None, adds_weight: bool) -> str:
        whole = self.text[record.start : record.end]
        if adds_weight:
            whole += self.delimiter + (edit.shown if isinstance(edit, Weigh) else "1")
            return whole
        # A row of CSV has all its answers in one field.
        name = edit.places[0].path[0] if isinstance(edit, Relabel) else WEIGHT
        start, end = record.fields[self.columns.index(str(name))]
        raw = self.text[start:end]
        if isinstance(edit, Relabel):
            new = raw
            for place in edit.from_the_end:
                assert place.end is not None
                new = csv_text.with_part(new, (place.start, place.end), edit.answer, self.delimiter)
        else:
            assert isinstance(edit, Weigh)
            new = csv_text.write_field(edit.shown, self.delimiter, quoted=raw.startswith('"'))
        return whole[: start - record.start] + new + whole[end - record.start :]


def read_jsonl(path: Path, mistakes: Mistakes) -> Source:
    """One object a line. Empty lines are skipped."""
    source = JsonLines(path, "JSON Lines", content=_read(path))
    position = len(_BOM) if source.content.startswith(_BOM) else 0
    # Split at "\n" only, and as bytes: a JSON string may hold other separators, a bad line spoils only itself.
    for line, raw in enumerate(source.content[position:].split(b"\n"), 1):
        start, position = position, position + len(raw) + 1
        if not raw.strip():
            continue
        where = f"{path}:{line}"
        try:
            value = json.loads(raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            mistakes.add(f"{where}: not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8")
        except json.JSONDecodeError as error:
            mistakes.add(f"{where}:{error.colno}: not JSON ({error.msg}); the line may be half-written")
        except (ValueError, RecursionError) as error:
            mistakes.add(f"{where}: not readable JSON ({error})")
        else:
            if _check_object(value, where, mistakes):
                source.rows.append(Row(len(source.rows) + 1, line, value))
                source.spans.append((start, min(position, len(source.content))))
    return source


def read_json(path: Path, mistakes: Mistakes) -> Source:
    """A list of objects, written in any way."""
    content = _read(path)
    text = _decoded(path, content)
    try:
        spans = json_text.elements(text)
    except json.JSONDecodeError as error:
        hint = (
            "one JSON object a line is JSON Lines: name the file .jsonl"
            if error.msg == "Extra data"
            else "the file may be half-written"
        )
        raise InputError(f"{path}:{error.lineno}:{error.colno}: not JSON ({error.msg}); {hint}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable JSON ({error})") from error
    if spans is None:
        raise InputError(f"{path}: found JSON that is no list; expected a list of objects, one a row")
    source = JsonList(path, "JSON", content=content, text=text)
    for line, span in _with_lines(text, spans):
        value = json.loads(text[slice(*span)])
        if _check_object(value, f"{path}:{line}", mistakes):
            source.rows.append(Row(len(source.rows) + 1, line, value))
            source.spans.append(span)
    return source


def read_csv(path: Path, mistakes: Mistakes) -> Source:
    """A header, and a record a row."""
    content = _read(path)
    text = _decoded(path, content)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else csv_text.delimiter_of(text)
    found = list(csv_text.records(text, delimiter))
    source = Csv(path, "CSV", content=content, text=text, delimiter=delimiter)
    if not found:
        return source
    source.header = found[0]
    if found[0].problem:
        mistakes.add(f"{path}:{found[0].line}: {found[0].problem}, in the header")
        return source
    source.columns = tuple(_fields(text, found[0]))
    if doubled := sorted({name for name in source.columns if source.columns.count(name) > 1}):
        mistakes.add(f"{path}:{found[0].line}: the columns {', '.join(map(shown, doubled))} stand twice in the header")
        return source
    for record in found[1:]:
        where = f"{path}:{record.line}"
        if record.problem:
            mistakes.add(f"{where}: {record.problem}")
        elif len(record.fields) != len(source.columns):
            n = len(record.fields)
            mistakes.add(f"{where}: found {n} fields, expected {len(source.columns)} as in the header")
        else:
            cells = dict(zip(source.columns, _fields(text, record), strict=True))
            source.rows.append(Row(len(source.rows) + 1, record.line, cells))
            source.records.append(record)
    return source


def _fields(text: str, record: csv_text.Record) -> list[str]:
    return [csv_text.read_field(text[start:end]) for start, end in record.fields]


def _edited_json(text: str, edit: Edit) -> str:
    if isinstance(edit, Weigh):
        return json_text.with_member(text, WEIGHT, edit.shown)
    assert isinstance(edit, Relabel)
    for place in edit.from_the_end:
        if place.end is None:
            text = json_text.with_value(text, place.path, json.dumps([edit.answer]))
        else:
            text = json_text.with_part(text, place.path, (place.start, place.end), edit.answer)
    return text


def _with_lines(text: str, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, tuple[int, int]]]:
    line, position = 1, 0
    for span in spans:
        line += text.count("\n", position, span[0])
        position = span[0]
        yield line, span


def _check_object(value: Any, where: str, mistakes: Mistakes) -> bool:
    if isinstance(value, dict):
        return True
    mistakes.add(f"{where}: found {shown(value)}, expected a JSON object")
    return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: not UTF-8 (byte {error.start + 1}); save the file as UTF-8") from error
