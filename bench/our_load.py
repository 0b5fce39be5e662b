"""Our side of the load benches, one process: `python -m bench.our_load FOLDER packs|fifth|plain [SETTINGS]`, from the
embedded queue into DuckDB unless these lines of a project file say otherwise.

Everything is published first; `fifth` is of the packs. Timed is the rest of the way: receive, guard, archive with its
fsyncs, acknowledge, load, commit.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

import nanoarrow

from bench.measure import Stopwatch
from bench.records import PACK_RECORDS, START, TABLES, dataset, repeated
from bench.up import make_project
from catchment import pack
from catchment.archives import Archive
from catchment.cli.parts import open_here
from catchment.config import Project
from catchment.load.service import LoadService
from catchment.queues import Delivery, Queue
from catchment.service import Stop
from catchment.warehouses import Batch, Loaded, Warehouse

PUBLISHED_AT_ONCE = 1_000
PATIENCE_S = 1.0
BEGIN_S = 60.0


def main() -> None:
    """Load the bench's data and say how long it took."""
    folder, form, *settings = sys.argv[1:]
    data = dataset()
    project = make_project(Path(folder), *settings)
    records = data.records // 5 if form == "fifth" else data.records
    messages = data.plain() if form == "plain" else data.packs()
    if form == "fifth":
        messages = islice(messages, records // PACK_RECORDS)
        records = records // PACK_RECORDS * PACK_RECORDS
    watch = load_everything(project, messages, records)
    watch.tell(records)


class BegunQueue:
    """A queue of which the first messages are here before the time runs: a group of Kafka's takes seconds to form."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._first: Delivery | None = None
        give_up_s = time.monotonic() + BEGIN_S
        while self._first is None:
            if time.monotonic() > give_up_s:
                raise RuntimeError(f"nothing came out of the queue within {BEGIN_S} s")
            self._first = queue.receive(1, PATIENCE_S)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def receive(self, max_bytes: int, wait_s: float) -> Delivery | None:
        """As `Queue.receive`."""
        first, self._first = self._first, None
        return first or self._queue.receive(max_bytes, wait_s)


class CountingWarehouse:
    """Tells when so many rows are committed: asking for it again and again would be part of the time."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._counting = threading.Condition()
        self._inserted = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._warehouse, name)

    def load(self, batches: Sequence[Batch], *, past_ledger: bool = False) -> list[Loaded]:
        """As `Warehouse.load`."""
        loaded = self._warehouse.load(batches, past_ledger=past_ledger)
        with self._counting:
            self._inserted += sum(each.inserted for each in loaded)
            self._counting.notify_all()
        return loaded

    def wait_for(self, rows: int, timeout_s: float) -> bool:
        """Until so many were inserted since it was opened."""
        with self._counting:
            return self._counting.wait_for(lambda: self._inserted >= rows, timeout_s)


def load_everything(project: Project, messages: Iterable[bytes], records: int) -> Stopwatch:
    """Publish the messages, then run the load service until all their records are committed: the time of that.

    The tables exist by then, as the ceiling's do: a first pack of each, of another hour, has made them.
    """
    made = _publish(project, first_packs())
    archive, warehouse = project.archive.open(), CountingWarehouse(open_here(project))
    _load_until(made, project, archive, warehouse)
    _publish(project, messages)
    watch = _load_until(made + records, project, archive, warehouse)
    rows = sum(_number(warehouse, f"SELECT count(*) FROM {table}") for table in TABLES)
    assert rows == made + records, f"{rows} rows of {made + records}"
    warehouse.close()
    return watch


def _load_until(rows: int, project: Project, archive: Archive, warehouse: CountingWarehouse) -> Stopwatch:
    """Run the service until so many rows are committed in all; stopping it again is not timed."""
    # As the warehouse process wires them, less its server and supervisor.
    queue = project.queue.open()
    begun = cast(Queue, BegunQueue(queue))
    service = LoadService(begun, archive, cast(Warehouse, warehouse), project.load)
    stop = Stop()
    with Stopwatch() as watch:
        running = stop.start("load", lambda: service.run(stop))
        while not warehouse.wait_for(rows, PATIENCE_S):
            if stop.failures:
                raise RuntimeError(f"loading stopped: {stop.failures}")
    stop.drain()
    running.join()
    queue.close()
    return watch


def first_packs() -> list[bytes]:
    """The first pack of each table, as records of the hour before."""
    found: dict[str, bytes] = {}
    for message in dataset().packs():
        found.setdefault(next(pack.read(message)).header.table, message)
        if len(found) == len(TABLES):
            break
    return list(repeated(iter(found.values()), START.hour - 1))


def _publish(project: Project, messages: Iterable[bytes]) -> int:
    """Publish by a publisher that then goes; the number of records in packs."""
    publisher, records, waiting = project.queue.open(), 0, iter(messages)
    while some := list(islice(waiting, PUBLISHED_AT_ONCE)):
        publisher.publish(some)
        records += sum(found.header.count for body in some if pack.is_packed(body) for found in pack.read(body))
    publisher.close()
    return records


def _number(warehouse: CountingWarehouse, query: str) -> int:
    [(value,)] = nanoarrow.ArrayStream(warehouse.query(query)).iter_tuples()
    return int(value)


if __name__ == "__main__":
    main()
