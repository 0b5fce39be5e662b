"""asyncpg's binary COPY of Python rows, as a loader of messages makes them; runs in its own environment.

Rows are read from the flat NDJSON, parsed by orjson, turned into tuples with the types that each column wants, and
copied 50,000 at a time. `python asyncpg_load.py DATA.json FOLDER URL`, where DATA.json maps tables to a file, how many
rows of it, and its columns' types.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-not-found]
import orjson  # type: ignore[import-not-found]

ROWS_AT_ONCE = 50_000
TYPES = {"varchar": "text", "double": "double precision", "json": "jsonb"}


async def main() -> None:
    """Load everything and say how long it took."""
    tables: dict[str, dict[str, Any]] = json.loads(Path(sys.argv[1]).read_text())
    connection = await asyncpg.connect(sys.argv[3])
    await connection.execute("CREATE SCHEMA events")
    for table, found in tables.items():
        columns = ", ".join(f'"{name}" {TYPES.get(kind, kind)}' for name, kind in found["columns"].items())
        await connection.execute(f'CREATE TABLE events."{table}" ({columns})')
    wall, cpu = time.perf_counter(), _cpu_s()
    for table, found in tables.items():
        for rows in _rows(found["file"], found["rows"], found["columns"]):
            await connection.copy_records_to_table(
                table, schema_name="events", records=rows, columns=list(found["columns"])
            )
    wall, cpu = time.perf_counter() - wall, _cpu_s() - cpu
    counts = [await connection.fetchval(f'SELECT count(*) FROM events."{table}"') for table in tables]
    await connection.close()
    assert sum(counts) == sum(found["rows"] for found in tables.values()), counts
    print(json.dumps({"rows": sum(counts), "wall_s": wall, "cpu_s": cpu}))


def _rows(file: str, rows: int, columns: dict[str, str]) -> Iterator[list[tuple[Any, ...]]]:
    converts = [(name, _convert(kind)) for name, kind in columns.items()]
    with Path(file).open("rb") as lines:
        parsed = map(orjson.loads, islice(lines, rows))
        while some := list(islice(parsed, ROWS_AT_ONCE)):
            yield [
                tuple([None if (value := row.get(name)) is None else convert(value) for name, convert in converts])
                for row in some
            ]


def _convert(kind: str) -> Callable[[Any], Any]:
    if kind == "timestamptz":
        return datetime.fromisoformat
    if kind == "json":
        return lambda value: orjson.dumps(value).decode()
    return float if kind == "double" else lambda value: value


def _cpu_s() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


if __name__ == "__main__":
    asyncio.run(main())
