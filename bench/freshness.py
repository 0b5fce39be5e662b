"""1,000 records/s into a table of 20M rows of a day, 1 % hours late, 0.5 % from fast clocks: how soon seen."""

from __future__ import annotations

import time
from typing import Any, cast

from bench.clicks import TABLE, insert_standing, is_late, record
from bench.latency import Pace, Probe, Sent, look_for, look_until_seen, publish
from bench.measure import Check, MemoryWatch, percentile, progress, result, scratch, tree_cpu_s
from bench.up import Up, make_project, up
from catchment.config import Project
from catchment.warehouses.duckdb import DuckDBWarehouse

STANDING_ROWS = 20_000_000
PER_S = 1_000
TICK_S = 0.05
WARM_UP_S = 10
MEASURED_S = 60
LATE_WITHIN_S = 120
NEEDED_BYTES = 6_000_000_000
_SEEN = f"SELECT seq FROM {TABLE} WHERE _received_at >= $1 AND seq > 0 AND kind"


def run() -> dict[str, Any]:
    """Latency of the punctual and the fast in p50 and p99, of the late at most."""
    with scratch(NEEDED_BYTES) as folder:
        project = make_project(folder)
        _fill(project)
        with up(project) as running:
            return _measure(project, running)


def _measure(project: Project, running: Up) -> dict[str, Any]:
    punctual, late = Probe(f"{_SEEN} <> 'late'", every_s=0.05), Probe(f"{_SEEN} = 'late'", every_s=1)
    queue = project.queue.open()
    try:
        with Pace(queue, TICK_S, _tick, lambda sent: late if is_late(sent.seq) else punctual) as pace:
            look_for(running.rows, [punctual, late], WARM_UP_S)
            punctual.forget()
            late.forget()
            cpu, began = tree_cpu_s(running.pid), time.monotonic()
            with MemoryWatch(running.pid, every_s=0.5) as memory:
                look_for(running.rows, [punctual, late], MEASURED_S)
            cores = (tree_cpu_s(running.pid) - cpu) / (time.monotonic() - began)
        look_until_seen(running.rows, [punctual, late], LATE_WITHIN_S)
    finally:
        queue.close()
    return result(
        [
            Check("p50_s", percentile(punctual.latencies_s, 0.5), must=1, goal=0.6),
            Check("p99_s", percentile(punctual.latencies_s, 0.99), must=3, goal=1.5),
            Check("late_max_s", max(late.latencies_s), must=60, goal=None),
        ],
        "its own limits: seconds from the call of publish to a query's answer that shows the record",
        records=len(punctual.latencies_s),
        late_records=len(late.latencies_s),
        max_s=round(max(punctual.latencies_s), 2),
        cores=round(cores, 2),
        peak_mb=round(memory.peak_bytes / 1e6),
        publisher_behind_s=round(pace.behind_s, 2),
    )


def _tick(tick: int) -> list[Sent]:
    count = round(PER_S * TICK_S)
    return [record(1 + tick * count + each) for each in range(count)]


def _fill(project: Project) -> None:
    """The table as one record makes it, then 20M rows straight into the file."""
    with up(project) as running:
        first = Probe(f"SELECT seq FROM {TABLE} WHERE _received_at >= $1", every_s=0.2)
        queue = project.queue.open()
        publish(queue, [record(-1)], lambda _: first)
        queue.close()
        _wait_for_table(running)
        look_until_seen(running.rows, [first], within_s=30)
    warehouse = cast(DuckDBWarehouse, project.warehouse.open())
    warehouse.close()
    progress(f"{STANDING_ROWS:,} rows of the last day straight into {warehouse.path.name}")
    insert_standing(warehouse.path, STANDING_ROWS)


def _wait_for_table(running: Up) -> None:
    deadline = time.monotonic() + 30
    while not running.row_counts("bench"):
        if time.monotonic() > deadline:
            raise RuntimeError("the first record is not visible after 30 s")
        time.sleep(0.05)
