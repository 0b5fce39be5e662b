"""The ledger within one transaction of PostgreSQL: read once for all batches of a load, and written once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from catchment.warehouses import Batch, Loaded
from catchment.warehouses import postgres_sql as sql
from catchment.warehouses.postgres_connections import Connection
from catchment.warehouses.shape import batch_id

_Entry = tuple[str, str, str, int, int, int, int, datetime, datetime]


class Ledger:
    """What the ledger has of some batches' files, under the locks of their tables, and what is to be added."""

    def __init__(self, connection: Connection, names: Iterable[str]) -> None:
        self._connection = connection
        wanted = sorted(set(names))
        self._known = set(connection.execute(sql.LEDGER_OF, [wanted]).fetchall()) if wanted else set()
        self._entries: list[_Entry] = []

    def has_all(self, table: str, names: Sequence[str]) -> bool:
        """Whether it has this table's batch of every one of these files."""
        return all((name, table) in self._known for name in names)

    def add(self, batch: Batch, loaded: Loaded) -> None:
        """Enter the files of a batch that it lacks: of several loaded together it may have some. The counts stand
        with the first, the others were loaded with it."""
        lacking = [name for name in batch.names if (name, batch.table) not in self._known]
        span = (batch.first_received_at, batch.last_received_at)
        for place, name in enumerate(lacking):
            records, *counts = (
                (0, 0, 0, 0) if place else (batch.record_count, loaded.inserted, loaded.duplicates, loaded.dead)
            )
            self._entries.append((name, batch_id(name), batch.table, records, counts[0], counts[1], counts[2], *span))
            self._known.add((name, batch.table))

    def write(self) -> None:
        """Insert what was added."""
        if self._entries:
            with self._connection.cursor() as cursor:
                cursor.executemany(sql.LEDGER_ADD, self._entries)
