"""Changes of a loaded table's columns in DuckDB, within the transaction and under the lock of whoever calls."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from catchment.errors import CannotWiden
from catchment.warehouses import duckdb_sql as sql
from catchment.warehouses.quoting import name, table_name
from catchment.warehouses.shape import MAX_EXACT_INTEGER, AddColumn, Change, SetKey, Shape, Widen


def change(cursor: duckdb.DuckDBPyConnection, shape: Shape, changes: Sequence[Change]) -> Shape:
    """Make the changes; the shape that the table has then. Raises `CannotWiden`."""
    after = shape.after(changes)
    if after == shape:
        return shape
    if shape.version == 0:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {name(shape.table.partition('.')[0])}")
        cursor.execute(f"DROP VIEW IF EXISTS {table_name(shape.table)}")
        cursor.execute(sql.create_table(after))
        added = list(after.columns)
    else:
        added = [change.column for change in changes if isinstance(change, AddColumn)]
        for column in added:
            cursor.execute(sql.add_column(shape.table, column))
        for each in changes:
            if isinstance(each, Widen):
                _widen(cursor, shape.table, each.name)
    if added:
        cursor.executemany(
            "INSERT INTO catchment.columns VALUES ($1, $2, $3, $4)",
            [(shape.table, column.field, column.name, column.type) for column in added],
        )
    for each in changes:
        if isinstance(each, SetKey):
            cursor.execute("INSERT INTO catchment.keys VALUES ($1, $2::VARCHAR[])", [shape.table, list(each.fields)])
    return after


def _widen(cursor: duckdb.DuckDBPyConnection, table: str, column: str) -> None:
    quoted = name(column)
    beyond = cursor.execute(
        f"SELECT 1 FROM {table_name(table)} "
        f"WHERE {quoted} > {MAX_EXACT_INTEGER} OR {quoted} < -{MAX_EXACT_INTEGER} LIMIT 1"
    ).fetchone()
    if beyond:
        raise CannotWiden(table, column)
    cursor.execute(sql.widen(table, column))
    cursor.execute(
        """UPDATE catchment.columns SET type = 'double' WHERE table_name = $1 AND column_name = $2""",
        [table, column],
    )
