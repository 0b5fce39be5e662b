"""The ceiling of loading into PostgreSQL: COPY of ready files of the same rows, on two connections.

Tables with the same types and no index; text, the fastest form of COPY for jsonb; no queue, no archive, no checks, no
search for duplicates. `python -m bench.peers.postgres_copy FOLDER URL`: the files are made in the folder if they are
not there yet, outside of the time.
"""

from __future__ import annotations

import contextlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import psycopg

from bench.measure import Stopwatch
from bench.records import COLUMNS, TABLES, dataset
from catchment.warehouses.postgres_sql import TYPES
from catchment.warehouses.shape import ColumnType

WORKERS = 2
CHUNK_BYTES = 1 << 18
METADATA: dict[str, ColumnType] = {"_received_at": "timestamptz", "_id": "varchar", "_source": "varchar"}


def main() -> None:
    """Load everything and say how long it took."""
    folder, url = Path(sys.argv[1]), sys.argv[2]
    with contextlib.closing(psycopg.connect(url, autocommit=True)) as connection:
        make_tables(connection)
    files = {table: _file(folder, table) for table in TABLES}
    # The largest first, so that no worker is left alone with one at the end.
    tables = sorted(TABLES, key=lambda table: -files[table].stat().st_size)
    with Stopwatch() as watch, ThreadPoolExecutor(WORKERS) as workers:
        rows = sum(workers.map(lambda table: _load(url, table, files[table]), tables))
    assert rows == dataset().records, f"{rows} rows of {dataset().records}"
    watch.tell(rows)


def columns(table: str) -> dict[str, ColumnType]:
    """A table's columns, ours first."""
    return METADATA | COLUMNS[table]


def make_tables(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Empty ones, the same as the loaded ones but for indexes and what only a loader knows."""
    connection.execute("DROP SCHEMA IF EXISTS events CASCADE")
    connection.execute("CREATE SCHEMA events")
    for table in TABLES:
        collated = {"_id": ' COLLATE "C"', "_source": ' COLLATE "C"'}
        made = ", ".join(f'"{name}" {TYPES[kind]}{collated.get(name, "")}' for name, kind in columns(table).items())
        connection.execute(f"CREATE TABLE {table} ({made})")
    connection.execute("CHECKPOINT")


def _file(folder: Path, table: str) -> Path:
    """The table's rows as COPY's text."""
    path = folder / f"{table}.text"
    if not path.exists():
        with duckdb.connect(config={"threads": 1}) as converting:
            converting.execute("SET TimeZone = 'UTC'")
            types = ", ".join(f"'{name}': '{kind}'" for name, kind in columns(table).items())
            selected = ", ".join(_escaped(name, kind) for name, kind in columns(table).items())
            converting.execute(
                f"COPY (SELECT {selected} FROM read_json('{dataset().flat_zst(table)}', columns = {{{types}}}, "
                f"format = 'newline_delimited')) TO '{path}' "
                r"(FORMAT csv, HEADER false, DELIMITER E'\t', QUOTE '', ESCAPE '', NULLSTR '\N')"
            )
    return path


def _escaped(name: str, kind: ColumnType) -> str:
    found = f'"{name}"'
    if kind in {"varchar", "json"}:
        found = f"replace({found}::VARCHAR, '\\', '\\\\')"  # this data has no tabs and line ends in its texts
    return f'{found} AS "{name}"'


def _load(url: str, table: str, file: Path) -> int:
    with contextlib.closing(psycopg.connect(url)) as connection, file.open("rb", buffering=0) as lines:
        cursor = connection.cursor()
        with cursor.copy(f"COPY {table} FROM STDIN") as copy:
            while chunk := lines.read(CHUNK_BYTES):
                copy.write(chunk)
        connection.commit()
        return cursor.rowcount


if __name__ == "__main__":
    main()
