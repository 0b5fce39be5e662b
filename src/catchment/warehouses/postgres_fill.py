"""Filling columns of rows that are there, in PostgreSQL: values are gathered in a side table by COPY, then put in
place by one UPDATE.

All within the transaction of its caller, under the side table's lock, and for `put` the table's as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from catchment.warehouses import Fill, Filled, Rows
from catchment.warehouses import postgres_sql as sql
from catchment.warehouses.postgres_connections import Connection
from catchment.warehouses.postgres_shapes import lock
from catchment.warehouses.postgres_staging import CSV, Staging, as_copied, piped
from catchment.warehouses.quoting import name, table_name, text
from catchment.warehouses.record_files import NEW, read_files
from catchment.warehouses.shape import Shape

ABANDONED_DAYS = 7
"""A fill that nobody went on with for so long is none any more."""

WORK_MEM = "128MB"
"""For the one join of a table with all that was gathered for it."""

_PLACE = ("_received_at", "_id", "_source")
"""What tells a row; a time first, as in `postgres_sql.META`."""


def staged(connection: Connection, fill: Fill) -> frozenset[str]:
    """The files whose values the side table has; with "" among them where there is one."""
    rows = connection.execute("SELECT file FROM catchment.staged WHERE side = %s", [fill.side]).fetchall()
    return frozenset(file for (file,) in rows)


def stage(connection: Connection, staging: Staging, fill: Fill, names: Sequence[str], rows: Sequence[Rows]) -> None:
    """Add the values of these rows."""
    lock(connection, [fill.side])
    if names and staged(connection, fill).issuperset(names):
        return
    columns = "".join(f", c{at} {sql.TYPES[column.type]}" for at, column in enumerate(fill.columns))
    connection.execute(
        f'CREATE TABLE IF NOT EXISTS {_side(fill)} (_received_at timestamptz, _id text COLLATE "C", '
        f'_source text COLLATE "C", is_left boolean{columns}) WITH (autovacuum_enabled = false)'
    )
    for some in rows:
        if some.count:
            _gather(connection, staging, fill, some)
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO catchment.staged VALUES (%s, %s, now()) ON CONFLICT (side, file) DO UPDATE "
            "SET staged_at = now()",
            [(fill.side, file) for file in (*names, "")],
        )


def put(connection: Connection, fill: Fill) -> Filled:
    """Put what was gathered in place and drop the side table."""
    if not staged(connection, fill):
        return Filled(0, 0)
    connection.execute(f"SET LOCAL work_mem = '{WORK_MEM}'")
    left = _number(connection, _left(fill)) + _settle(connection, fill)
    filled = connection.execute(_put(fill)).rowcount
    drop(connection, fill.side)
    return Filled(filled, left)


def drop(connection: Connection, side: str) -> None:
    """Drop a side table, and forget which files it had."""
    connection.execute(f"DROP TABLE IF EXISTS catchment.{name(side)}")
    connection.execute("DELETE FROM catchment.staged WHERE side = %s", [side])


def drop_abandoned(connection: Connection) -> None:
    """Drop the side tables of fills that were begun and given up."""
    abandoned = (
        "SELECT side FROM catchment.staged WHERE side LIKE 'fill\\_%' GROUP BY side "
        f"HAVING max(staged_at) < now() - interval '{ABANDONED_DAYS} days'"
    )
    found = {side for (side,) in connection.execute(abandoned).fetchall()}
    if found:
        lock(connection, found)
        for (side,) in connection.execute(abandoned).fetchall():  # somebody may have gone on meanwhile
            if side in found:
                drop(connection, side)


def _gather(connection: Connection, staging: Staging, fill: Fill, rows: Rows) -> None:
    shape = Shape(fill.table, 1, fill.columns)
    values = [as_copied(column, prepared=rows.prepared) for column in fill.columns]
    left = f"{NEW}.rescued IS NOT NULL" if rows.prepared else "false"
    has_any = " OR ".join([left, *(f"{value} IS NOT NULL" for value in values)])
    named = "".join(f", {value}" for value in values)
    with staging.files(rows) as paths:
        selected = (
            f"SELECT {NEW}.received_at, {NEW}.id, {NEW}.source, {left}{named} "
            f"FROM {read_files(paths, shape, prepared=rows.prepared)} {NEW} WHERE {has_any}"
        )
        with (
            piped(staging.cursor(), selected) as pieces,
            connection.cursor().copy(f"COPY {_side(fill)} FROM STDIN (FORMAT csv, {CSV})") as copy,
        ):
            for piece in pieces:
                copy.write(piece)


def _left(fill: Fill) -> str:
    """How many rows have a value that no column takes."""
    rows = f"{table_name(fill.table)} AS t JOIN {_side(fill)} AS s ON {_same('s')}"
    return f"SELECT count(DISTINCT t.ctid) FROM {rows} WHERE s.is_left"


def _settle(connection: Connection, fill: Fill) -> int:
    """Take what was gathered twice, with different values for one row, out of the side table; how many rows those
    are. Of values that are the same any may be taken."""
    place = ", ".join(_PLACE)
    connection.execute(
        f"CREATE TEMP TABLE doubled ON COMMIT DROP AS SELECT {place} FROM {_side(fill)} GROUP BY {place} "
        "HAVING count(*) > 1"
    )
    values = ", ".join(
        f"CASE WHEN t.{name(column.name)} IS NULL THEN s.c{at} END" for at, column in enumerate(fill.columns)
    )
    same = " AND ".join(f"s.{column} = d.{column}" for column in _PLACE)
    connection.execute(
        f"CREATE TEMP TABLE differing ON COMMIT DROP AS SELECT {', '.join(f'd.{column}' for column in _PLACE)} "
        f"FROM doubled AS d JOIN {_side(fill)} AS s ON {same} JOIN {table_name(fill.table)} AS t ON {_same('s')} "
        f"GROUP BY d._received_at, d._id, d._source, t.ctid HAVING count(DISTINCT ROW({values})) > 1"
    )
    differing = _number(connection, "SELECT count(*) FROM differing")
    if differing:
        connection.execute(f"DELETE FROM {_side(fill)} AS s USING differing AS d WHERE {same}")
    return differing


def _put(fill: Fill) -> str:
    """Each value where there is none, and its field out of `_rescued`, which becomes null with its last one. In one
    statement: a row that somebody has changed meanwhile is looked at again as it is then."""
    columns = [name(column.name) for column in fill.columns]
    gets = [f"t.{column} IS NULL AND s.c{at} IS NOT NULL" for at, column in enumerate(columns)]
    values = ", ".join(f"{column} = coalesce(t.{column}, s.c{at})" for at, column in enumerate(columns))
    found = ", ".join(
        f"CASE WHEN {got} THEN {text(column.field)} END" for got, column in zip(gets, fill.columns, strict=True)
    )
    return (
        f"UPDATE {table_name(fill.table)} AS t SET {values}, "
        f"_rescued = nullif(t._rescued - ARRAY[{found}]::text[], '{{}}'::jsonb) "
        f"FROM {_side(fill)} AS s WHERE {_same('s')} AND ({' OR '.join(gets)})"
    )


def _same(other: str) -> str:
    return " AND ".join(f"t.{column} = {other}.{column}" for column in _PLACE)


def _side(fill: Fill) -> str:
    return f"catchment.{name(fill.side)}"


def _number(connection: Connection, statement: str) -> int:
    [(number,)] = connection.execute(statement).fetchall()
    return int(number)
