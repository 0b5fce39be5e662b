"""20M records of 20 tables waiting after an outage: memory while they are drained, and how fast that goes.

They take about 1.7 GB in the queue, as much again in the archive, and some 5 GB in the warehouse.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from bench.load_duckdb import contender
from bench.measure import Check, MemoryWatch, best, growth, progress, result, scratch
from bench.records import RECORDS, dataset, repeated
from bench.up import Up, make_project, up
from catchment.config import load_project

HOURS = 20
"""Each hour of the outage brought the load bench's million records, with ids and times of its own."""
PUBLISHERS = 2
PUBLISHED_AT_ONCE = 200
GIVE_UP_S = 1_200
NEEDED_BYTES = 16_000_000_000
FLAT = 1.15
"""The last third of the drain may hold so many times the memory of the third before it."""


def run() -> dict[str, Any]:
    """Peak memory of all processes, its growth, and speed beside the load bench's, which runs before and after."""
    rows = HOURS * RECORDS
    with scratch(NEEDED_BYTES) as folder:
        load = contender(folder, "bench.our_load", "packs")
        single = [load()]
        project = make_project(folder / "project")
        progress(f"publishing {rows:,} records")
        _publish(project.root)
        began = time.monotonic()
        with up(project) as running:
            seconds, memory = _drain(running, rows, began)
        single.append(load())
    speed = best(single).rows_per_s
    return result(
        [
            Check("peak_mb", memory.peak_bytes / 1e6, must=700, goal=600),
            Check("growth", growth(memory.samples), must=FLAT, goal=FLAT),
            # Two runs of the same thing differ by a tenth on a machine that does other things too.
            Check("times_load_duckdb", rows / seconds / speed, must=None, goal=0.9, at_least=True),
        ],
        "its own limit: memory of all processes of `up`, shared pages counted once; the speed of load-duckdb",
        rows_per_s=round(rows / seconds),
        load_duckdb_rows_per_s=round(speed),
        drained_s=round(seconds),
    )


def _drain(running: Up, rows: int, began: float) -> tuple[float, MemoryWatch]:
    with MemoryWatch(running.pid, every_s=0.25) as memory:
        while (there := sum(running.row_counts("events").values())) < rows:
            if time.monotonic() - began > GIVE_UP_S:
                raise RuntimeError(f"{there:,} of {rows:,} rows are loaded after {GIVE_UP_S} s")
            time.sleep(0.5)
        seconds = time.monotonic() - began
    assert there == rows, f"{there} rows of {rows}: records came twice"
    return seconds, memory


def _publish(root: Path) -> None:
    dataset()
    context = multiprocessing.get_context("spawn")
    with context.Pool(PUBLISHERS) as pool:
        pool.starmap(_publish_hours, [(root, list(range(HOURS))[at::PUBLISHERS]) for at in range(PUBLISHERS)])


def _publish_hours(root: Path, hours: Sequence[int]) -> None:
    """One publisher, whose hours come in order."""
    queue = load_project(root).queue.open()
    for hour in hours:
        waiting = repeated(dataset().packs(), hour)
        while some := list(islice(waiting, PUBLISHED_AT_ONCE)):
            queue.publish(some)
    queue.close()
