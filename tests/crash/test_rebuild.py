"""kill -9 of a rebuild at each of its points: the table is the old one or the new one, and begun again it goes on."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import psycopg
import pytest

from catchment.testing.content import content, rows
from tests.crash.filling import opened
from tests.crash.rebuilding import POINTS
from tests.crash.running import REPOSITORY
from tests.load.test_contracts import TABLE, Contracted, many

FILES, EACH = 6, 300


class Scene:
    """A table of which every value was spoiled, while the archive has it right."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.folder, self.url = folder, url
        rig = Contracted(folder, opened(*self._place))
        with contextlib.closing(rig):
            for at in range(FILES):
                rig.file(*many(1_000 * at, b=at))
            self.right = content(rig.warehouse, TABLE)
        if url:
            with psycopg.connect(url) as connection:
                connection.execute(f"UPDATE {TABLE} SET b = -1")
        else:
            with duckdb.connect(str(folder / "warehouse.duckdb")) as file:
                file.execute(f"UPDATE {TABLE} SET b = -1")

    @property
    def _place(self) -> tuple[Path, str]:
        return self.folder, self.url

    def run(self, point: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "tests.crash.rebuilding", str(self.folder), point, *filter(None, [self.url])]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)
        return done.returncode, done.stdout + done.stderr

    def is_new(self) -> bool:
        """Whether all rows are right; all are wrong else, and none is missing."""
        with contextlib.closing(opened(*self._place)) as warehouse:
            found = rows(warehouse, f"SELECT count(*), count(CASE WHEN b < 0 THEN 1 END) FROM {TABLE}")
            assert found in [[(FILES * EACH, FILES * EACH)], [(FILES * EACH, 0)]]
            if found[0][1] == 0:
                assert content(warehouse, TABLE) == self.right
            return bool(found[0][1] == 0)

    def leftovers(self) -> int:
        with contextlib.closing(opened(*self._place)) as warehouse:
            return int(rows(warehouse, "SELECT count(*) FROM catchment.staged")[0][0])


@pytest.fixture
def scene(place: tuple[Path, str]) -> Scene:
    return Scene(*place)


def test_one_death_after_the_other(scene: Scene) -> None:
    for point in POINTS[:-1]:
        code, said = scene.run(point)
        assert code == -signal.SIGKILL, (point, said)
        assert scene.is_new() == (point == "after commit"), point
    assert scene.leftovers() == 0
    code, said = scene.run("nowhere")
    assert (code, said.split()[0]) == (0, str(FILES * EACH)), said
    assert scene.is_new()
    assert scene.leftovers() == 0


def test_what_was_gathered_before_a_death_is_not_gathered_again(scene: Scene) -> None:
    scene.run("gathered")
    code, said = scene.run("nowhere")
    assert (code, said.split()) == (0, [str(FILES * EACH), str(FILES - 3)]), said
    assert scene.is_new()
