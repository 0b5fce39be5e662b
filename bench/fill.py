"""`replay --fill` of 1M rows on DuckDB and PostgreSQL, beside the engine's own UPDATE … FROM the same files."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.servers.postgres import PostgresServer, binaries

from bench import our_fill
from bench.load_postgres import SETTINGS
from bench.measure import Check, Usage, best, interleaved, measured, result, scratch

ROUNDS = 3
NEEDED_BYTES = 6_000_000_000
SIDES = ("elected", "declared", "bare")
BASE = "base"


def run() -> dict[str, Any]:
    """Ours by the bare statement."""
    found = binaries()
    if found is None:
        raise RuntimeError("PostgreSQL's server is not installed; tests/system_packages.sh installs it")
    server = PostgresServer(found, SETTINGS)
    try:
        with scratch(NEEDED_BYTES) as folder:
            _fill_base(server)
            contenders = {side: _contender(folder, side) for side in SIDES}
            contenders |= {f"postgres_{side}": _on_postgres(server, folder, side) for side in SIDES}
            taken = interleaved(ROUNDS, contenders)
    finally:
        server.close()
    figures = {name: best(usages) for name, usages in taken.items()}
    checks = []
    for prefix in ("", "postgres_"):
        for side, name, goal in (("elected", "times_update", 0.6), ("declared", "times_update_declared", 0.7)):
            ratio = figures[prefix + side].rows_per_s / figures[f"{prefix}bare"].rows_per_s
            checks.append(Check(prefix + name, ratio, must=0.5, goal=goal, at_least=True))
    return result(
        checks,
        "UPDATE … FROM the same archive files on a copy of the same table: by bare DuckDB, and by PostgreSQL after a "
        "COPY of what DuckDB reads there",
        rounds=ROUNDS,
        **{name: figure.told() for name, figure in figures.items()},
    )


def _fill_base(server: PostgresServer) -> None:
    """The frozen table, once for all rounds."""
    server.ask(f"CREATE DATABASE {BASE}")
    our_fill.load(our_fill.data(), server.url(BASE))
    server.ask("VACUUM ANALYZE", BASE)


def _contender(folder: Path, side: str) -> Callable[[], Usage]:
    def once() -> Usage:
        return measured([sys.executable, "-m", "bench.our_fill", str(_fresh(folder, side)), side])

    return once


def _on_postgres(server: PostgresServer, folder: Path, side: str) -> Callable[[], Usage]:
    def once() -> Usage:
        server.ask("DROP DATABASE IF EXISTS filled")
        server.ask(f"CREATE DATABASE filled TEMPLATE {BASE}")
        server.ask("CHECKPOINT")
        place = str(_fresh(folder, side))
        return measured([sys.executable, "-m", "bench.our_fill", place, side, server.url("filled")])

    return once


def _fresh(folder: Path, side: str) -> Path:
    place = folder / side
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return place
