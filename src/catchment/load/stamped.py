"""One line of an archive file as a record whose fields' values are still JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from catchment.errors import Malformed
from catchment.load.guard import UNREADABLE, strictly
from catchment.warehouses.shape import Moment


class Stamped(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A stamped record of any table, its fields' values raw."""

    table: str
    id: str
    received_at: Moment
    not_before: Moment
    source: str
    data: dict[str, msgspec.Raw]
    rescued: dict[str, msgspec.Raw] | None = None
    op: Literal["insert", "upsert", "delete"] = "insert"
    key: tuple[str, ...] = ()
    version: str = ""
    retries: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """A line with the archive file it lies in."""

    line: bytes
    file: str
    number: int
    table: str = ""
    received_at: datetime | None = None
    """Of its pack, for a line that cannot say its own."""


_decode = msgspec.json.Decoder(Stamped).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def read(line: bytes) -> Stamped:
    """The record. Raises `Malformed`."""
    try:
        return _decode(line)
    except UNREADABLE as error:
        strictly(line)  # it may know better what is wrong
        raise Malformed("not-a-record", str(error)) from None


def identified(line: bytes) -> Stamped | None:
    """A refused line as far as it can be read: whose record it is, even where its values are not to be trusted."""
    try:
        return _decode(line)
    except UNREADABLE:
        return None


def without(line: bytes, dropped: frozenset[str]) -> bytes:
    """The line less these fields, as far as it can be read; as it is where none of them is in it."""
    try:
        record = _decode_fields(line)
        for part in ("data", "rescued"):
            fields = _decode_fields(record.get(part, b"{}"))
            if not dropped.isdisjoint(fields):
                kept = {name: raw for name, raw in fields.items() if name not in dropped}
                record[part] = msgspec.Raw(_encode(kept))
    except UNREADABLE:
        return line
    return _encode(record)
