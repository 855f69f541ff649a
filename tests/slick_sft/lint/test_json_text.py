"""JSON as text: what is changed, and that nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slick_sft.lint.json_text import elements, value_span, with_member, with_part, with_value

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
# Ways in which people write JSON.
WAYS = st.sampled_from(
    [
        {"ensure_ascii": True},
        {"ensure_ascii": False},
        {"indent": 2},
        {"separators": (",", ":")},
        {"indent": "\t", "ensure_ascii": False, "separators": (" ,", " : ")},
    ]
)


@given(st.lists(VALUES, max_size=5), WAYS)
def test_elements_are_where_they_stand(values: list[Any], way: dict[str, Any]) -> None:
    """Each span holds its element."""
    text = json.dumps(values, **way)
    spans = elements(text)
    assert spans is not None
    assert [json.loads(text[slice(*span)]) for span in spans] == values


@pytest.mark.parametrize("text", ["{}", "3", '"[]"', " null "])
def test_what_is_no_list_has_no_elements(text: str) -> None:
    """None, and no error: the caller says what it expected."""
    assert elements(text) is None


@pytest.mark.parametrize("text", ["", "[", "[1", "[1,", "[1,]", "[1 2]", "[1]x", '[{"a":}]', "{", "nul", "[1][2]"])
def test_what_is_no_json_is_refused_where_it_breaks(text: str) -> None:
    """As json does, with a place."""
    with pytest.raises(json.JSONDecodeError):
        elements(text)


def paths(value: Any) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(), *((key, *path) for key, below in inner for path in paths(below))]


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@given(VALUES, WAYS, st.data())
def test_a_value_is_found_and_changed_alone(value: Any, way: dict[str, Any], data: st.DataObject) -> None:
    """At any path; what stands before and behind it is the same text."""
    text = json.dumps(value, **way)
    path = data.draw(st.sampled_from(paths(value)))
    start, end = value_span(text, path)
    assert json.loads(text[start:end]) == at(value, path)
    changed = with_value(text, path, "[7]")
    assert (changed[:start], changed[start : -len(text[end:]) or None]) == (text[:start], "[7]")
    assert at(json.loads(changed), path) == [7]


def test_of_two_members_of_one_name_the_last_counts() -> None:
    """As every reader of JSON in Python has it."""
    assert with_value('{"a": 1, "a": 2}', ["a"], "3") == '{"a": 1, "a": 3}'
    with pytest.raises(KeyError, match="b"):
        value_span('{"a": 1}', ["b"])


@given(TEXTS, TEXTS, TEXTS, TEXTS, WAYS)
def test_a_part_of_a_string_is_changed_alone(before: str, old: str, after: str, new: str, way: dict[str, Any]) -> None:
    """However its other characters are written: they stay as they were written."""
    text = json.dumps({"x": [1, before + old + after]}, **way)
    part = (len(before), len(before) + len(old))
    changed = with_part(text, ["x", 1], part, new)
    assert json.loads(changed) == {"x": [1, before + new + after]}
    head = text.index('"', value_span(text, ["x", 1])[0]) + 1 + len(json.dumps(before, **way)) - 2
    tail = len(json.dumps(after, **way)) - 1 + len(text) - value_span(text, ["x", 1])[1]
    assert changed[:head] == text[:head]
    assert changed[len(changed) - tail :] == text[len(text) - tail :]


def test_escapes_that_nobody_needs_stay() -> None:
    r"""\/ and \u0041 are kept; a pair of surrogates is one character."""
    text = r'{"a": "\/\u0041\ud83d\ude00Paris\n"}'
    assert json.loads(text)["a"] == "/A😀Paris\n"
    assert with_part(text, ["a"], (3, 8), 'x"') == r'{"a": "\/\u0041\ud83d\ude00x\"\n"}'
    # Text without anything but ASCII stays so.
    assert with_part('{"a": "b"}', ["a"], (0, 1), "é") == '{"a": "\\u00e9"}'
    assert with_part('{"é": "b"}', ["é"], (0, 1), "é") == '{"é": "é"}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1, "b": 2}', '{"a": 1, "b": 2, "weight": 0}'),
        ('{"a":1,"b":2}', '{"a":1,"b":2,"weight":0}'),
        ('{"a": 1}', '{"a": 1, "weight": 0}'),
        ('{"a":1}', '{"a":1,"weight":0}'),
        ('{"a": {"b": 1}}', '{"a": {"b": 1}, "weight": 0}'),
        ("{}", '{"weight": 0}'),
        ('{\n    "a": [1,2],\n    "b": 2\n  }', '{\n    "a": [1,2],\n    "b": 2,\n    "weight": 0\n  }'),
        ('{\n    "a": 1\n  }', '{\n    "a": 1,\n    "weight": 0\n  }'),
        ('{"a": 1, "weight": 0.5, "b": 2}\r\n', '{"a": 1, "weight": 0, "b": 2}\r\n'),
        ('{"a,": "x, y" , "b" : "}"}', '{"a,": "x, y" , "b" : "}", "weight" : 0}'),
    ],
)
def test_a_member_is_added_as_the_others_are_written(text: str, expected: str) -> None:
    """On the line or on one of its own, with or without spaces; one that is there gets another value."""
    assert with_member(text, "weight", "0") == expected


@given(st.dictionaries(TEXTS, VALUES, max_size=4), WAYS)
def test_a_member_is_all_that_is_added(value: dict[str, Any], way: dict[str, Any]) -> None:
    """The object reads the same otherwise."""
    value.pop("weight", None)
    assert json.loads(with_member(json.dumps(value, **way), "weight", "0")) == value | {"weight": 0}
