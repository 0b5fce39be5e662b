"""Kill -9 at every named point of retention: what is kept is there once, and what went does not come back.

What waits when the process starts: rows, dead letters and archive files that are too old, of events and of a mirrored
table; a list of files removed long ago, which the ledger is to forget; and records in the queue, some of which were
received so long ago that they are too old.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from catchment.archives import Archive
from catchment.cli.parts import is_all_loaded
from catchment.config import Project
from catchment.load import files
from catchment.load.expire import expire
from catchment.load.in_flight import InFlight
from catchment.load.loader import Loader
from catchment.load.retaining import Retaining
from catchment.load.retention import Retention, RetentionConfig
from catchment.load.rewrite import rewrite
from catchment.load.round import Round
from catchment.load.sweep import Sweep
from catchment.load.verify import problems
from catchment.pack import packs
from catchment.queues import Delivery, Message
from catchment.record import Record, Stamp
from catchment.service import Stop
from catchment.testing.content import content, rows
from catchment.warehouses import Warehouse
from catchment.warehouses.duckdb import DuckDBWarehouse
from tests.crash.dying import Point
from tests.crash.running import make_project, now, opened_warehouse, until
from tests.crash.test_points import PATIENCE_S, Scene
from tests.servers.postgres import PostgresServer

EVENTS, MIRROR = "web.event", "shop.customer"
DAY = timedelta(days=1)
SETTINGS = """
[load]
max_age_s = 0.05
[retention]
archive = "60 days"
rows = "30 days"
dead_letters = "15 days"
ledger = "2 days"
"""
NEWEST = f"table={MIRROR}/newest"

POINTS = [
    Point("warehouse.expire", "before"),
    Point("warehouse.expire", "after"),
    Point("warehouse.expire", "after", nth=2),
    Point("archive.put", "before", only=NEWEST),
    Point("archive.put", "after", only=NEWEST),
    Point("warehouse.enter", "after"),
    Point("archive.put", "after", only=files.REMOVED),
    Point("archive.delete", "after", only="table="),
    Point("archive.delete", "after", nth=3, only="table="),
    Point("archive.put", "after", nth=2, only=files.REMOVED),
    Point("warehouse.forget", "after"),
    Point("archive.delete", "before", only=files.REMOVED),
]


class Aged(Scene):
    """A project with things of many ages."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.project: Project = make_project(folder, SETTINGS + settings)
        self._process = None
        self._numbers = iter(range(10**6))
        self._sent = 0
        with opened_warehouse(self.project) as warehouse:
            archive = self.project.archive.open()
            loader = Loader.of(warehouse, archive, self.project.load)
            for age in (100, 99, 50, 20, 1):
                taken = Round(loader.look, "test")
                taken.add(Delivery([Message(body, f"old/{age}", None) for body in self._old(age)], None))
                loader.load(taken.close(archive, now() - 10 * DAY))
            list(rewrite(archive, warehouse, now=now()))
            self._removed_long_ago(archive, warehouse)
            self.mirrored = content(warehouse, MIRROR)
        self.send()

    def _removed_long_ago(self, archive: Archive, warehouse: Warehouse) -> None:
        """Of a third table, three days ago, under the same retention."""
        retention = Retention(RetentionConfig(archive=60 * DAY, rows=30 * DAY))
        loader = Loader.of(warehouse, archive, self.project.load)
        taken = Round(loader.look, "test")
        taken.add(Delivery([Message(body, "gone", None) for body in self._event("gone", 80, "web.gone")], None))
        loader.load(taken.close(archive, now() - 10 * DAY))
        list(rewrite(archive, warehouse, now=now()))

        class OfOne:
            """The warehouse as if it knew no other table."""

            shape, ledger, enter, forget = warehouse.shape, warehouse.ledger, warehouse.enter, warehouse.forget

        only = _Only(archive, "table=web.gone/")
        done = list(expire(only, OfOne(), retention, loader.contracts, now=now() - 3 * DAY))  # type: ignore[arg-type]
        assert [each.table for each in done if each] == ["web.gone"]

    # ---- what there is ----------------------------------------------------------------

    def _old(self, age: int) -> Iterator[bytes]:
        yield from self._event(f"e{age}", age)
        yield from self._event(f"b{age}", age, data=b'{"n":1,"n":2}')
        # The older the record, the higher its version, but for the youngest: order of arrival tells nothing.
        for key, version in ((1, 1000 - age), (age, age), (2, age)):
            yield from self._version(key, version, age, "delete" if age in {99, 20} else "upsert")

    def _event(self, identity: str, age: int, table: str = EVENTS, data: bytes = b'{"n":1}') -> Iterator[bytes]:
        record = Record(table, msgspec.Raw(data), id=identity)
        return packs(table, [Stamp(now() - age * DAY, "test").line(record)])

    def _version(self, key: int, version: int, age: int, op: str) -> Iterator[bytes]:
        data = msgspec.Raw(b'{"k":%d,"n":%d}' % (key, age))
        record = Record(MIRROR, data, id=f"{key}@{version}@{age}", op=op, key=("k",), version=f"{version:06}")  # type: ignore[arg-type]
        return packs(MIRROR, [Stamp(now() - age * DAY, "test").line(record)])

    def send(self) -> None:
        """Young records, copies of them, and records that lay in a queue file for long."""
        self._sent += 1
        number = self._sent
        bodies = [
            *self._event(f"new{number}", 0),
            *self._event(f"new{number}", 0),
            *self._event(f"late{number}", 40),
            *self._event(f"later{number}", 90),
            *self._event(f"lately{number}", 20),
            *self._event(f"badly{number}", 20, data=b'{"n":1,"n":3}'),
            *self._version(2, 3, 90, "upsert"),
        ]
        with contextlib.closing(self.project.queue.open()) as queue:
            queue.publish(bodies)

    # ---- what is to be there ----------------------------------------------------------

    def finish(self) -> None:
        process = self.start(None)
        until(lambda: is_all_loaded(self.project), "everything to be loaded", PATIENCE_S)
        until(self._is_tidy, "what is too old to go", PATIENCE_S)
        process.kill()
        process.join()

    def _is_tidy(self) -> bool:
        """By the archive alone, which goes last: an embedded warehouse is the process's own."""
        old = now() - 60 * DAY
        archive = self.project.archive.open()
        names = [files.parse(entry.name) for entry in archive.list("table=")]
        lists = [at for entry in archive.list(files.REMOVED) if (at := files.expired_at(entry.name))]
        return not any(isinstance(file, files.Rewritten) and file.hour < old - files.HOUR for file in names) and all(
            at > now() - 2 * DAY for at in lists
        )

    def count(self) -> None:
        archive = self.project.archive.open()
        with opened_warehouse(self.project) as warehouse:
            retaining = Retaining(archive, warehouse, Retention(self.project.retention), self.project.load)
            assert not list(retaining.look(now()))
            self._count(warehouse)
            loaded = [name for (name,) in rows(warehouse, "SELECT DISTINCT batch FROM catchment.ledger")]
        there = {entry.name for entry in archive.list()}
        gone = {
            name
            for entry in archive.list(files.REMOVED)
            if entry.name.endswith(".expired")
            for name in archive.open(entry.name).read().decode().split("\n")
        }
        assert not [name for name in loaded if "web.gone" in name]
        assert {name for name in loaded if name.startswith("table=")} - there <= gone
        assert all(problems(archive, name) == [] for name in there if files.parse(name))

    def _count(self, warehouse: Warehouse) -> None:
        numbers = range(1, self._sent + 1)
        events = {"e20", "e1", *(f"new{n}" for n in numbers), *(f"lately{n}" for n in numbers)}
        assert {identity for _, identity in content(warehouse, EVENTS)} == events
        assert rows(warehouse, "SELECT record_id FROM catchment.dead_letters") == [("b1",)]
        assert content(warehouse, MIRROR) == self.mirrored

    def restore(self, folder: Path) -> None:
        """Into another warehouse, which then has the same."""
        archive = self.project.archive.open()
        readable = Path(archive.url("name")).parent
        with contextlib.closing(DuckDBWarehouse(DuckDBWarehouse.Config(), folder, readable=[readable])) as warehouse:
            loader = Loader.of(warehouse, archive, self.project.load, None, self.project.retention, paced=False)
            Sweep(loader, archive, InFlight()).everything(Stop())
            self._count(warehouse)


class _Only:
    """The archive with the files of one prefix alone."""

    def __init__(self, archive: Archive, prefix: str) -> None:
        self.put, self.open, self.delete, self.url = archive.put, archive.open, archive.delete, archive.url
        self.shares_files, self.round_age_s = archive.shares_files, archive.round_age_s
        self._archive, self._prefix = archive, prefix

    def list(self, prefix: str = "") -> Iterator[object]:
        return (entry for entry in self._archive.list(prefix) if entry.name.startswith(self._prefix))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Aged]:
    made = Aged(tmp_path / "project")
    yield made
    made.close()


_SELDOM = (POINTS[0], POINTS[2], POINTS[3], POINTS[9], POINTS[11])


@pytest.mark.parametrize(
    "point", [pytest.param(each, marks=[pytest.mark.soak] if each in _SELDOM else []) for each in POINTS], ids=str
)
def test_a_crash_there_loses_nothing_and_brings_nothing_back(scene: Aged, tmp_path: Path, point: Point) -> None:
    scene.die(point)
    scene.send()
    scene.finish()
    scene.count()
    scene.restore(tmp_path / "restored")


def test_one_crash_after_the_other_on_postgresql(postgres_server: PostgresServer, tmp_path: Path) -> None:
    url = postgres_server.emptied_database()
    scene = Aged(tmp_path / "project", f'[warehouse]\ntype = "postgres"\nurl = "{url}"\n')
    with contextlib.closing(scene):
        for point in (POINTS[1], POINTS[4], POINTS[8]):
            scene.die(point)
            scene.send()
        scene.finish()
        scene.count()
        scene.restore(tmp_path / "restored")
