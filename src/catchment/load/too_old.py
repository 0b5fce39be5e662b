"""Records that are too old for their table: its retention has removed such rows, and nothing brings them back.

A queue file that drains late, an archive file that was put back, a restore and a replay all come by here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Annotated

import msgspec

from catchment.errors import Malformed
from catchment.load.guard import UNREADABLE
from catchment.load.round import Held, Part
from catchment.load.stamped import read
from catchment.pack import Header, build_bounded
from catchment.record import Line


class _Time(msgspec.Struct, gc=False):
    received_at: Annotated[datetime, msgspec.Meta(tz=True)]


_decode_time = msgspec.json.Decoder(_Time).decode
_encode = msgspec.json.Encoder().encode

Change = Callable[[bytes], bytes | None]
"""What becomes of a line that is too old, without its end; None where it goes."""


def without_old(part: Part, rows_from: datetime) -> Part:
    """The part less records that were received before that time; the same where it has none."""
    return _changed(part, rows_from, lambda line: None)


def with_old_deleted(part: Part, rows_from: datetime) -> Part:
    """Of a mirrored table: a version that is too old counts, and its row is not there. Else an older one that came
    later would take its place."""
    return _changed(part, rows_from, _as_delete)


def _changed(part: Part, rows_from: datetime, change: Change) -> Part:
    if all(held.pack.header.first_received_at >= rows_from for held in part.held):
        return part
    held = tuple(new for each in part.held for new in _held(each, rows_from, change))
    return replace(part, held=held, alone=False)


def _held(held: Held, rows_from: datetime, change: Change) -> Iterator[Held]:
    header = held.pack.header
    if header.first_received_at >= rows_from:
        yield held
        return
    lines = []
    for text in held.pack.plain().split(b"\n"):
        if not text:
            continue
        received_at = _received_at(text, header)
        new = text if received_at >= rows_from else change(text)
        if new is not None:
            lines.append(Line(header.table, new + b"\n", received_at, header.not_before))
    if lines:
        yield from (Held(pack, None) for pack, _ in build_bounded(header.table, lines))


def _received_at(text: bytes, header: Header) -> datetime:
    """A line that has no time, which becomes a dead letter, has its pack's."""
    try:
        return _decode_time(text).received_at
    except UNREADABLE:
        return header.last_received_at


def _as_delete(text: bytes) -> bytes:
    try:
        record = read(text)
    except Malformed:
        return text
    return _encode(msgspec.structs.replace(record, op="delete")) if record.op == "upsert" else text
