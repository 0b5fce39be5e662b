"""Our side of the load benches, one process: `python -m bench.our_load FOLDER packs|plain`.

Everything is published to the embedded queue first. Timed is the rest of the way: receive, guard, archive with its
fsyncs, acknowledge, load, commit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import nanoarrow

from bench.measure import Stopwatch
from bench.records import TABLES, dataset
from catchment.archives.disk import DiskArchive
from catchment.load.config import LoadConfig
from catchment.load.service import LoadService
from catchment.queues.sqlite import SqliteQueue
from catchment.service import Stop
from catchment.warehouses.duckdb import DuckDBWarehouse

PUBLISHED_AT_ONCE = 1_000
POLL_S = 0.02


def main() -> None:
    """Load the bench's data and say how long it took."""
    folder, form = Path(sys.argv[1]), sys.argv[2]
    data = dataset()
    watch, rows = load_everything(folder, data.packs() if form == "packs" else data.plain(), data.records)
    assert rows == data.records, f"{rows} rows of {data.records}"
    watch.tell(rows)


def load_everything(folder: Path, messages: Iterable[bytes], records: int) -> tuple[Stopwatch, int]:
    """Publish the messages, then run the load service until all records are committed: its time, and the rows."""
    publisher = _queue(folder)
    waiting = iter(messages)
    while some := list(islice(waiting, PUBLISHED_AT_ONCE)):
        publisher.publish(some)
    publisher.close()

    queue, archive = _queue(folder), DiskArchive(DiskArchive.Config(), folder / "archive")
    warehouse = DuckDBWarehouse(DuckDBWarehouse.Config(), folder / "warehouse", readable=[folder / "archive"])
    service = LoadService(queue, archive, warehouse, LoadConfig())
    stop = Stop()
    with Stopwatch() as watch:
        running = stop.start("load", lambda: service.run(stop))
        while _number(warehouse, "SELECT coalesce(sum(records), 0)::BIGINT FROM catchment.ledger") < records:
            if stop.wait(POLL_S):
                raise RuntimeError(f"loading stopped: {stop.failures}")
    stop.drain()
    running.join()
    rows = sum(_number(warehouse, f"SELECT count(*) FROM {table}") for table in TABLES)
    warehouse.close()
    queue.close()
    return watch, rows


def _queue(folder: Path) -> SqliteQueue:
    return SqliteQueue(SqliteQueue.Config(), folder / "queue")


def _number(warehouse: DuckDBWarehouse, query: str) -> int:
    [(value,)] = nanoarrow.ArrayStream(warehouse.query(query)).iter_tuples()
    return int(value)


if __name__ == "__main__":
    main()
