"""1M records of 20 tables in packs of 300, from queue to committed, beside bare DuckDB and dlt."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import environments, records
from bench.measure import ROOT, Check, Usage, best, interleaved, measured, result, scratch

ROUNDS = 3
DLT_SHARE = 5
"""dlt gets the first fifth of each table: its speed does not depend on more, and the bench takes minutes less."""
NEEDED_BYTES = 3_000_000_000


def run() -> dict[str, Any]:
    """Ours by the ceiling, by dlt, and in CPU."""
    with scratch(NEEDED_BYTES) as folder:
        taken = interleaved(
            ROUNDS,
            {
                "ours": contender(folder, "bench.our_load", "packs"),
                "ceiling": contender(folder, "bench.peers.ceiling", str(records.RECORDS)),
                "dlt": lambda: _dlt(folder),
            },
        )
    ours, ceiling, dlt = (best(taken[name]) for name in ("ours", "ceiling", "dlt"))
    return result(
        [
            Check("times_ceiling", ours.rows_per_s / ceiling.rows_per_s, must=0.45, goal=0.5, at_least=True),
            Check("times_dlt", ours.rows_per_s / dlt.rows_per_s, must=15, goal=20, at_least=True),
            Check("cpu_s", min(usage.cpu_s for usage in taken["ours"]), must=None, goal=4.5),
        ],
        "bare DuckDB reading pre-split zst files with explicit columns; dlt tuned, on a fifth of the data",
        rounds=ROUNDS,
        ours=ours.told(),
        ceiling=ceiling.told(),
        dlt=dlt.told(),
    )


def contender(folder: Path, module: str, *arguments: str) -> Callable[[], Usage]:
    """A run of `module` in an empty folder. The data is made first, outside of anybody's time."""
    records.dataset()

    def once() -> Usage:
        place = folder / module
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        return measured([sys.executable, "-m", module, str(place), *arguments])

    return once


def _dlt(folder: Path) -> Usage:
    data = records.dataset()
    place = folder / "dlt"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    metadata = {"_id": "varchar", "_received_at": "timestamptz", "_source": "varchar"}
    tables = {}
    for table, columns in records.COLUMNS.items():
        with data.flat(table).open("rb") as lines:
            rows = sum(1 for _ in lines) // DLT_SHARE
        name = table.partition(".")[2]
        tables[name] = {"file": str(data.flat(table)), "rows": rows, "columns": metadata | columns}
    given = place / "data.json"
    given.write_text(json.dumps(tables))
    return measured([environments.python("dlt"), ROOT / "bench" / "peers" / "dlt_load.py", given, place])
