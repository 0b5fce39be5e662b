"""The archive is the source of truth: a warehouse that is put back to a backup, damaged or gone is whole again by
`catchment up` alone, and what was settled among the dead letters stays so."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from catchment.config import load_project
from catchment.errors import CatchmentError
from catchment.load.rewrite import rewrite
from catchment.testing.content import rows
from catchment.warehouses.duckdb_remote import find
from tests.crash.running import REPOSITORY, Running, make_project, now, opened_warehouse, until
from tests.crash.test_crash import Contents, all_contents, assert_same
from tests.crash.traffic import TABLES, Traffic
from tests.servers.postgres import PostgresServer

PUBLISHERS, RECORDS = 2, 800
MENDED, DISCARDED = "crash.t03", "crash.t04"
OPEN_LETTERS = "SELECT reason, record_id FROM catchment.open_dead_letters ORDER BY reason, record_id"
TOMBSTONES = "SELECT table_name, key, version, id FROM catchment.tombstones"


def catchment(folder: Path, *arguments: str) -> str:
    """What a command prints; it has to succeed, or to find letters."""
    command = [sys.executable, "-m", "catchment", *arguments, "-p", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode in {0, 3}, done.stderr
    return done.stdout


@dataclass(frozen=True, slots=True)
class Before:
    """A stopped project, what its tables said when it stopped, and a backup made while records came in."""

    folder: Path
    contents: Contents
    open_letters: list[object]

    @property
    def backup(self) -> Path:
        return self.folder / "backup" / "warehouse.duckdb"


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Before:
    folder = tmp_path_factory.mktemp("restore") / "project"
    running = Running(make_project(folder, "[load]\nmax_age_s = 0.1\n"))
    with contextlib.closing(running):
        running.start_up()
        running.publish([Traffic(7, number, RECORDS, now()) for number in range(PUBLISHERS)])
        until(lambda: count(running) > PUBLISHERS * RECORDS // 3, "a third of the records")
        catchment(folder, "backup", str(folder / "backup"))
        until(lambda: not running.publishers(), "the publishers to end")
        until(running.is_loaded, "everything to be loaded")
        settle_letters(running)
        running.stop_up()
    with opened_warehouse(running.project) as warehouse:
        return Before(folder, all_contents(warehouse), list(rows(warehouse, OPEN_LETTERS)))


def settle_letters(running: Running) -> None:
    """One letter is mended and sent again, another discarded."""
    folder = running.folder
    for table in (MENDED, DISCARDED):
        with contextlib.closing(running.project.queue.open()) as queue:
            queue.publish([b'{"table":"%b","id":"settled","source":"by hand","data":{"n":1,"n":2}}' % table.encode()])
    until(running.is_loaded, "the letters")
    letters = {
        letter["table"]: letter["id"]
        for letter in map(json.loads, catchment(folder, "dead-letters", "list", "--json").splitlines())
        if letter["record_id"] == "settled"
    }
    (folder / "mended.json").write_text(json.dumps({"table": MENDED, "data": {"n": 3}}))
    catchment(folder, "dead-letters", "retry", letters[MENDED], "--mended", str(folder / "mended.json"))
    catchment(folder, "dead-letters", "discard", letters[DISCARDED])
    until(running.is_loaded, "the corrections")


def count(running: Running) -> int:
    """Rows in all tables, asked through the warehouse process; 0 while it can't be."""
    try:
        remote = find(running.project.runtime)
        if remote is None:
            return 0
        with contextlib.closing(remote):
            there = rows(remote, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'crash'")
            every = " UNION ALL ".join(f"SELECT count(*) AS c FROM crash.{table}" for (table,) in there)
            return int(rows(remote, f"SELECT sum(c)::BIGINT FROM ({every})")[0][0]) if there else 0
    except CatchmentError:
        return 0


@pytest.fixture
def copied(before: Before, tmp_path: Path) -> Iterator[Running]:
    """The stopped project once more, to be broken."""
    folder = tmp_path / "project"
    shutil.copytree(before.folder, folder)
    running = Running(load_project(folder, None))
    yield running
    running.close()


def assert_whole_again(running: Running, before: Before) -> None:
    """`up` alone brings everything back."""
    rows_before = sum(len(before.contents[table]) for table in TABLES)
    running.start_up()
    until(lambda: count(running) == rows_before and running.is_loaded(), f"{rows_before} rows")
    running.stop_up()
    with opened_warehouse(running.project) as warehouse:
        assert_same(all_contents(warehouse), before.contents)
        assert list(rows(warehouse, OPEN_LETTERS)) == before.open_letters


def test_letters_are_settled_before_anything_breaks(before: Before) -> None:
    assert before.contents[MENDED]["by hand", "settled"] == {"n": 3}
    assert ("by hand", "settled") not in before.contents[DISCARDED]
    assert ("duplicate-key", "settled") not in before.open_letters
    assert before.open_letters


@pytest.mark.parametrize("rewritten", [False, True], ids=["as archived", "rewritten"])
def test_a_warehouse_put_back_to_its_backup_catches_up(copied: Running, before: Before, *, rewritten: bool) -> None:
    if rewritten:
        rewrite_all(copied)
    (copied.project.runtime / "warehouse.duckdb").unlink()
    shutil.copy(before.backup, copied.project.runtime / "warehouse.duckdb")
    with opened_warehouse(copied.project) as warehouse:
        had = sum(len(each) for each in all_contents(warehouse).values())
    assert 0 < had < sum(len(each) for each in before.contents.values())
    assert_whole_again(copied, before)


def rewrite_all(running: Running) -> None:
    """As after an hour."""
    with opened_warehouse(running.project) as warehouse:
        done = list(rewrite(running.project.archive.open(), warehouse, now=now() + timedelta(hours=3)))
    assert any(each.removed for each in done)


def garbage(file: Path) -> None:
    """Nothing is left of its beginning."""
    with file.open("r+b") as opened:
        opened.write(random.Random(1).randbytes(20_000))


def half(file: Path) -> None:
    """Its end is gone."""
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)


@pytest.mark.parametrize("damage", [garbage, half, Path.unlink], ids=["garbage", "cut short", "gone"])
def test_a_damaged_warehouse_is_set_aside_and_rebuilt(
    copied: Running, before: Before, damage: Callable[[Path], None]
) -> None:
    damage(copied.project.runtime / "warehouse.duckdb")
    assert_whole_again(copied, before)
    aside = list(copied.project.runtime.glob("warehouse.duckdb.damaged-*"))
    assert len(aside) == (0 if damage is Path.unlink else 1)
    assert ("was set aside" in copied.said()) == bool(aside)


def test_settled_letters_stay_so_when_all_is_restored(copied: Running, before: Before) -> None:
    for path in copied.project.runtime.iterdir():
        if path.name not in {"archive", "queue"}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    catchment(copied.folder, "restore", "--from-archive")
    with opened_warehouse(copied.project) as warehouse:
        assert_same(all_contents(warehouse), before.contents)
        assert list(rows(warehouse, OPEN_LETTERS)) == before.open_letters


def test_a_move_to_postgresql_brings_every_table_and_so_does_a_loss_there(
    before: Before, copied: Running, postgres_server: PostgresServer
) -> None:
    """By the archive alone: rows, deletions, dead letters and what became of them."""
    settings = copied.folder / "catchment.toml"
    production = f'[profiles.production.warehouse]\ntype = "postgres"\nurl = "{postgres_server.emptied_database()}"\n'
    settings.write_text(settings.read_text() + production)
    with opened_warehouse(copied.project) as duckdb:
        deleted = set(rows(duckdb, TOMBSTONES))
    assert deleted
    moved = load_project(copied.folder, "production")
    for _ in range(2):
        catchment(copied.folder, "restore", "--from-archive", "--profile", "production")
        with opened_warehouse(moved) as postgres:
            assert_same(all_contents(postgres), before.contents)
            assert sorted(rows(postgres, OPEN_LETTERS), key=str) == sorted(before.open_letters, key=str)
            assert set(rows(postgres, TOMBSTONES)) == deleted
        postgres_server.emptied_database()
