"""Plain messages, many at a time: what other people's services publish, one JSON record each, becomes stamped lines.

Most are simple: one line, one record, nothing that needs a second look. Those are decoded in one C pass and stamped
in one tight loop. Whatever is not simple goes the careful way, message by message, and comes out the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from catchment.errors import Malformed
from catchment.load.guard import is_utf8
from catchment.load.letters import dead_message
from catchment.pack import plain_lines
from catchment.queues import Message
from catchment.record import (
    MAX_DEPTH,
    MAX_ID_CHARACTERS,
    MAX_RECORD_BYTES,
    OWN_SCHEMA,
    Line,
    Record,
    Stamp,
    check_table,
    decode,
    now,
    timestamp,
)

AT_ONCE = 2_000
_UUID_CHARACTERS = 36

_decode_lines = msgspec.json.Decoder(Record).decode_lines
_encode = msgspec.json.Encoder().encode


def stamped(messages: Sequence[Message], source: str, window: timedelta) -> Iterator[Line]:
    """Each message's records as lines; of what is no record, the line of a dead letter."""
    for start in range(0, len(messages), AT_ONCE):
        some = messages[start : start + AT_ONCE]
        simple = [message for message in some if _looks_simple(message.body)]
        records = _records(simple)
        if records is None:
            simple = []
        elif len(simple) < len(some):
            known = set(map(id, simple))
            some = [message for message in some if id(message) not in known]
        else:
            some = []
        careful = _Careful(source, window)
        if records is not None:
            yield from _lines(simple, records, careful)
        for message in some:
            yield from careful.lines(message)


def _looks_simple(body: bytes) -> bool:
    """One line without escapes, not so long or deep that it needs measuring."""
    return (
        b"\\" not in body
        and b"\n" not in body
        and len(body) <= MAX_RECORD_BYTES
        and (len(body) <= 2 * MAX_DEPTH or body.count(b"{") + body.count(b"[") <= MAX_DEPTH)
    )


def _records(messages: Sequence[Message]) -> list[Record] | None:
    """Their records, one each; None if one is none."""
    joined = b"\n".join([message.body for message in messages])
    if not messages or not is_utf8(joined):
        return None
    try:
        records = _decode_lines(joined)
    except (msgspec.DecodeError, RecursionError):
        return None
    return records if len(records) == len(messages) else None


def _lines(messages: Sequence[Message], records: Sequence[Record], careful: _Careful) -> Iterator[Line]:
    """The lines that `Stamp.line` would make of them. Messages of one commit share their times."""
    times = _Times(careful.window)
    own_source = _encode(careful.source)
    for message, record in zip(messages, records, strict=True):
        data = bytes(record.data)
        identity = record.id
        if (
            identity is None
            or not 0 < len(identity) <= MAX_ID_CHARACTERS
            or (len(identity) == _UUID_CHARACTERS and identity[14] == "7")  # which may hold a time
            or message.enqueued_at is None
            or record.received_at is not None
            or record.not_before is not None
            or record.op != "insert"
            or record.key is not None
            or record.version is not None
            or record.rescued is not None
            or data[:1] != b"{"
            # Each of its fields accounts for so many quotes; another of a name would bring more.
            or message.body.count(b'"') != data.count(b'"') + (10 if record.source is None else 14)
            or not _is_table(record.table)
        ):
            yield from careful.lines(message)
            continue
        if message.enqueued_at is not times.received_at:
            times.set(message.enqueued_at)
        text = b'{"table":"%b","id":%b,%b%b,"data":%b}\n' % (
            record.table.encode(),
            _encode(identity),
            times.text,
            own_source if record.source is None else _encode(record.source),
            data,
        )
        yield Line(record.table, text, times.received_at, times.not_before)


def _is_table(table: str) -> bool:
    try:
        check_table(table)
    except Malformed:
        return False
    return not table.startswith(f"{OWN_SCHEMA}.")


class _Times:
    """What messages enqueued at one moment share: a record with an id and no time of its own may have copies a
    window back."""

    def __init__(self, window: timedelta) -> None:
        self._window = window
        self.received_at: datetime = datetime.min
        self.not_before: datetime = datetime.min
        self.text = b""

    def set(self, received_at: datetime) -> None:
        self.received_at = received_at
        self.not_before = received_at - self._window
        self.text = b'"received_at":"%b","not_before":"%b","source":' % (
            timestamp(received_at),
            timestamp(self.not_before),
        )


class _Careful:
    """One message at a time, every rule looked at."""

    def __init__(self, source: str, window: timedelta) -> None:
        self.source = source
        self.window = window

    def lines(self, message: Message) -> Iterator[Line]:
        stamp = stamp_of(message, self.source, self.window)
        for ordinal, text in enumerate(plain_lines(message.body)):
            try:
                yield stamp.line(self._record(message, text, ordinal), ordinal)
            except Malformed as error:
                yield dead_message(message, error, stamp, text, ordinal)

    def _record(self, message: Message, text: bytes, ordinal: int) -> Record:
        record = decode(text)
        if record.table.startswith(f"{OWN_SCHEMA}."):
            raise Malformed("bad-table", f"{record.table} is Catchment's own")
        if record.id is None and message.identity is not None and message.enqueued_at is None:
            # Its copies have one identity and several received_at: an id like any other.
            return msgspec.structs.replace(record, id=f"{message.identity}/{ordinal}")
        return record


def stamp_of(message: Message, source: str, window: timedelta) -> Stamp:
    """What the records of a message are given, where they lack it."""
    return Stamp(
        received_at=message.enqueued_at or now(),
        source=source,
        identity=message.identity,
        window=window,
    )
