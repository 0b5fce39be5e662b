"""The project's parts, opened for a command."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from catchment import presence
from catchment.archives import INCOMING, Archive
from catchment.config import Project
from catchment.errors import WarehouseDown
from catchment.load.files import in_full, parse
from catchment.warehouses import Warehouse
from catchment.warehouses.duckdb_remote import find

_PATIENCE_S = 5.0


@contextlib.contextmanager
def warehouse_of(project: Project) -> Iterator[Warehouse]:
    """The project's warehouse: through its process while one runs, else the file, opened here.

    Raises `WarehouseDown` where neither can be had.
    """
    opened = _reach(project)
    try:
        yield opened
    finally:
        opened.close()


def _reach(project: Project) -> Warehouse:
    give_up_s = time.monotonic() + _PATIENCE_S
    while True:
        remote = find(project.runtime)
        if remote is not None:
            return remote
        try:
            return open_here(project)
        except WarehouseDown:
            # A process that holds the file is starting, or on its way out: look for its socket again.
            if time.monotonic() > give_up_s:
                raise
            time.sleep(0.05)


def open_here(project: Project) -> Warehouse:
    """The warehouse itself, in this process. Raises `WarehouseDown` while another process has it."""
    return project.warehouse.open(readable=[archive_folder(project.archive.open())])


def archive_folder(archive: Archive) -> Path:
    """The folder of a disk archive."""
    return Path(archive.url("name")).parent


def unloaded_batches(archive: Archive, warehouse: Warehouse) -> int:
    """Batches under `incoming/` that the ledger lacks."""
    names = [entry.name for entry in archive.list(INCOMING) if parse(entry.name) is not None]
    count = 0
    for start in range(0, len(names), 1_000):
        some = names[start : start + 1_000]
        ledger = warehouse.ledger(some)
        for name in some:
            has = ledger.get(name, frozenset())
            file = parse(name)
            if file is not None and not in_full(name, has):
                count += file.batches - len(has)
    return count


def is_loading(project: Project) -> bool:
    """Whether a process runs that loads what is queued."""
    state = presence.service(project.runtime, "load")
    return state is not None and state.alive


def is_loaded(project: Project) -> bool:
    """Whether all that has been queued so far is in the warehouse."""
    with contextlib.closing(project.queue.open()) as queue:
        if queue.stats().messages:
            return False
    remote = find(project.runtime)
    if remote is None:
        return False
    with contextlib.closing(remote):
        return unloaded_batches(project.archive.open(), remote) == 0
