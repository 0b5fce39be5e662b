"""A query's result in memory: a few thousand rows at most, each value exactly as the warehouse has it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

import nanoarrow
from nanoarrow.ipc import InputStream

from catchment.warehouses import ArrowStream
from catchment.warehouses.ipc import opened

Kind = Literal["time", "date", "number", "text", "bool", "json", "other"]

DECIMAL_BYTES = 16
_SQL_TYPES = {
    "string": "text",
    "large_string": "text",
    "int8": "tinyint",
    "int16": "smallint",
    "int32": "integer",
    "int64": "bigint",
    "float": "real",
    "date32": "date",
    "bool": "boolean",
    "decimal128": "decimal",
}
MAX_CHARACTERS = 64_000_000
"""Of all texts of a result: more is cut off like rows beyond their number, for it would fill the memory."""
_CHARACTERS_A_VALUE = 60
_SIZE_OF_NONE = 16


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result. `type` is Arrow's name of it, for people to read."""

    name: str
    kind: Kind
    type: str = ""

    @property
    def sql_type(self) -> str:
        """The type as SQL calls it."""
        return _SQL_TYPES.get(self.type, self.type)


@dataclass(frozen=True, slots=True)
class Result:
    """What a query returned. `rows` are tuples of str, int, float, Decimal, bool, datetime (with the zone where the
    warehouse has one), date, time, or None; nested values are JSON text."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_cut: bool = False
    """There were more rows than were asked for."""
    ran_ms: float = 0.0
    ran_at_s: float = field(default_factory=time.time)
    """When it was asked, as Unix time."""
    size: int = 16
    """How many values it takes the memory of; a long text counts as several."""

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def index(self, name: str) -> int | None:
        """Where the column of that name stands; None for no such."""
        return next((at for at, column in enumerate(self.columns) if column.name == name), None)


def read(stream: ArrowStream, max_rows: int) -> Result:
    """Read a result, `max_rows` of it at most; the stream is closed. Raises what the query raises."""
    began_s = time.perf_counter()
    asked_at_s = time.time()
    rows: list[tuple[Any, ...]] = []
    characters = 0
    is_cut = False
    try:
        with opened(stream.ipc()) as file:
            arrow = nanoarrow.ArrayStream(InputStream.from_readable(file))
            columns = columns_of(arrow)
            for chunk in arrow.iter_chunks():
                by_column = [_values(chunk.child(at), column) for at, column in enumerate(columns)]
                rows.extend(zip(*by_column, strict=True))
                characters += sum(len(value) for values in by_column for value in values if isinstance(value, str))
                is_cut = len(rows) > max_rows or characters > MAX_CHARACTERS
                if is_cut:
                    break
    finally:
        stream.close()
    ran_ms = (time.perf_counter() - began_s) * 1000
    size = len(rows) * len(columns) + characters // _CHARACTERS_A_VALUE + _SIZE_OF_NONE
    return Result(columns, tuple(rows[:max_rows]), is_cut, ran_ms, asked_at_s, size)


def columns_of(stream: Any) -> tuple[Column, ...]:
    """The columns of nanoarrow's stream."""
    return tuple(_column(field) for field in stream.schema.fields)


def rows_of(stream: Any) -> Iterator[tuple[Any, ...]]:
    """All rows of nanoarrow's stream, as they come."""
    columns = columns_of(stream)
    for chunk in stream.iter_chunks():
        by_column = [_values(chunk.child(at), column) for at, column in enumerate(columns)]
        yield from zip(*by_column, strict=True)


def _column(field: Any) -> Column:
    type_ = nanoarrow.Type(field.type.value)
    return Column(field.name or "", _kind(field, type_.name.lower()), str(type_.name).lower())


def _kind(field: Any, type_: str) -> Kind:
    if type_ == "timestamp":
        return "time"
    if type_.startswith("date"):
        return "date"
    if type_ == "bool":
        return "bool"
    if type_.startswith(("int", "uint", "float", "half", "double", "decimal")) and "interval" not in type_:
        return "number"
    if type_ in {"list", "large_list", "fixed_size_list", "struct", "map"} or _is_json(field):
        return "json"
    if type_.startswith(("string", "large_string", "dictionary")):
        return "text"
    return "other"


def _is_json(field: Any) -> bool:
    return bool(field.metadata) and dict(field.metadata).get(b"ARROW:extension:name") == b"arrow.json"


def _values(array: Any, column: Column) -> list[Any]:
    if column.type.startswith("decimal"):
        return _decimals(array)
    values = array.to_pylist()
    if column.kind == "json":
        return [value if isinstance(value, str | None) else _json(value) for value in values]
    if column.kind == "other":
        return [None if value is None else str(value) for value in values]
    return list(values)


def _decimals(array: Any) -> list[Decimal | None]:
    """Read from the buffers: nanoarrow's own reading loses signs and digits."""
    scale = array.schema.scale
    inner = nanoarrow.c_array(array)
    view = inner.view()
    validity, data = view.buffer(0), bytes(view.buffer(1))
    valid = bytes(validity)

    def value(at: int) -> Decimal | None:
        if valid and not valid[at >> 3] >> (at & 7) & 1:
            return None
        whole = int.from_bytes(data[at * DECIMAL_BYTES : (at + 1) * DECIMAL_BYTES], "little", signed=True)
        digits = tuple(map(int, str(abs(whole))))
        return Decimal((int(whole < 0), digits, -scale))

    return [value(at) for at in range(inner.offset, inner.offset + len(inner))]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=_text)


def _text(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)
