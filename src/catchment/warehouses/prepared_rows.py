"""A few prepared rows (see `warehouses.Rows`), decoded: a type of its own for each table would cost more than it
saves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from catchment.warehouses.shape import ColumnType, Moment

_NULL = msgspec.Raw(b"null")


class PreparedRow(msgspec.Struct, gc=False):
    """A prepared line, the values of its columns raw."""

    id: str
    received_at: Moment
    not_before: Moment
    source: str
    data: dict[str, msgspec.Raw]
    rescued: msgspec.Raw = _NULL

    def value(self, column: str, kind: ColumnType) -> Any:
        """A column's value as Python has it: JSON as its text, null as None."""
        raw = self.data.get(column, _NULL)
        return None if bytes(raw) == b"null" else _READ[kind](raw)

    def rescued_text(self) -> str | None:
        """What was rescued, as JSON text."""
        return _json(self.rescued)


decode_lines = msgspec.json.Decoder(PreparedRow).decode_lines


def earliest_of(lines: bytes) -> dict[tuple[str, str], PreparedRow]:
    """By (source, id), of copies the one received first."""
    earliest: dict[tuple[str, str], PreparedRow] = {}
    for row in decode_lines(lines):
        copy = earliest.setdefault((row.source, row.id), row)
        if row.received_at < copy.received_at:
            earliest[row.source, row.id] = row
    return earliest


def _json(raw: msgspec.Raw) -> str | None:
    text = bytes(raw).decode()
    return None if text == "null" else text


_READ: Mapping[ColumnType, Callable[[msgspec.Raw], Any]] = {
    "boolean": msgspec.json.Decoder(bool).decode,
    "bigint": msgspec.json.Decoder(int).decode,
    "double": msgspec.json.Decoder(float).decode,
    "timestamptz": msgspec.json.Decoder(datetime).decode,
    "varchar": msgspec.json.Decoder(str).decode,
    "json": _json,
}
