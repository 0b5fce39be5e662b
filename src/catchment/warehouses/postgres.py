"""PostgreSQL 13 or newer as a warehouse, for any number of loaders at once."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from catchment.errors import Retry, SchemaChanged, UsageError
from catchment.record import DEAD_LETTERS
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
    SchemaChange,
)
from catchment.warehouses import postgres_fill as filling
from catchment.warehouses import postgres_rebuild as rebuilding
from catchment.warehouses import postgres_sql as sql
from catchment.warehouses.ledger import Ledger
from catchment.warehouses.postgres_config import PostgresConfig
from catchment.warehouses.postgres_connections import Connection, Connections
from catchment.warehouses.postgres_diagnose import diagnose
from catchment.warehouses.postgres_expire import expire
from catchment.warehouses.postgres_ledger import read_ledger, write_ledger
from catchment.warehouses.postgres_load import BatchLoad
from catchment.warehouses.postgres_query import run_query
from catchment.warehouses.postgres_shapes import Standing, change, lock, make_own_tables, standing
from catchment.warehouses.postgres_staging import Staging
from catchment.warehouses.postgres_views import make_view
from catchment.warehouses.quoting import table_name
from catchment.warehouses.rebuilding import check_begun
from catchment.warehouses.running import Running
from catchment.warehouses.shape import Shape, batch_id

MANY_ROWS = 50_000
"""After so many new rows of a table the planner is told of them, rather than whenever autovacuum comes by."""


class PostgresWarehouse:
    """The `Warehouse` protocol on a PostgreSQL database. See `catchment.warehouses.Warehouse`.

    Everything it must know stands in the database, so that any number of processes may load and ask: the lock of a
    table is an advisory lock, held to the end of the transaction. In memory are shapes alone, looked at again under
    the lock.
    """

    Config = PostgresConfig
    diagnose = staticmethod(diagnose)

    def __init__(self, config: PostgresConfig, folder: Path) -> None:
        """Connects at the first call that needs it: while the database is away, archiving goes on.

        Raises `UsageError` for an address that cannot be one.
        """
        self._config = config
        self._connections = Connections(config)
        self._staging = Staging(folder / "load-tmp")
        self._shapes: dict[str, Shape] = {}
        self._new_rows: Counter[str] = Counter()
        self._running = Running()
        self._opening = threading.Lock()
        self._is_open = False

    # ---- loading ----------------------------------------------------------------------

    def shape(self, table: str) -> Shape:
        found = self._shapes.get(table)
        if found is None:
            with self._transaction() as connection:
                found = standing(connection, [table], {})[table].shape
            self._remember(found)
        return found

    def reads(self, url: str) -> bool:
        """See `Warehouse.reads`: files on this machine's disk."""
        return "://" not in url

    def load(self, batches: Sequence[Batch], *, past_ledger: bool = False) -> list[Loaded]:
        if not batches:
            return []
        tables = sorted({batch.table for batch in batches})
        writer = object()  # this load, to whom its unsettled changes belong
        with self._transaction() as connection:
            lock(connection, {*tables, *(entry.table for batch in batches for entry in batch.entries)})
            stand = standing(connection, tables, self._shapes)
            ledger = read_ledger(connection, (name for batch in batches for name in batch.files))
            loaded = [self._load_one(connection, ledger, batch, stand, writer, past_ledger) for batch in batches]
            write_ledger(connection, ledger)
            content = _change_content(connection, loaded)
        self._staging.recent.settle({each.table for each in loaded if not each.skipped}, content, writer)
        for each in stand.values():
            self._remember(each.shape)
        self._new_rows.update({each.table: each.inserted for each in loaded})
        return loaded

    def _load_one(
        self,
        connection: Connection,
        ledger: Ledger,
        batch: Batch,
        stand: dict[str, Standing],
        writer: object,
        past_ledger: bool,
    ) -> Loaded:
        if not past_ledger and ledger.has(batch):
            return Loaded(batch.files, batch.table, 0, 0, 0, skipped=True)
        found = stand[batch.table]
        if found.is_held:
            raise Retry(f"{batch.table} is being put in place anew")
        if found.shape.version != batch.shape_version:
            self._remember(found.shape)
            raise SchemaChanged(batch.table)
        shape = change(connection, found.shape, batch.changes, self._config.grant_select_to)
        here = Standing(shape, found.has_early, found.content)
        loaded = BatchLoad(connection, self._staging, here, batch, writer, past_ledger=past_ledger).run()
        # What it has made early, the call's later batches must find.
        stand[batch.table] = Standing(shape, found.has_early or (batch.early and loaded.inserted > 0), found.content)
        ledger.add(batch, loaded)
        return loaded

    def _remember(self, shape: Shape) -> None:
        """A table that is not there is not remembered: another process may make it at any moment."""
        if shape.version > 0:
            self._shapes[shape.table] = shape
        else:
            self._shapes.pop(shape.table, None)

    def tables(self, schema: str) -> Sequence[str]:
        return [table for (table,) in self._fetch(sql.TABLES_OF, [schema])]

    def latest_view(self, view: LatestView) -> bool:
        with self._transaction() as connection:
            lock(connection, [view.view, view.table])
            stand = standing(connection, [view.view, view.table], self._shapes)
            if stand[view.view].shape.version > 0:
                return False
            make_view(connection, view, stand[view.table].shape, self._config.grant_select_to)
        return True

    # ---- the ledger -------------------------------------------------------------------

    def ledger(self, names: Sequence[str]) -> Mapping[str, frozenset[str]]:
        found: defaultdict[str, set[str]] = defaultdict(set)
        for batch, table in self._fetch(sql.LEDGER_OF, [list(names)]) if names else ():
            found[batch].add(table)
        return {batch: frozenset(tables) for batch, tables in found.items()}

    def enter(self, entries: Sequence[LedgerEntry]) -> None:
        if not entries:
            return
        with self._transaction() as connection:
            for entry in entries:
                if entry.same_as and not read_ledger(connection, entry.same_as).has_all(entry.table, entry.same_as):
                    raise Retry(f"the ledger has lost files that {entry.name} was made of; the sweep loads them first")
            rows = [
                (e.name, batch_id(e.name), e.table, e.record_count, 0, 0, 0, e.first_received_at, e.last_received_at)
                for e in entries
            ]
            with connection.cursor() as cursor:
                cursor.executemany(sql.LEDGER_ADD, rows)

    def forget(self, names: Sequence[str]) -> None:
        if names:
            with self._transaction() as connection:
                connection.execute("DELETE FROM catchment.ledger WHERE batch = ANY (%s)", [list(names)])

    def expire(self, table: str, before: datetime, limit: int, *, about: str | None = None) -> int:
        with self._transaction() as connection:
            lock(connection, [table])
            shape = standing(connection, [table], self._shapes)[table].shape
            if shape.version == 0:
                return 0
            count = expire(connection, shape, before, limit, about=about)
            if count:
                connection.execute(sql.CONTENT_CHANGED, [secrets.token_hex(8), [table]])
        return count

    def versions(self, tables: Sequence[str]) -> Mapping[str, str]:
        found = dict(
            self._fetch("SELECT table_name, content FROM catchment.tables WHERE table_name = ANY (%s)", [list(tables)])
        )
        return {table: found.get(table, "") for table in tables}

    def row_count(self, table: str, since: datetime, enough: int) -> int:
        if self.shape(table).version == 0:
            return 0
        [(rows,)] = self._fetch(
            f"SELECT count(*) FROM (SELECT 1 FROM {table_name(table)} WHERE _received_at >= %s LIMIT %s) AS counted",
            [since, enough],
        )
        return int(rows)

    # ---- halts ------------------------------------------------------------------------

    def halts(self) -> Sequence[Halt]:
        rows = self._fetch("SELECT table_name, since, reason, resumed_at FROM catchment.halts ORDER BY since")
        return [Halt(*row) for row in rows]

    def halt(self, table: str, reason: str) -> None:
        with self._transaction() as connection:
            lock(connection, [table])
            connection.execute("DELETE FROM catchment.halts WHERE table_name = %s", [table])
            connection.execute("INSERT INTO catchment.halts VALUES (%s, now(), %s, NULL)", [table, reason])

    def resume(self, table: str) -> None:
        with self._transaction() as connection:
            lock(connection, [table])
            connection.execute("UPDATE catchment.halts SET resumed_at = now() WHERE table_name = %s", [table])

    # ---- asking -----------------------------------------------------------------------

    def query(
        self,
        sql: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        max_rows: int | None = None,
        asker: Asker | None = None,
    ) -> ArrowStream:
        role = self._config.reader_role if asker else None
        return run_query(self._connections.open(), sql, params, timeout_s, max_rows, asker, role, self._running)

    def cancel(self, query_id: str) -> bool:
        return self._running.cancel(query_id)

    # ---- filling columns --------------------------------------------------------------

    def staged(self, fill: Fill) -> frozenset[str]:
        with self._transaction() as connection:
            return filling.staged(connection, fill) - {""}

    def stage(self, fill: Fill, names: Sequence[str], rows: Sequence[Rows]) -> None:
        with self._transaction() as connection:
            if not self._is_of(connection, fill):
                raise SchemaChanged(fill.table)
            filling.stage(connection, self._staging, fill, names, rows)

    def fill(self, fill: Fill) -> Filled:
        with self._transaction() as connection:
            lock(connection, [fill.table, fill.side])
            is_old = not self._is_of(connection, fill)
            if is_old:
                filling.drop(connection, fill.side)
            else:
                filled = filling.put(connection, fill)
                if filled.rows:
                    connection.execute(sql.CONTENT_CHANGED, [secrets.token_hex(8), [fill.table]])
        if is_old:
            raise SchemaChanged(fill.table)
        self._new_rows[fill.table] += filled.rows
        return filled

    def _is_of(self, connection: Connection, fill: Fill) -> bool:
        """Whether the table has the fill's columns, as of now."""
        shape = standing(connection, [fill.table], self._shapes)[fill.table].shape
        self._remember(shape)
        return set(fill.columns) <= set(shape.columns)

    # ---- built anew -------------------------------------------------------------------

    def begin_rebuild(self, rebuild: Rebuild) -> None:
        with self._transaction() as connection:
            lock(connection, [rebuild.table, rebuild.side])
            stand = standing(connection, [rebuild.table, rebuild.side], self._shapes)
            key = stand[rebuild.table].shape.key
            rebuilding.begin(connection, rebuild, key, is_there=stand[rebuild.side].shape.version > 0)

    def end_rebuild(
        self,
        rebuild: Rebuild,
        *,
        without: Sequence[str] = (),
        noted: Sequence[SchemaChange] = (),
        drops_others: bool = False,
        holds_back: bool = False,
    ) -> Rebuilt:
        table, side = rebuild.table, rebuild.side
        with self._transaction() as connection:
            lock(connection, [table, side])
            stand = standing(connection, [table, side], self._shapes)
            old, new = stand[table].shape, stand[side].shape
            check_begun(rebuild, old, new)
            missing = rebuilding.missing(connection, rebuild, without)
            if missing:
                if holds_back:
                    rebuilding.hold_back(connection, table)
                return Rebuilt(missing=missing)
            done = rebuilding.replace(connection, rebuild, (old, new), noted, drops_others=drops_others)
            if done.is_done:
                connection.execute(sql.CONTENT_CHANGED, [secrets.token_hex(8), [table]])
        if done.is_done:
            self._shapes.pop(side, None)
            self._shapes.pop(table, None)
            self._new_rows[table] += done.rows
        return done

    # ---- keeping ----------------------------------------------------------------------

    def tidy(self, early_before: datetime) -> None:
        """ANALYZE, too, for the tables that have grown by much."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM catchment.early WHERE _received_at < %s", [early_before])
            filling.drop_abandoned(connection)
            rebuilding.drop_abandoned(connection)
        for table, rows in list(self._new_rows.items()):
            if rows >= MANY_ROWS:
                with self._transaction() as connection:
                    connection.execute(f"ANALYZE {table_name(table)}")
                self._new_rows[table] = 0

    def backup(self, destination: Path) -> None:
        """Left to the server's own tools, which know how to."""
        raise UsageError(
            "a warehouse on PostgreSQL is backed up by PostgreSQL's own tools, not by Catchment",
            'pg_dump --format=custom --file=warehouse.dump "$WAREHOUSE_URL"',
        )

    def close(self) -> None:
        self._connections.close()
        self._staging.close()

    # ---- transactions -----------------------------------------------------------------

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A transaction on a database that has our own tables."""
        self._open()
        with self._connections.transaction() as connection:
            yield connection

    def _open(self) -> None:
        if self._is_open:
            return
        with self._opening:
            if not self._is_open:
                with self._connections.transaction() as connection:
                    make_own_tables(connection)
                self._is_open = True

    def _fetch(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._transaction() as connection:
            return connection.execute(statement, values).fetchall()


def _change_content(connection: Connection, loaded: Sequence[Loaded]) -> str:
    """Give the tables that were loaded another version, this one. They never had it, where a count would come again in
    a warehouse that was put back to its backup."""
    content = secrets.token_hex(8)
    changed = {each.table for each in loaded if not each.skipped}
    if any(each.dead for each in loaded):
        changed.add(DEAD_LETTERS)
    if changed:
        connection.execute(sql.CONTENT_CHANGED, [content, sorted(changed)])
    return content
