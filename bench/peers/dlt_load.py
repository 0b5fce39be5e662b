"""dlt loading the flat rows into DuckDB or PostgreSQL, tuned as its guide says; runs in its own environment.

Parquet files instead of INSERTs, every worker that pays, pages of rows instead of rows, large buffers, types given
as hints so that nothing is inferred, no nesting, no ids of its own, names taken as they are. It gets dicts, as a
loader of messages does: dlt can also take Arrow tables that somebody else made of the JSON, most of the work.
PostgreSQL gets CSV by COPY instead.
`python dlt_load.py DATA.json FOLDER [URL]`, where DATA.json maps tables to a file and its columns' types.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PAGE_ROWS = 10_000
SETTINGS = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    "SCHEMA__NAMING": "direct",
    "NORMALIZE__WORKERS": "2",
    # Workers that import everything anew cost two seconds; elsewhere than on Linux they must.
    "NORMALIZE__START_METHOD": "fork" if sys.platform == "linux" else "spawn",
    "NORMALIZE__JSON_NORMALIZER__ADD_DLT_ID": "false",
    "NORMALIZE__JSON_NORMALIZER__ADD_DLT_LOAD_ID": "false",
    "LOAD__WORKERS": "20",
    "LOAD__DELETE_COMPLETED_JOBS": "true",
    "DATA_WRITER__BUFFER_MAX_ITEMS": "50000",
    # Several files, since a file is what one normalize worker takes.
    "DATA_WRITER__FILE_MAX_ITEMS": "10000",
    "NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS": "200000",
}
TYPES = {"varchar": "text", "boolean": "bool", "timestamptz": "timestamp"}


def main() -> None:
    """Load everything in one run and say how long it took."""
    tables: dict[str, dict[str, Any]] = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(sys.argv[2])
    os.environ.update(SETTINGS)
    import dlt  # type: ignore[import-not-found]  # its settings come first

    resources = [
        dlt.resource(
            _pages(found["file"], found["rows"]),
            name=table,
            max_table_nesting=0,
            columns={name: {"data_type": TYPES.get(kind, kind)} for name, kind in found["columns"].items()},
        )
        for table, found in tables.items()
    ]
    url = sys.argv[3] if len(sys.argv) > 3 else None
    warehouse = (
        dlt.destinations.postgres(_credentials(url)) if url else dlt.destinations.duckdb(str(folder / "dlt.duckdb"))
    )
    pipeline = dlt.pipeline("bench", str(folder / "pipelines"), destination=warehouse, dataset_name="events")
    wall, cpu = time.perf_counter(), _cpu_s()
    pipeline.run(resources, loader_file_format="csv" if url else "parquet", write_disposition="append")
    wall, cpu = time.perf_counter() - wall, _cpu_s() - cpu
    with pipeline.sql_client() as client:
        counts = [client.execute_sql(f'select count(*) from events."{table}"')[0][0] for table in tables]
    assert sum(counts) == sum(found["rows"] for found in tables.values()), counts
    print(json.dumps({"rows": sum(counts), "wall_s": wall, "cpu_s": cpu}))


def _credentials(url: str) -> str:
    """dlt asks for a host and a password also where there is none to give: what follows the `?` counts."""
    found = urlsplit(url)
    user, host = f"{found.username}:{found.password or 'none'}", found.hostname or "localhost"
    return f"postgresql://{user}@{host}{found.path}?{found.query}"


def _pages(file: str, rows: int) -> Iterator[list[dict[str, Any]]]:
    import orjson  # type: ignore[import-not-found]  # the parser that dlt itself uses

    with Path(file).open("rb") as lines:
        wanted = map(orjson.loads, islice(lines, rows))
        while page := list(islice(wanted, PAGE_ROWS)):
            yield page


def _cpu_s() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()
