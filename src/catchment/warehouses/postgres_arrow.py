"""PostgreSQL's results, as its protocol has them in text, as Arrow.

What Arrow has no type for is text as PostgreSQL writes it: arrays, ranges, intervals, uuids, enums. A `numeric`
without a scale (a sum of integers, an average) gets the scale that its first rows need: a small result its own, and
a large one integers, or as many digits as leave room for 64 bits before the point.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from enum import IntEnum
from itertools import accumulate
from typing import Any

import nanoarrow
from nanoarrow.c_array import CArray

from catchment.errors import UsageError
from catchment.warehouses.ipc import JSON

DIGITS = 38
"""Of Arrow's decimal of 128 bits."""
MORE_SCALE = 19
"""The least scale of fractions in a result of many rows, of which later ones may have more digits than the first."""

Cell = bytes | None


class _Oid(IntEnum):
    """Types by the numbers that PostgreSQL has for them everywhere."""

    BOOL = 16
    BYTEA = 17
    JSON = 114
    DATE = 1082
    TIMESTAMP = 1114
    TIMESTAMPTZ = 1184
    NUMERIC = 1700
    JSONB = 3802


_INTEGERS = {21: ("h", nanoarrow.int16()), 23: ("i", nanoarrow.int32()), 20: ("q", nanoarrow.int64())}
_INTEGERS |= {26: ("q", nanoarrow.int64())}  # oid
_FLOATS = {700: ("f", nanoarrow.float32()), 701: ("d", nanoarrow.float64())}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a result as PostgreSQL describes it: its type's oid and modifier; the scale of a `numeric`."""

    name: str
    oid: int
    modifier: int
    scale: int = 0


def settled(fields: Sequence[Field], columns: Sequence[Sequence[Cell]], *, more: bool) -> list[Field]:
    """The fields with the scale of each `numeric`, given its first values and whether there may be `more`."""
    return [
        replace(field, scale=_scale(field, cells, more=more)) if field.oid == _Oid.NUMERIC else field
        for field, cells in zip(fields, columns, strict=True)
    ]


def _scale(field: Field, cells: Sequence[Cell], *, more: bool) -> int:
    if field.modifier >= 0:
        return (field.modifier - 4) & 0x7FF
    seen = max((len(cell.partition(b".")[2]) for cell in cells if cell is not None), default=0)
    return min(max(seen, MORE_SCALE) if more and seen else seen, DIGITS)


def schema(fields: Sequence[Field]) -> Any:
    """The Arrow schema of the result."""
    children = [nanoarrow.c_schema(_type(f)).modify(name=f.name, metadata=_metadata(f)) for f in fields]
    return nanoarrow.c_schema(nanoarrow.struct([])).modify(children=children)


def _metadata(field: Field) -> dict[str, str] | None:
    return JSON if field.oid in {_Oid.JSON, _Oid.JSONB} else None


def _type(field: Field) -> Any:
    oid = field.oid
    if oid in _INTEGERS:
        return _INTEGERS[oid][1]
    if oid in _FLOATS:
        return _FLOATS[oid][1]
    match oid:
        case _Oid.BOOL:
            return nanoarrow.bool_()
        case _Oid.BYTEA:
            return nanoarrow.binary()
        case _Oid.NUMERIC:
            return nanoarrow.decimal128(DIGITS, field.scale)
        case _Oid.DATE:
            return nanoarrow.date32()
        case _Oid.TIMESTAMP:
            return nanoarrow.timestamp("us")
        case _Oid.TIMESTAMPTZ:
            return nanoarrow.timestamp("us", "UTC")
    return nanoarrow.string()


def batch(result_schema: Any, fields: Sequence[Field], columns: Sequence[Sequence[Cell]], rows: int) -> CArray:
    """Columns of cells as one Arrow batch. Raises `UsageError` for a value that the type cannot say."""
    children = [
        _column(result_schema.child(at), field, cells)
        for at, (field, cells) in enumerate(zip(fields, columns, strict=True))
    ]
    return nanoarrow.c_array_from_buffers(result_schema, rows, [None], children=children)


def _column(column_schema: Any, field: Field, cells: Sequence[Cell]) -> CArray:
    try:
        buffers = _buffers(field, cells)
    except (ValueError, OverflowError):
        raise UsageError(
            f"column {field.name} holds a value that Arrow's type for it cannot say (infinity, NaN, more digits than "
            "the rows before it, or a time before the year 1 or after 9999)",
            f"CAST it: {field.name}::text",
        ) from None
    return nanoarrow.c_array_from_buffers(column_schema, len(cells), [_validity(cells), *buffers])


def _validity(cells: Sequence[Cell]) -> Any:
    if None not in cells:
        return None
    return nanoarrow.c_buffer([cell is not None for cell in cells], nanoarrow.bool_())


def _buffers(field: Field, cells: Sequence[Cell]) -> list[Any]:
    oid = field.oid
    if oid in _INTEGERS:
        return [_fixed(_INTEGERS[oid][0], int, cells)]
    if oid in _FLOATS:
        return [_fixed(_FLOATS[oid][0], float, cells)]
    match oid:
        case _Oid.BOOL:
            return [nanoarrow.c_buffer([cell == b"t" for cell in cells], nanoarrow.bool_())]
        case _Oid.BYTEA:
            return _variable([None if cell is None else bytes.fromhex(cell[2:].decode()) for cell in cells])
        case _Oid.NUMERIC:
            return [b"".join(_decimal(cell, field.scale) for cell in cells)]
        case _Oid.DATE:
            return [_fixed("i", _days, cells)]
        case _Oid.TIMESTAMP | _Oid.TIMESTAMPTZ:
            return [_fixed("q", _microseconds, cells)]
    return _variable(cells)


def _fixed(code: str, convert: Callable[[bytes], Any], cells: Sequence[Cell]) -> array[Any]:
    return array(code, [0 if cell is None else convert(cell) for cell in cells])


def _variable(cells: Sequence[Cell]) -> list[Any]:
    lengths = (0 if cell is None else len(cell) for cell in cells)
    return [array("i", accumulate(lengths, initial=0)), b"".join(cell for cell in cells if cell)]


def _decimal(cell: Cell, scale: int) -> bytes:
    """Sixteen bytes. Raises ValueError for NaN and infinity, OverflowError for what has more digits."""
    if cell is None:
        return bytes(16)
    whole, _, fraction = cell.partition(b".")
    if len(fraction) > scale:
        fraction = fraction.rstrip(b"0")
        if len(fraction) > scale:
            raise ValueError
    number = int(whole + fraction.ljust(scale, b"0"))
    if abs(number) >= 10**DIGITS:
        raise OverflowError
    return number.to_bytes(16, "little", signed=True)


def _days(cell: bytes) -> int:
    return date.fromisoformat(cell.decode()).toordinal() - _EPOCH.toordinal()


def _microseconds(cell: bytes) -> int:
    moment = datetime.fromisoformat(cell.decode())
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
