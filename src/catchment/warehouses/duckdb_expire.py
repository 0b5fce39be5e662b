"""Removing rows of a DuckDB table that its retention keeps no longer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import duckdb

from catchment.warehouses.quoting import table_name, text
from catchment.warehouses.shape import Shape


def expire(
    cursor: duckdb.DuckDBPyConnection, shape: Shape, before: datetime, limit: int, *, about: str | None = None
) -> int:
    """See `Warehouse.expire`; inside a transaction, under the table's lock."""
    table = table_name(shape.table)
    of_these = "" if about is None else " AND coalesce(table_name, '') = $3"
    params: list[Any] = [before, limit] if about is None else [before, limit, about]
    some = f"SELECT rowid FROM {table} WHERE _received_at < $1{of_these} LIMIT $2"
    if not shape.key:
        return _count(cursor.execute(f"DELETE FROM {table} WHERE rowid IN ({some})", params))
    gone = f"SELECT rowid AS place, _key, _version, _id FROM {table} WHERE _received_at < $1 LIMIT $2"
    cursor.execute(f"CREATE OR REPLACE TEMP TABLE gone AS {gone}", params)
    of_table = f"table_name = {text(shape.table)}"
    cursor.execute(f"DELETE FROM catchment.tombstones WHERE {of_table} AND key IN (SELECT _key FROM gone)")
    cursor.execute(f"INSERT INTO catchment.tombstones SELECT {text(shape.table)}, _key, _version, _id FROM gone")
    return _count(cursor.execute(f"DELETE FROM {table} WHERE rowid IN (SELECT place FROM gone)"))


def _count(result: duckdb.DuckDBPyConnection) -> int:
    row = result.fetchone()
    return int(row[0]) if row else 0
