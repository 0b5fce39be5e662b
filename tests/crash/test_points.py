"""Kill -9 at every named point between the loader's steps: nothing is lost, nothing is doubled.

What waits when the process starts leads it through every step it has: records in the queue, files of three hours
ago that nobody has loaded yet and that it then rewrites, and files of days ago that were rewritten, which the ledger
is to forget.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import msgspec
import pytest

from catchment.archives import INCOMING
from catchment.cli.parts import is_all_loaded
from catchment.config import Project
from catchment.load.files import REMOVED
from catchment.load.loader import Loader
from catchment.load.rewrite import rewrite
from catchment.load.round import Round
from catchment.pack import packs
from catchment.queues import Delivery, Message
from catchment.record import Record, Stamp
from catchment.testing.content import content, rows
from tests.crash import dying
from tests.crash.dying import COMMIT, Point
from tests.crash.running import archived, make_project, now, opened_warehouse, until

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.crash.dying", "catchment.queues.sqlite", "catchment.archives.disk"])

EVENTS, KEYED, BAD = "web.event", "shop.customer", "web.bad"
PATIENCE_S = float(os.environ.get("CATCHMENT_TEST_PATIENCE_S", "60"))

ROUND = [
    Point("archive.put", "before", only=INCOMING),
    Point("archive.put", "after", only=INCOMING),  # between two of a round: its late records have a file of their own
    Point("archive.put", "after", nth=2, only=INCOMING),
    Point("queue.ack", "before"),
    Point("queue.ack", "after"),
    Point("warehouse.load", "before"),
    Point(COMMIT, "before"),
    Point(COMMIT, "after"),
    Point(COMMIT, "after", nth=2),
    Point("warehouse.load", "after"),
]
HOUSEKEEPING = [
    Point("warehouse.enter", "before"),
    Point("warehouse.enter", "after"),
    Point("archive.put", "before", only="table="),
    Point("archive.put", "after", only="table="),
    Point("archive.put", "after", nth=2, only="table="),
    Point("archive.put", "before", only=REMOVED),
    Point("archive.put", "after", only=REMOVED),
    Point("archive.delete", "before", only=INCOMING),
    Point("archive.delete", "after", only=INCOMING),
    Point("archive.delete", "after", nth=2, only=INCOMING),
    Point("warehouse.forget", "before"),
    Point("warehouse.forget", "after"),
    Point("archive.delete", "before", only=REMOVED),
    Point("archive.delete", "after", only=REMOVED),
]


class Scene:
    """A project with something to do at every step; its process is forked from one that has imported everything."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.project: Project = make_project(folder, f"[load]\nmax_age_s = 0.05\n{settings}")
        self.identities: set[str] = set()
        self._process: BaseProcess | None = None
        self._numbers = iter(range(10**6))
        self._files_of_days_ago()
        self._files_of_hours_ago()
        self.send()

    def _files_of_days_ago(self) -> None:
        moment = now() - timedelta(days=3)
        archive = self.project.archive.open()
        with opened_warehouse(self.project) as warehouse:
            loader = Loader.of(warehouse, archive, self.project.load)
            loader.load(self._round(loader, moment).close(archive, moment))
            done = list(rewrite(archive, warehouse, now=moment + timedelta(hours=3)))
            assert any(each.removed for each in done)

    def _files_of_hours_ago(self) -> None:
        moment = now() - timedelta(hours=3)
        with opened_warehouse(self.project) as warehouse:
            loader = Loader.of(warehouse, self.project.archive.open(), self.project.load)
            for minute in range(2):
                taken = self._round(loader, moment + timedelta(minutes=minute))
                taken.close(self.project.archive.open(), moment + timedelta(minutes=minute))

    def _round(self, loader: Loader, moment: datetime) -> Round:
        taken = Round(loader.look, "test")
        taken.add(
            Delivery([Message(body, f"old/{at}", moment) for at, body in enumerate(self._messages(moment))], None)
        )
        return taken

    def send(self) -> None:
        """Publish, and send everything again, as a client does whose answer got lost."""
        with contextlib.closing(self.project.queue.open()) as queue:
            queue.publish([each for message in self._messages(now()) for each in (message, message)])

    def _messages(self, moment: datetime) -> Iterator[bytes]:
        """Events at their time, late and early; an upsert and a delete; one that is refused."""
        for own_time in (moment, moment - timedelta(hours=5), moment + timedelta(hours=2)):
            yield from self._pack(EVENTS, moment, own_time, b'{"n":%d}')
        version = f"{moment:%Y%m%dT%H%M%S.%f}"
        for op, key in (("upsert", b"1"), ("upsert", b"2"), ("delete", b"2")):
            yield from self._pack(KEYED, moment, moment, b'{"k":' + key + b',"n":%d}', op=op, version=version)
        yield from self._pack(BAD, moment, moment, b'{"n":%d,"n":2}')

    def _pack(
        self, table: str, moment: datetime, own_time: datetime, data: bytes, *, op: str = "insert", version: str = ""
    ) -> Iterator[bytes]:
        number = next(self._numbers)
        record = Record(table, msgspec.Raw(data % number), id=f"{number:06}")
        if op != "insert":
            record = msgspec.structs.replace(record, op=op, key=("k",), version=version)
        self.identities.add(f"{table}/{number:06}")
        return packs(table, [Stamp(moment, "test", own_time=own_time).line(record)])

    # ---- its process ------------------------------------------------------------------

    def start(self, point: Point | None) -> BaseProcess:
        self._process = _forks.Process(target=dying.run, args=[self.project.root, point])
        self._process.start()
        return self._process

    def die(self, point: Point) -> None:
        """Run to the point and be killed there."""
        process = self.start(point)
        process.join(PATIENCE_S)
        assert process.exitcode == -signal.SIGKILL, f"never came {point}"

    def finish(self) -> None:
        """Run undisturbed until there is nothing left to do. Its end is a kill like any other."""
        process = self.start(None)
        until(lambda: is_all_loaded(self.project), "everything to be loaded", PATIENCE_S)
        until(self._is_tidy, "the archive to be rewritten", PATIENCE_S)
        process.kill()
        process.join()

    def _is_tidy(self) -> bool:
        archive = self.project.archive.open()
        before = f"{INCOMING}{now() - timedelta(hours=2):%Y%m%dT%H%M%S}"
        old = f"{REMOVED}{now() - timedelta(days=1):%Y%m%dT%H%M%S}"
        return all(entry.name > before for entry in archive.list(INCOMING)) and all(
            entry.name > old for entry in archive.list(REMOVED)
        )

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()

    # ---- counting ---------------------------------------------------------------------

    def count(self) -> None:
        """Nothing lost, nothing doubled."""
        found = archived(self.project.archive.open())
        assert {f"{table}/{identity}" for table, _, identity in found} == self.identities
        with opened_warehouse(self.project) as warehouse:
            assert {i for _, i in content(warehouse, EVENTS)} == self._of(EVENTS)
            keyed = content(warehouse, KEYED)
            assert {i for _, i in keyed} == {max(self._of(KEYED, 1))}, keyed
            letters = rows(warehouse, "SELECT record_id FROM catchment.dead_letters ORDER BY 1")
            assert letters == [(identity,) for identity in sorted(self._of(BAD))]
            assert rows(warehouse, "SELECT count(*) - count(DISTINCT batch || table_name) FROM catchment.ledger") == [
                (0,)
            ]

    def _of(self, table: str, of_three: int | None = None) -> set[str]:
        """Ids sent to a table; of each three, which follow one another, only the one that stays."""
        mine = sorted(each.partition("/")[2] for each in self.identities if each.startswith(f"{table}/"))
        return set(mine if of_three is None else mine[of_three - 1 :: 3])


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("point", [*ROUND, *HOUSEKEEPING], ids=str)
def test_a_crash_there_loses_and_doubles_nothing(scene: Scene, point: Point) -> None:
    scene.die(point)
    scene.send()
    scene.finish()
    scene.count()


def test_one_crash_after_the_other(scene: Scene) -> None:
    for point in ROUND:
        scene.die(point)
        scene.send()
    scene.finish()
    scene.count()
