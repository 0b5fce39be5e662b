"""1M plain single-record messages of 20 tables, mixed and not stamped, beside bare DuckDB."""

from __future__ import annotations

from typing import Any

from bench.load_duckdb import contender
from bench.measure import Check, best, interleaved, result, scratch
from bench.records import RECORDS

ROUNDS = 3
NEEDED_BYTES = 5_000_000_000


def run() -> dict[str, Any]:
    """Ours by the ceiling."""
    with scratch(NEEDED_BYTES) as folder:
        taken = interleaved(
            ROUNDS,
            {
                "ours": contender(folder, "bench.our_load", "plain"),
                "ceiling": contender(folder, "bench.peers.ceiling", str(RECORDS)),
            },
        )
    ours, ceiling = best(taken["ours"]), best(taken["ceiling"])
    return result(
        [Check("times_ceiling", ours.rows_per_s / ceiling.rows_per_s, must=0.2, goal=0.35, at_least=True)],
        "bare DuckDB reading pre-split zst files with explicit columns",
        rounds=ROUNDS,
        ours=ours.told(),
        ceiling=ceiling.told(),
    )
