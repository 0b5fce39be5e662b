"""Names and texts within SQL, quoted as DuckDB and PostgreSQL both have it."""

from __future__ import annotations


def name(identifier: str) -> str:
    """One identifier, quoted."""
    return '"' + identifier.replace('"', '""') + '"'


def table_name(table: str) -> str:
    """`schema.table`, quoted."""
    schema, _, rest = table.partition(".")
    return f"{name(schema)}.{name(rest)}"


def text(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("'", "''") + "'"
