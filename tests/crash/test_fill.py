"""kill -9 of a fill, in the middle of what it gathers or puts in place: begun again it goes on."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import duckdb

from tests.crash.running import REPOSITORY
from tests.load.test_contracts import TABLE, contracted, many

FILES, KILLS = 40, 6
EACH = 300


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.crash.filling", str(folder)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def filled(folder: Path) -> int:
    """How many rows have a value; 0 without the column."""
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        columns = {name for name, *_ in connection.execute(f"DESCRIBE {TABLE}").fetchall()}
        found = connection.execute(f"SELECT count({'b' if 'b' in columns else 'NULL'}) FROM {TABLE}").fetchone()
        assert found is not None
        return int(found[0])


def test_a_fill_that_is_killed_anywhere_is_done_in_the_end(tmp_path: Path) -> None:
    rng = random.Random(20261130)
    with contracted(tmp_path, contract="freeze") as rig:
        rig.file(*many(a=1))
        for at in range(1, FILES + 1):
            rig.file(*many(1_000 * at, a=1, b=f"value {at}"))
    total = FILES * EACH
    gathered = 0
    for _ in range(KILLS):
        with start(tmp_path) as process:
            assert process.stdout is not None
            for _ in range(rng.randrange(1, 4)):  # in the middle of what comes behind so many files
                gathered += process.stdout.readline() == ".\n"
            time.sleep(rng.random() * 0.01)
            process.kill()
        assert filled(tmp_path) == 0  # so many files are not gathered by so few starts
    assert gathered > KILLS

    with start(tmp_path) as process:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    *again, rows = said.splitlines()
    assert len(again) <= FILES + 1 - gathered  # what the killed ones had gathered was not gathered once more
    assert int(rows) == total
    assert filled(tmp_path) == total
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        wrong = "b IS DISTINCT FROM 'value ' || (_id::INT // 1000) AND _id::INT >= 1000"
        assert connection.execute(f"SELECT count(*) FROM {TABLE} WHERE {wrong}").fetchall() == [(0,)]
        assert connection.execute(f"SELECT count(*) FROM {TABLE} WHERE _rescued IS NOT NULL").fetchall() == [(0,)]
        assert connection.execute("SELECT count(*) FROM catchment.staged").fetchall() == [(0,)]


def test_one_that_is_killed_as_it_puts_values_in_place_leaves_all_or_none(tmp_path: Path) -> None:
    rng = random.Random(20261201)
    with contracted(tmp_path, contract="freeze") as rig:
        rig.file(*many(a=1))
        rig.file(*many(1_000, a=1, b="value"))
    for _ in range(KILLS):
        with start(tmp_path) as process:
            assert process.stdout is not None
            for _ in range(2):
                process.stdout.readline()
            time.sleep(rng.random() * 0.06)
            process.kill()
        assert filled(tmp_path) in {0, EACH}
    with start(tmp_path) as process:
        process.communicate(timeout=60)
    assert filled(tmp_path) == EACH
