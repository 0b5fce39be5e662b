"""Outages of what the loader stands on: nothing is lost meanwhile, and everything goes on by itself, once."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catchment.archives import INCOMING
from catchment.archives.disk import DiskArchive
from catchment.errors import Abort, CatchmentError, StorageError, WarehouseDown
from catchment.load.config import LoadConfig
from catchment.load.round import OWN_FILE_ROWS
from catchment.load.service import LoadService
from catchment.pack import packs
from catchment.process import run_services
from catchment.queues.sqlite import Config, SqliteQueue
from catchment.record import Record, Stamp
from catchment.service import Stop
from catchment.testing.content import content
from catchment.warehouses.duckdb import DuckDBWarehouse
from tests.crash.running import archived, now, until
from tests.load.loading import T0, Rig, event


class Failing:
    """An adapter all of whose calls named in `calls` fail with `error` as long as there is one."""

    def __init__(self, adapter: Any, calls: Sequence[str]) -> None:
        self._adapter = adapter
        self._calls = calls
        self.error: CatchmentError | None = None
        self.failed = 0

    def __getattr__(self, name: str) -> Any:
        if self.error is not None and name in self._calls:
            self.failed += 1
            raise self.error
        return getattr(self._adapter, name)


class Loading:
    """The `load` service on real adapters, in a thread, its warehouse failing on demand."""

    def __init__(self, folder: Path) -> None:
        self.queue = SqliteQueue(Config(), folder)
        self.archive = DiskArchive(DiskArchive.Config(), folder)
        self.duckdb = DuckDBWarehouse(DuckDBWarehouse.Config(), folder, readable=[folder / "archive"])
        self.warehouse = Failing(self.duckdb, ["load", "ledger", "halts", "tidy", "enter", "forget"])
        config = LoadConfig(max_age_s=0.05)
        self.service = LoadService(self.queue, self.archive, self.warehouse, config)
        self.stop = Stop()
        self.exit_code: int | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.exit_code = run_services([self.service], health_port=None, stop=self.stop)

    def start(self) -> None:
        self._thread.start()

    def send(self, table: str, *identities: str) -> None:
        """As one message of packs."""
        stamp = Stamp(now(), "web")
        lines = [stamp.line(Record(table, msgspec.Raw(b"{}"), id=identity)) for identity in identities]
        self.queue.publish([b"".join(packs(table, lines))])

    def waiting(self) -> int | None:
        """Messages not acknowledged."""
        return self.queue.stats().messages

    def loaded(self, table: str) -> set[str]:
        """Ids in the table; fails where one is there twice."""
        return {identity for _, identity in content(self.duckdb, table)} if self.duckdb.shape(table).version else set()

    def close(self) -> None:
        self.stop.drain(10)
        self._thread.join(20)
        self.queue.close()
        self.duckdb.close()


@pytest.fixture
def loading(tmp_path: Path) -> Iterator[Loading]:
    made = Loading(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    "error", [WarehouseDown("it is down"), StorageError("its disk is full")], ids=["down", "full"]
)
def test_while_the_warehouse_is_down_everything_is_archived_and_then_loaded_once(
    loading: Loading, error: CatchmentError
) -> None:
    loading.start()
    loading.send("web.event", "before")
    until(lambda: loading.loaded("web.event"), "the first record")
    loading.warehouse.error = error
    sent = {f"{number}" for number in range(30)}
    for identity in sent:
        loading.send("web.event", identity)
        loading.send("web.other", identity)
    until(lambda: loading.waiting() == 0, "the queue to be drained")
    until(lambda: loading.warehouse.failed > 1, "the loads to fail")
    until(lambda: not loading.service.health().ready, "the service to say so")
    assert {identity for _, _, identity in archived(loading.archive)} == sent | {"before"}
    assert loading.service.health().ok
    assert loading.loaded("web.event") == {"before"}
    loading.warehouse.error = None
    until(lambda: loading.loaded("web.other") == sent, "the backlog")
    until(lambda: loading.loaded("web.event") == sent | {"before"}, "the backlog")
    until(lambda: loading.service.health().ready, "the service to say so")


class FullDisk:
    """Writes to the archive fail as on a full disk, but for the first `left` of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 10**6
        self._writev = os.writev
        monkeypatch.setattr("catchment.archives.disk.os.writev", self._write)

    def _write(self, descriptor: int, buffers: Sequence[Any]) -> int:
        if self.left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.left -= 1
        return self._writev(descriptor, buffers)


@pytest.mark.parametrize("left", [0, 1], ids=["at once", "in the middle of a round"])
def test_a_full_archive_holds_the_round_until_there_is_room(
    loading: Loading, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    """Nothing is acknowledged, nobody dies, and what was written of the round is not written again."""
    disk = FullDisk(monkeypatch)
    disk.left = left
    many = {f"{number}" for number in range(OWN_FILE_ROWS + 1)}
    loading.send("web.many", *many)  # a file of its own
    loading.send("web.few", "1")
    loading.start()
    until(lambda: loading.service.health().detail, "the service to say so")
    assert "No space left on device" in loading.service.health().detail
    assert loading.waiting() == 2
    assert loading.exit_code is None
    disk.left = 10**6
    until(lambda: loading.waiting() == 0, "the round to be acknowledged")
    until(lambda: (loading.loaded("web.many"), loading.loaded("web.few")) == (many, {"1"}), "both tables")
    assert len(list(loading.archive.list(INCOMING))) == 2
    assert loading.service.health().ready


def test_a_stop_while_the_archive_is_full_leaves_the_round_to_the_next_start(
    loading: Loading, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    disk = FullDisk(monkeypatch)
    disk.left = 0
    loading.send("web.few", "1")
    loading.start()
    until(lambda: loading.service.health().detail, "the service to say so")
    loading.close()
    assert loading.waiting() == 1
    disk.left = 10**6
    again = Loading(tmp_path)
    with contextlib.closing(again):
        again.start()
        until(lambda: again.loaded("web.few") == {"1"}, "the record")


def test_a_queue_that_fails_in_the_middle_of_a_round_loses_nothing(
    loading: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue gives what it has delivered to nobody else before this consumer has gone."""
    queue = Failing(loading.queue, ["receive"])
    receive: Callable[..., Any] = loading.queue.receive

    def once(*args: Any) -> Any:
        monkeypatch.setattr(loading.queue, "receive", receive)
        delivery = receive(*args)
        queue.error = WarehouseDown("the broker is away") if delivery is not None else None
        return delivery

    monkeypatch.setattr(loading.queue, "receive", once)
    loading.service._queue = queue
    loading.send("web.few", "1")
    loading.start()
    until(lambda: queue.failed, "the queue to fail")
    queue.error = None
    until(lambda: loading.loaded("web.few") == {"1"}, "the record")


def test_a_disk_too_full_for_a_checkpoint_ends_the_process_and_keeps_what_is_committed(tmp_path: Path) -> None:
    """DuckDB refuses everything from then on; `up` starts the process again."""
    rig = Rig(tmp_path)
    rig.file(*(event(f"{number}", text="x" * 100) for number in range(2_000)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(Abort, match="DuckDB has stopped"):
            rig.warehouse.tidy(T0)
        with pytest.raises(Abort, match="DuckDB has stopped"):
            rig.file(event("more"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    rig.close()
    again = Rig(tmp_path)
    assert again.warehouse.set_aside is None
    again.swept()
    assert len(content(again.warehouse, "web.event")) == 2_001
    again.close()
