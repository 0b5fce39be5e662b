"""`replay --fill` of 1M rows from archive and `_rescued`, beside DuckDB's own UPDATE … FROM the same files."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import our_fill
from bench.measure import Check, Usage, best, interleaved, measured, result, scratch

ROUNDS = 3
NEEDED_BYTES = 2_000_000_000


def run() -> dict[str, Any]:
    """Ours by the bare statement."""
    with scratch(NEEDED_BYTES) as folder:
        our_fill.data()
        sides = ("elected", "declared", "bare")
        taken = interleaved(ROUNDS, {side: _contender(folder, side) for side in sides})
    elected, declared, bare = (best(taken[side]) for side in sides)
    return result(
        [
            Check("times_update", elected.rows_per_s / bare.rows_per_s, must=0.5, goal=0.6, at_least=True),
            Check("times_update_declared", declared.rows_per_s / bare.rows_per_s, must=0.5, goal=0.7, at_least=True),
        ],
        "UPDATE … FROM read_json of the same archive files, by bare DuckDB on a copy of the same table",
        rounds=ROUNDS,
        elected=elected.told(),
        declared=declared.told(),
        bare=bare.told(),
    )


def _contender(folder: Path, side: str) -> Callable[[], Usage]:
    def once() -> Usage:
        place = folder / side
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        return measured([sys.executable, "-m", "bench.our_fill", str(place), side])

    return once
