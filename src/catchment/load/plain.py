"""Plain messages, many at a time: what other people's services publish, one JSON record each, becomes stamped lines.

Most fit their table as it stands (`fitting`). Most others are simple: one line, one record of table, data, id and
perhaps source. Those are decoded by C loops, and as lines they stay what they are, with what the stamp adds put in
front. Whatever is not simple goes the careful way, message by message, and comes out as the same record.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby, repeat
from operator import attrgetter, contains
from typing import Annotated

import msgspec

from catchment.errors import Malformed
from catchment.load.fitting import FitsOf, fitting
from catchment.load.guard import is_utf8
from catchment.load.plain_lines import front_of, in_lines, is_others_table, may_be_deep
from catchment.pack import plain_lines
from catchment.queues import Message
from catchment.queues.foreign import dead_message, identified, second_of, stamp_of
from catchment.record import (
    MAX_DEPTH,
    MAX_ID_CHARACTERS,
    MAX_RECORD_BYTES,
    OWN_SCHEMA,
    OWN_TIME_MARGIN,
    Line,
    Stamp,
    decode,
    earlier,
    may_escape_badly,
    now,
)

AT_ONCE = 1_000
_FEW = 8
_UUID_CHARACTERS = 36


class _Simple(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A record of no time, key or anything else of its own; "" stands for what it lacks."""

    table: str
    data: msgspec.Raw
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)] = ""
    source: Annotated[str, msgspec.Meta(min_length=1)] = ""


_ENVELOPE_BYTES = len('{"table":"","data":}')
_ID_BYTES = len('"id":"",')
_SOURCE_BYTES = len('"source":"",')
_SHORTEST_AGAIN_BYTES = len('"id":"x",')
"""What a field named twice adds at least."""

_BRACE, _NEWLINE, _RETURN, _BACKSLASH = b"{\n\r\\"

_decode = msgspec.json.Decoder(_Simple).decode
_encode = msgspec.json.Encoder().encode
_body = attrgetter("body")
_enqueued_at = attrgetter("enqueued_at")


def stamped(
    messages: Sequence[Message], source: str, window: timedelta, fits_of: FitsOf = lambda _: None
) -> Iterator[Line]:
    """Each message's records as lines, several in one where they share their times; of what is no record, the line
    of a dead letter. What fits its table, as far as `fits_of` can say, comes with what the guard saw of it."""
    lines, others = fitting(messages, source, window, fits_of)
    yield from lines
    careful = _Careful(source, window)
    for start in range(0, len(others), AT_ONCE):
        yield from _stamped(others[start : start + AT_ONCE], careful)


def _stamped(messages: Sequence[Message], careful: _Careful) -> Iterator[Line]:
    """All at once, or where one is not simple, halves, down to a few."""
    records = _records(messages)
    if records is not None:
        start = 0
        for enqueued_at, together in groupby(map(_enqueued_at, messages)):  # those of one commit share it
            end = start + sum(1 for _ in together)
            yield from _lines(messages[start:end], records[start:end], enqueued_at, careful)
            start = end
    elif len(messages) <= _FEW:
        for message in messages:
            yield from careful.lines(message)
    else:
        middle = len(messages) // 2
        yield from _stamped(messages[:middle], careful)
        yield from _stamped(messages[middle:], careful)


def _records(messages: Sequence[Message]) -> list[_Simple] | None:
    """Their records, one each; None if one is not simple."""
    bodies = list(map(_body, messages))
    if any(map(contains, bodies, repeat(_NEWLINE))) or any(map(contains, bodies, repeat(_RETURN))):
        return None
    if not all(map(bytes.isascii, bodies)) and not all(map(is_utf8, bodies)):
        return None
    if any(map(contains, bodies, repeat(_BACKSLASH))) and any(map(may_escape_badly, bodies)):
        return None
    if any(len(body) > MAX_RECORD_BYTES or may_be_deep(body) for body in bodies if len(body) > 2 * MAX_DEPTH):
        return None
    try:
        return list(map(_decode, bodies))
    except (msgspec.DecodeError, RecursionError):
        return None


def _lines(
    messages: Sequence[Message], records: Sequence[_Simple], enqueued_at: datetime | None, careful: _Careful
) -> Iterator[Line]:
    """Lines of the records that `Stamp.line` would make of them, of messages that share their time."""
    received_at = enqueued_at or now()
    groups: defaultdict[_Alike, list[bytes]] = defaultdict(list)
    for message, record in zip(messages, records, strict=True):
        body, table, identity, source = message.body, record.table, record.id, record.source
        data = memoryview(record.data)
        # A field of the record itself, not of its data, that is named twice would make the body longer than what was
        # taken of it (the last one, in silence), and by more than a few spaces between.
        spare_bytes = len(body) - len(table) - len(identity) - len(source) - len(data) - _ENVELOPE_BYTES
        if identity:
            spare_bytes -= _ID_BYTES
        if source:
            spare_bytes -= _SOURCE_BYTES
        if (
            spare_bytes >= _SHORTEST_AGAIN_BYTES
            or body[0] != _BRACE
            or data[0] != _BRACE
            or (len(identity) == _UUID_CHARACTERS and identity[14] == "7")  # a UUIDv7 holds a time of its own
            or not (identity or message.identity)
            or not is_others_table(table)
        ):
            yield from careful.lines(message)
        elif identity:
            groups[table, True, source != "", None].append(body[1:])
        else:
            named = b'"id":%b,%b' % (_encode(f"{message.identity}/0"), body[1:])
            own_time = None if enqueued_at else second_of(message.sent_at)
            groups[table, False, source != "", own_time].append(named)
    yield from _together(received_at, enqueued_at is not None, groups, careful)


_Alike = tuple[str, bool, bool, datetime | None]
"""Table, whether the id is the record's own, whether the source is, and the time that is, down to its second."""


def _together(
    received_at: datetime, is_stable: bool, groups: Mapping[_Alike, list[bytes]], careful: _Careful
) -> Iterator[Line]:
    """Lines of bodies less their opening brace, each with the stamp in front. `is_stable`: a redelivery has the same
    `received_at`."""
    for (table, has_id, has_source, own_time), rests in groups.items():
        # Copies of an id may have come a window earlier; a redelivery has the same times.
        not_before = earlier(received_at, OWN_TIME_MARGIN if is_stable and not has_id else careful.window)
        if own_time is not None:
            not_before = max(not_before, earlier(own_time, OWN_TIME_MARGIN))
        front = front_of(received_at, not_before, None if has_source else careful.source)
        for start, end, text in in_lines(front, rests):
            yield Line(table, text, received_at, not_before, end - start)


class _Careful:
    """One message at a time, every rule looked at."""

    def __init__(self, source: str, window: timedelta) -> None:
        self.source = source
        self.window = window

    def lines(self, message: Message) -> Iterator[Line]:
        stamp = stamp_of(message, self.source, self.window)
        for ordinal, text in enumerate(plain_lines(message.body)):
            try:
                yield self._line(message, stamp, text, ordinal)
            except Malformed as error:
                yield dead_message(message, error, stamp, text, ordinal)

    def _line(self, message: Message, stamp: Stamp, text: bytes, ordinal: int) -> Line:
        record = decode(text)
        if record.table.startswith(f"{OWN_SCHEMA}."):
            raise Malformed("bad-table", f"{record.table} is Catchment's own")
        record, stamp = identified(record, message, stamp, ordinal, "load")
        return stamp.line(record, ordinal)
