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
from bench.records import START, TABLES, dataset, repeated
from bench.up import make_project
from catchment import pack
from catchment.config import Project
from catchment.load.service import LoadService
from catchment.service import Stop
from catchment.warehouses.duckdb import DuckDBWarehouse

PUBLISHED_AT_ONCE = 1_000
POLL_S = 0.1


def main() -> None:
    """Load the bench's data and say how long it took."""
    folder, form = Path(sys.argv[1]), sys.argv[2]
    data = dataset()
    watch = load_everything(folder, data.packs() if form == "packs" else data.plain(), data.records)
    watch.tell(data.records)


def load_everything(folder: Path, messages: Iterable[bytes], records: int) -> Stopwatch:
    """Publish the messages, then run the load service until all their records are committed: the time of that.

    The tables exist by then, as the ceiling's do: a first pack of each, of another hour, has made them.
    """
    project = make_project(folder)
    made = _publish(project, first_packs())
    # As the warehouse process wires them, less its server and supervisor.
    queue, archive = project.queue.open(), project.archive.open()
    readable = [project.runtime / "archive"]
    warehouse = DuckDBWarehouse(project.warehouse.config, project.warehouse.folder, readable)
    _run_until_loaded(LoadService(queue, archive, warehouse, project.load), warehouse, made)

    _publish(project, messages)
    watch = _run_until_loaded(LoadService(queue, archive, warehouse, project.load), warehouse, made + records)
    rows = sum(_number(warehouse, f"SELECT count(*) FROM {table}") for table in TABLES)
    assert rows == made + records, f"{rows} rows of {made + records}"
    warehouse.close()
    queue.close()
    return watch


def _run_until_loaded(service: LoadService, warehouse: DuckDBWarehouse, records: int) -> Stopwatch:
    """Run the service until the ledger has so many records; stopping it again is not timed."""
    stop = Stop()
    with Stopwatch() as watch:
        running = stop.start("load", lambda: service.run(stop))
        while _number(warehouse, "SELECT coalesce(sum(records), 0)::BIGINT FROM catchment.ledger") < records:
            if stop.wait(POLL_S):
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


def _number(warehouse: DuckDBWarehouse, query: str) -> int:
    [(value,)] = nanoarrow.ArrayStream(warehouse.query(query)).iter_tuples()
    return int(value)


if __name__ == "__main__":
    main()
