"""Removing rows of a PostgreSQL table that its retention keeps no longer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from catchment.warehouses.postgres_connections import Connection
from catchment.warehouses.quoting import table_name
from catchment.warehouses.shape import Shape


def expire(connection: Connection, shape: Shape, before: datetime, limit: int, *, about: str | None = None) -> int:
    """See `Warehouse.expire`; inside a transaction, under the table's lock."""
    table = table_name(shape.table)
    of_these = "" if about is None else " AND coalesce(table_name, '') = %s"
    params: list[Any] = [before, limit] if about is None else [before, about, limit]
    # As an array, which PostgreSQL fetches row by row; joined with a subquery it would read all of the table.
    some = f"ARRAY(SELECT ctid FROM {table} WHERE _received_at < %s{of_these} LIMIT %s)"
    delete = f"DELETE FROM {table} WHERE ctid = ANY ({some})"
    if not shape.key:
        return connection.execute(delete, params).rowcount
    return connection.execute(
        f"WITH gone AS ({delete} RETURNING _key, _version, _id), "
        "old AS (DELETE FROM catchment.tombstones WHERE table_name = %s AND key IN (SELECT _key FROM gone)) "
        "INSERT INTO catchment.tombstones SELECT %s, _key, _version, _id FROM gone",
        [*params, shape.table, shape.table],
    ).rowcount
