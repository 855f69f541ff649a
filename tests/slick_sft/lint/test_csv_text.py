"""CSV as text, beside Python's own reader."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from slick_sft.lint.csv_text import delimiter_of, read_field, records, with_part, write_field

FIELDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)


def written(rows: list[list[str]], **how: object) -> str:
    out = io.StringIO()
    csv.writer(out, **how).writerows(rows)  # type: ignore[arg-type]
    return out.getvalue()


@given(
    st.integers(2, 4).flatmap(lambda n: st.lists(st.lists(FIELDS, min_size=n, max_size=n), min_size=1, max_size=5)),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_fields_are_read_as_python_reads_them(rows: list[list[str]], delimiter: str, end: str, quoting: int) -> None:
    """With delimiters, line breaks and quotation marks inside."""
    # Python's own writer leaves a lone carriage return without quotation marks, and then cannot read it either.
    assume(quoting == csv.QUOTE_ALL or not any("\r" in field for row in rows for field in row))
    text = written(rows, delimiter=delimiter, lineterminator=end, quoting=quoting)
    found = list(records(text, delimiter))
    read = [[read_field(text[start:stop]) for start, stop in record.fields] for record in found]
    # A record that is nothing but white space is an empty line.
    assert read == [row for row in rows if written([row], delimiter=delimiter, quoting=quoting).strip()]
    assert not any(record.problem for record in found)


@given(FIELDS, FIELDS, FIELDS, FIELDS, st.booleans())
def test_a_part_of_a_field_is_changed_alone(before: str, old: str, after: str, new: str, quoted: bool) -> None:
    """What is written around it stays as it was written."""
    raw = write_field(before + old + after, ",", quoted=quoted)
    changed = with_part(raw, (len(before), len(before) + len(old)), new, ",")
    assert read_field(changed) == before + new + after
    if raw.startswith('"'):
        assert changed.startswith('"' + before.replace('"', '""'))


def test_lines_are_counted_through_fields() -> None:
    """A record begins on the line that an editor shows."""
    text = 'a,b\n"x\ny",1\n\nz,2\r\n"w",3'
    assert [record.line for record in records(text, ",")] == [1, 2, 5, 6]


@pytest.mark.parametrize(
    ("line", "problem"),
    [('"never closed,1', "a quotation mark that is never closed"), ('"a"b,1', "text behind a closing quotation mark")],
)
def test_a_bad_record_spoils_only_its_line(line: str, problem: str) -> None:
    """What follows is read on."""
    found = list(records(f"a,b\n{line}\nx,y\n", ","))
    assert [record.problem for record in found] == ["", problem, ""]
    assert [record.line for record in found] == [1, 2, 3]


@pytest.mark.parametrize(("text", "delimiter"), [("a,b;c,d", ","), ("a;b\n1;2", ";"), ("a\tb", "\t"), ("", ",")])
def test_the_delimiter_is_told_by_the_header(text: str, delimiter: str) -> None:
    """Whichever gives most columns."""
    assert delimiter_of(text) == delimiter
