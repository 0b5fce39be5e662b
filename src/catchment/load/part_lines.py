"""What parts of archive files hold, line by line, and what the ledger is told of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from catchment.load.guard import UNREADABLE
from catchment.load.round import Part
from catchment.load.stamped import Origin
from catchment.warehouses import LedgerEntry


class _KeyOnly(msgspec.Struct):
    key: tuple[str, ...] = ()


_decode_key = msgspec.json.Decoder(_KeyOnly).decode


def lines_of(parts: Sequence[Part]) -> list[Origin]:
    """Every line of the parts with its file and number there, counted within the table."""
    return [
        Origin(line, part.name, number, part.table, received_at)
        for part in parts
        for number, (line, received_at) in enumerate(_texts(part), start=1)
    ]


def _texts(part: Part) -> Iterator[tuple[bytes, datetime]]:
    """Each line, with the time of its pack."""
    for held in part.held:
        for line in held.pack.plain().split(b"\n"):
            if line:
                yield line, held.pack.header.last_received_at


def is_keyed(part: Part) -> bool:
    """Whether a part is of a mirrored table, by its first record."""
    try:
        return bool(_decode_key(next(_texts(part))[0]).key)
    except (StopIteration, *UNREADABLE):
        return False


def entry_of(part: Part) -> LedgerEntry:
    """What the ledger is told of a part."""
    headers = [held.pack.header for held in part.held]
    now = datetime.now(UTC)  # of a part whose records were all too old
    return LedgerEntry(
        part.name,
        part.table,
        part.rows,
        min((header.first_received_at for header in headers), default=now),
        max((header.last_received_at for header in headers), default=now),
    )
