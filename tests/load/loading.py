"""A loader on a real archive and a real warehouse, a DuckDB file unless another is given, driven step by step."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from catchment.archives import Archive
from catchment.archives.disk import DiskArchive
from catchment.load.config import LoadConfig
from catchment.load.in_flight import InFlight
from catchment.load.loader import Loader, Wanted
from catchment.load.retention import RetentionConfig
from catchment.load.round import Part, Round
from catchment.load.sweep import Sweep
from catchment.pack import build
from catchment.queues import Delivery, Message
from catchment.record import Line, timestamp
from catchment.service import Stop
from catchment.warehouses import Loaded
from catchment.warehouses.duckdb import DuckDBWarehouse

T0 = datetime(2026, 11, 23, 10, tzinfo=UTC)
UNLIMITED = LoadConfig(min_rejected=10**9, max_tables=10**9, max_new_tables_per_minute=10**6, max_columns=10**9)


class Rig:
    """`send` messages, `archive` them as a round, `load` what it made; or `sweep`."""

    def __init__(
        self,
        folder: Path,
        config: LoadConfig | None = None,
        wanted: Wanted | None = None,
        retention: RetentionConfig | None = None,
        archive: Archive | None = None,
        warehouse: Any = None,
    ) -> None:
        self.folder = folder
        self.archive: Archive = archive or DiskArchive(DiskArchive.Config(), folder)
        self.warehouse: DuckDBWarehouse = warehouse or DuckDBWarehouse(
            DuckDBWarehouse.Config(), folder, readable=[folder / "archive"]
        )
        self.loader = Loader.of(self.warehouse, self.archive, config or UNLIMITED, wanted, retention)
        self.halts = self.loader.halts
        self.sweep = Sweep(self.loader, self.archive, InFlight())
        self._serial = itertools.count()
        self.now = T0

    def close(self) -> None:
        self.warehouse.close()

    def message(self, *records: dict[str, Any] | bytes) -> Message:
        """Plain records, NDJSON, enqueued now under an identity of its own."""
        lines = [each if isinstance(each, bytes) else msgspec.json.encode(each) for each in records]
        return Message(b"\n".join(lines), f"queue/{next(self._serial)}", self.now)

    def put(self, *messages: Message) -> list[Part]:
        """Archive the messages as one round."""
        taken = Round(self.loader.look, "test", fits_of=self.loader.fits_of)
        taken.add(Delivery(messages, None))
        self.now += timedelta(seconds=1)
        return taken.close(self.archive, self.now)

    def file(self, *records: dict[str, Any] | bytes) -> list[Loaded]:
        """Archive and load plain records as one message."""
        return self.loader.load(self.put(self.message(*records)))

    def swept(self) -> int:
        return self.sweep.incoming(Stop())

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        from catchment.testing.content import rows

        return rows(self.warehouse, sql)


def event(identity: str, table: str = "web.event", **data: Any) -> dict[str, Any]:
    """A plain record."""
    return {"table": table, "id": identity, "source": "web", "data": data}


def columns(rig: Rig, table: str = "web.event") -> dict[str, str]:
    """Field → column type."""
    return {column.field: column.type for column in rig.warehouse.shape(table).columns}


def stamped(
    identity: str,
    data: bytes = b"{}",
    *,
    table: str = "web.event",
    at_s: float = 0,
    age_s: float = 60,
    source: str = "web",
    extra: bytes = b"",
) -> Line:
    """One line of a pack, its `data` as given: received `at_s` seconds after T0, its own time `age_s` before that."""
    received_at = T0 + timedelta(seconds=at_s)
    not_before = received_at - timedelta(seconds=age_s)
    text = b'{"table":"%b","id":"%b","received_at":"%b","not_before":"%b","source":"%b"%b,"data":%b}\n' % (
        table.encode(),
        identity.encode(),
        timestamp(received_at),
        timestamp(not_before),
        source.encode(),
        extra,
        data,
    )
    return Line(table, text, received_at, not_before)


def packed(*lines: Line, identity: str | None = "queue/pack") -> Message:
    """The lines, all of one table, as one pack."""
    return Message(build(lines[0].table, lines), identity, T0)
