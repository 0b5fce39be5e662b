"""A warehouse whose ledger has a million batches: how long it takes to open, and to load one batch more."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from bench.measure import Check, result, scratch
from catchment.testing.batches import add, load, row
from catchment.warehouses.duckdb import DuckDBWarehouse

BATCHES = 1_000_000
FEW = 1_000
LOADS = 40
NEEDED_BYTES = 1_000_000_000

_FILL = """
INSERT INTO catchment.ledger
SELECT strftime(moment, 'incoming/%Y%m%dT%H%M%S.%fZ') || '-' || substr(md5(n::VARCHAR), 1, 12) || '.1.ndjson.zst',
    substr(md5(n::VARCHAR), 1, 12), 'shop.t' || (n % 500), 100, 100, 0, 0, moment, moment, moment
FROM (SELECT n, TIMESTAMP '2026-01-01' + to_seconds(n) AS moment FROM range(?) t(n))
"""


def run() -> dict[str, Any]:
    """Seconds to open, and a load's time by that with a ledger of a thousand."""
    with scratch(NEEDED_BYTES) as folder:
        few, many = folder / "few", folder / "many"
        _fill(few, FEW)
        _fill(many, BATCHES)
        began_s = time.perf_counter()
        with _opened(many) as warehouse:
            warehouse.ledger(["incoming/none"])
            start_s = time.perf_counter() - began_s
            with _opened(few) as small:
                large_s, small_s = _loads(warehouse), _loads(small)
    return result(
        [
            Check("start_s", start_s, must=2, goal=None),
            Check("times_a_small_ledger", large_s / small_s, must=2, goal=None),
        ],
        "the same with a ledger of a thousand batches",
        load_ms=round(large_s * 1e3, 1),
    )


def _fill(folder: Path, batches: int) -> None:
    folder.mkdir()
    with _opened(folder):
        pass
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        connection.execute(_FILL, [batches])


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[DuckDBWarehouse]:
    with contextlib.closing(DuckDBWarehouse(DuckDBWarehouse.Config(), folder)) as warehouse:
        yield warehouse


def _loads(warehouse: DuckDBWarehouse) -> float:
    """The median time of a small load."""
    load(warehouse, [row("first", a=1)], add(a="bigint"))
    taken_s = []
    for at in range(LOADS):
        began_s = time.perf_counter()
        load(warehouse, [row(str(at), a=1)])
        taken_s.append(time.perf_counter() - began_s)
    return statistics.median(taken_s)
