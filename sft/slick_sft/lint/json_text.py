"""JSON as text: where its values stand, so that one of them can be changed and every other byte be kept.

All functions but `elements` take text that was read as JSON before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

Path = Sequence[str | int]
Span = tuple[int, int]

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")
# What one character of a string is written as; a pair of surrogates is one.
_WRITTEN = re.compile(r"\\u[dD][89abAB]\w{2}\\u[dD][c-fC-F]\w{2}|\\u\w{4}|\\.|[^\\]", re.DOTALL)


def elements(text: str) -> list[Span] | None:
    """Where the elements of a list stand; None for JSON that is no list.

    Raises json.JSONDecodeError, or RecursionError for what is nested too deeply.
    """
    start = _space(text, 0)
    if text[start : start + 1] != "[":
        _DECODER.decode(text)
        return None
    found: list[Span] = []
    i = _space(text, start + 1)
    if text[i : i + 1] == "]":
        i += 1
    else:
        while True:
            end = _value_end(text, i)
            found.append((i, end))
            i = _space(text, end)
            sign = text[i : i + 1]
            i += 1
            if sign == "]":
                break
            if sign != ",":
                raise json.JSONDecodeError("Expecting ',' delimiter", text, i - 1)
            i = _space(text, i)
    if _space(text, i) < len(text):
        raise json.JSONDecodeError("Extra data", text, _space(text, i))
    return found


def value_span(text: str, path: Path, start: int = 0) -> Span:
    """Where the value at `path` stands, below the value that begins at `start`. KeyError where there is none."""
    start = _space(text, start)
    if not path:
        return start, _value_end(text, start)
    found: int | None = None
    for key, value, _ in _members(text, start):
        if key == path[0]:
            # The last of several members of one name counts.
            found = value
    if found is None:
        raise KeyError(path[0])
    return value_span(text, path[1:], found)


def with_value(text: str, path: Path, literal: str) -> str:
    """`text` with another value at `path`, given as JSON."""
    start, end = value_span(text, path)
    return text[:start] + literal + text[end:]


def with_part(text: str, path: Path, part: Span, new: str) -> str:
    """`text` with characters of the string at `path` changed: those that are `part` of the string as it reads."""
    start, end = value_span(text, path)
    places = [start + 1, *(start + 1 + match.end() for match in _WRITTEN.finditer(text[start + 1 : end - 1]))]
    literal = json.dumps(new, ensure_ascii=text.isascii())[1:-1]
    return text[: places[part[0]]] + literal + text[places[part[1]] :]


def with_member(text: str, name: str, literal: str) -> str:
    """The object `text` with a member of that value; a new one comes last and is spaced as the others are."""
    start = _space(text, 0)
    members = list(_members(text, start))
    if any(key == name for key, *_ in members):
        return with_value(text, [name], literal)
    if not members:
        return f"{text[: start + 1]}{json.dumps(name)}: {literal}{text[start + 1 :]}"
    _, value, end = members[-1]
    # What stands between two members, or else in front of the only one.
    comma = text.find(",", members[-2][2]) + 1 if len(members) > 1 else start + 1
    before = _SPACE.match(text, comma)
    colon = re.search(r"[ \t\n\r]*:[ \t\n\r]*\Z", text[:value])
    assert before is not None
    assert colon is not None
    space = before.group() or (" " if len(members) == 1 and colon.group() != ":" else "")
    return f"{text[:end]},{space}{json.dumps(name)}{colon.group()}{literal}{text[end:]}"


def _members(text: str, start: int) -> Iterator[tuple[str | int, int, int]]:
    """(key or place, start of the value, its end) of everything in the object or list that begins at `start`."""
    opening = text[start]
    if opening not in "{[":
        return
    i, place = _space(text, start + 1), 0
    while text[i] not in "}]":
        key: str | int = place
        if opening == "{":
            key, i = _DECODER.raw_decode(text, i)
            i = _space(text, _space(text, i) + 1)
        end = _value_end(text, i)
        yield key, i, end
        i, place = _space(text, end), place + 1
        if text[i] == ",":
            i = _space(text, i + 1)


def _value_end(text: str, start: int) -> int:
    end: int = _DECODER.raw_decode(text, start)[1]
    return end


def _space(text: str, start: int) -> int:
    match = _SPACE.match(text, start)
    return match.end() if match else start
