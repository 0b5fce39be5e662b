"""Fields that no longer come are told of once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catchment.load.loader import Loader
from catchment.load.vanished import ENOUGH, Vanishing
from catchment.service import Stop
from catchment.warehouses import SchemaChange
from tests.load.loading import T0, UNLIMITED, Rig, packed, stamped

HOUR_S = 3_600.0
TABLE = "web.event"


class Watched(Rig):
    """A rig, what it tells, and the look for fields that have vanished."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.told: list[SchemaChange] = []
        self.loader = Loader.of(self.warehouse, self.archive, UNLIMITED, tell=self.told.append)
        self._number = 0

    def records(self, data: bytes, start_s: float, end_s: float, count: int = ENOUGH) -> None:
        """So many records, received evenly within the time."""
        step_s = (end_s - start_s) / count
        lines = []
        for at in range(count):
            self._number += 1
            lines.append(stamped(str(self._number), data, at_s=start_s + at * step_s))
        self.loader.load(self.put(packed(*lines)))

    def vanished(self, at_s: float, again: bool = False) -> list[str]:
        """Fields told of by a look at that time."""
        if not again:
            self.vanishing = Vanishing(self.warehouse, self.loader.changes)
        self.told.clear()
        self.vanishing.look(Stop(), T0 + timedelta(seconds=at_s))
        assert all((each.kind, each.table, each.before) == ("vanished", TABLE, "bigint") for each in self.told)
        return [each.field for each in self.told]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.close()


def test_a_field_that_vanished_is_told_of_once(rig: Watched) -> None:
    rig.records(b'{"a":1,"b":1}', 0, HOUR_S)
    rig.records(b'{"a":1}', HOUR_S, 2.5 * HOUR_S)
    assert rig.vanished(2.5 * HOUR_S) == ["b"]
    assert rig.ask("SELECT kind, field, column_name FROM catchment.schema_change ORDER BY rowid DESC LIMIT 1") == [
        ("vanished", "b", "b")
    ]
    assert rig.vanished(2.6 * HOUR_S) == []
    assert rig.vanished(2.6 * HOUR_S, again=True) == []


def test_nulls_are_no_values(rig: Watched) -> None:
    rig.records(b'{"a":1,"b":1}', 0, HOUR_S)
    rig.records(b'{"a":1,"b":null}', HOUR_S, 2.5 * HOUR_S)
    assert rig.vanished(3 * HOUR_S) == ["b"]


@pytest.mark.parametrize(
    ("had", "lack", "hours"),
    [(ENOUGH - 1, ENOUGH, 1.5), (ENOUGH, ENOUGH - 1, 1.5), (ENOUGH, 5 * ENOUGH, 0.9)],
    ids=["too few had it", "too few lack it", "too short a time"],
)
def test_what_tells_too_little_is_not_told(rig: Watched, had: int, lack: int, hours: float) -> None:
    rig.records(b'{"a":1,"b":1}', 0, HOUR_S, had)
    rig.records(b'{"a":1}', HOUR_S, (1 + hours) * HOUR_S, lack)
    assert rig.vanished(3 * HOUR_S) == []


def test_a_field_that_comes_now_and_then_is_not_told_of(rig: Watched) -> None:
    """A thousand of two days had it, not of one."""
    rig.records(b'{"a":1,"b":1}', 0, 47 * HOUR_S)
    rig.records(b'{"a":1}', 47 * HOUR_S, 49 * HOUR_S)
    assert rig.vanished(49 * HOUR_S) == []


def test_one_that_came_again_may_vanish_again(rig: Watched) -> None:
    rig.records(b'{"a":1,"b":1}', 0, HOUR_S)
    rig.records(b'{"a":1}', HOUR_S, 2.5 * HOUR_S)
    assert rig.vanished(2.5 * HOUR_S) == ["b"]
    ahead_s = (rig.ask("SELECT now()")[0][0] - T0).total_seconds()  # it was told of now, by the warehouse's clock
    rig.records(b'{"a":1,"b":1}', ahead_s + HOUR_S, ahead_s + 2 * HOUR_S)
    assert rig.vanished(ahead_s + 2 * HOUR_S, again=True) == []
    rig.records(b'{"a":1}', ahead_s + 2 * HOUR_S, ahead_s + 4 * HOUR_S)
    assert rig.vanished(ahead_s + 4 * HOUR_S, again=True) == ["b"]


def test_tables_that_were_not_loaded_since_are_not_looked_at(rig: Watched) -> None:
    rig.records(b'{"a":1,"b":1}', 0, HOUR_S)
    rig.records(b'{"a":1}', HOUR_S, 3 * HOUR_S)
    vanishing = Vanishing(rig.warehouse, rig.loader.changes, datetime.now(UTC) + timedelta(hours=1))
    rig.told.clear()
    vanishing.look(Stop(), T0 + timedelta(hours=3))
    assert rig.told == []
    assert rig.vanished(3 * HOUR_S) == ["b"]
