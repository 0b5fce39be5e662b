"""A damaged file is set aside when it is opened, and a damaged log alone; one that is merely shorter than its header
says is not."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.load.loading import Rig, event

TABLES = [f"web.t{number}" for number in range(6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An archive and a warehouse of some blocks, closed."""
    with contextlib.closing(Rig(tmp_path)) as rig:
        for table in TABLES:
            rig.file(*(event(f"{number}", table, n=number, text=f"{number}" * 20) for number in range(1_500)))
    return tmp_path


@contextlib.contextmanager
def reopened(folder: Path) -> Iterator[Rig]:
    """Opened again, and refilled from the archive where something is missing."""
    with contextlib.closing(Rig(folder)) as rig:
        rig.swept()
        for table in TABLES:
            assert rig.ask(f"SELECT count(*), count(DISTINCT text) FROM {table}") == [(1_500, 1_500)]
        yield rig


@pytest.mark.parametrize("percent", [0, 1, 10, 30, 60, 90, 99])
def test_a_file_cut_short_is_set_aside_and_refilled(folder: Path, percent: int) -> None:
    file = folder / "warehouse.duckdb"
    left = file.stat().st_size * percent // 100
    os.truncate(file, left)
    with reopened(folder) as rig:
        assert rig.warehouse.set_aside is not None
        assert rig.warehouse.set_aside.stat().st_size == left


@pytest.mark.parametrize("at", [0, 8, 4_096, 8_192, 12_288])
def test_a_file_with_a_broken_header_is_set_aside_and_refilled(folder: Path, at: int) -> None:
    with (folder / "warehouse.duckdb").open("r+b") as file:
        file.seek(at)
        file.write(random.Random(1).randbytes(64))
    with reopened(folder) as rig:
        assert rig.warehouse.set_aside is not None


def test_a_file_that_is_short_of_nothing_it_needs_is_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process leaves it that was killed before it wrote to blocks it had counted."""
    monkeypatch.setattr("catchment.warehouses.duckdb_damage._HEADERS_BYTES", 10**9)
    with reopened(folder) as rig:
        assert rig.warehouse.set_aside is None


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """As kill -9 leaves it: some is in the file, more in its log, and all in the archive."""
    folder = tmp_path / "killed"
    with contextlib.closing(Rig(tmp_path / "running")) as rig:
        for number, table in enumerate(TABLES):
            rig.file(*(event(f"{row}", table, n=row, text=f"{row}" * 20) for row in range(1_500)))
            if number == 2:
                rig.warehouse.tidy(rig.now)
        shutil.copytree(tmp_path / "running", folder)
    assert (folder / "warehouse.duckdb.wal").stat().st_size > 100_000
    return folder


@pytest.mark.parametrize("at", [0.0, 0.3, 0.6, 0.99])
def test_a_log_with_garbage_in_it_loses_nothing(killed: Path, at: float) -> None:
    log = killed / "warehouse.duckdb.wal"
    with log.open("r+b") as file:
        file.seek(int(log.stat().st_size * at))
        file.write(random.Random(1).randbytes(500))
    with reopened(killed):
        assert list(killed.glob("warehouse.duckdb.damaged-*[0-9]")) == [], "the file itself is whole"


def test_a_log_cut_short_loses_nothing(killed: Path) -> None:
    log = killed / "warehouse.duckdb.wal"
    os.truncate(log, log.stat().st_size // 2)
    with reopened(killed) as rig:
        assert rig.warehouse.set_aside is None


def test_a_file_put_back_beside_the_log_of_a_newer_one_is_kept(folder: Path) -> None:
    """A backup copied to its place after a kill, without a thought for the log."""
    with contextlib.closing(Rig(folder)) as rig:
        rig.warehouse.backup(folder / "backup")
        rig.file(event("new", "web.t0", n=1))
        rig.warehouse.tidy(rig.now)
        rig.file(event("newer", "web.t0", n=1))
        shutil.copy(folder / "warehouse.duckdb.wal", folder / "log")
    shutil.copy(folder / "backup", folder / "warehouse.duckdb")
    shutil.copy(folder / "log", folder / "warehouse.duckdb.wal")
    with contextlib.closing(Rig(folder)) as rig:
        assert rig.warehouse.set_aside is not None
        assert rig.warehouse.set_aside.name.endswith(".wal")
        assert rig.ask("SELECT count(*) FROM web.t0") == [(1_500,)]
        assert rig.swept() == 2
        assert rig.ask("SELECT count(*) FROM web.t0") == [(1_502,)]
