"""What becomes of dead letters: sent again as they were or mended, or discarded.

Both are records like any other, through the queue into the archive: so that neither a crash nor a restore from the
archive brings back what was settled.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from catchment import record
from catchment.errors import Malformed, UsageError
from catchment.pack import is_packed, packs
from catchment.queues import Queue
from catchment.record import CORRECTIONS, Record, Stamp
from catchment.warehouses import Warehouse
from catchment.warehouses.rows import rows_of

Outcome = Literal["retried", "discarded"]

_COLUMNS = "_id, table_name, reason, detail, origin, _received_at, record_source, record_id, bytes"


@dataclass(frozen=True, slots=True)
class Letter:
    """One open dead letter. `body` is what was received: a stamped record's line, or a message."""

    id: str
    table: str
    reason: str
    detail: str
    origin: str
    received_at: datetime
    source: str
    record_id: str
    body: bytes


def open_letters(
    warehouse: Warehouse, *, table: str | None = None, letter: str | None = None, limit: int | None = None
) -> list[Letter]:
    """The letters that nobody has settled, the oldest first, those of a file by line; of those whose id begins
    with `letter`."""
    rows = rows_of(
        warehouse,
        f"SELECT {_COLUMNS} FROM catchment.open_dead_letters WHERE ($1::VARCHAR IS NULL OR table_name = $1) "
        "AND ($2::VARCHAR IS NULL OR starts_with(_id, $2)) "
        "ORDER BY _received_at, length(origin), origin, _id LIMIT $3",
        [table, letter, limit if limit is not None else 2**62],
    )
    return [
        Letter(id_, table or "", reason, detail, origin, received_at, source or "", record_id or "", b64decode(body))
        for id_, table, reason, detail, origin, received_at, source, record_id, body in rows
    ]


def settle(queue: Queue, letter: Letter, outcome: Outcome, again: Sequence[bytes] = ()) -> None:
    """Publish what settles a letter, and the messages that take its place; durable when it returns, in force once it
    is loaded."""
    queue.publish([*again, _correction(letter, outcome)])


def record_again(letter: Letter, mended: bytes | None) -> bytes:
    """The message that is another attempt at a letter: `mended` (a record as JSON) or the letter's own bytes, under
    the id and received_at that the record had. If that fails too, it is another letter. Raises `UsageError` for a
    mended record that is none."""
    if mended is None and is_packed(letter.body):
        return letter.body
    try:
        sent = record.decode(mended if mended is not None else letter.body)
    except Malformed as error:
        if mended is not None:
            hint = f'{{"table": "{letter.table or "shop.orders"}", "data": {{…}}}}; catchment schema record'
            raise UsageError(f"the mended record is none: {error.reason}: {error.detail}", hint) from None
        return letter.body  # as it was: perhaps a newer Catchment knows it
    stamp = Stamp(letter.received_at, letter.source or "queue", identity=letter.id)
    kept = msgspec.structs.replace(
        sent,
        id=letter.record_id or sent.id,
        source=letter.source or sent.source,
        received_at=sent.received_at or letter.received_at,
        retries=letter.id,
    )
    line = stamp.line(kept)
    (packed,) = packs(line.table, [line])
    return packed


def _correction(letter: Letter, outcome: Outcome) -> bytes:
    data = {
        "dead_letter": letter.id,
        "outcome": outcome,
        "table_name": letter.table,
        "record_source": letter.source,
        "record_id": letter.record_id,
    }
    line = Stamp(record.now(), "catchment").line(
        Record(table=CORRECTIONS, data=msgspec.Raw(msgspec.json.encode(data)))
    )
    (packed,) = packs(CORRECTIONS, [line])
    return packed
