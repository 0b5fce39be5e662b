"""Retention on a real warehouse: what is too old goes, and nothing brings it back."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catchment.archives import Archive
from catchment.load import files
from catchment.load.config import LoadConfig
from catchment.load.in_flight import InFlight
from catchment.load.loader import Loader
from catchment.load.replay import replay
from catchment.load.retaining import Removed, Retaining, summed
from catchment.load.retention import RetentionConfig, TableRetentionConfig
from catchment.load.rewrite import rewrite
from catchment.load.service import LoadService
from catchment.load.sweep import Sweep
from catchment.queues.sqlite import Config as QueueConfig
from catchment.queues.sqlite import SqliteQueue
from catchment.service import Stop
from catchment.testing.content import content, rows
from catchment.warehouses.duckdb import DuckDBWarehouse

from .loading import UNLIMITED, Rig, event
from .test_service import until

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
YEAR_OF_ROWS = RetentionConfig(archive=730 * DAY, rows=365 * DAY, dead_letters=90 * DAY)


class Old(Rig):
    """A rig whose records come at any age, with its retention."""

    def __init__(
        self,
        folder: Path,
        retention: RetentionConfig,
        config: LoadConfig = UNLIMITED,
        archive: Archive | None = None,
    ) -> None:
        super().__init__(folder, config, retention=retention, archive=archive)
        self.config = config
        self.retaining = Retaining(self.archive, self.warehouse, self.loader.retention, config)
        self._spares = itertools.count()

    def receive(self, age_days: float, *records: dict[str, Any] | bytes) -> None:
        """Archived and loaded at that time, by a loader that keeps everything, as it was not too old then."""
        self.now = NOW - age_days * DAY
        Loader.of(self.warehouse, self.archive, self.config).load(self.put(self.message(*records)))

    def come_late(self, age_days: float, *records: dict[str, Any] | bytes) -> None:
        """Received at that time, and loaded now."""
        self.now = NOW - age_days * DAY
        self.file(*records)

    def retain(self, now: datetime = NOW) -> list[Removed]:
        list(rewrite(self.archive, self.warehouse, now=NOW + timedelta(hours=3)))
        return summed(self.retaining.run(now, rows_at_once=2))

    def restored(self) -> DuckDBWarehouse:
        """Another warehouse, from the archive alone."""
        folder = self.folder / f"restored-{next(self._spares)}"
        warehouse = DuckDBWarehouse(DuckDBWarehouse.Config(), folder, readable=[self.folder / "archive"])
        loader = Loader.of(warehouse, self.archive, self.config, None, self.loader.retention.config, paced=False)
        Sweep(loader, self.archive, InFlight()).everything(Stop())
        return warehouse

    def ids(self, table: str = "web.event") -> set[str]:
        return {identity for _, identity in content(self.warehouse, table)}


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Old]:
    made = Old(tmp_path, YEAR_OF_ROWS)
    yield made
    made.close()


def version(key: int, number: int, op: str = "upsert", **data: Any) -> dict[str, Any]:
    """A plain record of a mirrored table."""
    return {
        "table": "shop.customer", "id": f"{key}@{number}", "source": "shop", "op": op, "key": ["k"],
        "version": f"{number:04}", "data": {"k": key, **data},
    }  # fmt: skip


def bad(identity: str) -> bytes:
    """A record that becomes a dead letter of its table."""
    return b'{"table":"web.event","id":"%b","source":"web","data":{"a":1,"a":2}}' % identity.encode()


def letters(warehouse: Any) -> set[str]:
    return {identity for (identity,) in rows(warehouse, "SELECT record_id FROM catchment.dead_letters")}


def everything(old: Old) -> None:
    for age in (800, 500, 364, 1):
        old.receive(age, event(f"e{age}", n=age), event(f"f{age}"), event(f"g{age}"), bad(f"b{age}"))


def test_rows_and_letters_go_then_files_by_their_own_ages(old: Old) -> None:
    everything(old)
    old.receive(80, bad("b80"))
    removed = old.retain()
    assert old.ids() == {"e364", "f364", "g364", "e1", "f1", "g1"}
    assert letters(old.warehouse) == {"b80", "b1"}
    (found,) = removed
    assert (found.table, found.rows, found.dead_letters, found.files) == ("web.event", 6, 3, 1)
    assert found.bytes > 0
    assert old.retain() == []


def test_what_would_go_is_what_goes(old: Old) -> None:
    everything(old)
    list(rewrite(old.archive, old.warehouse, now=NOW + timedelta(hours=3)))
    would = summed(old.retaining.look(NOW))
    assert len(old.ids()) == 12
    assert old.retain() == would != []
    assert summed(old.retaining.look(NOW)) == []


def test_it_goes_in_steps_between_which_it_may_stop(old: Old) -> None:
    everything(old)
    steps = old.retaining.run(NOW, rows_at_once=2)
    assert [next(steps).rows for _ in range(2)] == [2, 2]
    del steps
    assert len(old.ids()) == 8
    assert sum(each.rows for each in old.retain()) == 2


@pytest.mark.parametrize("count", [3, 300])
def test_nothing_brings_rows_back(old: Old, count: int) -> None:
    old.receive(500, *[event(f"old{n}", n=n) for n in range(count)])
    old.receive(10, *[event(f"young{n}", n=n) for n in range(count)])
    old.retain()
    kept = content(old.warehouse, "web.event")
    assert len(kept) == count
    done = replay(old.loader, old.archive, "web.event", since=None, until=None)
    assert (done.records, done.inserted) == (2 * count, 0)
    assert content(old.warehouse, "web.event") == kept
    with closing(old.restored()) as restored:
        assert content(restored, "web.event") == kept
    # As the ledger's loss alone would have it, or a file that somebody put back:
    old.warehouse.forget([entry.name for entry in old.archive.list()])
    old.sweep.everything(Stop())
    assert content(old.warehouse, "web.event") == kept


def test_a_late_queue_file_is_archived_and_entered_and_loads_what_is_young(old: Old) -> None:
    old.come_late(500, event("old"), bad("bad"))
    assert rows(old.warehouse, "SELECT table_name, records, inserted, dead FROM catchment.ledger") == [
        ("web.event", 0, 0, 0)
    ]
    old.come_late(100, event("young"), bad("settled"))
    assert old.ids() == {"young"}
    assert letters(old.warehouse) == set()
    assert old.swept() == 0
    assert old.retain() == []
    assert len(list(old.archive.list("table=web.event/"))) == 2


def test_of_one_pack_the_young_records_load(old: Old) -> None:
    lines = [
        msgspec.json.encode({**event(f"{at}"), "received_at": NOW - at * DAY}) for at in (200, 364, 366, 500)
    ]  # fmt: skip
    old.come_late(0, *lines, b"no json")
    assert old.ids() == {"200", "364"}
    assert rows(old.warehouse, "SELECT reason FROM catchment.dead_letters") == [("not-json",)]


def test_rows_return_where_the_project_keeps_them_longer(old: Old, tmp_path: Path) -> None:
    everything(old)
    old.retain()
    longer = msgspec.structs.replace(YEAR_OF_ROWS, rows=600 * DAY)
    loader = Loader.of(old.warehouse, old.archive, UNLIMITED, None, longer)
    assert replay(loader, old.archive, "web.event", since=None, until=None).inserted == 3
    assert {"e500", "f500", "g500"} <= old.ids()


def test_a_retry_of_a_young_row_is_found_still(old: Old) -> None:
    """Deleting rows takes nothing from what is known of the others."""
    everything(old)
    old.retain()
    old.come_late(0.5, event("e1", n=1), event("new"))
    assert rows(old.warehouse, "SELECT count(*) FROM web.event WHERE _id IN ('e1', 'new')") == [(2,)]


# ---- mirrored tables ------------------------------------------------------------------------------------


def mirrored(old: Old) -> None:
    """Versions in no order, keys deleted and made again, over three years."""
    old.receive(1100, version(1, 3, n=3), version(2, 1), version(3, 1), version(4, 5, "delete"))
    old.receive(1000, version(1, 2, n=2), version(2, 2, "delete"), version(5, 1, x="only here"))
    old.receive(900, version(4, 4), version(3, 2, n=9), version(6, 1))
    old.receive(100, version(6, 2, "delete"), version(7, 1))


def test_a_mirrored_table_is_rebuilt_equal_after_its_archive_has_expired(old: Old) -> None:
    mirrored(old)
    before = content(old.warehouse, "shop.customer")
    assert len(before) == 4
    (removed,) = old.retain()
    assert (removed.rows, removed.files) == (0, 3)
    names = [entry.name for entry in old.archive.list("table=shop.customer/")]
    assert sorted(type(files.parse(name)).__name__ for name in names) == ["Newest", "Rewritten"]
    assert content(old.warehouse, "shop.customer") == before
    with closing(old.restored()) as restored:
        assert content(restored, "shop.customer") == before
        # An older version that lay in a queue all the time brings nothing back, neither here nor there.
        for warehouse in (old.warehouse, restored):
            loader = Loader.of(warehouse, old.archive, UNLIMITED, None, YEAR_OF_ROWS)
            old.now = NOW
            loader.load(old.put(old.message(version(2, 1), version(4, 3), version(1, 1), version(6, 1))))
            assert {identity for _, identity in content(warehouse, "shop.customer")} == {
                identity for _, identity in before
            }


def test_rows_of_a_mirrored_table_go_where_it_is_named_and_older_versions_stay_away(tmp_path: Path) -> None:
    named = msgspec.structs.replace(YEAR_OF_ROWS, tables={"shop.customer": TableRetentionConfig(rows=300 * DAY)})
    old = Old(tmp_path, named)
    old.receive(400, version(1, 9), version(2, 1))
    old.receive(200, version(1, 8), version(2, 2))
    (removed,) = old.retain()
    assert (removed.table, removed.rows) == ("shop.customer", 1)
    assert old.ids("shop.customer") == {"2@2"}
    done = replay(old.loader, old.archive, "shop.customer", since=None, until=None)
    assert done.records == 4
    assert old.ids("shop.customer") == {"2@2"}
    with closing(old.restored()) as restored:
        assert {identity for _, identity in content(restored, "shop.customer")} == {"2@2"}
    old.close()


# ---- dead letters, and tables without room --------------------------------------------------------------


def test_letters_that_are_too_old_do_not_return(old: Old) -> None:
    old.receive(100, bad("old"), b"no json at all")
    old.receive(10, bad("young"))
    assert len(rows(old.warehouse, "SELECT 1 FROM catchment.dead_letters")) == 3
    assert sum(each.dead_letters for each in old.retain()) == 2
    assert letters(old.warehouse) == {"young"}
    replay(old.loader, old.archive, "web.event", since=None, until=None)
    assert letters(old.warehouse) == {"young"}
    with closing(old.restored()) as restored:
        assert letters(restored) == {"young"}


def test_each_table_keeps_its_letters_as_long_as_it_says(tmp_path: Path) -> None:
    config = msgspec.structs.replace(YEAR_OF_ROWS, tables={"web.*": TableRetentionConfig(dead_letters=200 * DAY)})
    old = Old(tmp_path, config)
    shop = bad("shop").replace(b"web.event", b"shop.item")
    old.receive(150, bad("web"), shop)
    old.retain()
    assert letters(old.warehouse) == {"web"}
    old.close()


def test_records_that_lie_among_others_go_by_that_tables_age(tmp_path: Path) -> None:
    few = msgspec.structs.replace(UNLIMITED, max_tables=1)
    retention = RetentionConfig(
        archive=730 * DAY, rows=30 * DAY, tables={"web.other_events": TableRetentionConfig(rows=365 * DAY)}
    )
    old = Old(tmp_path, retention, few)
    old.receive(20, event("a", table="web.first"))
    old.receive(100, event("b", table="web.second"))
    old.receive(400, event("c", table="web.second"))
    old.retain()
    assert old.ids("web.other_events") == {"second/b"}
    assert replay(old.loader, old.archive, "web.second", since=None, until=None).inserted == 0
    assert old.ids("web.other_events") == {"second/b"}
    assert len(list(old.archive.list("table=web.second/"))) == 2
    old.close()


def test_the_loader_does_it_in_turns(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step is a turn here; the other chores have theirs in between, and it comes to its end."""
    monkeypatch.setattr("catchment.load.keeping.RETAIN_TURN_S", -1.0)
    everything(old)
    list(rewrite(old.archive, old.warehouse, now=NOW + timedelta(hours=3)))
    stop = Stop()
    with closing(SqliteQueue(QueueConfig(), old.folder)) as queue:
        service = LoadService(queue, old.archive, old.warehouse, LoadConfig(max_age_s=0.05), None, YEAR_OF_ROWS)
        thread = threading.Thread(target=service.run, args=[stop])
        thread.start()
        try:
            until(lambda: not list(old.retaining.look(datetime.now(UTC))))
        finally:
            stop.drain(within_s=20)
            thread.join(25)
    assert old.ids() == {"e364", "f364", "g364", "e1", "f1", "g1"}
    assert len(list(old.archive.list("table=web.event/"))) == 3
