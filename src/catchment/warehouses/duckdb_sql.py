"""The SQL that the DuckDB warehouse runs: its own tables, and the statements that load a batch.

Identifiers are quoted by `name`, texts by `text`; values travel as parameters wherever DuckDB allows them.
"""

from __future__ import annotations

from datetime import datetime

from catchment.warehouses import LatestView
from catchment.warehouses.quoting import name, table_name, text
from catchment.warehouses.record_files import NEW, TYPES, strict_moment, value
from catchment.warehouses.shape import Column, Shape

FORMAT_VERSION = 1

OWN_TABLES = """
CREATE SCHEMA IF NOT EXISTS catchment;
CREATE TABLE IF NOT EXISTS catchment.format (version INTEGER NOT NULL);
-- One row a batch loaded, written with its rows. No index: names sort by time, so zone maps find them.
CREATE TABLE IF NOT EXISTS catchment.ledger (
    batch VARCHAR NOT NULL, batch_id VARCHAR NOT NULL, table_name VARCHAR NOT NULL, records BIGINT NOT NULL,
    inserted BIGINT, duplicates BIGINT, dead BIGINT, first_received_at TIMESTAMPTZ, last_received_at TIMESTAMPTZ,
    loaded_at TIMESTAMPTZ NOT NULL
);
-- The deleted keys of mirrored tables, so that an older version arriving later brings nothing back.
CREATE TABLE IF NOT EXISTS catchment.tombstones (
    table_name VARCHAR NOT NULL, key VARCHAR NOT NULL, version VARCHAR NOT NULL, id VARCHAR NOT NULL
);
-- Rows received before their own not_before (a fast clock): the search by time alone would miss them.
CREATE TABLE IF NOT EXISTS catchment.early (
    table_name VARCHAR NOT NULL, _source VARCHAR NOT NULL, _id VARCHAR NOT NULL, _received_at TIMESTAMPTZ NOT NULL
);
-- Which field is kept in which column; the one mapping, never changed, only added to.
CREATE TABLE IF NOT EXISTS catchment.columns (
    table_name VARCHAR NOT NULL, field VARCHAR NOT NULL, column_name VARCHAR NOT NULL, type VARCHAR NOT NULL
);
CREATE TABLE IF NOT EXISTS catchment.keys (table_name VARCHAR NOT NULL, fields VARCHAR[] NOT NULL);
-- Tables whose loading stopped because too much of them was rejected.
CREATE TABLE IF NOT EXISTS catchment.halts (
    table_name VARCHAR NOT NULL, since TIMESTAMPTZ NOT NULL, reason VARCHAR NOT NULL, resumed_at TIMESTAMPTZ
);
CREATE TABLE IF NOT EXISTS catchment.dead_letters (
    _id VARCHAR, _received_at TIMESTAMPTZ, _source VARCHAR, _batch VARCHAR, _loaded_at TIMESTAMPTZ, _rescued JSON,
    table_name VARCHAR, reason VARCHAR, detail VARCHAR, origin VARCHAR, record_source VARCHAR, record_id VARCHAR,
    bytes VARCHAR
);
-- What `dead-letters retry` and `discard` did, filed through the queue and the archive like any record.
CREATE TABLE IF NOT EXISTS catchment.corrections (
    _id VARCHAR, _received_at TIMESTAMPTZ, _source VARCHAR, _batch VARCHAR, _loaded_at TIMESTAMPTZ, _rescued JSON,
    dead_letter VARCHAR, outcome VARCHAR, table_name VARCHAR, record_source VARCHAR, record_id VARCHAR
);
-- How tables have changed, and which values found no place in them, each told once.
CREATE TABLE IF NOT EXISTS catchment.schema_change (
    changed_at TIMESTAMPTZ NOT NULL, kind VARCHAR NOT NULL, table_name VARCHAR NOT NULL, field VARCHAR NOT NULL,
    column_name VARCHAR NOT NULL, type_before VARCHAR NOT NULL, type_after VARCHAR NOT NULL,
    record_source VARCHAR NOT NULL, record_id VARCHAR NOT NULL, batch VARCHAR NOT NULL
);
-- Of which archive files the values are gathered for filling columns; the side tables go by the fill's name.
CREATE TABLE IF NOT EXISTS catchment.staged (
    side VARCHAR NOT NULL, file VARCHAR NOT NULL, staged_at TIMESTAMPTZ NOT NULL
);
CREATE OR REPLACE VIEW catchment.open_dead_letters AS
    SELECT * FROM catchment.dead_letters d
    WHERE NOT EXISTS (SELECT 1 FROM catchment.corrections c WHERE c.dead_letter = d._id);
"""

DEAD_LETTER_FIELDS = ("table_name", "reason", "detail", "origin", "record_source", "record_id", "bytes")
CORRECTION_FIELDS = ("dead_letter", "outcome", "table_name", "record_source", "record_id")

NOTE = """
INSERT INTO catchment.schema_change
SELECT now(), $kind, $table, $field, $column, $before, $after, $source, $record_id, $batch
WHERE NOT EXISTS (
    SELECT 1 FROM catchment.schema_change
    WHERE table_name = $table AND kind = $kind AND field = $field AND type_after = $after AND $kind <> 'vanished'
)
"""

LEDGER_OF = """
SELECT batch, table_name FROM catchment.ledger
WHERE batch >= $low AND batch <= $high AND batch IN (SELECT unnest($names::VARCHAR[]))
"""

OLD, EARLY = '"old row"', '"early row"'
"""Aliases that no column can have, as `NEW` is."""


def moment(value: datetime) -> str:
    """A TIMESTAMPTZ literal."""
    return f"TIMESTAMPTZ {text(value.isoformat())}"


def create_table(shape: Shape) -> str:
    """A loaded table: metadata first, then the data's columns."""
    meta = (
        "_id VARCHAR NOT NULL, _received_at TIMESTAMPTZ NOT NULL, _source VARCHAR NOT NULL, "
        "_batch VARCHAR, _loaded_at TIMESTAMPTZ, _rescued JSON"
    )
    keyed = ", _version VARCHAR NOT NULL, _key VARCHAR NOT NULL" if shape.key else ""
    columns = "".join(f", {name(column.name)} {TYPES[column.type]}" for column in shape.columns)
    return f"CREATE TABLE {table_name(shape.table)} ({meta}{keyed}{columns})"


def add_column(table: str, column: Column) -> str:
    return f"ALTER TABLE {table_name(table)} ADD COLUMN {name(column.name)} {TYPES[column.type]}"


def widen(table: str, column: str) -> str:
    return f"ALTER TABLE {table_name(table)} ALTER COLUMN {name(column)} SET DATA TYPE DOUBLE"


def latest_view(view: LatestView, shape: Shape) -> str | None:
    """The view of a table of this shape; None while it has no column for the key."""
    columns = {column.field: column for column in shape.columns}
    key, order = columns.get(view.key), columns.get(view.order)
    if key is None:
        return None
    time = f"{OLD}._received_at"
    if order is not None and order.type == "timestamptz":
        time = f"coalesce({OLD}.{name(order.name)}, {time})"
    rank = f"row({time}, {OLD}._received_at, {OLD}._id)"
    latest = "".join(
        f", arg_max({OLD}.{name(column.name)}, {rank}) AS {name(column.name)}"
        for column in shape.columns
        if column.field not in {view.key, *view.without} and column.name != view.key_column
    )
    of_key = f"{OLD}.{name(key.name)}"
    return (
        f"CREATE OR REPLACE VIEW {table_name(view.view)} AS SELECT {of_key} AS {name(view.key_column)}{latest} "
        f"FROM {table_name(view.table)} {OLD} WHERE {of_key} IS NOT NULL GROUP BY {of_key}"
    )


def read_value(column: Column, *, prepared: bool) -> str:
    """A column's value in a row NEW of `read_files`, as the column has it."""
    found = value(column, prepared=prepared)
    return strict_moment(found, f"{found}::TIMESTAMPTZ") if column.type == "timestamptz" else found


def read_columns(shape: Shape, *, prepared: bool) -> str:
    """What to select from `read_files` AS NEW, named as in the loaded table."""
    data = "".join(f", {read_value(column, prepared=prepared)} AS {name(column.name)}" for column in shape.columns)
    keyed = f", {NEW}.version AS _version, {NEW}.key AS _key" if shape.key else ""
    return (
        f"{NEW}.id AS _id, {NEW}.received_at AS _received_at, {NEW}.source AS _source, $batch AS _batch, "
        f"now() AS _loaded_at, {NEW}.rescued AS _rescued{keyed}{data}"
    )


def is_new(table: str, search_from: datetime, *, early: bool, exact: bool) -> str:
    """The condition on a row NEW (source, id) that no copy of it stands in the table.

    `early` says that the table has entries in `catchment.early`; `exact` believes them only where the row they
    point at is there.
    """
    target = table_name(table)
    condition = (
        f"NOT EXISTS (SELECT 1 FROM {target} {OLD} WHERE {OLD}._id = {NEW}.id AND {OLD}._source = {NEW}.source "
        f"AND {OLD}._received_at >= {moment(search_from)})"
    )
    if early:
        row = (
            f" JOIN {target} {OLD} ON {OLD}._id = {EARLY}._id AND {OLD}._source = {EARLY}._source "
            f"AND {OLD}._received_at = {EARLY}._received_at"
            if exact
            else ""
        )
        condition += (
            f" AND NOT EXISTS (SELECT 1 FROM catchment.early {EARLY}{row} "
            f"WHERE {EARLY}.table_name = {text(table)} AND {EARLY}._id = {NEW}.id AND {EARLY}._source = {NEW}.source)"
        )
    return condition


def is_none_of_known() -> str:
    """The condition on a row NEW that its id is none of $known, which are of its source."""
    return f"{NEW}.id NOT IN (SELECT unnest($known::VARCHAR[]))"


def insert_new(shape: Shape, relation: str, condition: str, *, prepared: bool, distinct: bool) -> str:
    """Insert the rows of `relation` (record files) that are new; of copies among them, the earliest."""
    once = (
        ""
        if distinct
        else f" QUALIFY row_number() OVER (PARTITION BY {NEW}.source, {NEW}.id ORDER BY {NEW}.received_at) = 1"
    )
    return (
        f"INSERT INTO {table_name(shape.table)} BY NAME "
        f"SELECT {read_columns(shape, prepared=prepared)} FROM {relation} {NEW} WHERE {condition}{once}"
    )


def insert_early(shape: Shape, relation: str) -> str:
    """Point at the rows of `relation` that were stamped before their own not_before."""
    return (
        f"INSERT INTO catchment.early "
        f"SELECT {text(shape.table)}, {NEW}.source, {NEW}.id, min({NEW}.received_at) FROM {relation} {NEW} "
        f"WHERE {NEW}.not_before > {NEW}.received_at AND EXISTS (SELECT 1 FROM {table_name(shape.table)} {OLD} "
        f"WHERE {OLD}._id = {NEW}.id AND {OLD}._source = {NEW}.source AND {OLD}._received_at = {NEW}.received_at) "
        f"GROUP BY {NEW}.source, {NEW}.id"
    )


def winners(shape: Shape, relation: str) -> str:
    """Of a keyed batch, each key's highest (version, id), where it beats the row and the tombstone there are."""
    table = table_name(shape.table)
    beats = "(o.version, o.id) >= (s.version, s.id)"
    return (
        f"CREATE OR REPLACE TEMP TABLE winners AS SELECT * FROM (SELECT * FROM {relation} "
        "QUALIFY row_number() OVER (PARTITION BY key ORDER BY version DESC, id DESC) = 1) s "
        f"WHERE NOT EXISTS (SELECT 1 FROM (SELECT _key AS key, _version AS version, _id AS id FROM {table}) o "
        f"WHERE o.key = s.key AND {beats}) "
        "AND NOT EXISTS (SELECT 1 FROM catchment.tombstones o WHERE o.table_name = "
        f"{text(shape.table)} AND o.key = s.key AND {beats})"
    )


def replace_by_winners(shape: Shape, *, prepared: bool) -> tuple[str, ...]:
    """Put the winners in place: rows of upserts, tombstones of deletes; a key has the one or the other. The last but
    one answers how many rows were inserted."""
    table = table_name(shape.table)
    return (
        f"DELETE FROM {table} WHERE _key IN (SELECT key FROM winners)",
        f"DELETE FROM catchment.tombstones WHERE table_name = {text(shape.table)} "
        "AND key IN (SELECT key FROM winners)",
        f"INSERT INTO catchment.tombstones SELECT {text(shape.table)}, key, version, id FROM winners "
        "WHERE op = 'delete'",
        f"INSERT INTO {table} BY NAME SELECT {read_columns(shape, prepared=prepared)} "
        f"FROM winners {NEW} WHERE {NEW}.op <> 'delete'",
    )
