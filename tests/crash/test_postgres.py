"""The loader on PostgreSQL: killed at its points, the server crashed in the middle of loads, connections cut, and
several loaders at once on one database and one archive: nothing is lost, nothing is doubled."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catchment.archives import INCOMING
from catchment.cli.parts import is_all_loaded
from catchment.config import Project
from catchment.pack import packs
from catchment.record import Record, Stamp
from catchment.testing.content import content, rows
from tests.crash import dying
from tests.crash.dying import COMMIT, Point
from tests.crash.running import archived, make_project, now, opened_warehouse, until
from tests.crash.test_points import HOUSEKEEPING, PATIENCE_S, ROUND, Scene, _forks
from tests.servers.postgres import PostgresServer

EVENTS, KEYED, TABLES = "fleet.event", "fleet.customer", 3
RECORDS_A_MESSAGE = 120


def warehouse_settings(url: str) -> str:
    return f'[warehouse]\ntype = "postgres"\nurl = "{url}"\n'


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    return postgres_server.emptied_database()


# ---- kill -9 --------------------------------------------------------------------------


@pytest.fixture
def scene(tmp_path: Path, url: str) -> Iterator[Scene]:
    made = Scene(tmp_path, warehouse_settings(url))
    yield made
    made.close()


def test_one_crash_after_the_other(scene: Scene) -> None:
    for point in ROUND:
        scene.die(point)
        scene.send()
    scene.finish()
    scene.count()


_SOME = (Point("warehouse.enter", "after"), Point("archive.delete", "after", only=INCOMING))


@pytest.mark.parametrize(
    "point",
    [pytest.param(point, marks=[] if point in _SOME else pytest.mark.soak) for point in (*ROUND, *HOUSEKEEPING)],
    ids=str,
)
def test_a_crash_there_loses_and_doubles_nothing(scene: Scene, point: Point) -> None:
    scene.die(point)
    scene.send()
    scene.finish()
    scene.count()


# ---- several loaders, a server that fails ---------------------------------------------


class Loader:
    """A loading process with a folder of its own, and a queue where everyone has not the same; archive and warehouse
    are everyone's."""

    def __init__(self, folder: Path, archive: Path, url: str, queue: str = "") -> None:
        settings = f'[load]\nmax_age_s = 0.05\n[archive]\npath = "{archive}"\n{warehouse_settings(url)}{queue}'
        self.project: Project = make_project(folder, settings)
        self.process: BaseProcess | None = None

    def start(self, point: Point | None = None) -> None:
        self.process = _forks.Process(target=dying.run, args=[self.project.root, point])
        self.process.start()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None

    def publish(self, messages: list[bytes]) -> None:
        with contextlib.closing(self.project.queue.open()) as queue:
            queue.publish(messages)


class Fleet:
    """Loaders, and what was given to them. `queue` are the settings of one that all of them share."""

    def __init__(self, folder: Path, url: str, loaders: int, seed: int, queue: str = "") -> None:
        print(f"seed {seed}")
        self.rng = random.Random(seed)
        self.loaders = [Loader(folder / f"loader{n}", folder / "archive", url, queue) for n in range(loaders)]
        self.sent: dict[str, dict[str, dict[str, Any]]] = {}
        self.customers: dict[int, tuple[str, int]] = {}
        self._numbers = iter(range(10**6))

    def publish(self) -> None:
        """A message to one loader, and often the same to another as well, as a broker delivers again to whom it
        thinks alive."""
        message = self.new_message()
        for loader in self.rng.sample(self.loaders, min(len(self.loaders), self.rng.choice((1, 2, 2)))):
            loader.publish([message, message] if self.rng.random() < 0.1 else [message])

    def new_message(self) -> bytes:
        """Some records, noted as sent. New fields come up wherever they are first seen, at several loaders at once."""
        return self._events() if self.rng.random() < 0.7 else self._upserts()

    def _events(self) -> bytes:
        table = f"{EVENTS}{self.rng.randrange(TABLES)}"
        lines = []
        for _ in range(self.rng.choice((1, 5, RECORDS_A_MESSAGE))):
            number = next(self._numbers)
            data = {"n": number, f"extra_{number % 4000 // 100}": number}
            self.sent.setdefault(table, {})[f"{number}"] = data
            lines.append(self._stamp().line(Record(table, msgspec.Raw(msgspec.json.encode(data)), id=f"{number}")))
        return b"".join(packs(table, lines))

    def _upserts(self) -> bytes:
        lines = []
        for _ in range(self.rng.choice((1, 20))):
            number = next(self._numbers)
            key, version = self.rng.randrange(30), f"{self.rng.randrange(10**6):08}"
            self.customers[key] = max(self.customers.get(key, ("", 0)), (version, number))
            data = msgspec.Raw(b'{"k":%d,"n":%d}' % (key, number))
            record = Record(KEYED, data, id=f"{number:06}", op="upsert", key=("k",), version=version)
            lines.append(self._stamp().line(record))
        return b"".join(packs(KEYED, lines))

    def _stamp(self) -> Stamp:
        """Now and then the client's clock is hours fast or slow."""
        moment = now()
        hours = self.rng.choice((0, 0, 0, 0, 0, 0, 0, 0, -5, 2))
        return Stamp(moment, "fleet", own_time=moment + timedelta(hours=hours))

    def is_all_loaded(self) -> bool:
        return all(is_all_loaded(loader.project) for loader in self.loaders)

    def close(self) -> None:
        for loader in self.loaders:
            loader.kill()

    def count(self) -> None:
        """Every record is in its table once, as it was sent; the archive has all."""
        project = self.loaders[0].project
        in_archive = {(table, identity) for table, _, identity in archived(project.archive.open())}
        assert in_archive >= {(table, identity) for table, sent in self.sent.items() for identity in sent}
        with opened_warehouse(project) as warehouse:
            for table, sent in self.sent.items():
                found = {identity: data for (_, identity), data in content(warehouse, table).items()}
                assert found == sent, table
            customers = {data["k"]: data["n"] for data in content(warehouse, KEYED).values()}
            assert customers == {key: number for key, (_, number) in self.customers.items()}
            doubled = "SELECT count(*) - count(DISTINCT batch || table_name) FROM catchment.ledger"
            assert rows(warehouse, doubled) == [(0,)]


def trouble(fleet: Fleet, server: PostgresServer, *, steps: int, crashes: int, cuts: int, kills: int) -> None:
    """Publish while loaders are killed, the server crashes and connections are cut, all at random moments."""
    kinds = ["crash"] * crashes + ["cut"] * cuts + ["kill"] * kills
    moments = dict(zip(fleet.rng.sample(range(1, steps), len(kinds)), kinds, strict=True))
    for loader in fleet.loaders:
        loader.start()
    for step in range(steps):
        fleet.publish()
        time.sleep(fleet.rng.uniform(0, 0.03))
        match moments.get(step):
            case "crash":
                server.restart()
            case "cut":
                server.cut_connections()
            case "kill":
                victim = fleet.rng.choice(fleet.loaders)
                victim.kill()
                victim.start()
    until(fleet.is_all_loaded, "everything to be loaded", PATIENCE_S)


def _seed() -> int:
    return int(os.environ.get("CATCHMENT_SEED", "0")) or random.randrange(10**6)


@pytest.mark.parametrize("loaders", [1, 2, 4])
def test_whatever_fails_every_record_is_there_once(
    postgres_server: PostgresServer, url: str, tmp_path: Path, loaders: int
) -> None:
    fleet = Fleet(tmp_path, url, loaders, _seed())
    with contextlib.closing(fleet):
        trouble(fleet, postgres_server, steps=80, crashes=2, cuts=4, kills=3)
        fleet.close()
        fleet.count()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_whatever_fails_every_record_is_there_once_at_length(
    postgres_server: PostgresServer, url: str, tmp_path: Path, seed: int
) -> None:
    fleet = Fleet(tmp_path, url, 1 + seed % 4, seed)
    with contextlib.closing(fleet):
        trouble(fleet, postgres_server, steps=600, crashes=6, cuts=20, kills=15)
        fleet.close()
        fleet.count()


@pytest.mark.parametrize("point", [Point("queue.ack", "after"), Point(COMMIT, "before")], ids=str)
def test_what_one_leaves_behind_anothers_sweep_picks_up(url: str, tmp_path: Path, point: Point) -> None:
    fleet = Fleet(tmp_path, url, 2, 1)
    dead, alive = fleet.loaders
    with contextlib.closing(fleet):
        dead.publish([fleet._events() for _ in range(5)])
        dead.publish([fleet._upserts()])
        dead.start(point)
        assert dead.process is not None
        dead.process.join(PATIENCE_S)
        alive.start()
        until(lambda: is_all_loaded(alive.project), "the other's files to be loaded", PATIENCE_S)
        alive.kill()
        dead.start()  # what it had not acknowledged comes again
        until(fleet.is_all_loaded, "everything to be loaded", PATIENCE_S)
        fleet.close()
        fleet.count()
