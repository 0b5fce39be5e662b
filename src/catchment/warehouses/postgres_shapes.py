"""Our own tables in PostgreSQL, and the shapes of the loaded ones: read, and changed as a batch wants.

All within the transaction of its caller, under the lock of the table concerned.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import psycopg

from catchment.errors import CannotWiden, Malformed, Retry, StorageError
from catchment.log import get_log
from catchment.record import CORRECTIONS, DEAD_LETTERS
from catchment.warehouses import postgres_sql as sql
from catchment.warehouses.postgres_connections import LOCK_TIMEOUT_S, Connection
from catchment.warehouses.quoting import name, table_name
from catchment.warehouses.shape import MAX_EXACT_INTEGER, AddColumn, Change, Column, SetKey, Shape, Widen

_log = get_log("warehouse")

DEAD_LETTER_FIELDS = ("table_name", "reason", "detail", "origin", "record_source", "record_id", "bytes")
CORRECTION_FIELDS = ("dead_letter", "outcome", "table_name", "record_source", "record_id")
_OWN_COLUMNS = {
    own: tuple(Column(field, field, "varchar") for field in fields)
    for own, fields in ((DEAD_LETTERS, DEAD_LETTER_FIELDS), (CORRECTIONS, CORRECTION_FIELDS))
}

DDL_PATIENCE_S = 5
"""So long a change of columns waits for those who read the table: all who come after it wait behind it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A table as it stands in this transaction."""

    shape: Shape
    has_early: bool = False
    """Whether `catchment.early` points at rows of it."""
    content: str = ""
    """The version of its content, as others left it."""
    is_held: bool = False
    """Whether loads of it wait, since it is being built anew."""


def make_own_tables(connection: Connection) -> None:
    """Make what is not there yet, also in a warehouse of an older format. Raises `StorageError` for one that a newer
    Catchment has written."""
    lock(connection, [sql.OWN_LOCK])
    found = _format(connection)
    if found is None or found < sql.FORMAT_VERSION:
        connection.execute(sql.OWN_TABLES)
        connection.execute("DELETE FROM catchment.format")
        connection.execute("INSERT INTO catchment.format VALUES (%s)", [sql.FORMAT_VERSION])


def _format(connection: Connection) -> int | None:
    [(exists,)] = connection.execute("SELECT to_regclass('catchment.format') IS NOT NULL").fetchall()
    row = connection.execute("SELECT max(version) FROM catchment.format").fetchone() if exists else None
    version: int | None = row[0] if row else None
    if version is not None and version > sql.FORMAT_VERSION:
        raise StorageError(
            f"the warehouse has format {version}; this Catchment knows {sql.FORMAT_VERSION}",
            "install the Catchment that wrote it, or a newer one",
        )
    return version


def lock(connection: Connection, of: Iterable[str]) -> None:
    """Take advisory locks until the transaction ends, the lowest number first.

    READ COMMITTED is what makes them enough: each statement sees what was committed when it began, so the first one
    after the lock sees all that its last holder has written, as PostgreSQL makes a commit visible before it lets go
    of the locks. At REPEATABLE READ the snapshot would be that of the statement that waited for the lock.
    """
    numbers = sorted({sql.lock_key(each) for each in of})
    connection.execute(sql.LOCK, [numbers])


def standing(connection: Connection, tables: Sequence[str], known: Mapping[str, Shape]) -> dict[str, Standing]:
    """Tables as they are now. The columns of a shape that is `known` at its present version are not read again."""
    found = {table: rest for table, *rest in connection.execute(sql.TABLES, [list(tables)]).fetchall()}
    changed = [table for table, (version, *_) in found.items() if _version(known, table) != version]
    columns = _columns(connection, changed)
    stand = {table: Standing(Shape(table)) for table in tables}
    for table, (version, key, content, has_early, is_held) in found.items():
        shape = (
            Shape(table, version, _OWN_COLUMNS.get(table) or tuple(columns[table]), tuple(key or ()))
            if table in changed
            else known[table]
        )
        stand[table] = Standing(shape, has_early, content, is_held)
    return stand


def _version(known: Mapping[str, Shape], table: str) -> int:
    return known[table].version if table in known else 0


def _columns(connection: Connection, tables: Sequence[str]) -> defaultdict[str, list[Column]]:
    columns: defaultdict[str, list[Column]] = defaultdict(list)
    if tables:
        for table, field, column, kind in connection.execute(sql.COLUMNS, [list(tables)]).fetchall():
            columns[table].append(Column(field, column, kind))
    return columns


def change(connection: Connection, shape: Shape, changes: Sequence[Change], grant_select_to: Sequence[str]) -> Shape:
    """Make the changes; the shape that the table has then.

    Raises `CannotWiden`, `Malformed` for a name that PostgreSQL keeps for itself, and `Retry` while somebody reads
    the table for longer than `DDL_PATIENCE_S`.
    """
    after = shape.after(changes)
    if after == shape:
        return shape
    after = Shape(after.table, next_version(after), after.columns, after.key)
    connection.execute(f"SET LOCAL lock_timeout = '{DDL_PATIENCE_S}s'")
    try:
        if shape.version == 0:
            _create(connection, after, grant_select_to)
        else:
            _alter(connection, shape, changes)
    except psycopg.errors.LockNotAvailable:
        raise Retry(
            f"{shape.table} is in use by others, so its columns cannot change now", "end what has it open for long"
        ) from None
    connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
    connection.execute(
        "UPDATE catchment.tables SET shape_version = %s, key_fields = %s WHERE table_name = %s",
        [after.version, list(after.key) or None, after.table],
    )
    return after


def next_version(changed: Shape) -> int:
    """The version of a shape that was changed: beyond any that the table ever had, also beyond those of a warehouse
    that was put back to its backup since."""
    return max(changed.version, time.time_ns() // 1_000_000)


def _create(connection: Connection, shape: Shape, grant_select_to: Sequence[str]) -> None:
    schema = shape.table.partition(".")[0]
    if schema.startswith("pg_") or schema == "information_schema":
        raise Malformed("not-loadable", f"PostgreSQL keeps the schema {schema} for itself")
    _create_schema(connection, schema)
    drop_views(connection, "view_name", shape.table)  # a table takes the place of a view of ours
    for statement in sql.create_table(shape):
        connection.execute(statement)
    grant_select(connection, shape.table, grant_select_to)
    # A table that somebody dropped begins anew.
    connection.execute("DELETE FROM catchment.columns WHERE table_name = %s", [shape.table])
    connection.execute(
        "INSERT INTO catchment.tables VALUES (%s, %s, '', NULL) ON CONFLICT DO NOTHING", [shape.table, shape.version]
    )
    _remember(connection, shape.table, shape.columns)


def _create_schema(connection: Connection, schema: str) -> None:
    """Make the schema, unless it is there; others may make tables of it at the same time.

    Under the lock pg_namespace itself is asked: IF NOT EXISTS, as to_regnamespace, looks into a cache, which does not
    hear of others' commits until a table is locked.
    """
    [(exists,)] = connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", [name(schema)]).fetchall()
    if not exists:
        lock(connection, [sql.SCHEMA_LOCK])
        if connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [schema]).fetchone() is None:
            connection.execute(f"CREATE SCHEMA {name(schema)}")


def grant_select(connection: Connection, relation: str, roles: Sequence[str]) -> None:
    """Let these roles read a table or view."""
    for role in _roles(connection, roles):
        connection.execute(f"GRANT USAGE ON SCHEMA {name(relation.partition('.')[0])} TO {name(role)}")
        connection.execute(f"GRANT SELECT ON {table_name(relation)} TO {name(role)}")


def drop_views(connection: Connection, by: Literal["view_name", "table_name"], relation: str) -> None:
    """Drop the views that we have made: the one of that name, or those of that table, whose columns they would hold
    on to."""
    found = connection.execute(f"DELETE FROM catchment.views WHERE {by} = %s RETURNING view_name", [relation])
    for (view,) in found.fetchall():
        connection.execute(f"DROP VIEW IF EXISTS {table_name(view)}")


def _roles(connection: Connection, wanted: Sequence[str]) -> list[str]:
    """Those of the roles that there are: one that was dropped must not stop loading."""
    if not wanted:
        return []
    found = {role for (role,) in connection.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", [wanted])}
    for role in wanted:
        if role not in found:
            _log.warning("grant_select_to names a role that does not exist", role=role)
    return [role for role in wanted if role in found]


def _alter(connection: Connection, shape: Shape, changes: Sequence[Change]) -> None:
    present = {column.field for column in shape.columns}
    added = [c.column for c in changes if isinstance(c, AddColumn) and c.column.field not in present]
    if added:
        connection.execute(sql.add_columns(shape.table, added))
        _remember(connection, shape.table, added)
    for each in changes:
        match each:
            case Widen(column):
                _widen(connection, shape.table, column)
            case SetKey() if each.fields != shape.key:
                raise Retry(f"{shape.table} has no key, and gets none once it is made")


def _widen(connection: Connection, table: str, column: str) -> None:
    quoted = name(column)
    beyond = connection.execute(
        f"SELECT 1 FROM {table_name(table)} "
        f"WHERE {quoted} > {MAX_EXACT_INTEGER} OR {quoted} < -{MAX_EXACT_INTEGER} LIMIT 1"
    ).fetchone()
    if beyond:
        raise CannotWiden(table, column)
    try:
        drop_views(connection, "table_name", table)
        connection.execute(sql.widen(table, column))
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.DependentObjectsStillExist):
        # Somebody's view uses the column: the fraction is rescued for good.
        _log.warning("a column cannot become double precision, since views use it", table=table, column=column)
        raise CannotWiden(table, column) from None
    connection.execute(
        "UPDATE catchment.columns SET type = 'double' WHERE table_name = %s AND column_name = %s", [table, column]
    )


def _remember(connection: Connection, table: str, columns: Sequence[Column]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO catchment.columns (table_name, field, column_name, type) VALUES (%s, %s, %s, %s)",
            [(table, column.field, column.name, column.type) for column in columns],
        )
