"""DuckDB as a warehouse: one file, owned by one process; others ask through `duckdb_server`."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import duckdb

from catchment.errors import Retry, SchemaChanged, StorageError, UsageError, WarehouseDown
from catchment.log import get_log
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
from catchment.warehouses import duckdb_fill as filling
from catchment.warehouses import duckdb_rebuild as rebuilding
from catchment.warehouses import duckdb_sql as sql
from catchment.warehouses.duckdb_config import DuckDBConfig
from catchment.warehouses.duckdb_diagnose import diagnose
from catchment.warehouses.duckdb_errors import translated
from catchment.warehouses.duckdb_expire import expire
from catchment.warehouses.duckdb_ledger import read_ledger, write_ledger
from catchment.warehouses.duckdb_load import load_batch
from catchment.warehouses.duckdb_opening import CATALOG, Opening, recall_early, recall_shapes
from catchment.warehouses.duckdb_query import run_query
from catchment.warehouses.duckdb_shapes import change
from catchment.warehouses.ledger import Ledger
from catchment.warehouses.quoting import table_name
from catchment.warehouses.rebuilding import HELD_BACK_S, check_begun
from catchment.warehouses.rebuilding import after as shape_after
from catchment.warehouses.running import Running
from catchment.warehouses.shape import Shape, batch_id

_log = get_log("warehouse")


class DuckDBWarehouse:
    """The `Warehouse` protocol on a DuckDB file. See `catchment.warehouses.Warehouse`."""

    Config = DuckDBConfig
    is_embedded = True
    diagnose = staticmethod(diagnose)

    def __init__(self, config: DuckDBConfig, folder: Path, readable: Sequence[Path] = ()) -> None:
        """Open or make the file, under `folder` where no path is given. Statements may read files of
        `readable` (the archive's folder) and of no other.

        Raises `WarehouseDown` while another process has the file, `StorageError` where it can't be used.
        A file that is damaged is set aside under another name, and a new one begun: the archive refills it.
        """
        self.path = folder.parent / Path(config.path).expanduser() if config.path else folder / "warehouse.duckdb"
        self._tmp = folder / "load-tmp"
        self._boot = secrets.token_hex(4)
        self._changes: Counter[str] = Counter()
        self._locks: WeakValueDictionary[str, threading.RLock] = WeakValueDictionary()
        self._held_back: dict[str, float] = {}
        self._finding_lock = threading.Lock()
        self._ddl = threading.Lock()
        self._checkpointing = threading.Lock()
        self._local = threading.local()
        self._running = Running()
        self._closed = False
        try:
            for each in (self.path.parent, self._tmp):
                each.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{error.filename} cannot be used: {error.strerror}", f"ls -ld {folder}") from None
        opened = Opening(self.path, config, self._tmp).open([*readable, self._tmp])
        self._connection = opened.connection
        self.set_aside = opened.set_aside
        self._shapes = recall_shapes(self._connection, version=time.time_ns() // 1_000_000)
        self._has_early = recall_early(self._connection)
        for leftover in self._tmp.glob("*.ndjson"):  # ours alone, now that the file is
            leftover.unlink(missing_ok=True)

    # ---- loading ----------------------------------------------------------------------

    def shape(self, table: str) -> Shape:
        return self._shapes.get(table, Shape(table))

    def reads(self, url: str) -> bool:
        """See `Warehouse.reads`: files on this machine's disk."""
        return "://" not in url

    def load(self, batches: Sequence[Batch], *, past_ledger: bool = False) -> list[Loaded]:
        if not batches:
            return []
        tables = {batch.table for batch in batches}
        changes_tables = any(batch.changes or self.shape(batch.table).version == 0 for batch in batches)
        with self._locked(
            {*tables, *(entry.table for batch in batches for entry in batch.entries)}, ddl=changes_tables
        ):
            shapes = {table: self.shape(table) for table in tables}
            early = set(self._has_early)
            with self._transaction() as cursor:
                ledger = read_ledger(cursor, (name for batch in batches for name in batch.files))
                loaded = [self._load_one(cursor, ledger, batch, shapes, early, past_ledger) for batch in batches]
                write_ledger(cursor, ledger)
            self._shapes |= {table: shape for table, shape in shapes.items() if shape.version > 0}
            self._has_early |= early
            self._changes.update(each.table for each in loaded if not each.skipped)
        return loaded

    def _load_one(
        self,
        cursor: duckdb.DuckDBPyConnection,
        ledger: Ledger,
        batch: Batch,
        shapes: dict[str, Shape],
        early: set[str],
        past_ledger: bool,
    ) -> Loaded:
        if not past_ledger and ledger.has(batch):
            return Loaded(batch.files, batch.table, 0, 0, 0, skipped=True)
        if self._held_back.get(batch.table, 0) > time.monotonic():
            raise Retry(f"{batch.table} is being put in place anew")
        if shapes[batch.table].version != batch.shape_version:
            raise SchemaChanged(batch.table)
        shapes[batch.table] = shape = change(cursor, shapes[batch.table], batch.changes)
        loaded = load_batch(cursor, shape, batch, tmp=self._tmp, tables_with_early=early, past_ledger=past_ledger)
        ledger.add(batch, loaded)
        return loaded

    @contextlib.contextmanager
    def _locked(self, tables: Iterable[str], *, ddl: bool) -> Iterator[None]:
        with contextlib.ExitStack() as held:
            for table in sorted(set(tables)):  # in order, so that two loads never wait for each other
                held.enter_context(self._lock(table))
            if ddl:
                held.enter_context(self._ddl)
            yield

    def _lock(self, table: str) -> threading.RLock:
        """The one lock of a table, forgotten once nobody has it: names may be without end."""
        with self._finding_lock:
            return self._locks.setdefault(table, threading.RLock())

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        cursor = self._cursor()
        try:
            cursor.execute("BEGIN")
            yield cursor
            cursor.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(duckdb.Error):  # the transaction may have ended by itself
                cursor.execute("ROLLBACK")
            if isinstance(error, duckdb.Error):
                raise self._translated(error) from error
            raise

    def _translated(self, error: duckdb.Error) -> Exception:
        return translated(error, self.path)

    def tables(self, schema: str) -> Sequence[str]:
        return [table for table in tuple(self._shapes) if table.partition(".")[0] == schema]

    def latest_view(self, view: LatestView) -> bool:
        with self._locked({view.view, view.table}, ddl=True):
            if self.shape(view.view).version > 0:
                return False
            statement = sql.latest_view(view, self.shape(view.table))
            if statement is not None:
                with self._transaction() as cursor:
                    cursor.execute(statement)
        return True

    # ---- filling columns --------------------------------------------------------------

    def staged(self, fill: Fill) -> frozenset[str]:
        with self._transaction() as cursor:
            return filling.staged(cursor, fill) - {""}

    def stage(self, fill: Fill, names: Sequence[str], rows: Sequence[Rows]) -> None:
        if not set(fill.columns) <= set(self.shape(fill.table).columns):
            raise SchemaChanged(fill.table)
        with self._lock(fill.side), self._transaction() as cursor:
            filling.stage(cursor, fill, names, rows, tmp=self._tmp)

    def fill(self, fill: Fill) -> Filled:
        with self._locked({fill.table, fill.side}, ddl=False):
            is_old = not set(fill.columns) <= set(self.shape(fill.table).columns)
            with self._transaction() as cursor:
                if is_old:
                    filling.drop(cursor, fill.side)
                else:
                    filled = filling.put(cursor, fill, tmp=self._tmp)
            if is_old:
                raise SchemaChanged(fill.table)
            if filled.rows:
                self._changes[fill.table] += 1
        return filled

    # ---- built anew -------------------------------------------------------------------

    def begin_rebuild(self, rebuild: Rebuild) -> None:
        with self._locked({rebuild.table, rebuild.side}, ddl=True):
            is_there = self.shape(rebuild.side).version > 0
            with self._transaction() as cursor:
                if not is_there:
                    shape = rebuilding.begin(cursor, rebuild, self.shape(rebuild.table).key)
                rebuilding.touch(cursor, rebuild.side)
            if not is_there:
                self._shapes[rebuild.side] = shape

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
        with self._locked({table, side}, ddl=True):
            old, new = self.shape(table), self.shape(side)
            check_begun(rebuild, old, new)
            with self._transaction() as cursor:
                missing = rebuilding.missing(cursor, rebuild, without)
                if missing:
                    if holds_back:
                        self._held_back[table] = time.monotonic() + HELD_BACK_S
                    return Rebuilt(missing=missing)
                done = rebuilding.replace(cursor, rebuild, (old, new), noted, drops_others=drops_others)
            self._held_back.pop(table, None)
            if done.is_done:
                self._shapes[table] = shape_after(old, new, rebuild)
                self._shapes.pop(side)
                if side in self._has_early:
                    self._has_early = self._has_early - {side} | {table}
                self._changes[table] += 1
        return done

    # ---- the ledger -------------------------------------------------------------------

    def ledger(self, names: Sequence[str]) -> Mapping[str, frozenset[str]]:
        if not names:
            return {}
        found: defaultdict[str, set[str]] = defaultdict(set)
        rows = self._fetch(
            sql.LEDGER_OF,
            {"low": min(names), "high": max(names), "names": list(names)},
        )
        for batch, table in rows:
            found[batch].add(table)
        return {batch: frozenset(tables) for batch, tables in found.items()}

    def enter(self, entries: Sequence[LedgerEntry]) -> None:
        if not entries:
            return
        with self._transaction() as cursor:
            for entry in entries:
                if entry.same_as and not read_ledger(cursor, entry.same_as).has_all(entry.table, entry.same_as):
                    raise Retry(f"the ledger has lost files that {entry.name} was made of; the sweep loads them first")
            cursor.executemany(
                "INSERT INTO catchment.ledger SELECT $1, $2, $3, $4, 0, 0, 0, $5, $6, now() WHERE NOT EXISTS "
                "(SELECT 1 FROM catchment.ledger WHERE batch = $1 AND table_name = $3)",
                [
                    (e.name, batch_id(e.name), e.table, e.record_count, e.first_received_at, e.last_received_at)
                    for e in entries
                ],
            )

    def forget(self, names: Sequence[str]) -> None:
        if names:
            with self._transaction() as cursor:
                cursor.execute(
                    "DELETE FROM catchment.ledger WHERE batch IN (SELECT unnest($1::VARCHAR[]))", [list(names)]
                )

    def expire(self, table: str, before: datetime, limit: int, *, about: str | None = None) -> int:
        with self._lock(table):
            shape = self.shape(table)
            if shape.version == 0:
                return 0
            with self._transaction() as cursor:
                count = expire(cursor, shape, before, limit, about=about)
            self._changes[table] += count > 0
        return count

    def versions(self, tables: Sequence[str]) -> Mapping[str, str]:
        return {table: f"{self._boot}-{self._changes[table]}" for table in tables}

    def row_count(self, table: str, since: datetime, enough: int) -> int:
        shape = self.shape(table)
        if shape.version == 0:
            return 0
        [(rows,)] = self._fetch(
            f"SELECT count(*) FROM (SELECT 1 FROM {table_name(table)} WHERE _received_at >= $1 LIMIT $2)",
            [since, enough],
        )
        return int(rows)

    # ---- halts ------------------------------------------------------------------------

    def halts(self) -> Sequence[Halt]:
        rows = self._fetch("SELECT table_name, since, reason, resumed_at FROM catchment.halts ORDER BY since")
        return [Halt(*row) for row in rows]

    def halt(self, table: str, reason: str) -> None:
        with self._lock(table), self._transaction() as cursor:
            cursor.execute("DELETE FROM catchment.halts WHERE table_name = $1", [table])
            cursor.execute("INSERT INTO catchment.halts VALUES ($1, now(), $2, NULL)", [table, reason])

    def resume(self, table: str) -> None:
        with self._lock(table), self._transaction() as cursor:
            cursor.execute("UPDATE catchment.halts SET resumed_at = now() WHERE table_name = $1", [table])

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
        if self._closed:
            raise WarehouseDown("the warehouse is closed")
        cursor = self._new_cursor()
        return run_query(cursor, sql, params, timeout_s, max_rows, asker, self._running, self._shapes)

    def cancel(self, query_id: str) -> bool:
        return self._running.cancel(query_id)

    # ---- keeping ----------------------------------------------------------------------

    def tidy(self, early_before: datetime) -> None:
        with self._transaction() as cursor:
            cursor.execute("DELETE FROM catchment.early WHERE _received_at < $1", [early_before])
            filling.drop_abandoned(cursor)
            dropped = rebuilding.drop_abandoned(cursor)
        for side in dropped:
            self._shapes.pop(side, None)
        if self._checkpointing.acquire(blocking=False):
            try:
                self._cursor().execute("CHECKPOINT")
            except duckdb.TransactionException:
                _log.debug("no checkpoint: transactions are open")  # the next tidy comes soon
            except duckdb.Error as error:
                raise self._translated(error) from error
            finally:
                self._checkpointing.release()

    def backup(self, destination: Path) -> None:
        """Checkpoints, then copies the file: until the next checkpoint commits go to the WAL alone, and what a
        large insert writes ahead lies in blocks that the copied header does not know."""
        if destination.exists():
            raise UsageError(f"{destination} exists already", "name a file that does not")
        partial = destination.with_name(destination.name + ".partial")
        with self._checkpointing:
            self._cursor().execute("FORCE CHECKPOINT")
            try:
                destination.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.path, partial)
                with partial.open("rb") as file:
                    os.fsync(file.fileno())
                partial.rename(destination)
            except OSError as error:
                with contextlib.suppress(OSError):
                    partial.unlink(missing_ok=True)
                raise StorageError(f"{destination} cannot be written: {error.strerror}", "another place") from None

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            # Somebody may still be in it, whom nobody waited for: the end of the process ends that, and undoes it.
            with contextlib.suppress(duckdb.ResourceInUseException):
                self._connection.close()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of this thread's own."""
        if self._closed:
            raise WarehouseDown("the warehouse is closed")
        if not hasattr(self._local, "cursor"):
            self._local.cursor = self._new_cursor()
        cursor: duckdb.DuckDBPyConnection = self._local.cursor
        return cursor

    def _new_cursor(self) -> duckdb.DuckDBPyConnection:
        cursor = self._connection.cursor()
        cursor.execute(f"USE {CATALOG}")
        return cursor

    def _fetch(self, statement: str, params: Any = None) -> list[tuple[Any, ...]]:
        try:
            return self._cursor().execute(statement, params).fetchall()
        except duckdb.Error as error:
            raise self._translated(error) from error
