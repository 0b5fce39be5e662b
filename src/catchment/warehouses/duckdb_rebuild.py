"""A table of DuckDB built anew beside the old one, and put in its place, within the transaction that the cursor is
in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
import msgspec

from catchment.errors import UsageError
from catchment.warehouses import Rebuild, Rebuilt, SchemaChange, rebuilding
from catchment.warehouses import duckdb_sql as sql
from catchment.warehouses.duckdb_shapes import change
from catchment.warehouses.quoting import name, table_name
from catchment.warehouses.record_files import TYPES
from catchment.warehouses.shape import AddColumn, Change, SetKey, Shape

ABANDONED_DAYS = 7


def begin(cursor: duckdb.DuckDBPyConnection, rebuild: Rebuild, key: tuple[str, ...]) -> Shape:
    """Make the table beside the old one; its shape."""
    changes: list[Change] = [AddColumn(column) for column in rebuild.columns]
    made = change(cursor, Shape(rebuild.side), [*changes, SetKey(key)] if key else changes)
    cursor.execute(rebuilding.know_deletions(rebuild))
    return made


def touch(cursor: duckdb.DuckDBPyConnection, side: str) -> None:
    """Remember that somebody is at it."""
    cursor.execute("DELETE FROM catchment.staged WHERE side = $1", [side])
    cursor.execute("INSERT INTO catchment.staged VALUES ($1, '', now())", [side])


def missing(cursor: duckdb.DuckDBPyConnection, rebuild: Rebuild, without: Sequence[str]) -> tuple[str, ...]:
    """Batches of the table that the new one does not have, but for those it can't have."""
    found = {batch for (batch,) in cursor.execute(rebuilding.missing(rebuild)).fetchall()}
    return tuple(sorted(found - set(without)))


def replace(
    cursor: duckdb.DuckDBPyConnection,
    rebuild: Rebuild,
    shapes: tuple[Shape, Shape],
    noted: Sequence[SchemaChange],
    *,
    drops_others: bool,
) -> Rebuilt:
    """Put the new rows in the place of the old ones; `shapes` are the old and the new table's."""
    old, new = shapes
    others = _number(cursor, rebuilding.others(rebuild, is_keyed=bool(old.key)))
    if others and not drops_others:
        return Rebuilt(others=others)
    # Columns first: DuckDB deletes from an altered table, and does not alter one that was deleted from.
    for column in rebuilding.retyped(old, new):
        _alter(cursor, old.table, f"ALTER COLUMN {name(column.name)} SET DATA TYPE {TYPES[column.type]} USING NULL")
        cursor.execute(
            "UPDATE catchment.columns SET type = $3 WHERE table_name = $1 AND field = $2",
            [old.table, column.field, column.type],
        )
    for column in rebuilding.dropped(old, new, rebuild):
        _alter(cursor, old.table, f"DROP COLUMN {name(column.name)}")
        cursor.execute("DELETE FROM catchment.columns WHERE table_name = $1 AND field = $2", [old.table, column.field])
    cursor.execute(f"DELETE FROM {table_name(old.table)}")
    rows = _number(cursor, rebuilding.replace_rows(rebuild, new, rebuilding.pairs(old, new)))
    for statement in (*rebuilding.take_over(rebuild), *_forget_key(rebuild.side)):
        cursor.execute(statement)
    for change_noted in noted:
        cursor.execute(sql.NOTE, msgspec.structs.asdict(change_noted))
    return Rebuilt(rows=rows, others=others, is_done=True)


def drop_abandoned(cursor: duckdb.DuckDBPyConnection) -> list[str]:
    """Drop what was begun and given up; the tables' names."""
    rows = cursor.execute(
        "SELECT s.side FROM catchment.staged s LEFT JOIN catchment.ledger l ON l.table_name = s.side "
        "WHERE s.side LIKE 'catchment.rebuild\\_%' ESCAPE '\\' GROUP BY s.side "
        f"HAVING greatest(max(s.staged_at), max(l.loaded_at)) < now() - INTERVAL {ABANDONED_DAYS} DAYS"
    ).fetchall()
    sides = [str(side) for (side,) in rows]
    for side in sides:
        for statement in (*rebuilding.forget(side), *_forget_key(side)):
            cursor.execute(statement)
    return sides


def _forget_key(side: str) -> tuple[str, ...]:
    return (f"DELETE FROM catchment.keys WHERE table_name = '{side}'",)


def _alter(cursor: duckdb.DuckDBPyConnection, table: str, what: str) -> None:
    try:
        cursor.execute(f"ALTER TABLE {table_name(table)} {what}")
    except (duckdb.DependencyException, duckdb.CatalogException) as error:
        raise UsageError(
            f"a column of {table} can't change: {str(error).splitlines()[0]}", "drop what uses it, and make it again"
        ) from None


def _number(cursor: duckdb.DuckDBPyConnection, statement: str) -> int:
    row: tuple[Any, ...] | None = cursor.execute(statement).fetchone()
    return int(row[0]) if row else 0
