"""The project's parts, opened for a command."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from catchment import log, presence
from catchment.archives import INCOMING, Archive
from catchment.config import Project
from catchment.errors import Abort, Malformed, Retry, UsageError, WarehouseDown
from catchment.load.files import Incoming, in_full, parse
from catchment.pack import read_headers
from catchment.queues import Queue, QueueStats
from catchment.record import DEAD_LETTERS, check_table
from catchment.warehouses import Warehouse

if TYPE_CHECKING:
    from catchment.queues.outbox import Outbox

_PATIENCE_S = 5.0
_CLOCK_MARGIN_S = 0.1
"""What the queue's clock and ours may differ by."""


@contextlib.contextmanager
def warehouse_of(project: Project) -> Iterator[Warehouse]:
    """The project's warehouse: an embedded one through its process while one runs, else the file, opened here.

    Raises `WarehouseDown` where neither can be had.
    """
    _set_up_log()
    opened = _reach(project)
    try:
        yield opened
    finally:
        opened.close()


def is_embedded(project: Project) -> bool:
    """Whether one process owns the warehouse and the others ask through it, as with DuckDB; else all connect."""
    return bool(getattr(project.warehouse.adapter, "is_embedded", False))


def _reach(project: Project) -> Warehouse:
    if not is_embedded(project):
        return open_here(project)
    give_up_s = time.monotonic() + _PATIENCE_S
    while True:
        remote = _remote(project)
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
    _set_up_log()
    if not is_embedded(project):
        return project.warehouse.open()
    folder = archive_folder(project.archive.open())
    return project.warehouse.open(readable=[folder] if folder is not None else [])


def _loading_warehouse(project: Project) -> Warehouse | None:
    """The warehouse as those who wait for a load ask it: None while no process has it that would load."""
    return _remote(project) if is_embedded(project) else open_here(project)


def _remote(project: Project) -> Warehouse | None:
    """The warehouse of the process that has it, if one does."""
    from catchment.warehouses.duckdb_remote import find  # with Arrow, which a collector has no use for

    return find(project.runtime)


def _set_up_log() -> None:
    """So that what parts say of damage, say, is said as by a service: a command has none of its own."""
    if not log.is_set_up():
        log.setup("catchment", level=os.environ.get(log.LEVEL_ENV) or "warning")


def archive_folder(archive: Archive) -> Path | None:
    """The folder of an archive on disk."""
    url = archive.url("name")
    return None if "://" in url else Path(url).parent


def is_all_loaded(project: Project) -> bool:
    """Whether everything queued and archived so far is in the warehouse; it is not while that cannot be asked."""
    if _queue_stats(project).messages != 0:
        return False
    warehouse = _loading_warehouse(project)
    if warehouse is None:
        return False
    with contextlib.closing(warehouse), contextlib.suppress(WarehouseDown):
        return unloaded_batches(project.archive.open(), warehouse) == 0
    return False


def _queue_stats(project: Project) -> QueueStats:
    """What waits in the queue; all unknown while it cannot be asked."""
    with contextlib.closing(project.queue.open()) as queue, contextlib.suppress(Retry):
        return queue.stats()
    return QueueStats()


def unloaded_batches(archive: Archive, warehouse: Warehouse) -> int:
    """Batches under `incoming/` that the ledger lacks."""
    return sum(file.batches - len(has) for file, has in _not_in_full(archive, warehouse))


def _not_in_full(archive: Archive, warehouse: Warehouse) -> Iterator[tuple[Incoming, frozenset[str]]]:
    """Files under `incoming/` of which the ledger lacks something, with the tables that it has."""
    files = [file for entry in archive.list(INCOMING) if isinstance(file := parse(entry.name), Incoming)]
    for start in range(0, len(files), 1_000):
        some = files[start : start + 1_000]
        ledger = warehouse.ledger([file.name for file in some])
        for file in some:
            has = ledger.get(file.name, frozenset())
            if not in_full(file.name, has):
                yield file, has


def check_table_name(table: str) -> None:
    """Raise `UsageError` for what cannot be a table's name."""
    try:
        check_table(table)
    except Malformed as error:
        raise UsageError(error.detail.removesuffix(" - at `$.table`"), "a name such as shop.orders") from None


def outbox_of(queue: Queue) -> Outbox | None:
    """The queue's outbox; None where it has none."""
    return cast("Outbox", queue) if hasattr(queue, "waiting") else None


def is_loading(project: Project) -> bool:
    """Whether a process runs that loads what is queued."""
    state = presence.service(project.runtime, "load")
    return state is not None and state.alive


def is_loaded(project: Project, table: str, before_s: float) -> bool:
    """Whether the warehouse has all records of `table`, and all dead letters, queued before `before_s` (monotonic);
    it has not while it cannot be asked, such as when its process is restarted.

    Raises `Abort` where loading of the table has halted.
    """
    stats = _queue_stats(project)
    if stats.messages != 0:
        # Others may go on publishing for ever: only what is as old as ours counts. An age of 0 may be that of a
        # message from before the clock was set back.
        age_s = time.monotonic() - before_s - _CLOCK_MARGIN_S
        if not stats.oldest_s or stats.oldest_s >= age_s:
            return False
    warehouse = _loading_warehouse(project)
    if warehouse is None:
        return False
    with contextlib.closing(warehouse), contextlib.suppress(WarehouseDown):
        if not _lacks(project.archive.open(), warehouse, {table, DEAD_LETTERS}):
            return True
        for halt in warehouse.halts():
            if halt.table == table and halt.resumed_at is None:
                raise Abort(f"loading of {table} has halted: {halt.reason}", f"catchment dead-letters resume {table}")
    return False


def _lacks(archive: Archive, warehouse: Warehouse, tables: set[str]) -> bool:
    """Whether a file under `incoming/` has records of these tables that the ledger lacks."""
    for file, has in _not_in_full(archive, warehouse):
        try:
            with archive.open(file.name) as opened:
                if any(header.table in tables - has for header in read_headers(opened)):
                    return True
        except FileNotFoundError:
            continue  # rewritten meanwhile, so it was loaded
        except Malformed:
            continue  # damaged: the sweep says so, and will not load it
    return False
