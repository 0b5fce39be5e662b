"""A damaged file is set aside when it is opened; one that is merely shorter than its header says is not."""

from __future__ import annotations

import contextlib
import os
import random
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
