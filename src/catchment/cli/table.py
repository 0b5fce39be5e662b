"""A query's result as a table for people: aligned, as wide as the terminal, safe to look at."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import nanoarrow
from nanoarrow.ipc import InputStream
from nanoarrow.iterator import iter_tuples

from catchment.cli.screen import visible

NULL = "NULL"
NARROWEST = 6
"""No column is cut below this many characters while another one can be."""

_RIGHT = tuple("cCsSiIlLefgd")
_SIMPLE = {"n", "b", *"cCsSiIlLguU", "tdD", "ttu", "tsu", "tsm", "tss", "d"}
"""Arrow's formats, up to a colon, whose values nanoarrow gives exactly."""


@dataclass(frozen=True, slots=True)
class Table:
    """A result as text; None is null. `right` tells which columns are numbers."""

    names: Sequence[str]
    right: Sequence[bool]
    rows: Sequence[Sequence[str | None]]


def table(pieces: Iterator[bytes]) -> Table:
    """A result small enough to be held, from its Arrow IPC stream."""
    data = b"".join(pieces)
    with nanoarrow.c_array_stream(InputStream.from_readable(data)) as stream:
        schema = stream.get_schema()
    columns = [schema.child(at) for at in range(schema.n_children)]
    names = [column.name or "" for column in columns]
    right = [column.format.startswith(_RIGHT) for column in columns]
    if all(column.format.partition(":")[0] in _SIMPLE for column in columns):
        try:
            return Table(names, right, list(_simple_rows(data)))
        except (OverflowError, ValueError):
            pass  # a time that Python has no datetime for
    return Table(names, right, _duckdb_rows(data))


def _simple_rows(data: bytes) -> Iterator[list[str | None]]:
    """Without DuckDB, whose import takes longer than everything else of `catchment query` together."""
    from nanoarrow.c_array_stream import CArrayStream

    with nanoarrow.c_array_stream(InputStream.from_readable(data)) as stream:
        schema = stream.get_schema()
        # Without their metadata JSON columns are texts, which is all that is needed here.
        bare = schema.modify(children=[schema.child(at).modify(metadata={}) for at in range(schema.n_children)])
        for batch in stream:
            for row in iter_tuples(CArrayStream.from_c_arrays([batch], bare, validate=False)):
                yield [None if value is None else _text(value) for value in row]


def _text(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case datetime():
            zoned = value.tzinfo is not None
            return _short(value.astimezone(UTC).replace(tzinfo=None) if zoned else value) + "Z" * zoned
        case float():
            return repr(value)
        case Decimal():
            return format(value, "f")
        case str():
            return value
    return _short(value) if hasattr(value, "isoformat") else str(value)


def _short(moment: Any) -> str:
    """To the second, or to as many milliseconds or microseconds as there are."""
    text: str = moment.isoformat()
    return text.removesuffix("000") if "." in text else text


def _duckdb_rows(data: bytes) -> list[list[str | None]]:
    from catchment.rendering.formats import local_duckdb
    from catchment.rendering.texts import cell_texts

    with local_duckdb() as local:
        relation = local.from_arrow(InputStream.from_readable(data).__arrow_c_stream__())
        return [list(row) for row in relation.project(", ".join(cell_texts(relation))).fetchall()]


def draw(table: Table, width: int | None) -> Iterator[str]:
    """The table's lines, none wider than `width`; columns that have no place at all are named at the end."""
    names = [visible(name) for name in table.names]
    rows = [[NULL if cell is None else visible(cell) for cell in row] for row in table.rows]
    wanted = [max(map(_width, column)) for column in zip(names, *rows, strict=True)]
    widths = wanted if width is None else _fitted(wanted, width)
    for line in (names, None, *rows):
        if line is None:
            yield "┼".join("─" * (each + 2) for each in widths)
        else:
            cells = [
                _padded(_cut(cell, each), each, right and line is not names)
                for cell, each, right in zip(line, widths, table.right, strict=False)
            ]
            yield "│".join(f" {cell} " for cell in cells).rstrip()
    if len(widths) < len(names):
        left_out = ", ".join(names[len(widths) :])
        yield f"({len(names) - len(widths)} more columns have no room: {left_out})"


def _fitted(wanted: Sequence[int], width: int) -> list[int]:
    """The widths of as many columns as fit, the widest ones cut first."""
    count = len(wanted)
    while count > 1 and sum(min(each, NARROWEST) for each in wanted[:count]) + 3 * count - 1 > width:
        count -= 1
    room = width - 3 * count + 1
    widest = max(wanted[:count])
    while widest > 1 and sum(min(each, widest) for each in wanted[:count]) > room:
        widest -= 1
    return [min(each, widest) for each in wanted[:count]]


def _width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return len(text) if text.isascii() else sum(map(_character_width, text))


def _character_width(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def _cut(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    kept, used = [], 1
    for character in text:
        used += _character_width(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept) + "…"


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
