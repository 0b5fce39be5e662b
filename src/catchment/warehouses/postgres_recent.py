"""What this process has lately loaded into each table, so that most searches need not ask the database.

The ids of all rows of a table that were received since some moment, as 64-bit hashes: an id that is not among them
stands in no such row. The others, some by chance, are looked up. That all rows are among them is known under the
table's lock: the version of its content is the one that this process has left, so that nobody has loaded since.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from catchment.warehouses.quoting import name

MAX_IDS = 2_000_000
"""Of one table; with more, what is older than `KEPT` goes. 16 bytes each."""
KEPT = timedelta(minutes=15)
ASK_AGAIN_S = 60.0
"""How often it is looked whether to begin with a table into which others load as well."""


@dataclass(slots=True)
class _Table:
    place: str
    """Where the hashes are, quoted."""
    since: datetime
    writer: object
    """The load that has changed them last."""
    content: str | None = None
    """The table's version that they are complete for; None until that load is committed."""
    ids: int = 0


class Recent:
    """The ids of all tables, in DuckDB. What concerns one table happens under its lock, but for `settle`."""

    def __init__(self) -> None:
        self._tables: dict[str, _Table] = {}
        self._asked_s: dict[str, float] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def covers(
        self, cursor: duckdb.DuckDBPyConnection, table: str, content: str, since: datetime, writer: object
    ) -> bool:
        """Whether the ids of all rows since that time are here, for the load `writer` that has found the table's
        content at this version. What another load has left unsettled is forgotten: perhaps it was never committed,
        and somebody else has loaded since."""
        known = self._tables.get(table)
        if known is None:
            return False
        if known.content == content or (known.content is None and known.writer is writer):
            return known.since <= since
        self._drop(cursor, table)
        return False

    def wants(self, table: str) -> bool:
        """Whether to `begin` with a table that it has not; not more often than it pays."""
        return table not in self._tables and time.monotonic() - self._asked_s.get(table, -ASK_AGAIN_S) >= ASK_AGAIN_S

    def begin(self, cursor: duckdb.DuckDBPyConnection, table: str, since: datetime, writer: object) -> None:
        """From here on: the table has no rows that were received since then."""
        self._asked_s[table] = time.monotonic()
        place = name(f"recent {next(self._numbers)}")
        cursor.execute(f"CREATE TABLE {place} (id UBIGINT, received_at TIMESTAMPTZ)")
        self._tables[table] = _Table(place, since, writer)

    def suspects(self, cursor: duckdb.DuckDBPyConnection, table: str) -> list[str]:
        """The ids of the staged rows that may be there."""
        place = self._tables[table].place
        found = cursor.execute(f"SELECT _id FROM staged WHERE hash(_id) IN (SELECT id FROM {place})").fetchall()
        return [identity for (identity,) in found]

    def add_staged(self, cursor: duckdb.DuckDBPyConnection, table: str, writer: object) -> None:
        """The staged rows are being inserted."""
        self._add(cursor, table, writer, "SELECT hash(_id), _received_at FROM staged", None)

    def add(
        self, cursor: duckdb.DuckDBPyConnection, table: str, writer: object, rows: Sequence[tuple[str, datetime]]
    ) -> None:
        """These rows, by id and time, are being inserted."""
        if rows:
            values = [list(column) for column in zip(*rows, strict=True)]
            self._add(cursor, table, writer, "SELECT hash(unnest($1::VARCHAR[])), unnest($2::TIMESTAMPTZ[])", values)

    def _add(
        self, cursor: duckdb.DuckDBPyConnection, table: str, writer: object, selected: str, values: object
    ) -> None:
        known = self._tables.get(table)
        if known is None:
            return
        with self._lock:
            known.content, known.writer = None, writer
        [(count,)] = cursor.execute(f"INSERT INTO {known.place} {selected}", values).fetchall()
        known.ids += count
        if known.ids > MAX_IDS:
            self._shorten(cursor, table, known)

    def _shorten(self, cursor: duckdb.DuckDBPyConnection, table: str, known: _Table) -> None:
        [(latest,)] = cursor.execute(f"SELECT max(received_at) FROM {known.place}").fetchall()
        known.since = max(known.since, latest - KEPT)
        [(removed,)] = cursor.execute(f"DELETE FROM {known.place} WHERE received_at < $1", [known.since]).fetchall()
        known.ids -= removed
        if known.ids > MAX_IDS:
            self._drop(cursor, table)

    def settle(self, tables: Iterable[str], content: str, writer: object) -> None:
        """The load was committed and left these tables at that version. Their locks are gone by now: of what another
        load has taken over meanwhile nothing is said."""
        with self._lock:
            for table in tables:
                known = self._tables.get(table)
                if known is not None and known.writer is writer and known.content is None:
                    known.content = content

    def _drop(self, cursor: duckdb.DuckDBPyConnection, table: str) -> None:
        known = self._tables.pop(table)
        cursor.execute(f"DROP TABLE {known.place}")
