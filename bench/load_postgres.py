"""1M records of 20 tables into PostgreSQL, from queue to committed, beside bare COPY, asyncpg and dlt."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.servers.postgres import PostgresServer, binaries

from bench import environments, records
from bench.load_duckdb import DLT_SHARE, ROUNDS
from bench.measure import ROOT, Check, Usage, best, interleaved, measured, result, scratch

NEEDED_BYTES = 4_000_000_000
SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "30min", "autovacuum": "off"}
"""As for a server that takes in data; everything that makes it safe stays on. Autovacuum would come at random."""


def run() -> dict[str, Any]:
    """Ours by the ceiling, by asyncpg and by dlt; each in a database of its own."""
    found = binaries()
    if found is None:
        raise RuntimeError("PostgreSQL's server is not installed; tests/system_packages.sh installs it")
    server = PostgresServer(found, SETTINGS)
    try:
        with scratch(NEEDED_BYTES) as folder:
            taken = interleaved(
                ROUNDS,
                {
                    "ours": _in_new_database(
                        server,
                        lambda url: measured(
                            [sys.executable, "-m", "bench.our_load", _fresh(folder), "packs", postgres_settings(url)]
                        ),
                    ),
                    "copy": _in_new_database(
                        server,
                        lambda url: measured([sys.executable, "-m", "bench.peers.postgres_copy", folder, url]),
                    ),
                    "asyncpg": _in_new_database(server, lambda url: _peer("asyncpg_load.py", "asyncpg", folder, url)),
                    "dlt": _in_new_database(server, lambda url: _peer("dlt_load.py", "dlt", folder, url)),
                },
            )
    finally:
        server.close()
    ours, copy, asyncpg, dlt = (best(taken[name]) for name in ("ours", "copy", "asyncpg", "dlt"))
    return result(
        [
            Check("times_copy", ours.rows_per_s / copy.rows_per_s, must=0.30, goal=0.4, at_least=True),
            Check("times_dlt", ours.rows_per_s / dlt.rows_per_s, must=9, goal=12, at_least=True),
            Check("times_asyncpg", ours.rows_per_s / asyncpg.rows_per_s, must=3.5, goal=5, at_least=True),
        ],
        "bare COPY of ready text files on two connections; dlt, and asyncpg's COPY of Python rows, on a fifth",
        rounds=ROUNDS,
        ours=ours.told(),
        copy=copy.told(),
        asyncpg=asyncpg.told(),
        dlt=dlt.told(),
    )


def postgres_settings(url: str) -> str:
    """Of a project file."""
    return f'[warehouse]\ntype = "postgres"\nurl = "{url}"\n'


def _in_new_database(server: PostgresServer, once: Callable[[str], Usage]) -> Callable[[], Usage]:
    """The data is made first, outside of anybody's time; the database is dropped at the end."""
    records.dataset()

    def run_once() -> Usage:
        url = server.new_database()
        try:
            return once(url)
        finally:
            server.drop_database(url)

    return run_once


def _fresh(folder: Path) -> Path:
    place = folder / "ours"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return place


def _peer(program: str, environment: str, folder: Path, url: str) -> Usage:
    """A peer in an environment of its own, with the first rows of each table."""
    place = folder / environment
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    metadata = {"_id": "varchar", "_received_at": "timestamptz", "_source": "varchar"}
    tables = {}
    for table, columns in records.COLUMNS.items():
        file = records.dataset().flat(table)
        with file.open("rb") as lines:
            rows = sum(1 for _ in lines) // DLT_SHARE
        name = table.partition(".")[2]
        tables[name] = {"file": str(file), "rows": rows, "columns": metadata | columns}
    given = place / "data.json"
    given.write_text(json.dumps(tables))
    return measured([environments.python(environment), ROOT / "bench" / "peers" / program, given, place, url])
