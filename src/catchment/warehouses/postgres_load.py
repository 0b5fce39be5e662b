"""Loading one batch into PostgreSQL, inside the transaction that the warehouse holds under the table's lock.

Search first, then COPY what is new straight into the table: it is written once, and by the fastest way there is.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import duckdb
import msgspec

from catchment.errors import Retry
from catchment.record import DEAD_LETTERS
from catchment.warehouses import Batch, DeadLetter, Loaded, Rows
from catchment.warehouses import postgres_sql as sql
from catchment.warehouses.postgres_connections import Connection
from catchment.warehouses.postgres_shapes import Standing
from catchment.warehouses.postgres_staging import CSV, Identity, Staged, Staging
from catchment.warehouses.prepared_rows import earliest_of
from catchment.warehouses.shape import batch_id

FEW_ROWS = 64
"""Up to here prepared rows are copied from Python: staging them costs more. Rows as they lie are not: DuckDB's JSON
reader finds what the guard does not see."""

_MICROSECOND = timedelta(microseconds=1)

ROWS_AN_ID = 8
"""Reading so many rows in a scan takes as long as looking one id up by the index."""


class BatchLoad:
    """One batch on its way into one table."""

    def __init__(
        self,
        connection: Connection,
        staging: Staging,
        standing: Standing,
        batch: Batch,
        writer: object,
        *,
        past_ledger: bool,
    ) -> None:
        """`writer` stands for the load that the batch is of."""
        self._connection = connection
        self._staging = staging
        self._shape = standing.shape
        self._has_early = standing.has_early
        self._content = standing.content
        self._batch = batch
        self._batch_id = batch_id(batch.files[0]) if batch.files else None
        self._writer = writer
        self._past_ledger = past_ledger

    def run(self) -> Loaded:
        """Insert what is new, with `early`, tombstones and dead letters."""
        batch = self._batch
        inserted = 0
        for rows in batch.rows:
            if rows.count == 0:
                continue
            if not self._shape.key and rows.prepared and isinstance(rows.data, bytes) and rows.count <= FEW_ROWS:
                inserted += self._insert_few(rows.data)
            else:
                inserted += self._insert_staged(rows)
        for change in batch.noted:
            self._connection.execute(sql.NOTE, msgspec.structs.asdict(change))
        dead = bury(self._connection, batch.dead, self._batch_id)
        duplicates = batch.record_count - len(batch.dead) - inserted
        return Loaded(batch.files, batch.table, inserted, duplicates, dead, skipped=False)

    # ---- many rows --------------------------------------------------------------------

    def _insert_staged(self, rows: Rows) -> int:
        with self._staging.files(rows) as paths:
            staged = Staged(
                self._staging.cursor(),
                self._shape,
                paths,
                prepared=rows.prepared,
                distinct=self._batch.distinct,
                early=self._batch.early,
            )
        try:
            return self._replace(staged) if self._shape.key else self._insert_new(staged)
        finally:
            staged.drop()

    def _insert_new(self, staged: Staged) -> int:
        staged.leave_out(self._known_of(staged))
        self._copy(staged)
        self._staging.recent.add_staged(self._staging.cursor(), self._shape.table, self._writer)
        if self._batch.early:
            self._point_at_early(staged.early())
        return staged.count

    def _replace(self, staged: Staged) -> int:
        """How many keys were replaced or deleted; each has a row now or a tombstone, never both."""
        table = self._shape.table
        found = self._connection.execute(sql.search_keys(table), [staged.keys(), table]).fetchall()
        staged.leave_out_beaten(found)
        replaced = staged.count
        keys = staged.keys()
        deleted = staged.deleted()
        if found:
            self._connection.execute(sql.delete_keys(table), [keys])
            self._connection.execute(sql.DELETE_TOMBSTONES, [table, keys])
        if deleted:
            with self._connection.cursor().copy("COPY catchment.tombstones FROM STDIN") as copy:
                for tombstone in deleted:
                    copy.write_row((table, *tombstone))
        staged.count -= len(deleted)
        self._copy(staged)
        return replaced

    def _copy(self, staged: Staged) -> None:
        if staged.count == 0:
            return
        cursor = self._connection.cursor()
        with (
            staged.csv(self._batch_id) as pieces,
            cursor.copy(sql.copy_into(self._shape, f" (FORMAT csv, {CSV})")) as copy,
        ):
            for piece in pieces:
                copy.write(piece)
        if cursor.rowcount != staged.count:
            raise Retry(f"{self._shape.table}: {cursor.rowcount} rows were written of {staged.count}")

    # ---- few rows ---------------------------------------------------------------------

    def _insert_few(self, lines: bytes) -> int:
        earliest = earliest_of(lines)
        known = set(self._known([identity for _, identity in earliest], len(earliest)))
        fresh = [row for identity, row in earliest.items() if identity not in known]
        if not fresh:
            return 0
        with self._connection.cursor().copy(sql.copy_into(self._shape)) as copying:
            for row in fresh:
                meta = (row.received_at, row.id, row.source, self._batch_id, row.rescued_text())
                copying.write_row((*meta, *(row.value(column.name, column.type) for column in self._shape.columns)))
        self._point_at_early([(r.source, r.id, r.received_at) for r in fresh if r.not_before > r.received_at])
        self._remember([(r.id, r.received_at) for r in fresh])
        return len(fresh)

    # ---- searching --------------------------------------------------------------------

    def _known_of(self, staged: Staged) -> list[Identity]:
        """Which of the staged rows stand in the table, asked as little as may be."""
        if self._past_ledger:
            return self._known(staged.ids(), staged.count)
        recent, cursor, table = self._staging.recent, self._staging.cursor(), self._shape.table
        if recent.covers(cursor, table, self._content, self._batch.search_from, self._writer):
            suspects = recent.suspects(cursor, table)
            found = self._identities(sql.search_each(table), [suspects, self._batch.search_from]) if suspects else []
            return found + (self._known_early(staged.ids()) if self._has_early else [])
        if recent.wants(table):
            self._begin_to_remember(cursor)
            if recent.covers(cursor, table, self._content, self._batch.search_from, self._writer):
                return self._known_early(staged.ids()) if self._has_early else []
        return self._known(staged.ids(), staged.count)

    def _remember(self, rows: Sequence[tuple[str, datetime]]) -> None:
        self._staging.recent.add(self._staging.cursor(), self._shape.table, self._writer, rows)

    def _begin_to_remember(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """From the search's beginning where the table has no later row, else from behind its latest."""
        recent, table = self._staging.recent, self._shape.table
        [(near,)] = self._connection.execute(sql.LATEST, [table]).fetchall()
        since = self._batch.search_from if near is None else max(near, self._batch.search_from)
        [(latest,)] = self._connection.execute(sql.rows_after(table), [since]).fetchall()
        if latest is None and since == self._batch.search_from:
            recent.begin(cursor, table, since, self._writer)
        else:
            recent.begin(cursor, table, max(since, latest or since) + _MICROSECOND, self._writer)

    def _known(self, ids: str | list[str], count: int) -> list[Identity]:
        """Which rows with these ids stand in the table, as (source, id)."""
        table, since = self._shape.table, self._batch.search_from
        found: list[Identity] = []
        if self._is_short(count):
            self._connection.execute("SET LOCAL enable_nestloop = off")
            found += self._identities(sql.search_all(table), [ids, since])
            self._connection.execute("SET LOCAL enable_nestloop = on")
        else:
            found += self._identities(sql.search_each(table), [ids, since])
        return found + (self._known_early(ids) if self._has_early else [])

    def _known_early(self, ids: str | list[str]) -> list[Identity]:
        """Those of fast clocks."""
        table = self._shape.table
        return self._identities(sql.search_early(table, exact=self._past_ledger), [table, ids])

    def _is_short(self, count: int) -> bool:
        """Whether the rows since `search_from` are read faster than `count` ids are looked up, as far as the ledger
        tells."""
        if count <= FEW_ROWS:
            return False
        [(rows,)] = self._connection.execute(sql.ROWS_SINCE, [self._shape.table, self._batch.search_from]).fetchall()
        return bool(rows <= ROWS_AN_ID * count)

    def _identities(self, statement: str, values: list[Any]) -> list[Identity]:
        return self._connection.execute(statement, values).fetchall()

    def _point_at_early(self, rows: Iterable[tuple[str, str, datetime]]) -> None:
        """Remember rows of fast clocks: the search by time alone would miss them."""
        early = [(self._shape.table, *row) for row in rows]
        if early:
            with self._connection.cursor() as cursor:
                cursor.executemany("INSERT INTO catchment.early VALUES (%s, %s, %s, %s)", early)


def bury(connection: Connection, dead: Sequence[DeadLetter], batch: str | None) -> int:
    """Insert the dead letters that are not there yet; how many that were."""
    if not dead:
        return 0
    unique = {letter.id: letter for letter in dead}
    known = {
        identity
        for (identity,) in connection.execute(
            f"SELECT _id FROM {DEAD_LETTERS} WHERE _id = ANY (%s)", [list(unique)]
        ).fetchall()
    }
    fresh = [letter for identity, letter in unique.items() if identity not in known]
    if fresh:
        columns = (
            "_received_at, _id, _source, _batch, table_name, reason, detail, origin, record_source, record_id, bytes"
        )
        with connection.cursor().copy(f"COPY {DEAD_LETTERS} ({columns}) FROM STDIN") as copy:
            for letter in fresh:
                copy.write_row(_letter(letter, batch))
    return len(fresh)


def _letter(letter: DeadLetter, batch: str | None) -> tuple[Any, ...]:
    return (
        letter.received_at,
        letter.id,
        "catchment",
        batch,
        letter.table,
        letter.reason,
        letter.detail,
        letter.origin,
        letter.source,
        letter.record_id,
        base64.b64encode(letter.bytes).decode(),
    )
