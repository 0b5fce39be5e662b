"""Messages that could not become records of their table, filed as records of `catchment.dead_letters`: archived
and loaded exactly once like any other."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

import msgspec

from catchment.errors import Malformed
from catchment.queues import Message
from catchment.record import DEAD_LETTERS, Line, Record, Stamp

_encode = msgspec.json.Encoder().encode
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def dead_message(message: Message, error: Malformed, stamp: Stamp, body: bytes, ordinal: int, table: str = "") -> Line:
    """`body`, part `ordinal` of a message, as one line. Its id is a hash of the message's identity, or of the bytes
    where it has none: a redelivery of it is the same dead letter."""
    origin = message.identity or f"sha256:{hashlib.sha256(message.body).hexdigest()[:32]}"
    data = {
        "table_name": table,
        "reason": error.reason,
        "detail": error.detail,
        "origin": f"message {origin}, part {ordinal}",
        "record_source": stamp.source,
        "bytes": base64.b64encode(body).decode(),
    }
    record = Record(
        table=DEAD_LETTERS,
        data=msgspec.Raw(_encode(data)),
        id=hashlib.sha256(f"message/{origin}/{ordinal}".encode()).hexdigest()[:32],
        received_at=stamp.received_at,
        # Without a time of its own a redelivered message gets another each time: its copies are searched for
        # without bound.
        not_before=_BEGINNING if message.enqueued_at is None else stamp.received_at,
        source="catchment",
    )
    return stamp.line(record)
