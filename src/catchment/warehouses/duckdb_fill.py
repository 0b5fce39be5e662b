"""Filling columns of rows that are there: values are gathered in a side table, then put in place all at once."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from catchment.errors import StorageError
from catchment.warehouses import Fill, Filled, Rows
from catchment.warehouses import duckdb_sql as sql
from catchment.warehouses.duckdb_load import files_of
from catchment.warehouses.quoting import name, table_name, text
from catchment.warehouses.record_files import NEW, TYPES, read_files
from catchment.warehouses.shape import Shape

ABANDONED_DAYS = 7
"""A fill that nobody went on with for so long is none any more."""

_CHUNK = 20_000
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def staged(cursor: duckdb.DuckDBPyConnection, fill: Fill) -> frozenset[str]:
    """The files whose values the side table has."""
    rows = cursor.execute("SELECT file FROM catchment.staged WHERE side = $1", [fill.side]).fetchall()
    return frozenset(file for (file,) in rows)


def stage(
    cursor: duckdb.DuckDBPyConnection, fill: Fill, names: Sequence[str], rows: Sequence[Rows], *, tmp: Path
) -> None:
    """Add the values of these rows, within the transaction that the cursor is in."""
    if names and staged(cursor, fill).issuperset(names):
        return
    columns = [("_source", "VARCHAR"), ("_id", "VARCHAR"), ("_received_at", "TIMESTAMPTZ"), ("is_left", "BOOLEAN")]
    columns += [(f"c{at}", TYPES[column.type]) for at, column in enumerate(fill.columns)]
    # To compress what is read once would take a third of the time.
    made = ", ".join(f"{column} {kind} USING COMPRESSION uncompressed" for column, kind in columns)
    cursor.execute(f"CREATE TABLE IF NOT EXISTS {_side(fill)} ({made})")
    for some in rows:
        if some.count:
            with files_of(some, tmp) as paths:
                cursor.execute(_gather(fill, paths, prepared=some.prepared))
    cursor.executemany(
        "INSERT INTO catchment.staged VALUES ($1, $2, now())", [(fill.side, name) for name in (*names, "")]
    )


def put(cursor: duckdb.DuckDBPyConnection, fill: Fill, *, tmp: Path) -> Filled:
    """Put what was gathered in place and drop the side table, within the transaction that the cursor is in."""
    if not staged(cursor, fill):
        return Filled(0, 0)
    rescued = _rescued(cursor, fill)
    if not rescued.mixed and _is_plain(cursor, fill):
        filled = _number(cursor, _put_plain(fill, empties=rescued.alone > 0))
        drop(cursor, fill.side)
        return Filled(filled, 0)
    cursor.execute(_found(fill))
    left = _number(cursor, "SELECT count(DISTINCT place) FROM filling WHERE is_left")
    doubled = _number(cursor, "SELECT count(*) - count(DISTINCT place) FROM filling")
    if doubled:
        left += _settle(cursor, fill)
    filled = _number(cursor, f"SELECT count(*) FROM filling WHERE {_got_any(fill)}")
    if filled:
        cursor.execute(_rescuing(fill))
        _put_rest(cursor, fill, tmp)
        cursor.execute(_put_values(fill, empties=_number(cursor, "SELECT count(*) FROM rescuing WHERE is_empty") > 0))
        cursor.execute("DROP TABLE rescuing")
    cursor.execute("DROP TABLE filling")
    drop(cursor, fill.side)
    return Filled(filled, left)


def drop(cursor: duckdb.DuckDBPyConnection, side: str) -> None:
    """Drop a side table, and forget which files it had."""
    cursor.execute(f"DROP TABLE IF EXISTS catchment.{name(side)}")
    cursor.execute("DELETE FROM catchment.staged WHERE side = $1", [side])


def drop_abandoned(cursor: duckdb.DuckDBPyConnection) -> None:
    """Drop the side tables of fills that were begun and given up."""
    rows = cursor.execute(
        "SELECT side FROM catchment.staged WHERE starts_with(side, 'fill_') GROUP BY side "
        f"HAVING max(staged_at) < now() - INTERVAL {ABANDONED_DAYS} DAYS"
    ).fetchall()
    for (side,) in rows:
        drop(cursor, side)


def _gather(fill: Fill, paths: Sequence[str], *, prepared: bool) -> str:
    shape = Shape(fill.table, 1, fill.columns)
    values = [sql.read_value(column, prepared=prepared) for column in fill.columns]
    left = f"{NEW}.rescued IS NOT NULL" if prepared else "false"
    has_any = " OR ".join([left, *(f"{value} IS NOT NULL" for value in values)])
    named = "".join(f", {value} AS c{at}" for at, value in enumerate(values))
    return (
        f"INSERT INTO {_side(fill)} SELECT {NEW}.source, {NEW}.id, {NEW}.received_at, {left}{named} "
        f"FROM {read_files(paths, shape, prepared=prepared)} {NEW} WHERE {has_any}"
    )


@dataclass(frozen=True, slots=True)
class _Rescued:
    """How many rows have some of the fields in `_rescued`."""

    alone: int
    """And nothing else there."""
    mixed: int


def _rescued(cursor: duckdb.DuckDBPyConnection, fill: Fill) -> _Rescued:
    fields = f"[{', '.join(text(column.field) for column in fill.columns)}]"
    row = cursor.execute(
        "SELECT count(*) FILTER (len(keys) = 1), count(*) FILTER (len(keys) > 1) FROM ("
        f"SELECT json_keys(_rescued) AS keys FROM {table_name(fill.table)} WHERE _rescued IS NOT NULL) "
        f"WHERE list_has_any(keys, {fields})"
    ).fetchone()
    return _Rescued(*row) if row else _Rescued(0, 0)


def _is_plain(cursor: duckdb.DuckDBPyConnection, fill: Fill) -> bool:
    """Whether each row has one record gathered for it, and all its values. Equal hashes count as two records of a row,
    which costs time and nothing else."""
    row = cursor.execute(
        "SELECT count(*) FILTER (is_left), count(*) - count(DISTINCT hash(_id, _source, _received_at)) "
        f"FROM {_side(fill)}"
    ).fetchone()
    return row == (0, 0)


def _put_plain(fill: Fill, *, empties: bool) -> str:
    """Values in place by one statement, and null for a `_rescued` whose one field is in place."""
    columns = [name(column.name) for column in fill.columns]
    gets = [f"{sql.OLD}.{column} IS NULL AND s.c{at} IS NOT NULL" for at, column in enumerate(columns)]
    values = [f"{column} = coalesce({sql.OLD}.{column}, s.c{at})" for at, column in enumerate(columns)]
    if empties:
        key = f"json_keys({sql.OLD}._rescued)[1]"
        found = " OR ".join(
            f"{got} AND {key} = {text(column.field)}" for got, column in zip(gets, fill.columns, strict=True)
        )
        alone = f"{sql.OLD}._rescued IS NOT NULL AND len(json_keys({sql.OLD}._rescued)) = 1 AND ({found})"
        values.append(f"_rescued = CASE WHEN {alone} THEN NULL ELSE {sql.OLD}._rescued END")
    return (
        f"UPDATE {table_name(fill.table)} {sql.OLD} SET {', '.join(values)} FROM {_side(fill)} s "
        f"WHERE {_same()} AND ({' OR '.join(gets)})"
    )


def _same() -> str:
    return " AND ".join(f"{sql.OLD}.{column} = s.{column}" for column in ("_id", "_source", "_received_at"))


def _found(fill: Fill) -> str:
    """The rows of the table that values were gathered for, with what each is to get, and its `_rescued` where a
    field has to go out of it."""
    values = ", ".join(
        f"CASE WHEN {sql.OLD}.{name(column.name)} IS NULL THEN s.c{at} END AS c{at}"
        for at, column in enumerate(fill.columns)
    )
    return (
        f"CREATE OR REPLACE TEMP TABLE filling AS SELECT {sql.OLD}.rowid AS place, s.is_left, "
        f"{sql.OLD}._rescued AS rescued, {values} FROM {table_name(fill.table)} {sql.OLD} JOIN {_side(fill)} s "
        f"ON {_same()}"
    )


def _settle(cursor: duckdb.DuckDBPyConnection, fill: Fill) -> int:
    """Leave one of each row's values where they are the same, and none where they differ; how many those are."""
    row = f"row({', '.join(f'c{at}' for at in range(len(fill.columns)))})"
    differ = _number(
        cursor, f"SELECT count(*) FROM (SELECT place FROM filling GROUP BY place HAVING count(DISTINCT {row}) > 1)"
    )
    values = ", ".join(f"any_value(c{at}) AS c{at}" for at in range(len(fill.columns)))
    cursor.execute(
        f"CREATE TEMP TABLE settled AS SELECT place, any_value(rescued) AS rescued, {values} FROM filling "
        f"GROUP BY place HAVING count(DISTINCT {row}) = 1"
    )
    cursor.execute("DROP TABLE filling")
    cursor.execute("ALTER TABLE settled RENAME TO filling")
    return differ


def _rescuing(fill: Fill) -> str:
    """The same, with the fields of `_rescued` that found their place, and whether they were all it had."""
    hits = [f"c{at} IS NOT NULL AND list_contains(keys, {text(c.field)})" for at, c in enumerate(fill.columns)]
    named = "".join(f", c{at}" for at in range(len(fill.columns)))
    held = "".join(f", {hit} AS h{at}" for at, hit in enumerate(hits))
    count = " + ".join(f"coalesce(h{at}, false)::BIGINT" for at in range(len(fill.columns)))
    return (
        "CREATE OR REPLACE TEMP TABLE rescuing AS SELECT *, held = len(keys) AND held > 0 AS is_empty FROM ("
        f"SELECT *, {count} AS held FROM (SELECT place, keys{named}{held} FROM ("
        f"SELECT place{named}, json_keys(rescued) AS keys FROM filling WHERE {_got_any(fill)})))"
    )


def _put_values(fill: Fill, *, empties: bool) -> str:
    """Values in place, and null for a `_rescued` that has nothing left."""
    values = [
        f"{name(column.name)} = coalesce({sql.OLD}.{name(column.name)}, rescuing.c{at})"
        for at, column in enumerate(fill.columns)
    ]
    if empties:
        values.append(f"_rescued = CASE WHEN rescuing.is_empty THEN NULL ELSE {sql.OLD}._rescued END")
    return (
        f"UPDATE {table_name(fill.table)} {sql.OLD} SET {', '.join(values)} FROM rescuing "
        f"WHERE {sql.OLD}.rowid = rescuing.place"
    )


def _put_rest(cursor: duckdb.DuckDBPyConnection, fill: Fill, tmp: Path) -> None:
    """Take the fields that found their place out of a `_rescued` that has others. These keep their text, which
    DuckDB's functions would not leave as it is: so the object is written once more here."""
    path = tmp / f"{secrets.token_hex(8)}.ndjson"
    try:
        if _write_rest(cursor, fill, path):
            columns = "{'place': 'BIGINT', 'rest': 'VARCHAR'}"
            cursor.execute(
                f"UPDATE {table_name(fill.table)} {sql.OLD} SET _rescued = lesser.rest::JSON "
                f"FROM read_json({text(str(path))}, format = 'newline_delimited', columns = {columns}) lesser "
                f"WHERE {sql.OLD}.rowid = lesser.place"
            )
    finally:
        path.unlink(missing_ok=True)


def _write_rest(cursor: duckdb.DuckDBPyConnection, fill: Fill, path: Path) -> bool:
    """Whether there are rows with more in `_rescued` than what found its place; the rest of each, to `path`."""
    held = ", ".join(f"CASE WHEN h{at} THEN {text(c.field)} END" for at, c in enumerate(fill.columns))
    found = cursor.execute(
        f"SELECT place, rescued::VARCHAR, [{held}] FROM rescuing JOIN filling USING (place) "
        "WHERE held > 0 AND NOT is_empty"
    )
    is_any = False
    try:
        with path.open("wb") as file:
            while rows := found.fetchmany(_CHUNK):
                is_any = True
                file.write(b"\n".join([_rest(*row) for row in rows]) + b"\n")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}", "free some space") from None
    return is_any


def _rest(place: int, rescued: str, held: Sequence[str | None]) -> bytes:
    fields = _decode(rescued)
    for field in filter(None, held):
        fields.pop(field, None)
    return _encode({"place": place, "rest": _encode(fields).decode()})


def _got_any(fill: Fill) -> str:
    return " OR ".join(f"c{at} IS NOT NULL" for at in range(len(fill.columns)))


def _side(fill: Fill) -> str:
    return f"catchment.{name(fill.side)}"


def _number(cursor: duckdb.DuckDBPyConnection, statement: str) -> int:
    row: tuple[Any, ...] | None = cursor.execute(statement).fetchone()
    return int(row[0]) if row else 0
