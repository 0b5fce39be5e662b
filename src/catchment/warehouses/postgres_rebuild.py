"""A table of PostgreSQL built anew beside the old one, and put in its place, within the transaction of the caller and
under both tables' locks.

The rows are replaced rather than the table, since views, grants and indexes hang on the table itself. Readers go on,
and see all the old rows or all the new ones; only columns that change their type or go shut them out for the moment.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import psycopg

from catchment.errors import Retry, UsageError
from catchment.warehouses import Rebuild, Rebuilt, SchemaChange, rebuilding
from catchment.warehouses import postgres_sql as sql
from catchment.warehouses.postgres_connections import Connection
from catchment.warehouses.postgres_fill import WORK_MEM
from catchment.warehouses.postgres_shapes import DDL_PATIENCE_S, change, drop_views, lock, next_version
from catchment.warehouses.quoting import name, table_name
from catchment.warehouses.shape import AddColumn, Change, SetKey, Shape

ABANDONED_DAYS = 7


def begin(connection: Connection, rebuild: Rebuild, key: tuple[str, ...], *, is_there: bool) -> None:
    """Make the table beside the old one, or go on with it, and remember that somebody is at it."""
    if not is_there:
        changes: list[Change] = [AddColumn(column) for column in rebuild.columns]
        change(connection, Shape(rebuild.side), [*changes, SetKey(key)] if key else changes, ())
        connection.execute(rebuilding.know_deletions(rebuild))
    connection.execute(
        "INSERT INTO catchment.staged VALUES (%s, '', now()) ON CONFLICT (side, file) DO UPDATE SET staged_at = now()",
        [rebuild.side],
    )


def missing(connection: Connection, rebuild: Rebuild, without: Sequence[str]) -> tuple[str, ...]:
    """Batches of the table that the new one does not have, but for those it can't have."""
    found = {batch for (batch,) in connection.execute(rebuilding.missing(rebuild)).fetchall()}
    return tuple(sorted(found - set(without)))


def hold_back(connection: Connection, table: str) -> None:
    """Let others' loads of the table wait for a while."""
    until = f"now() + interval '{rebuilding.HELD_BACK_S} s'"
    connection.execute(f"UPDATE catchment.tables SET held_until = {until} WHERE table_name = %s", [table])


def replace(
    connection: Connection,
    rebuild: Rebuild,
    shapes: tuple[Shape, Shape],
    noted: Sequence[SchemaChange],
    *,
    drops_others: bool,
) -> Rebuilt:
    """Put the new rows in the place of the old ones; `shapes` are the old and the new table's."""
    old, new = shapes
    connection.execute(f"SET LOCAL work_mem = '{WORK_MEM}'")
    # Others' writers wait: what they would write between two statements would be lost, or stay.
    connection.execute(f"LOCK TABLE {table_name(old.table)} IN SHARE ROW EXCLUSIVE MODE")
    [(others,)] = connection.execute(rebuilding.others(rebuild, is_keyed=bool(old.key))).fetchall()
    if others and not drops_others:
        return Rebuilt(others=others)
    connection.execute(f"DELETE FROM {table_name(old.table)}")
    if rebuilding.after(old, new, rebuild) != old:
        _change_columns(connection, rebuild, old, new)
    rows = connection.execute(rebuilding.replace_rows(rebuild, new, rebuilding.pairs(old, new))).rowcount
    for statement in rebuilding.take_over(rebuild):
        connection.execute(statement)
    connection.execute("DELETE FROM catchment.tables WHERE table_name = %s", [rebuild.side])
    connection.execute("UPDATE catchment.tables SET held_until = NULL WHERE table_name = %s", [old.table])
    for each in noted:
        connection.execute(sql.NOTE, msgspec.structs.asdict(each))
    return Rebuilt(rows=rows, others=others, is_done=True)


def _change_columns(connection: Connection, rebuild: Rebuild, old: Shape, new: Shape) -> None:
    retyped, dropped = rebuilding.retyped(old, new), rebuilding.dropped(old, new, rebuild)
    drop_views(connection, "table_name", old.table)  # those of ours, which are made again
    what = [f"ALTER COLUMN {name(c.name)} TYPE {sql.TYPES[c.type]} USING NULL" for c in retyped]
    what += [f"DROP COLUMN {name(column.name)}" for column in dropped]
    connection.execute(f"SET LOCAL lock_timeout = '{DDL_PATIENCE_S}s'")
    try:
        connection.execute(f"ALTER TABLE {table_name(old.table)} {', '.join(what)}")
    except psycopg.errors.LockNotAvailable:
        raise Retry(
            f"{old.table} is in use by others, so its columns cannot change now", "end what has it open for long"
        ) from None
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.DependentObjectsStillExist) as error:
        said = error.diag.message_detail or error.diag.message_primary or ""
        raise UsageError(
            f"columns of {old.table} are to change, and others use them: {said.splitlines()[0] if said else ''}",
            "drop what uses them, and make it again afterwards",
        ) from None
    for column in retyped:
        connection.execute(
            "UPDATE catchment.columns SET type = %s WHERE table_name = %s AND field = %s",
            [column.type, old.table, column.field],
        )
    for column in dropped:
        connection.execute(
            "DELETE FROM catchment.columns WHERE table_name = %s AND field = %s", [old.table, column.field]
        )
    connection.execute(
        "UPDATE catchment.tables SET shape_version = %s WHERE table_name = %s",
        [next_version(rebuilding.after(old, new, rebuild)), old.table],
    )


def drop_abandoned(connection: Connection) -> None:
    """Drop what was begun and given up."""
    abandoned = (
        "SELECT s.side FROM catchment.staged s LEFT JOIN catchment.ledger l ON l.table_name = s.side "
        "WHERE s.side LIKE 'catchment.rebuild\\_%' GROUP BY s.side "
        f"HAVING greatest(max(s.staged_at), max(l.loaded_at)) < now() - interval '{ABANDONED_DAYS} days'"
    )
    found = {side for (side,) in connection.execute(abandoned).fetchall()}
    if found:
        lock(connection, found)
        for (side,) in connection.execute(abandoned).fetchall():  # somebody may have gone on meanwhile
            if side in found:
                for statement in rebuilding.forget(side):
                    connection.execute(statement)
                connection.execute("DELETE FROM catchment.tables WHERE table_name = %s", [side])
