"""Our side of the load benches, one process: `python -m bench.our_load FOLDER packs|plain [URL]`, into DuckDB or into
the PostgreSQL of that address.

Everything is published to the embedded queue first. Timed is the rest of the way: receive, guard, archive with its
fsyncs, acknowledge, load, commit.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

import nanoarrow

from bench.measure import Stopwatch
from bench.records import START, TABLES, dataset, repeated
from bench.up import make_project
from catchment import pack
from catchment.cli.parts import open_here
from catchment.config import Project
from catchment.load.service import LoadService
from catchment.service import Stop
from catchment.warehouses import Batch, Loaded, Warehouse

PUBLISHED_AT_ONCE = 1_000
PATIENCE_S = 1.0


def main() -> None:
    """Load the bench's data and say how long it took."""
    folder, form, *url = sys.argv[1:]
    data = dataset()
    project = make_project(Path(folder), *(f'[warehouse]\ntype = "postgres"\nurl = "{each}"\n' for each in url))
    watch = load_everything(project, data.packs() if form == "packs" else data.plain(), data.records)
    watch.tell(data.records)


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
    # As the warehouse process wires them, less its server and supervisor.
    queue, archive, warehouse = project.queue.open(), project.archive.open(), CountingWarehouse(open_here(project))
    _run_until_loaded(LoadService(queue, archive, cast(Warehouse, warehouse), project.load), warehouse, made)

    _publish(project, messages)
    watch = _run_until_loaded(
        LoadService(queue, archive, cast(Warehouse, warehouse), project.load), warehouse, made + records
    )
    rows = sum(_number(warehouse, f"SELECT count(*) FROM {table}") for table in TABLES)
    assert rows == made + records, f"{rows} rows of {made + records}"
    warehouse.close()
    queue.close()
    return watch


def _run_until_loaded(service: LoadService, warehouse: CountingWarehouse, rows: int) -> Stopwatch:
    """Run the service until so many rows are committed in all; stopping it again is not timed."""
    stop = Stop()
    with Stopwatch() as watch:
        running = stop.start("load", lambda: service.run(stop))
        while not warehouse.wait_for(rows, PATIENCE_S):
            if stop.failures:
                raise RuntimeError(f"loading stopped: {stop.failures}")
    stop.drain()
    running.join()
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
