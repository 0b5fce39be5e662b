"""The SQL by which a table that was built anew takes the place of the old one, as DuckDB and PostgreSQL both have it.

The table itself stays, with all that hangs on it: its rows are replaced.
"""

from __future__ import annotations

from collections.abc import Sequence

from catchment.errors import SchemaChanged, UsageError
from catchment.warehouses import Rebuild
from catchment.warehouses.quoting import name, table_name, text
from catchment.warehouses.shape import Column, Shape

HELD_BACK_S = 15
"""So long others' loads of a table wait for it to be replaced; an end that died holds them back no longer."""

_METADATA = ("_received_at", "_id", "_source", "_batch", "_loaded_at", "_rescued")
_KEYED = ("_version", "_key")

MISSING = (
    "SELECT DISTINCT l.batch FROM catchment.ledger l WHERE l.table_name = {table} AND NOT EXISTS "
    "(SELECT 1 FROM catchment.ledger b WHERE b.table_name = {side} AND b.batch = l.batch)"
)


def missing(rebuild: Rebuild) -> str:
    """The archive files of the table's batches that the new one does not have."""
    return MISSING.format(table=text(rebuild.table), side=text(rebuild.side))


def others(rebuild: Rebuild, *, is_keyed: bool) -> str:
    """How many rows the table has that the new one lacks, and that were not deleted either."""
    table, side = table_name(rebuild.table), table_name(rebuild.side)
    if not is_keyed:
        same = "n._id = t._id AND n._source = t._source"
        return f"SELECT count(*) FROM {table} t WHERE NOT EXISTS (SELECT 1 FROM {side} n WHERE {same})"
    return (
        f"SELECT count(*) FROM {table} t WHERE NOT EXISTS (SELECT 1 FROM {side} n WHERE n._key = t._key) "
        "AND NOT EXISTS (SELECT 1 FROM catchment.tombstones d WHERE d.key = t._key "
        f"AND d.table_name = {text(rebuild.side)})"
    )


def know_deletions(rebuild: Rebuild) -> str:
    """What was deleted from the table stays so: also where the archive no longer has the record that did it."""
    return (
        f"INSERT INTO catchment.tombstones SELECT {text(rebuild.side)}, key, version, id FROM catchment.tombstones "
        f"WHERE table_name = {text(rebuild.table)}"
    )


def replace_rows(rebuild: Rebuild, new: Shape, columns: Sequence[tuple[Column, Column]]) -> str:
    """Insert the new rows, by time, which is what most questions go by; `columns` are pairs of old and new ones."""
    meta = (*_METADATA, *(_KEYED if new.key else ()))
    into = ", ".join([*meta, *(name(old.name) for old, _ in columns)])
    selected = ", ".join([*meta, *(name(column.name) for _, column in columns)])
    return (
        f"INSERT INTO {table_name(rebuild.table)} ({into}) SELECT {selected} FROM {table_name(rebuild.side)} "
        "ORDER BY _received_at"
    )


def take_over(rebuild: Rebuild) -> tuple[str, ...]:
    """What stands elsewhere of the new table becomes the old one's."""
    table, side = text(rebuild.table), text(rebuild.side)
    renamed = [
        statement
        for own in ("tombstones", "early")
        for statement in (
            f"DELETE FROM catchment.{own} WHERE table_name = {table}",
            f"UPDATE catchment.{own} SET table_name = {table} WHERE table_name = {side}",
        )
    ]
    return (*renamed, *forget(rebuild.side))


def forget(side: str) -> tuple[str, ...]:
    """Drop a table that is built beside another, and whatever is known of it."""
    of_table = ("tombstones", "early", "ledger", "columns")
    return (
        f"DROP TABLE IF EXISTS {table_name(side)}",
        *(f"DELETE FROM catchment.{own} WHERE table_name = {text(side)}" for own in of_table),
        f"DELETE FROM catchment.staged WHERE side = {text(side)}",
    )


def check_begun(rebuild: Rebuild, old: Shape, new: Shape) -> None:
    """Raise what `end_rebuild` raises, before anything is done."""
    if new.version == 0 or old.version == 0:
        raise UsageError(f"{rebuild.table} is not being built anew", f"catchment replay {rebuild.table} --rebuild")
    if not {column.field for column in new.columns} <= {column.field for column in old.columns}:
        raise SchemaChanged(rebuild.table)


def pairs(old: Shape, new: Shape) -> list[tuple[Column, Column]]:
    """Each column of the new table with the one of its field in the old."""
    columns = {column.field: column for column in old.columns}
    return [(columns[column.field], column) for column in new.columns]


def retyped(old: Shape, new: Shape) -> list[Column]:
    """Columns of the old table as they are to be: with the type that the new one has."""
    return [Column(was.field, was.name, column.type) for was, column in pairs(old, new) if was.type != column.type]


def dropped(old: Shape, new: Shape, rebuild: Rebuild) -> list[Column]:
    """Columns of the old table that go."""
    there = {column.field for column in new.columns}
    return [column for column in old.columns if column.field in rebuild.dropped and column.field not in there]


def after(old: Shape, new: Shape, rebuild: Rebuild) -> Shape:
    """The table's shape once it has the new one's types and is without what goes."""
    kinds = {column.field: column.type for column in new.columns}
    gone = dropped(old, new, rebuild)
    columns = tuple(
        Column(column.field, column.name, kinds.get(column.field, column.type))
        for column in old.columns
        if column not in gone
    )
    return old if columns == old.columns else Shape(old.table, old.version + 1, columns, old.key)
