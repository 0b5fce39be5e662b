"""How plain messages become lines of packs: many that share their times as one, each with the stamp in front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache

import msgspec

from catchment.errors import Malformed
from catchment.record import MAX_DEPTH, OWN_SCHEMA, check_table, timestamp

LINES_TOGETHER, BYTES_TOGETHER = 200, 64 * 1024
"""So many lines of one table and time, of about so many bytes, are kept as one at most: packs are cut between them."""

_encode = msgspec.json.Encoder().encode


def front_of(received_at: datetime, not_before: datetime, source: str | None) -> bytes:
    """What takes the place of a record's opening brace; `source` where it has none of its own."""
    front = b'{"received_at":"%b","not_before":"%b",' % (timestamp(received_at), timestamp(not_before))
    return front if source is None else front + b'"source":%b,' % _encode(source)


def in_lines(front: bytes, rests: Sequence[bytes]) -> Iterator[tuple[int, int, bytes]]:
    """Records less their opening brace as texts of some lines each: from which to before which they are, and the
    text."""
    fitting = BYTES_TOGETHER * len(rests) // sum(map(len, rests))
    at_once = max(1, min(LINES_TOGETHER, fitting))
    for start in range(0, len(rests), at_once):
        some = rests[start : start + at_once]
        yield start, start + len(some), b"%b%b\n" % (front, (b"\n" + front).join(some))


@lru_cache(maxsize=10_000)
def is_others_table(table: str) -> bool:
    """Whether records of others may be filed into this table."""
    try:
        check_table(table)
    except Malformed:
        return False
    return not table.startswith(f"{OWN_SCHEMA}.")


def may_be_deep(body: bytes) -> bool:
    """Whether a record may be nested deeper than `MAX_DEPTH`, by a count of its brackets."""
    # Arrays of 2 bytes and objects of 5, `{"":…}`, more than MAX_DEPTH of both, leave room for so many objects.
    objects = (len(body) - 2 * MAX_DEPTH) // 3
    arrays = body.count(b"[")
    return arrays + objects > MAX_DEPTH and arrays + body.count(b"{") > MAX_DEPTH
