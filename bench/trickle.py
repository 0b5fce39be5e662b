"""500 tables at 1 record/s each for a minute: latency, CPU, and what it does to the disk."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from bench.disk import count_fsyncs, written_bytes
from bench.latency import Pace, Probe, Sent, look_for, look_until_seen, publish
from bench.measure import Check, percentile, progress, result, scratch, tree_cpu_s
from bench.up import Up, make_project, up
from catchment.config import Project
from catchment.record import Record, Stamp, now, timestamp, uuid7

TABLES = [f"trickle.t{at:03}" for at in range(500)]
SAMPLED = set(TABLES[::50])
"""Looking into all 500 would cost more than loading them: these 10 stand for all."""
TICK_S = 0.1
WARM_UP_S = 10
MEASURED_S = 60
TRACED_S = 15
NEEDED_BYTES = 2_000_000_000
_PER_TICK = round(len(TABLES) * TICK_S)


def run() -> dict[str, Any]:
    """p99 and cores; then, traced for a while, fsyncs."""
    with scratch(NEEDED_BYTES) as folder:
        project = make_project(folder)
        with up(project) as running:
            return _measure(project, running)


def _measure(project: Project, running: Up) -> dict[str, Any]:
    seen = " UNION ALL ".join(f"SELECT seq FROM {table} WHERE _received_at >= $1" for table in sorted(SAMPLED))
    probe = Probe(seen, every_s=0.4)
    queue, archive = project.queue.open(), project.archive.open()
    try:
        publish(queue, [record(-1 - at, table) for at, table in enumerate(TABLES)], lambda _: None)
        _wait_for_tables(running)
        with Pace(queue, TICK_S, _tick, lambda sent: probe if sent.line.table in SAMPLED else None) as pace:
            look_for(running.rows, [probe], WARM_UP_S)
            probe.forget()
            files, written = len(list(archive.list())), written_bytes(running.pid)
            cpu, began = tree_cpu_s(running.pid), time.monotonic()
            look_for(running.rows, [probe], MEASURED_S)
            seconds = time.monotonic() - began
            cores = (tree_cpu_s(running.pid) - cpu) / seconds
            files, written = len(list(archive.list())) - files, written_bytes(running.pid) - written
            latencies_s = list(probe.latencies_s)
            fsyncs_per_s = count_fsyncs(running.pid, TRACED_S)
        look_until_seen(running.rows, [probe], within_s=60)
    finally:
        queue.close()
    return result(
        [
            Check("p99_s", percentile(latencies_s, 0.99), must=5, goal=4),
            Check("cores", cores, must=0.5, goal=0.3),
        ],
        "its own limits: seconds from publish to a query that shows the record; cores of the whole `up`",
        p50_s=round(percentile(latencies_s, 0.5), 2),
        max_s=round(max(latencies_s), 2),
        archive_files_per_s=round(files / seconds, 2),
        written_kb_per_s=round(written / seconds / 1e3),
        fsyncs_per_s=fsyncs_per_s,
        publisher_behind_s=round(pace.behind_s, 2),
    )


def record(seq: int, table: str) -> Sent:
    """A small record for `table`, received now."""
    received_at = now()
    data = {"seq": seq, "name": f"n{seq % 100}", "amount": seq / 8, "sent_at": timestamp(received_at).decode()}
    sent = Record(table=table, data=msgspec.Raw(msgspec.json.encode(data)), id=uuid7())
    return Sent(seq, Stamp(received_at, "bench", own_time=received_at).line(sent))


def _tick(tick: int) -> list[Sent]:
    first = tick * _PER_TICK
    return [record(seq, TABLES[seq % len(TABLES)]) for seq in range(first, first + _PER_TICK)]


def _wait_for_tables(running: Up) -> None:
    progress(f"making {len(TABLES)} tables")
    deadline = time.monotonic() + 120
    while (made := len(running.row_counts("trickle"))) < len(TABLES):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{made} of {len(TABLES)} tables are there after 120 s")
        time.sleep(0.5)
