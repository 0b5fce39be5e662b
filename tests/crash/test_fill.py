"""kill -9 of a fill, in the middle of what it gathers or puts in place: begun again it goes on."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catchment.testing.content import rows
from tests.crash.filling import opened
from tests.crash.running import REPOSITORY
from tests.load.test_contracts import TABLE, Contracted, many

FILES, KILLS = 25, 4
EACH = 300


class Scene:
    """A frozen table whose `b` is in the archive and in `_rescued`; fills of it in processes of their own."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.place = (folder, url) if url else (folder,)

    @contextlib.contextmanager
    def loading(self) -> Iterator[Contracted]:
        rig = Contracted(self.place[0], opened(*self.place), contract="freeze")
        try:
            rig.file(*many(a=1))
            yield rig
        finally:
            rig.close()

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.crash.filling", *map(str, self.place)]
        return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(opened(*self.place)) as warehouse:
            return rows(warehouse, sql)

    def filled(self) -> int:
        """How many rows have a value; 0 without the column."""
        with contextlib.closing(opened(*self.place)) as warehouse:
            column = "b" if "b" in {column.name for column in warehouse.shape(TABLE).columns} else "NULL"
            return int(rows(warehouse, f"SELECT count({column}) FROM {TABLE}")[0][0])


@pytest.fixture
def scene(place: tuple[Path, str]) -> Scene:
    return Scene(*place)


def test_a_fill_that_is_killed_anywhere_is_done_in_the_end(scene: Scene) -> None:
    rng = random.Random(20261130)
    with scene.loading() as rig:
        for at in range(1, FILES + 1):
            rig.file(*many(1_000 * at, a=1, b=f"value {at}"))
    total = FILES * EACH
    gathered = 0
    for _ in range(KILLS):
        with scene.start() as process:
            assert process.stdout is not None
            for _ in range(rng.randrange(1, 4)):  # in the middle of what comes behind so many files
                gathered += process.stdout.readline() == ".\n"
            time.sleep(rng.random() * 0.01)
            process.kill()
        assert scene.filled() == 0  # so many files are not gathered by so few starts
    assert gathered > KILLS

    with scene.start() as process:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    *again, filled = said.splitlines()
    assert len(again) <= FILES + 1 - gathered  # what the killed ones had gathered was not gathered once more
    assert int(filled) == total
    assert scene.filled() == total
    wrong = "b IS DISTINCT FROM 'value ' || (CAST(_id AS INT) / 1000) AND CAST(_id AS INT) >= 1000"
    wrong = wrong if len(scene.place) > 1 else wrong.replace("/", "//")
    assert scene.ask(f"SELECT count(*) FROM {TABLE} WHERE {wrong}") == [(0,)]
    assert scene.ask(f"SELECT count(*) FROM {TABLE} WHERE _rescued IS NOT NULL") == [(0,)]
    assert scene.ask("SELECT count(*) FROM catchment.staged") == [(0,)]


def test_one_that_is_killed_as_it_puts_values_in_place_leaves_all_or_none(scene: Scene) -> None:
    rng = random.Random(20261201)
    with scene.loading() as rig:
        rig.file(*many(1_000, a=1, b="value"))
    for _ in range(KILLS):
        with scene.start() as process:
            assert process.stdout is not None
            for _ in range(2):
                process.stdout.readline()
            time.sleep(rng.random() * 0.06)
            process.kill()
        assert scene.filled() in {0, EACH}
    with scene.start() as process:
        process.communicate(timeout=60)
    assert scene.filled() == EACH
