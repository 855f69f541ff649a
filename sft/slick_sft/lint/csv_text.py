"""CSV as text: its records and fields by their places, so that one field can be changed and every byte else be kept.

As RFC 4180 has it: a field in quotation marks may hold delimiters, line breaks and doubled quotation marks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

DELIMITERS = (",", ";", "\t", "|")

_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_BREAK = re.compile(r"\r\n|\n|\r")
_WRITTEN = re.compile(r'""|.', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Record:
    """One record. Its text is [start, end), `whole` includes its line break; fields: (start, end) as they are written.

    problem: what is wrong with it, or "".
    """

    line: int
    start: int
    end: int
    whole: int
    fields: tuple[tuple[int, int], ...]
    problem: str = ""


def records(text: str, delimiter: str) -> Iterator[Record]:
    """The records of a file, empty lines left out. One that cannot be read ends with its line."""
    plain = re.compile(rf"[^{re.escape(delimiter)}\r\n]*")
    position, line = 0, 1
    while position < len(text):
        start, fields, problem = position, [], ""
        while True:
            field = (_QUOTED if text.startswith('"', position) else plain).match(text, position)
            if field is None:
                problem = "a quotation mark that is never closed"
                break
            fields.append(field.span())
            position = field.end()
            if text.startswith(delimiter, position):
                position += len(delimiter)
                continue
            if position < len(text) and not _BREAK.match(text, position):
                problem = "text behind a closing quotation mark"
            break
        line_break = _BREAK.search(text, position)
        end, whole = line_break.span() if line_break else (len(text), len(text))
        if text[start:end].strip():
            yield Record(line, start, end, whole, tuple(fields), problem)
        line += len(_BREAK.findall(text, start, whole))
        position = whole


def delimiter_of(text: str) -> str:
    """The delimiter that gives the first record the most fields."""
    return max(DELIMITERS, key=lambda d: len(next(records(text, d), Record(1, 0, 0, 0, ())).fields))


def read_field(raw: str) -> str:
    """What a field says."""
    return raw[1:-1].replace('""', '"') if raw.startswith('"') else raw


def write_field(value: str, delimiter: str, *, quoted: bool = False) -> str:
    """A field that says `value`; in quotation marks where it has to be."""
    if quoted or any(sign in value for sign in (delimiter, '"', "\n", "\r")) or value != value.strip():
        return '"' + value.replace('"', '""') + '"'
    return value


def with_part(raw: str, part: tuple[int, int], new: str, delimiter: str) -> str:
    """A field with characters of what it says changed, the others written as they were."""
    if not raw.startswith('"'):
        return write_field(raw[: part[0]] + new + raw[part[1] :], delimiter)
    places = [1, *(1 + match.end() for match in _WRITTEN.finditer(raw[1:-1]))]
    return raw[: places[part[0]]] + new.replace('"', '""') + raw[places[part[1]] :]
