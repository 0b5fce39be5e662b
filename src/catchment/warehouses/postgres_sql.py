"""The SQL that the PostgreSQL warehouse runs: its own tables, and the statements that load a batch.

Identifiers are quoted by `name`; values travel as parameters. Arrays of ids come as one text, an array's literal,
that DuckDB has made of a whole batch.
"""

from __future__ import annotations

import hashlib

from catchment.warehouses.quoting import name, table_name
from catchment.warehouses.shape import Column, ColumnType, Shape

FORMAT_VERSION = 2

# Texts that are compared, hashed or ordered by us are in the collation "C": the order of bytes, as `_version` needs
# it, and several times faster.
OWN_TABLES = """
CREATE SCHEMA IF NOT EXISTS catchment;
CREATE TABLE IF NOT EXISTS catchment.format (version integer NOT NULL);
-- Each loaded table: the version of its columns, a value that every change of its content replaces, and its key.
CREATE TABLE IF NOT EXISTS catchment.tables (
    table_name text COLLATE "C" PRIMARY KEY, shape_version bigint NOT NULL, content text NOT NULL, key_fields text[]
);
-- Until when loads of it wait, while it is built anew.
ALTER TABLE catchment.tables ADD COLUMN IF NOT EXISTS held_until timestamptz;
-- One row a batch loaded, written with its rows.
CREATE TABLE IF NOT EXISTS catchment.ledger (
    batch text COLLATE "C" NOT NULL, batch_id text COLLATE "C" NOT NULL, table_name text COLLATE "C" NOT NULL,
    records bigint NOT NULL, inserted bigint, duplicates bigint, dead bigint, first_received_at timestamptz,
    last_received_at timestamptz, loaded_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (batch, table_name)
);
CREATE INDEX IF NOT EXISTS ledger_by_time ON catchment.ledger (table_name, last_received_at);
-- The deleted keys of mirrored tables, so that an older version arriving later brings nothing back.
CREATE TABLE IF NOT EXISTS catchment.tombstones (
    table_name text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, version text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL
);
CREATE INDEX IF NOT EXISTS tombstones_by_key ON catchment.tombstones USING hash (key);
-- Rows received before their own not_before (a fast clock): the search by time alone would miss them.
CREATE TABLE IF NOT EXISTS catchment.early (
    table_name text COLLATE "C" NOT NULL, _source text COLLATE "C" NOT NULL, _id text COLLATE "C" NOT NULL,
    _received_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS early_by_id ON catchment.early USING hash (_id);
CREATE INDEX IF NOT EXISTS early_by_time ON catchment.early (table_name, _received_at);
-- Which field is kept in which column; the one mapping, never changed, only added to.
CREATE TABLE IF NOT EXISTS catchment.columns (
    place bigint GENERATED ALWAYS AS IDENTITY, table_name text COLLATE "C" NOT NULL, field text NOT NULL,
    column_name text NOT NULL, type text NOT NULL
);
CREATE INDEX IF NOT EXISTS columns_by_table ON catchment.columns (table_name);
-- The views that we have made, which must not be in the way of their tables' columns.
CREATE TABLE IF NOT EXISTS catchment.views (
    view_name text COLLATE "C" PRIMARY KEY, table_name text COLLATE "C" NOT NULL
);
-- Tables whose loading stopped because too much of them was rejected.
CREATE TABLE IF NOT EXISTS catchment.halts (
    table_name text COLLATE "C" NOT NULL, since timestamptz NOT NULL, reason text NOT NULL, resumed_at timestamptz
);
CREATE TABLE IF NOT EXISTS catchment.dead_letters (
    _received_at timestamptz, _id text COLLATE "C", _source text COLLATE "C", _batch text COLLATE "C",
    _loaded_at timestamptz DEFAULT now(), _rescued jsonb, table_name text, reason text, detail text, origin text,
    record_source text, record_id text, bytes text
);
CREATE INDEX IF NOT EXISTS dead_letters_by_id ON catchment.dead_letters USING hash (_id);
-- What `dead-letters retry` and `discard` did, filed through the queue and the archive like any record.
CREATE TABLE IF NOT EXISTS catchment.corrections (
    _received_at timestamptz, _id text COLLATE "C", _source text COLLATE "C", _batch text COLLATE "C",
    _loaded_at timestamptz DEFAULT now(), _rescued jsonb, dead_letter text COLLATE "C", outcome text, table_name text,
    record_source text, record_id text
);
CREATE INDEX IF NOT EXISTS corrections_by_id ON catchment.corrections USING hash (_id);
CREATE INDEX IF NOT EXISTS corrections_by_letter ON catchment.corrections USING hash (dead_letter);
-- How tables have changed, and which values found no place in them, each told once.
CREATE TABLE IF NOT EXISTS catchment.schema_change (
    changed_at timestamptz NOT NULL, kind text NOT NULL, table_name text COLLATE "C" NOT NULL, field text NOT NULL,
    column_name text NOT NULL, type_before text NOT NULL, type_after text NOT NULL, record_source text NOT NULL,
    record_id text NOT NULL, batch text NOT NULL
);
CREATE INDEX IF NOT EXISTS schema_change_by_table ON catchment.schema_change (table_name, changed_at);
-- Of which archive files the values are gathered for filling columns; the side tables go by the fill's name.
CREATE TABLE IF NOT EXISTS catchment.staged (
    side text COLLATE "C" NOT NULL, file text COLLATE "C" NOT NULL, staged_at timestamptz NOT NULL,
    PRIMARY KEY (side, file)
);
CREATE OR REPLACE VIEW catchment.open_dead_letters AS
    SELECT * FROM catchment.dead_letters d
    WHERE NOT EXISTS (SELECT 1 FROM catchment.corrections c WHERE c.dead_letter = d._id);
INSERT INTO catchment.tables VALUES ('catchment.dead_letters', 1, '', NULL), ('catchment.corrections', 1, '', NULL)
    ON CONFLICT DO NOTHING;
"""

NOTE = """
INSERT INTO catchment.schema_change
SELECT now(), %(kind)s, %(table)s, %(field)s, %(column)s, %(before)s, %(after)s, %(source)s, %(record_id)s, %(batch)s
WHERE %(kind)s = 'vanished' OR NOT EXISTS (
    SELECT 1 FROM catchment.schema_change
    WHERE table_name = %(table)s AND kind = %(kind)s AND field = %(field)s AND type_after = %(after)s
)
"""

TYPES: dict[ColumnType, str] = {
    "boolean": "boolean",
    "bigint": "bigint",
    "double": "double precision",
    "timestamptz": "timestamptz",
    "varchar": "text",
    "json": "jsonb",
}

META = ("_received_at", "_id", "_source", "_batch", "_rescued")
"""The metadata columns that are written, in order; `_loaded_at` fills itself. A time comes first: in COPY's CSV a
line that begins with `\\.` would be the end of the data."""
KEYED = ("_version", "_key")

OWN_LOCK = "catchment: own tables"
SCHEMA_LOCK = "catchment: schemas"


def lock_key(of: str) -> int:
    """The number of an advisory lock: 64 bits of a hash. That two share one does no harm."""
    return int.from_bytes(hashlib.sha256(of.encode()).digest()[:8], "big", signed=True)


# Under one statement, in the order of the numbers, so that no two loads ever wait for each other.
LOCK = "SELECT pg_advisory_xact_lock(number) FROM unnest(%s::bigint[]) AS n (number)"

TABLES = """
SELECT t.table_name, t.shape_version, t.key_fields, t.content,
    EXISTS (SELECT 1 FROM catchment.early e WHERE e.table_name = t.table_name),
    coalesce(t.held_until > clock_timestamp(), false)
FROM catchment.tables t
WHERE t.table_name = ANY (%s)
    AND to_regclass(format('%%I.%%I', split_part(t.table_name, '.', 1), split_part(t.table_name, '.', 2))) IS NOT NULL
"""
"""Of these tables, those that are there: their shape's version, key, content's version, whether `early` has rows
of them, and whether loads of them wait."""

TABLES_OF = """
SELECT t.table_name FROM catchment.tables t
WHERE split_part(t.table_name, '.', 1) = %s
    AND to_regclass(format('%%I.%%I', split_part(t.table_name, '.', 1), split_part(t.table_name, '.', 2))) IS NOT NULL
"""
"""The loaded tables of a schema."""

COLUMNS = (
    "SELECT table_name, field, column_name, type FROM catchment.columns WHERE table_name = ANY (%s) ORDER BY place"
)

LEDGER_OF = "SELECT batch, table_name FROM catchment.ledger WHERE batch = ANY (%s)"

LEDGER_ADD = """
INSERT INTO catchment.ledger
    (batch, batch_id, table_name, records, inserted, duplicates, dead, first_received_at, last_received_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""

CONTENT_CHANGED = "UPDATE catchment.tables SET content = %s WHERE table_name = ANY (%s)"

ROWS_SINCE = (
    "SELECT coalesce(sum(records), 0)::bigint FROM catchment.ledger WHERE table_name = %s AND last_received_at >= %s"
)
"""About how many rows a search would have to read; what the ledger has forgotten does not matter for that."""


LATEST = "SELECT max(last_received_at) FROM catchment.ledger WHERE table_name = %s"
"""About the time of a table's latest row."""


def rows_after(table: str) -> str:
    """The time of the latest row after a time; null where there is none. The index of times serves it."""
    return f"SELECT max(_received_at) FROM {table_name(table)} WHERE _received_at >= %s"


def create_table(shape: Shape) -> tuple[str, ...]:
    """A loaded table and what serves its searches: metadata first, then the data's columns.

    The index of ids is a hash: half the size of a tree, of any length of id, and the cheapest to keep for ids in no
    order. The times get a BRIN, which costs next to nothing, since rows come in about their order.
    """
    table = table_name(shape.table)
    meta = (
        '_received_at timestamptz NOT NULL, _id text COLLATE "C" NOT NULL, _source text COLLATE "C" NOT NULL, '
        '_batch text COLLATE "C", _loaded_at timestamptz DEFAULT now(), _rescued jsonb'
    )
    keyed = ', _version text COLLATE "C" NOT NULL, _key text COLLATE "C" NOT NULL' if shape.key else ""
    columns = "".join(f", {name(column.name)} {TYPES[column.type]}" for column in shape.columns)
    searched = "_key" if shape.key else "_id"
    return (
        f"CREATE TABLE {table} ({meta}{keyed}{columns})",
        f"CREATE INDEX ON {table} USING hash ({searched})",
        f"CREATE INDEX ON {table} USING brin (_received_at) WITH (pages_per_range = 32, autosummarize = on)",
    )


def add_columns(table: str, columns: list[Column]) -> str:
    """All in one statement: each would wait for its lock again."""
    added = ", ".join(f"ADD COLUMN {name(column.name)} {TYPES[column.type]}" for column in columns)
    return f"ALTER TABLE {table_name(table)} {added}"


def widen(table: str, column: str) -> str:
    return f"ALTER TABLE {table_name(table)} ALTER COLUMN {name(column)} TYPE double precision"


def target_columns(shape: Shape) -> tuple[str, ...]:
    """The columns that are written, in order."""
    keyed = KEYED if shape.key else ()
    return (*META, *keyed, *(column.name for column in shape.columns))


def copy_into(shape: Shape, form: str = "") -> str:
    """COPY of `target_columns`."""
    columns = ", ".join(map(name, target_columns(shape)))
    return f"COPY {table_name(shape.table)} ({columns}) FROM STDIN{form}"


def search_each(table: str) -> str:
    """(source, id) of the rows with one of these ids at or after a time: id by id, through the index.

    OFFSET 0 keeps the planner from turning it round, which it would for times its statistics do not know yet: then
    it takes the table for nearly empty there, and reads all ids for each row.
    """
    return (
        "SELECT o._source, o._id FROM unnest(%s::text[]) AS n (id) CROSS JOIN LATERAL (SELECT _source, _id FROM "
        f"{table_name(table)} WHERE _id = n.id AND _received_at >= %s OFFSET 0) AS o"
    )


def search_all(table: str) -> str:
    """The same by reading all rows since that time, for when these are few beside the ids. Without nested loops."""
    return (
        f"SELECT o._source, o._id FROM {table_name(table)} AS o JOIN unnest(%s::text[]) AS n (id) ON o._id = n.id "
        "WHERE o._received_at >= %s"
    )


def search_early(table: str, *, exact: bool) -> str:
    """(source, id) of the rows of fast clocks with one of these ids; `exact` believes them only where the row they
    point at is there."""
    row = (
        f" AND EXISTS (SELECT 1 FROM {table_name(table)} o WHERE o._id = e._id AND o._source = e._source "
        "AND o._received_at = e._received_at)"
        if exact
        else ""
    )
    return f"SELECT _source, _id FROM catchment.early e WHERE table_name = %s AND _id = ANY (%s::text[]){row}"


def search_keys(table: str) -> str:
    """(key, version, id) of what stands for these keys: rows and tombstones."""
    return (
        "WITH n AS MATERIALIZED (SELECT unnest(%s::text[]) AS key) "
        "SELECT o._key, o._version, o._id FROM n CROSS JOIN LATERAL (SELECT _key, _version, _id FROM "
        f"{table_name(table)} WHERE _key = n.key OFFSET 0) AS o "
        "UNION ALL SELECT o.key, o.version, o.id FROM n CROSS JOIN LATERAL (SELECT t.key, t.version, t.id "
        "FROM catchment.tombstones t WHERE t.key = n.key AND t.table_name = %s OFFSET 0) AS o"
    )


def delete_keys(table: str) -> str:
    return f"DELETE FROM {table_name(table)} WHERE _key = ANY (%s::text[])"


DELETE_TOMBSTONES = "DELETE FROM catchment.tombstones WHERE table_name = %s AND key = ANY (%s::text[])"
