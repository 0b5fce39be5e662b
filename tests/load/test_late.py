"""Late rows of large tables wait and are loaded together; those of others do not wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from catchment.errors import WarehouseDown
from catchment.load import late as late_module
from catchment.load.in_flight import InFlight
from catchment.load.late import EVERY_S, LateParts
from catchment.load.round import Part
from tests.load.loading import Rig, packed, stamped

DAY_S = 86_400


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(late_module, "LARGE_ROWS", 100)
    made = Rig(tmp_path)
    made.loader.load(made.put(packed(*[stamped(f"base-{at}", b'{"a":1}') for at in range(100)])))
    yield made
    made.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def put(rig: Rig, *identities: str, table: str = "web.event", age_s: float = DAY_S) -> list[Part]:
    return rig.put(packed(*[stamped(each, b'{"a":2}', table=table, age_s=age_s) for each in identities]))


def test_late_rows_of_a_large_table_wait_in_flight(rig: Rig, clock: list[float]) -> None:
    late, flying = LateParts(rig.warehouse), InFlight()
    parts = put(rig, "1")
    assert late.take(parts, flying) == []
    assert parts[0].name in flying
    assert late.due() == []
    clock[0] += EVERY_S - 1
    assert late.due() == []
    assert late.take(put(rig, "2"), flying) == []
    clock[0] += 1
    due = late.due()
    assert [part.rows for part in due] == [1, 1]
    assert late.due() == []
    [loaded] = rig.loader.load(due)
    assert loaded.inserted == 2


def test_they_wait_less_than_a_minute() -> None:
    assert EVERY_S + 10 < 60


def test_rows_in_time_do_not_wait(rig: Rig) -> None:
    late = LateParts(rig.warehouse)
    parts = put(rig, "1", age_s=60)
    assert late.take(parts, InFlight()) == parts


def test_late_rows_of_a_small_table_do_not_wait(rig: Rig) -> None:
    late, flying = LateParts(rig.warehouse), InFlight()
    parts = put(rig, "1", table="web.small")
    assert late.take(parts, flying) == parts
    assert parts[0].name not in flying


def test_a_table_is_large_by_its_rows_since_then(rig: Rig) -> None:
    """What was received before the late rows' own time need not be searched."""
    late = LateParts(rig.warehouse)
    young = rig.put(packed(stamped("1", b'{"a":1}', at_s=10 * DAY_S, age_s=2 * DAY_S)))
    assert late.take(young, InFlight()) == young


def test_how_large_a_table_is_is_asked_now_and_then(rig: Rig, clock: list[float]) -> None:
    asked: list[str] = []
    count = rig.warehouse.row_count
    rig.warehouse.row_count = lambda table, *other: (asked.append(table), count(table, *other))[1]  # type: ignore[method-assign, func-returns-value]
    late = LateParts(rig.warehouse)
    for at in range(5):
        late.take(put(rig, str(at)), InFlight())
    assert asked == ["web.event"]
    clock[0] += 301
    late.take(put(rig, "later"), InFlight())
    assert len(asked) == 2


def test_when_stopping_all_of_them_are_due(rig: Rig) -> None:
    late = LateParts(rig.warehouse)
    late.take(put(rig, "1"), InFlight())
    assert [part.rows for part in late.due(all_of_them=True)] == [1]


def test_only_so_many_wait_in_memory(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_module, "MAX_WAITING_ROWS", 3)
    late, flying = LateParts(rig.warehouse), InFlight()
    assert late.take(put(rig, "1", "2"), flying) == []
    more = put(rig, "3", "4")
    assert late.take(more, flying) == more
    assert late.take(put(rig, "5"), flying) == []
    late.due(all_of_them=True)
    assert late.take(more, flying) == []


def test_with_the_warehouse_down_nothing_waits(rig: Rig) -> None:
    def down(table: str, since: datetime, enough: int) -> int:
        raise WarehouseDown("away")

    rig.warehouse.row_count = down  # type: ignore[method-assign]
    parts = put(rig, "1")
    assert LateParts(rig.warehouse).take(parts, InFlight()) == parts


def test_a_crash_leaves_them_to_the_sweep(rig: Rig) -> None:
    LateParts(rig.warehouse).take(put(rig, "1", "2"), InFlight())
    assert rig.swept() == 1
    assert rig.ask("SELECT count(*) FROM web.event WHERE a = 2") == [(2,)]
