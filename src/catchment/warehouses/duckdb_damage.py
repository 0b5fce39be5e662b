"""Whether a DuckDB file that opens is whole: one that was cut short does, and fails when its last blocks are read."""

from __future__ import annotations

from pathlib import Path

import duckdb

from catchment.warehouses.quoting import name

_HEADERS_BYTES = 3 * 4096


def check_whole(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Raise `duckdb.Error` where a block of a file that is shorter than its header says cannot be read.

    To be shorter alone is no damage: a process that was killed in a large insert may leave blocks counted that
    nothing was written to yet, nor refers to. So then, and only then, everything is read.
    """
    counted = connection.execute(
        "SELECT block_size * total_blocks FROM pragma_database_size() WHERE database_name = current_database()"
    ).fetchone()
    if counted is None or path.stat().st_size >= _HEADERS_BYTES + counted[0]:
        return
    tables = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = current_database()"
    ).fetchall()
    for schema, table in tables:
        connection.execute(f"SELECT bit_xor(hash(t)) FROM {name(schema)}.{name(table)} t").fetchone()
