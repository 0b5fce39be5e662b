"""What exactly-once rests on, one protection at a time, at the loader: each of these tests fails when its
protection is removed, which `mutants.py` proves."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catchment.load.loader import FEW_ROWS, Loader
from catchment.load.round import Part
from catchment.pack import packs
from catchment.queues import Message
from catchment.record import Record, Stamp
from catchment.service import Stop
from catchment.testing.content import content
from catchment.warehouses import Batch, Loaded
from catchment.warehouses.duckdb import DuckDBWarehouse
from catchment.warehouses.duckdb_search import WORTH_A_SEARCH
from catchment.warehouses.ledger import Ledger
from tests.load.loading import T0, UNLIMITED, Rig, event

TABLE = "web.event"
HOUR = timedelta(hours=1)
SIZES = [1, FEW_ROWS + 1, WORTH_A_SEARCH + 100]
"""As parameters, as a file, and as a file whose ids are searched for first."""


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def copies(count: int, received_at: datetime, own_time: datetime) -> Message:
    """So many events as their publisher stamps and packs them; the same ones at each call."""
    stamp = Stamp(received_at, "web", own_time=own_time)
    lines = [stamp.line(Record(TABLE, msgspec.Raw(b'{"n":%d}' % at), id=f"{at}")) for at in range(count)]
    return Message(b"".join(packs(TABLE, lines)), None, None)


def count_rows(rig: Rig, table: str = TABLE) -> int:
    """The table's rows. `content` fails where one is there twice."""
    return len(content(rig.warehouse, table))


@pytest.mark.parametrize("count", SIZES)
def test_a_redelivered_round_adds_nothing(rig: Rig, count: int) -> None:
    """The search: it is another batch, in another file, so no ledger knows it."""
    for _ in range(2):
        rig.loader.load(rig.put(copies(count, T0, T0)))
    assert count_rows(rig) == count


@pytest.mark.parametrize("count", SIZES)
def test_copies_in_one_round_are_one_row(rig: Rig, count: int) -> None:
    """Uniqueness in the batch: the table is empty, so no search finds them."""
    rig.loader.load(rig.put(copies(count, T0, T0), copies(count, T0, T0)))
    assert count_rows(rig) == count


@pytest.mark.parametrize("count", SIZES)
def test_a_retry_after_hours_is_found_by_the_clients_own_time(rig: Rig, count: int) -> None:
    """Own time: both copies say when the client made them, and the search goes back to it."""
    for hours in (0, 5):
        rig.loader.load(rig.put(copies(count, T0 + hours * HOUR, T0)))
    assert count_rows(rig) == count


@pytest.mark.parametrize("count", SIZES)
def test_a_retry_by_a_fast_clock_is_found(rig: Rig, count: int) -> None:
    """Early: the client's time lies ahead of the first copy, so the second one is not searched back to it."""
    for minutes in (0, 30):
        rig.loader.load(rig.put(copies(count, T0 + timedelta(minutes=minutes), T0 + 2 * HOUR)))
    assert count_rows(rig) == count


class Meeting(DuckDBWarehouse):
    """A warehouse in which a load of `slow` stands still in its transaction, having written everything, until
    another one has come as far, or has plainly been kept from it."""

    slow = ""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.slow_has_written, self.other_has_written = threading.Event(), threading.Event()

    def _load_one(self, cursor: Any, ledger: Ledger, batch: Batch, *args: Any) -> Loaded:
        loaded = super()._load_one(cursor, ledger, batch, *args)
        if batch.names[0] == self.slow:
            self.slow_has_written.set()
            self.other_has_written.wait(0.4)
        else:
            self.other_has_written.set()
        return loaded


def test_of_two_loads_that_overlap_the_second_waits(tmp_path: Path) -> None:
    """The table lock: either alone would insert what the other has not committed yet."""
    rig = Rig(tmp_path)
    rig.warehouse.close()
    rig.warehouse = meeting = Meeting(Meeting.Config(), tmp_path, readable=[tmp_path / "archive"])
    rig.loader = Loader.of(meeting, rig.archive, UNLIMITED)
    rig.loader.load(rig.put(copies(1, T0, T0)))  # the table is there
    ours, theirs = (rig.put(copies(FEW_ROWS + 1, T0, T0)) for _ in range(2))
    meeting.other_has_written.clear()
    meeting.slow = ours[0].name
    first = threading.Thread(target=rig.loader.load, args=[ours])
    first.start()
    assert meeting.slow_has_written.wait(30)
    second = threading.Thread(target=rig.loader.load, args=[theirs])
    second.start()
    first.join()
    second.join()
    assert count_rows(rig) == FEW_ROWS + 1
    rig.close()


class Overtaken:
    """A warehouse in which somebody else loads `parts` right before the first load of ours."""

    def __init__(self, rig: Rig, parts: Sequence[Part]) -> None:
        self._warehouse, self._loader, self._parts = rig.warehouse, rig.loader, parts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._warehouse, name)

    def load(self, batches: Sequence[Batch], *, past_ledger: bool = False) -> list[Loaded]:
        parts, self._parts = self._parts, []
        if parts:
            self._loader.load(parts)
        return self._warehouse.load(batches, past_ledger=past_ledger)


@pytest.mark.parametrize("count", SIZES)
def test_a_table_that_changed_since_the_guard_looked_is_looked_at_again(rig: Rig, count: int) -> None:
    """The repeated guard: `extra` has become a text meanwhile, and 3 is not "3"."""
    rig.file(event("0", n=1))
    theirs = rig.put(rig.message(event("theirs", n=1, extra="text")))
    ours = rig.put(rig.message(*(event(f"{at}", n=1, extra=3) for at in range(1, count + 1))))
    replace(rig.loader, warehouse=Overtaken(rig, theirs)).load(ours)
    assert content(rig.warehouse, TABLE)["web", "1"] == {"n": 1, "extra": 3}
    assert count_rows(rig) == count + 2


def test_an_older_version_does_not_bring_back_what_was_deleted(rig: Rig) -> None:
    """The tombstone."""
    for number, (op, version) in enumerate((("upsert", "1"), ("delete", "3"), ("upsert", "2"))):
        fields = {"op": op, "key": ["k"], "version": version}
        rig.file({"table": "shop.customer", "id": f"{number}", "data": {"k": 1}, **fields})
    assert content(rig.warehouse, "shop.customer") == {}


@pytest.mark.parametrize("walk", ["incoming", "everything"])
def test_what_nobody_handed_over_is_loaded_by_the_sweep(rig: Rig, walk: str) -> None:
    """The sweep: archived, acknowledged, and then the process died."""
    rig.put(copies(3, T0, T0))
    assert getattr(rig.sweep, walk)(Stop()) == 1
    assert count_rows(rig) == 3
