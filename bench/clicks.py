"""The freshness bench's data: punctual records, late ones, those of fast clocks, and a day of standing rows."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import duckdb
import msgspec

from bench.latency import Sent
from catchment.record import Record, Stamp, now, timestamp, uuid7

TABLE = "bench.clicks"
LATE_EVERY, FAST_EVERY = 100, 200
FAST_BY = timedelta(minutes=20)
"""More than the five minutes that `not_before` allows for: it lies after `received_at`."""


def is_late(seq: int) -> bool:
    """Every hundredth record."""
    return seq % LATE_EVERY == 37


def is_fast(seq: int) -> bool:
    """Every two hundredth record; never a late one."""
    return seq % FAST_EVERY == 11


def record(seq: int) -> Sent:
    """The record as `collect` would stamp it at this moment. `seq` begins with 1."""
    received_at = now()
    own_time, kind = received_at - timedelta(milliseconds=200), "punctual"
    if is_late(seq):
        own_time, kind = received_at - timedelta(hours=2, seconds=seq * 7_919 % 36_000), "late"
    elif is_fast(seq):
        own_time, kind = received_at + FAST_BY, "fast"
    data = {"seq": seq, "kind": kind, "url": f"/p/{seq % 5_000}", "sent_at": timestamp(own_time).decode()}
    sent = Record(table=TABLE, data=msgspec.Raw(msgspec.json.encode(data)), id=uuid7())
    return Sent(seq, Stamp(received_at, "bench", own_time=own_time).line(sent))


def insert_standing(path: Path, rows: int) -> None:
    """Rows of the 24 hours until now, in order of time, as if they had been loaded."""
    connection = duckdb.connect(str(path))
    connection.execute(
        f"""
        INSERT INTO {TABLE} BY NAME
        SELECT uuid()::VARCHAR AS _id, received_at AS _received_at, 'bench' AS _source, 'standing' AS _batch,
            received_at AS _loaded_at, 0 AS seq, 'standing' AS kind, '/p/' || n % 5000 AS url,
            received_at AS sent_at
        FROM (SELECT range AS n, now() - INTERVAL 1 DAY * (1 - range / $1) AS received_at FROM range($1))
        """,
        [rows],
    )
    connection.close()
