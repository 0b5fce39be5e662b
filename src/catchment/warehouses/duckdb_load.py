"""Loading one batch into DuckDB, inside the transaction that the warehouse holds under the table's lock.

Files are read by `read_json` with explicit columns; a few rows go in as parameters, since planning a file's
statement costs more than they do.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from catchment.errors import StorageError
from catchment.record import DEAD_LETTERS
from catchment.warehouses import Batch, DeadLetter, Loaded, Rows
from catchment.warehouses import duckdb_sql as sql
from catchment.warehouses.duckdb_search import WORTH_A_SEARCH, known_ids
from catchment.warehouses.prepared_rows import PreparedRow, earliest_of
from catchment.warehouses.quoting import name, table_name
from catchment.warehouses.record_files import read_files
from catchment.warehouses.shape import Shape, batch_id

FEW_ROWS = 64
FEW_VALUES = 4_000
"""Up to here prepared rows go in as parameters rather than as a file, which costs 3 ms. Rows as they lie do not:
DuckDB's JSON reader finds what the guard does not see."""


def load_batch(
    cursor: duckdb.DuckDBPyConnection,
    shape: Shape,
    batch: Batch,
    *,
    tmp: Path,
    tables_with_early: set[str],
    past_ledger: bool,
) -> Loaded:
    """Insert what is new, with `early`, tombstones and dead letters."""
    inserted = 0
    for rows in batch.rows:
        if rows.count == 0:
            continue
        if shape.key:
            with files_of(rows, tmp) as paths:
                inserted += _replace(cursor, shape, batch, paths)
        elif _are_few(rows, shape):
            inserted += _insert_few(cursor, shape, batch, rows, tables_with_early, past_ledger)
        else:
            with files_of(rows, tmp) as paths:
                inserted += _insert_files(cursor, shape, batch, rows, paths, tables_with_early, past_ledger)
    for change in batch.noted:
        cursor.execute(sql.NOTE, msgspec.structs.asdict(change))
    dead = _bury(cursor, batch.dead, _batch_id(batch))
    duplicates = batch.record_count - len(batch.dead) - inserted
    return Loaded(batch.files, batch.table, inserted, duplicates, dead, skipped=False)


def _are_few(rows: Rows, shape: Shape) -> bool:
    values = rows.count * len(shape.columns)
    return rows.prepared and isinstance(rows.data, bytes) and rows.count <= FEW_ROWS and values <= FEW_VALUES


@contextmanager
def files_of(rows: Rows, tmp: Path) -> Iterator[Sequence[str]]:
    """The rows as files. Lines in memory are written without fsync: they only live as long as the statement."""
    if not isinstance(rows.data, bytes):
        yield rows.data
        return
    path = tmp / f"{secrets.token_hex(8)}.ndjson"
    try:
        path.write_bytes(rows.data)
        yield (str(path),)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}", "free some space") from None
    finally:
        path.unlink(missing_ok=True)


def _insert_files(
    cursor: duckdb.DuckDBPyConnection,
    shape: Shape,
    batch: Batch,
    rows: Rows,
    paths: Sequence[str],
    tables_with_early: set[str],
    past_ledger: bool,
) -> int:
    relation = read_files(paths, shape, prepared=rows.prepared)
    condition, params = _is_new(cursor, batch, rows, early=shape.table in tables_with_early, exact=past_ledger)
    statement = sql.insert_new(shape, relation, condition, prepared=rows.prepared, distinct=batch.distinct)
    inserted = _count(cursor.execute(statement, {"batch": _batch_id(batch)} | params))
    if batch.early and inserted and _count(cursor.execute(sql.insert_early(shape, relation))):
        tables_with_early.add(shape.table)
    return inserted


def _is_new(
    cursor: duckdb.DuckDBPyConnection, batch: Batch, rows: Rows, *, early: bool, exact: bool
) -> tuple[str, dict[str, Any]]:
    """The condition that a row of the batch's one file is new, and its parameters."""
    if batch.ids is not None and rows.count >= WORTH_A_SEARCH and not early:
        known = known_ids(cursor, batch.table, batch.ids, batch.search_from)
        if known is not None:
            return (sql.is_none_of_known(), {"known": known}) if known else ("true", {})
    return sql.is_new(batch.table, batch.search_from, early=early, exact=exact), {}


def _replace(cursor: duckdb.DuckDBPyConnection, shape: Shape, batch: Batch, paths: Sequence[str]) -> int:
    """How many keys were replaced or deleted."""
    replaced = _count(cursor.execute(sql.winners(shape, read_files(paths, shape, prepared=True))))
    *others, insert = sql.replace_by_winners(shape, prepared=True)
    for statement in others:
        cursor.execute(statement)
    cursor.execute(insert, {"batch": _batch_id(batch)})
    return replaced


def _insert_few(
    cursor: duckdb.DuckDBPyConnection,
    shape: Shape,
    batch: Batch,
    rows: Rows,
    tables_with_early: set[str],
    past_ledger: bool,
) -> int:
    """Search first, then insert, each as one statement with parameters."""
    assert isinstance(rows.data, bytes)
    earliest = earliest_of(rows.data)
    known = _known(cursor, shape, batch, list(earliest), shape.table in tables_with_early, past_ledger)
    fresh = [record for identity, record in earliest.items() if identity not in known]
    if not fresh:
        return 0
    _insert_values(cursor, shape, fresh, _batch_id(batch))
    early = [r for r in fresh if r.not_before > r.received_at]
    if early:
        cursor.executemany(
            "INSERT INTO catchment.early VALUES ($1, $2, $3, $4)",
            [(shape.table, r.source, r.id, r.received_at) for r in early],
        )
        tables_with_early.add(shape.table)
    return len(fresh)


def _insert_values(
    cursor: duckdb.DuckDBPyConnection, shape: Shape, records: Sequence[PreparedRow], batch: str | None
) -> None:
    """One statement for all; columns that are null in every row are left out, since each costs."""
    columns: dict[str, Sequence[Any]] = {
        "_id": [record.id for record in records],
        "_received_at": [record.received_at for record in records],
        "_source": [record.source for record in records],
        "_batch": [batch] * len(records),
        "_rescued": [record.rescued_text() for record in records],
    }
    there = {name for record in records for name in record.data}
    for column in shape.columns:
        if column.name in there:
            columns[column.name] = [record.value(column.name, column.type) for record in records]
    used = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    row = f"({', '.join('?' * len(used))}, now())"
    cursor.execute(
        f"INSERT INTO {table_name(shape.table)} ({', '.join(map(name, used))}, _loaded_at) "
        f"VALUES {', '.join([row] * len(records))}",
        [value for values in zip(*used.values(), strict=True) for value in values],
    )


def _known(
    cursor: duckdb.DuckDBPyConnection,
    shape: Shape,
    batch: Batch,
    identities: Sequence[tuple[str, str]],
    early: bool,
    exact: bool,
) -> set[tuple[str, str]]:
    """Which of these (source, id) stand in the table."""
    ids = ", ".join("?" * len(identities))
    values: list[Any] = [identity for _, identity in identities]
    table = table_name(shape.table)
    found = cursor.execute(
        f"SELECT _source, _id FROM {table} WHERE _id IN ({ids}) AND _received_at >= {sql.moment(batch.search_from)}",
        values,
    ).fetchall()
    if early:
        row = (
            f"AND EXISTS (SELECT 1 FROM {table} {sql.OLD} WHERE {sql.OLD}._id = {sql.EARLY}._id "
            f"AND {sql.OLD}._source = {sql.EARLY}._source AND {sql.OLD}._received_at = {sql.EARLY}._received_at)"
            if exact
            else ""
        )
        found += cursor.execute(
            f"SELECT _source, _id FROM catchment.early {sql.EARLY} WHERE table_name = ? AND _id IN ({ids}) {row}",
            [shape.table, *values],
        ).fetchall()
    return set(found)


def _bury(cursor: duckdb.DuckDBPyConnection, dead: Sequence[DeadLetter], batch: str | None) -> int:
    """Dead letters that are not there yet."""
    if not dead:
        return 0
    unique = {letter.id: letter for letter in dead}
    known = {
        identity
        for (identity,) in cursor.execute(
            f"SELECT _id FROM {DEAD_LETTERS} WHERE _id IN (SELECT unnest($1::VARCHAR[]))", [list(unique)]
        ).fetchall()
    }
    fresh = [letter for identity, letter in unique.items() if identity not in known]
    if fresh:
        cursor.executemany(
            f"INSERT INTO {DEAD_LETTERS} VALUES ($1, $2, 'catchment', $3, now(), NULL, $4, $5, $6, $7, $8, $9, $10)",
            [
                (
                    letter.id,
                    letter.received_at,
                    batch,
                    letter.table,
                    letter.reason,
                    letter.detail,
                    letter.origin,
                    letter.source,
                    letter.record_id,
                    base64.b64encode(letter.bytes).decode(),
                )
                for letter in fresh
            ],
        )
    return len(fresh)


def _batch_id(batch: Batch) -> str | None:
    return batch_id(batch.files[0]) if batch.files else None


def _count(result: duckdb.DuckDBPyConnection) -> int:
    row = result.fetchone()
    return int(row[0]) if row else 0
