"""What other people's messages are given: an identity, times, and where they could not become records of their
table, the form of a dead letter, which is archived and loaded exactly once like any other record."""

from __future__ import annotations

import base64
import hashlib
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec

from catchment import metrics
from catchment.errors import Malformed
from catchment.log import get_log
from catchment.queues import Message
from catchment.record import DEAD_LETTERS, Line, Record, Stamp, now

_encode = msgspec.json.Encoder().encode
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_warned = threading.Event()


def stamp_of(message: Message, source: str, window: timedelta) -> Stamp:
    """What the records of a message are given, where they lack it."""
    return Stamp(
        received_at=message.enqueued_at or now(),
        source=source,
        identity=message.identity,
        window=window,
    )


def identified(record: Record, message: Message, stamp: Stamp, ordinal: int, part: str) -> tuple[Record, Stamp]:
    """The record and its stamp, with what a message of neither id nor a time of the queue's can give them. `part` of
    Catchment says it where a record has nothing to be known by."""
    if record.id is None and message.identity is None:
        _count_one_without_id(record.table, part)
    elif record.id is None and message.enqueued_at is None:
        # Its copies have one identity and several received_at: an id like any other, and the time of the message,
        # which all of them share, is its own.
        record = msgspec.structs.replace(record, id=f"{message.identity}/{ordinal}")
        stamp = replace(stamp, own_time=second_of(message.sent_at))
    return record, stamp


def second_of(moment: datetime | None) -> datetime | None:
    """Down to it: so messages that were sent together share their time."""
    return moment and moment.replace(microsecond=0)


def _count_one_without_id(table: str, part: str) -> None:
    """Such a record is given an id here, and another one when its message is delivered again."""
    metrics.records_without_id.add(table=table)
    if not _warned.is_set():
        _warned.set()
        get_log(part).warning(
            "records come without an id, in messages without a message_id: one delivered again is a second row",
            table=table,
            hint="have whoever publishes give each record an id, or each message a message_id",
        )


def dead_message(
    message: Message,
    error: Malformed,
    stamp: Stamp,
    body: bytes,
    ordinal: int,
    table: str = "",
    heard_as: tuple[str, str] | None = None,
) -> Line:
    """`body`, part `ordinal` of a message, as one line. Its id is a hash of the message's identity, or of the bytes
    where it has none: a redelivery of it is the same dead letter. `heard_as`: who heard it elsewhere than in
    Catchment's own queue, among whose messages alone the identity is its own, and the origin to say in full."""
    identity = message.identity or f"sha256:{hashlib.sha256(message.body).hexdigest()[:32]}"
    named, origin = heard_as or ("message", f"message {identity}, part {ordinal}")
    data = {
        "table_name": table,
        "reason": error.reason,
        "detail": error.detail,
        "origin": origin,
        "record_source": stamp.source,
        "bytes": base64.b64encode(body).decode(),
    }
    record = Record(
        table=DEAD_LETTERS,
        data=msgspec.Raw(_encode(data)),
        id=hashlib.sha256(f"{named}/{identity}/{ordinal}".encode()).hexdigest()[:32],
        received_at=stamp.received_at,
        # Without a time of its own a redelivered message gets another each time: its copies are searched for
        # without bound.
        not_before=_BEGINNING if message.enqueued_at is None else stamp.received_at,
        source="catchment",
    )
    return stamp.line(record)
