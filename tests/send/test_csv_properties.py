"""Nothing of a CSV file vanishes, whatever is in it."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from catchment.send import csv as ours
from catchment.send import lines
from catchment.send.csv import Dialect, Value, by_column, scan
from catchment.send.survey import Options
from tests.send.harness import send_csv

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8) | st.text(
    '",;|\t\r\n\\ ax1', max_size=8
)
numbers = st.sampled_from(["0", "1", "-7", "007", "7.50", "7.5", "1e5", "true", "", "x"])


@st.composite
def tables(draw: st.DrawFn) -> list[list[Value]]:
    width = draw(st.integers(1, 5))
    cell = st.none() | texts | numbers
    return draw(st.lists(st.lists(cell, min_size=width, max_size=width), min_size=1, max_size=12))


def written(rows: Sequence[Sequence[Value]], delimiter: str, line_end: str) -> str:
    """By the standard library: quotes around every text that needs them, none around a null."""
    file = io.StringIO(newline="")
    for row in rows:
        for at, value in enumerate(row):
            if _needs_quotes(value, delimiter):
                csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="").writerow([value])
            else:
                file.write(value or "")
            file.write(delimiter if at < len(row) - 1 else line_end)
    return file.getvalue()


def _needs_quotes(value: Value, delimiter: str) -> bool:
    return value is not None and (not value or any(mark in value for mark in '"\r\n' + delimiter))


def sent(content: str, options: Options, block_bytes: int) -> list[list[Value]]:
    """Sent and read back from the packs, each value as text again."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(lines, "BLOCK_BYTES", block_bytes):
        path = Path(folder) / "t.csv"
        path.write_bytes(content.encode())
        return [[_text(value) for value in row.values()] for row in send_csv(path, options).rows]


def _text(value: object) -> Value:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value) if not isinstance(value, float) else repr(value)


@settings(max_examples=300, deadline=None)
@given(
    tables(),
    st.sampled_from([",", ";", "\t", "|", "^"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([7, 64, 1 << 18]),
)
def test_any_table_comes_back(rows: list[list[Value]], delimiter: str, line_end: str, block_bytes: int) -> None:
    names = tuple(f"c{at}" for at in range(len(rows[0])))
    options = Options(delimiter=delimiter, columns=names)
    back = sent(written(rows, delimiter, line_end), options, block_bytes)
    # `1` in a column of numbers that have a point elsewhere comes back as what it is: a number.
    assert [[_same(value) for value in row] for row in back] == [[_same(value) for value in row] for row in rows]


def _same(value: Value) -> object:
    try:
        return float(value) if value in {"0", "1", "-7"} else value
    except TypeError:
        return value


# Text of marks alone, and text that is nearly right.
hostile = st.text('",;\r\n\\x1 ', max_size=60) | st.lists(
    st.sampled_from(['"x"', '""', '"x""1"', "", "1", "x", ",", ",", ",", "\n", "\r\n", '"x\n1"', '"']), max_size=25
).map("".join)


@settings(max_examples=500, deadline=None)
@given(
    hostile,
    st.integers(1, 4),
    st.sampled_from([None, "\\"]),
    st.sampled_from([frozenset[str](), frozenset({"1"})]),
)
def test_all_readings_agree(text: str, width: int, escape: str | None, nulls: frozenset[str]) -> None:
    """Where a block can be read by columns or by lines, reading it field by field gives the same."""
    dialect = Dialect(",", '"', escape, nulls)
    text += "\n"  # a block ends with its last line
    with mock.patch.object(ours, "_LONGEST_WHOLE", -1):
        by_field = list(scan(text, dialect, blank_lines=width == 1))
    assert list(scan(text, dialect, blank_lines=width == 1)) == by_field
    columns = by_column(text, dialect, width)
    if columns is None:
        return
    assert [list(row) for row in zip(*columns[0], strict=True)] == [each.values for each in by_field]
    assert columns[1] == [each.raw for each in by_field]
    assert not any(each.fault for each in by_field)
    assert [each.line for each in by_field] == list(range(len(by_field)))


@settings(max_examples=300, deadline=None)
@given(hostile, st.sampled_from([1, 5, 1 << 18]))
def test_rows_and_dead_letters_are_all_of_the_file(text: str, block_bytes: int) -> None:
    """The same records, good or bad, wherever the blocks are cut; their texts make up the file."""
    dialect = Dialect(",")

    def read(size: int) -> tuple[str, list[tuple[int, int, str]]]:
        cut = [text.encode()[at : at + size].decode() for at in range(0, len(text), size)]
        chunks = (lines.Block(part, at) for at, part in enumerate(cut))
        blocks = lines._whole_lines(chunks, "\n", "t")
        reader = ours.Reader(blocks, dialect, "t")
        found: list[tuple[int, int, str]] = []
        try:
            for chunk in reader.chunks(2):
                found += zip(chunk.numbers, chunk.lines, chunk.raw, strict=True)
                found += [(each.number, each.line, each.raw.decode()) for each in chunk.bad]
        except ours.Unreadable as error:
            return error.message, sorted(found)
        return "", sorted(found)

    error, found = read(block_bytes)
    assert (error, found) == read(1 << 20)
    assert [number for number, _, _ in found] == list(range(1, len(found) + 1))
    if not error:
        kept = "".join(raw for _, _, raw in found)
        assert kept.replace("\r", "").replace("\n", "") == text.replace("\r", "").replace("\n", "")
