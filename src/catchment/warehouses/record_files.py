"""Record files as DuckDB reads them, for every warehouse that loads through it: explicit columns, nothing inferred.

File paths and column types in `read_json` can't be parameters: they are quoted.
"""

from __future__ import annotations

from collections.abc import Sequence

from catchment.warehouses.quoting import name, text
from catchment.warehouses.shape import Column, ColumnType, Shape

NEW = '"new row"'
"""The alias of `read_files`, one that no column can have: DuckDB would take `s.id` for a field `id` of a JSON
column `s`."""

TYPES: dict[ColumnType, str] = {
    "boolean": "BOOLEAN",
    "bigint": "BIGINT",
    "double": "DOUBLE",
    "timestamptz": "TIMESTAMPTZ",
    "varchar": "VARCHAR",
    "json": "JSON",
}

_READ_AS = {"timestamptz": "VARCHAR"}
"""DuckDB's reader cuts a seventh fractional digit in silence and takes more than RFC 3339."""

_EARLIEST = "TIMESTAMPTZ '0001-01-01 00:00:00+00'"
_LATEST = "TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'"
_STRICT_MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)"


def read_files(paths: Sequence[str], shape: Shape, *, prepared: bool) -> str:
    """`read_json(…)` of record files with every column named and typed: DuckDB infers nothing."""
    fields = ", ".join(
        f"{name(column.name if prepared else column.field)} {_READ_AS.get(column.type, TYPES[column.type])}"
        for column in shape.columns
    )
    columns = {
        "id": "VARCHAR",
        "received_at": "TIMESTAMPTZ",
        "not_before": "TIMESTAMPTZ",
        "source": "VARCHAR",
        "rescued": "JSON",
    }
    if fields:
        columns["data"] = f"STRUCT({fields})"
    if shape.key:
        columns |= {"key": "VARCHAR", "op": "VARCHAR", "version": "VARCHAR"}
    spec = ", ".join(f"{text(column)}: {text(kind)}" for column, kind in columns.items())
    files = "[" + ", ".join(map(text, paths)) + "]"
    return f"read_json({files}, format = 'newline_delimited', hive_partitioning = false, columns = {{{spec}}})"


def value(column: Column, *, prepared: bool) -> str:
    """The value of a column in a row NEW of `read_files`; a time is the text that it was written as."""
    return f"{NEW}.data.{name(column.name if prepared else column.field)}"


def strict_moment(value: str, then: str) -> str:
    """`then`, where `value` is null or strict RFC 3339; an error of DuckDB's else."""
    # The guard has seen a time with a zone: of such the first condition holds for the strict ones in UTC alone,
    # and costs a tenth of the pattern.
    return (
        f"CASE WHEN {value} IS NULL OR strlen({value}) <= 27 AND suffix({value}, 'Z') AND contains({value}, 'T') "
        f"OR regexp_full_match({value}, {text(_STRICT_MOMENT)}) "
        f"AND {value}::TIMESTAMPTZ BETWEEN {_EARLIEST} AND {_LATEST} "
        f"THEN {then} ELSE error('not RFC 3339 to the microsecond, of the years 1 to 9999') END"
    )
