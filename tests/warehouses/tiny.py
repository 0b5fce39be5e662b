"""A small warehouse in a real DuckDB file, for tests of what stands in front of one; as a script, its process."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from catchment.errors import CatchmentError
from catchment.record import now
from catchment.warehouses import (
    ArrowStream,
    Asker,
    Batch,
    Fill,
    Filled,
    Halt,
    LatestView,
    LedgerEntry,
    Loaded,
    Rebuild,
    Rebuilt,
    Rows,
)
from catchment.warehouses.duckdb_query import confine, run_query
from catchment.warehouses.duckdb_server import WarehouseServer
from catchment.warehouses.running import Running
from catchment.warehouses.shape import Column, Shape


class TinyWarehouse:
    """Keeps what it is told, so that a test sees every argument and every answer come through."""

    def __init__(self, file: Path) -> None:
        self._connection = duckdb.connect(str(file))
        self._running = Running()
        confine(self._connection, [file.parent])
        self.failure: BaseException | None = None
        self.batches: list[Batch] = []
        self.entries: list[LedgerEntry] = []
        self.halted: list[Halt] = []
        self.backups: list[Path] = []
        self.tidied = 0
        self.expired: list[tuple[str, datetime, int, str | None]] = []
        self.views: list[LatestView] = []
        self.past_ledger = False
        self.rebuilds: list[tuple[Rebuild, dict[str, Any]]] = []
        self.gathered: list[tuple[Fill, Sequence[str], Sequence[Rows]]] = []

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure

    def shape(self, table: str) -> Shape:
        self._fail()
        return Shape(table, 3, (Column("userId", "user_id", "bigint"),), ("userId",))

    def reads(self, url: str) -> bool:
        return "://" not in url

    def tables(self, schema: str) -> Sequence[str]:
        return [f"{schema}.b"]

    def latest_view(self, view: LatestView) -> bool:
        self.views.append(view)
        return True

    def load(self, batches: Sequence[Batch], *, past_ledger: bool = False) -> list[Loaded]:
        self._fail()
        self.batches += batches
        self.past_ledger = past_ledger
        return [Loaded(each.names, each.table, 1000, 1, len(each.dead), False) for each in batches]

    def staged(self, fill: Fill) -> frozenset[str]:
        return frozenset(name for other, names, _ in self.gathered if other == fill for name in names)

    def stage(self, fill: Fill, names: Sequence[str], rows: Sequence[Rows]) -> None:
        self.gathered.append((fill, names, rows))

    def fill(self, fill: Fill) -> Filled:
        return Filled(len(self.gathered), len(fill.columns))

    def begin_rebuild(self, rebuild: Rebuild) -> None:
        self.rebuilds.append((rebuild, {}))

    def end_rebuild(self, rebuild: Rebuild, **arguments: Any) -> Rebuilt:
        self.rebuilds.append((rebuild, arguments))
        return Rebuilt(7, ("incoming/1",), 2, True)

    def row_count(self, table: str, since: datetime, enough: int) -> int:
        return min(enough, 7)

    def ledger(self, names: Sequence[str]) -> Mapping[str, frozenset[str]]:
        return {entry.name: frozenset({entry.table}) for entry in self.entries if entry.name in names}

    def enter(self, entries: Sequence[LedgerEntry]) -> None:
        self.entries += entries

    def forget(self, names: Sequence[str]) -> None:
        self.entries = [entry for entry in self.entries if entry.name not in names]

    def expire(self, table: str, before: datetime, limit: int, *, about: str | None = None) -> int:
        self.expired.append((table, before, limit, about))
        return limit

    def versions(self, tables: Sequence[str]) -> Mapping[str, str]:
        return dict.fromkeys(tables, "v1")

    def query(
        self,
        sql: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        max_rows: int | None = None,
        asker: Asker | None = None,
    ) -> ArrowStream:
        self._fail()
        return run_query(self._connection.cursor(), sql, params, timeout_s, max_rows, asker, self._running)

    def cancel(self, query_id: str) -> bool:
        return self._running.cancel(query_id)

    def connections(self) -> int:
        """How many there are, of queries that have not ended and its own."""
        return int(self._connection.cursor().execute("SELECT count FROM duckdb_connection_count()").fetchall()[0][0])

    def halts(self) -> Sequence[Halt]:
        return self.halted

    def halt(self, table: str, reason: str) -> None:
        self.halted.append(Halt(table, now(), reason))

    def resume(self, table: str) -> None:
        self.halted = [halt for halt in self.halted if halt.table != table]

    def tidy(self, early_before: datetime) -> None:
        self.tidied += 1

    def backup(self, destination: Path) -> None:
        self.backups.append(destination)

    def close(self) -> None:
        self._connection.close()


def main(runtime: Path) -> None:
    """Serve until SIGTERM; says so on stdout once it listens."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    warehouse = TinyWarehouse(runtime / "warehouse.duckdb")
    server = WarehouseServer(warehouse, runtime)
    try:
        server.start()
    except CatchmentError as error:
        sys.exit(str(error))
    print("listening", flush=True)
    stop.wait()
    server.stop(1.0)
    warehouse.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
