"""A flood of names through the real collector and loader, which is killed meanwhile: events and properties that
nobody has named before."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from catchment.testing.content import rows
from tests.collect.test_service import KEY, Collecting
from tests.crash.running import opened_warehouse, until

EVENTS = 10_000
KILL_EVERY = 2_500
BATCH = 500
MAX_TABLES, MAX_COLUMNS = 20, 40
COLLECTOR_MEMORY_BYTES = 100 * 1024 * 1024


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Collecting]:
    made = Collecting(tmp_path / "project")
    toml = made.folder / "catchment.toml"
    limits = f"max_tables = {MAX_TABLES}\nmax_new_tables_per_minute = 100_000\nmax_columns = {MAX_COLUMNS}\n"
    toml.write_text(toml.read_text().replace("max_age_s = 0.2\n", f"max_age_s = 0.2\n{limits}"))
    try:
        made.start_up()
        until(made.is_collecting, "the collector")
        yield made
    finally:
        made.close()


class Watch(threading.Thread):
    """The most memory that a process takes while it is watched."""

    def __init__(self, process: psutil.Process) -> None:
        super().__init__(daemon=True)
        self._process = process
        self._over = threading.Event()
        self.most_bytes = 0

    def run(self) -> None:
        while not self._over.wait(0.02):
            self.most_bytes = max(self.most_bytes, self._process.memory_info().rss)

    def stop(self) -> int:
        self._over.set()
        self.join()
        return self.most_bytes


def flood(number: int) -> dict[str, Any]:
    """Every event has a name of its own, and a property; each tenth has the name of the ten before."""
    name = f"Clicked {number // 10 * 10 if number % 10 == 9 else number}"
    return {
        "type": "track",
        "event": name,
        "messageId": f"m{number}",
        "userId": f"u{number % 50}",
        "properties": {f"property {number}": number, "always": number},
    }


def test_ten_thousand_names_lose_nothing_and_make_few_tables(running: Collecting) -> None:
    collector = running.process("collect")
    assert collector is not None
    watch = Watch(collector)
    watch.start()
    with contextlib.closing(running.connect()) as connection:
        for again in (False, True):  # an SDK that heard no answer sends a part of them again
            for start in range(0, EVENTS // 2 if again else EVENTS, BATCH):
                calls = [flood(number) for number in range(start, start + BATCH)]
                assert running.post(connection, {"batch": calls}) == 200
                if start % KILL_EVERY == 0:
                    running.kill("load")
        wide = {"type": "track", "event": "Wide", "messageId": "wide", "properties": {f"p{n}": n for n in range(300)}}
        assert running.post(connection, {"batch": [wide]}) == 200
        most_bytes = watch.stop()
    until(running.is_loaded, "everything to be loaded")
    running.stop_up()
    wanted = Counter([*(f"m{number}" for number in range(EVENTS)), "wide"])
    with opened_warehouse(running.project) as warehouse:
        tables = {table.partition(".")[2] for table in warehouse.tables("site")} - {"tracks", "other_events"}
        tracks = Counter(identity for (identity,) in rows(warehouse, "SELECT id FROM site.tracks"))
        found = Counter(identity for (identity,) in rows(warehouse, "SELECT id FROM site.other_events"))
        for table in tables:
            found.update(identity for (identity,) in rows(warehouse, f"SELECT id FROM site.{table}"))
        values = dict(rows(warehouse, "SELECT id, data FROM site.other_events"))
        columns = rows(warehouse, "SELECT table_name, count(*) FROM catchment.columns GROUP BY ALL")
        letters = rows(warehouse, "SELECT * FROM catchment.dead_letters")
    assert letters == []
    assert tracks == wanted
    assert found == wanted
    assert len(tables) <= MAX_TABLES
    assert len(values) > EVENTS * 0.99
    for identity, data in values.items():
        if identity != "wide":
            number = int(identity[1:])
            assert json.loads(data)[f"property_{number}"] == number
    assert max(count for _, count in columns) <= MAX_COLUMNS
    assert most_bytes < COLLECTOR_MEMORY_BYTES, f"{most_bytes:,} bytes"
    assert KEY not in running.said()
