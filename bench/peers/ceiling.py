"""The ceiling of loading: bare DuckDB reading pre-split zst files with explicit columns into tables that exist.

No queue, no archive, no checks, no search for duplicates, no metadata of batches: what a loader adds to this is
its price. `python -m bench.peers.ceiling FOLDER RECORDS`, a folder in which the warehouse is made anew.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb

from bench.measure import Stopwatch
from bench.records import COLUMNS, TABLES, Dataset, dataset

WORKERS = 2
SETTINGS: dict[str, str | bool | int | float | list[str]] = {"threads": 2, "checkpoint_threshold": "1GB"}
_METADATA = {"_id": "varchar", "_received_at": "timestamptz", "_source": "varchar"}


def main() -> None:
    """Load everything and say how long it took."""
    data = dataset(int(sys.argv[2]))
    warehouse = duckdb.connect(str(Path(sys.argv[1]) / "ceiling.duckdb"), config=SETTINGS)
    warehouse.execute("create schema events")
    for table in TABLES:
        columns = ", ".join(f'"{name}" {kind}' for name, kind in _columns(table).items())
        warehouse.execute(f"create table {table} ({columns})")
    # The largest first, so that no worker is left alone with one at the end.
    tables = sorted(TABLES, key=lambda table: -data.flat_zst(table).stat().st_size)
    with Stopwatch() as watch, ThreadPoolExecutor(WORKERS) as workers:
        list(workers.map(lambda table: _load(warehouse.cursor(), data, table), tables))
    rows = sum(count for (count,) in warehouse.execute(_counts()).fetchall())
    assert rows == data.records, f"{rows} rows of {data.records}"
    watch.tell(rows)


def _columns(table: str) -> dict[str, str]:
    return _METADATA | COLUMNS[table]


def _load(connection: duckdb.DuckDBPyConnection, data: Dataset, table: str) -> None:
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in _columns(table).items())
    connection.execute(
        f"insert into {table} by name select * from "
        f"read_json('{data.flat_zst(table)}', format = 'newline_delimited', columns = {{{columns}}})"
    )


def _counts() -> str:
    return " union all ".join(f"select count(*) from {table}" for table in TABLES)


if __name__ == "__main__":
    main()
