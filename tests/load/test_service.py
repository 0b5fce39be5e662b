"""The load service as a whole, in this process, on the embedded queue, archive and warehouse."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from catchment.archives.disk import DiskArchive
from catchment.errors import Abort, StorageError, WarehouseDown
from catchment.load import service as service_module
from catchment.load.config import LoadConfig
from catchment.load.keeping import _Chore
from catchment.load.service import LoadService
from catchment.pack import messages, packs
from catchment.queues.sqlite import Config as QueueConfig
from catchment.queues.sqlite import SqliteQueue
from catchment.record import Stamp, decode, now
from catchment.service import Stop
from catchment.testing.content import rows
from catchment.warehouses import Batch, Loaded
from catchment.warehouses.duckdb import DuckDBWarehouse
from tests.load.loading import event


class Moody(DuckDBWarehouse):
    """A warehouse that is down while `down` is set."""

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)  # type: ignore[arg-type]
        self.down: Exception | None = None
        self.slow: threading.Event | None = None

    def load(self, batches: Sequence[Batch], *, past_ledger: bool = False) -> list[Loaded]:
        if self.down is not None:
            raise self.down
        if self.slow is not None and batches:
            self.slow.wait(20)
        return super().load(batches, past_ledger=past_ledger)

    def ledger(self, names: Sequence[str]):  # type: ignore[no-untyped-def]
        if self.down is not None:
            raise self.down
        return super().ledger(names)


class House:
    """A service with all it needs, running in a thread."""

    def __init__(self, folder: Path, **config: object) -> None:
        self.queue = SqliteQueue(QueueConfig(), folder)
        self.archive = DiskArchive(DiskArchive.Config(), folder)
        self.warehouse = Moody(DuckDBWarehouse.Config(), folder, readable=[folder / "archive"])
        self.stop = Stop()
        settings = LoadConfig(max_age_s=0.05, **config)  # type: ignore[arg-type]
        self.service = LoadService(self.queue, self.archive, self.warehouse, settings)
        self._thread = threading.Thread(target=self.service.run, args=[self.stop])

    def start(self) -> None:
        self._thread.start()
        until(lambda: self.service.health().ready or self.stop.draining)

    def drain(self) -> None:
        self.stop.drain(within_s=20)
        self._thread.join(25)
        assert not self._thread.is_alive()

    def close(self) -> None:
        if self._thread.is_alive():
            self.drain()
        self.queue.close()
        self.warehouse.close()

    def send(self, *identities: object, table: str = "web.event") -> None:
        stamp = Stamp(now(), "web")
        lines = [stamp.line(decode(msgspec.json.encode(event(str(each), table, a=1)))) for each in identities]
        self.queue.publish(list(messages(packs(table, lines))))

    def count(self, table: str = "web.event") -> int:
        if self.warehouse.shape(table).version == 0:
            return 0
        return int(rows(self.warehouse, f"SELECT count(*) FROM {table}")[0][0])

    def archived(self) -> int:
        return len(list(self.archive.list("incoming/")))


def until(condition: Callable[[], object], within_s: float = 30) -> None:
    ends_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends_s, "it did not come true in time"
        time.sleep(0.01)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


def test_what_is_published_can_be_asked_for(house: House) -> None:
    house.start()
    for at in range(5):
        house.send(*range(10 * at, 10 * at + 10))
        house.send(at, table=f"web.t{at}")
    until(lambda: house.count() == 50)
    until(lambda: all(house.count(f"web.t{at}") == 1 for at in range(5)))
    assert house.service.health().ready
    until(lambda: house.queue.stats().messages == 0)


def test_a_stop_leaves_nothing_half_done(house: House) -> None:
    """What was taken in is archived, acknowledged and loaded; the rest waits in the queue."""
    house.start()
    for at in range(20):
        house.send(*range(100 * at, 100 * at + 100))
    until(house.archived)
    house.drain()
    loaded, waiting = house.count(), house.queue.stats().messages
    assert loaded > 0
    assert waiting is not None
    assert loaded + 100 * waiting == 2000
    batches = rows(house.warehouse, "SELECT count(*) FROM catchment.ledger")[0][0]
    assert batches == house.archived()
    assert house.stop.failures == []


def test_what_waits_for_a_loading_thread_is_loaded_before_the_end(house: House) -> None:
    house.start()
    house.warehouse.slow = threading.Event()
    for at in range(2):  # one round in the thread's hands, one in its inbox
        house.send(at)
        until(lambda: house.queue.stats().messages == 0)
    until(lambda: any(inbox.full() for inbox in house.service._inboxes))
    house.stop.drain(within_s=60)
    until(house.service._took_in.is_set)
    house.warehouse.slow.set()
    house.drain()
    assert house.count() == 2


def test_what_is_left_from_before_is_swept_up_at_the_start(house: House, tmp_path: Path) -> None:
    house.warehouse.down = WarehouseDown("away")
    house.send("1")
    house.start()
    until(house.archived)
    house.drain()
    assert house.count() == 0
    house.queue.close()
    house.warehouse.close()
    again = House(tmp_path)
    try:
        again.start()
        until(lambda: again.count() == 1)
    finally:
        again.close()


def test_while_the_warehouse_is_down_archiving_goes_on(house: House) -> None:
    house.service._keeping._sweeping.every_s = 0.2
    house.start()
    house.warehouse.down = WarehouseDown("away")
    for at in range(6):
        house.send(at)
        until(lambda: house.queue.stats().messages == 0)
    health = house.service.health()
    assert (health.ok, health.ready) == (True, False)
    assert "the warehouse has been down" in health.detail
    assert house.count() == 0
    house.warehouse.down = None
    until(lambda: house.count() == 6)
    until(lambda: house.service.health().ready)
    assert house.stop.failures == []


def test_a_full_disk_under_the_warehouse_is_waited_out(house: House) -> None:
    house.service._keeping._sweeping.every_s = 0.2
    house.warehouse.down = StorageError("no space left", "free some")
    house.start()
    house.send("1")
    until(house.archived)
    house.warehouse.down = None
    until(lambda: house.count() == 1)


def test_a_warehouse_that_only_a_restart_helps_ends_the_process(house: House) -> None:
    house.start()
    house.warehouse.down = Abort("DuckDB has stopped", "restart")
    house.send("1")
    until(lambda: house.stop.failures)
    house.drain()
    assert str(house.stop.failures[0].reason).startswith("DuckDB has stopped")


def test_a_chore_that_fails_comes_again_at_growing_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_s = 0.0
    monkeypatch.setattr("catchment.load.keeping.time.monotonic", lambda: clock_s)
    tried: list[float] = []
    works = False

    def work(stop: Stop) -> bool:
        tried.append(clock_s)
        return works

    chore = _Chore(60.0, work)
    for _ in range(1_000):
        chore.soon()  # however often it is asked for
        chore.run_if_due(Stop())
        clock_s += 0.25
    assert [round(after - before) for before, after in itertools.pairwise(tried)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    works = True
    clock_s += 60
    chore.run_if_due(Stop())
    tried.clear()
    for _ in range(1_000):
        chore.run_if_due(Stop())
        clock_s += 0.25
    assert len(tried) == 4


def test_slow_loading_neither_stops_archiving_nor_fills_memory(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "HAND_OVER_PATIENCE_S", 0.05)
    house.start()
    house.warehouse.slow = threading.Event()
    for at in range(8):
        house.send(at)
        until(lambda: house.queue.stats().messages == 0)
    assert house.count() == 0
    assert sum(inbox.qsize() for inbox in house.service._inboxes) <= len(house.service._inboxes)
    house.warehouse.slow.set()
    until(lambda: house.count() == 8)
    house.drain()
    assert vars(house.service._in_flight)["_names"] == {}


def send_late(house: House, identity: str) -> None:
    stamp = Stamp(now(), "web", own_time=now() - timedelta(hours=5))
    line = stamp.line(decode(msgspec.json.encode(event(identity, a=1))))
    house.queue.publish(list(packs("web.event", [line])))


def test_late_rows_of_a_large_table_are_loaded_together(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catchment.load.late.LARGE_ROWS", 10)
    monkeypatch.setattr("catchment.load.late._ASK_AGAIN_S", 0.0)
    monkeypatch.setattr("catchment.load.late.EVERY_S", 1.0)
    house.start()
    house.send(*range(20))
    until(lambda: house.count() == 20)
    for at in range(3):
        send_late(house, f"late-{at}")
        until(lambda: house.queue.stats().messages == 0)
    until(lambda: house.count() == 23)


def test_late_rows_that_wait_are_loaded_at_the_stop(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catchment.load.late.LARGE_ROWS", 10)
    monkeypatch.setattr("catchment.load.late._ASK_AGAIN_S", 0.0)
    house.start()
    house.send(*range(20))
    until(lambda: house.count() == 20)
    send_late(house, "late")
    until(lambda: house.service._late._waiting)
    assert house.count() == 20
    house.drain()
    assert house.count() == 21


def test_a_table_stays_with_its_thread(house: House) -> None:
    house.start()
    for at in range(4):
        house.send(at, table="web.a")
        house.send(at, table="web.b")
        until(lambda at=at: house.count("web.a") == house.count("web.b") == at + 1)  # type: ignore[misc]
    assert set(house.service._owner) >= {"web.a", "web.b"}


def test_a_resumed_table_goes_on(house: House) -> None:
    house.service._keeping._sweeping.every_s = 0.2
    house.warehouse.halt("web.event", "test")
    house.start()
    house.send("1")
    house.send("1", table="web.other")
    until(lambda: house.count("web.other") == 1)
    assert house.count() == 0
    house.warehouse.resume("web.event")
    until(lambda: house.count() == 1)


def test_a_queue_that_cannot_be_measured_stops_nothing(house: House) -> None:
    def broken():  # type: ignore[no-untyped-def]
        raise StorageError("a corrupt file")

    stats = house.queue.stats
    house.queue.stats = broken  # type: ignore[method-assign]
    house.start()
    house.send("1")
    until(lambda: house.count() == 1)
    house.queue.stats = stats  # type: ignore[method-assign]
    assert house.stop.failures == []
