"""The first large batch of a new table: its columns come of a few of its rows, and the rest lies as it fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from catchment.load.loader import PLANNED_ROWS
from catchment.load.prepare import Prepared, prepare
from catchment.load.stamped import Origin
from tests.load.loading import Rig, columns, event

COUNT = 3 * PLANNED_ROWS


def test_a_new_table_is_planned_by_a_part_of_its_rows(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []

    def counting(lines: Sequence[Origin], *others: Any, **more: Any) -> Prepared:
        looked_at.append(len(lines))
        return prepare(lines, *others, **more)

    monkeypatch.setattr("catchment.load.loader.prepare", counting)
    [loaded] = rig.file(*(event(str(at), n=at, at="2026-11-23T10:00:00Z") for at in range(COUNT)))
    assert (loaded.inserted, loaded.duplicates, loaded.dead) == (COUNT, 0, 0)
    assert sum(looked_at) <= PLANNED_ROWS
    assert columns(rig) == {"n": "bigint", "at": "timestamptz"}
    assert rig.ask("SELECT count(*), sum(n) FROM web.event") == [(COUNT, COUNT * (COUNT - 1) // 2)]


def test_what_the_planned_columns_do_not_hold_is_added_widened_or_rescued(rig: Rig) -> None:
    rows = [event(str(at), n=at) for at in range(COUNT - 3)]
    odd = [event("late", n=1, more="x"), event("fraction", n=0.5), event("text", n="x")]
    [loaded] = rig.file(*rows, *odd)
    assert (loaded.inserted, loaded.dead) == (COUNT, 0)
    assert columns(rig) == {"n": "double", "more": "varchar"}
    assert rig.ask("SELECT _id, n, more, _rescued FROM web.event WHERE _id > 'a' ORDER BY _id") == [
        ("fraction", 0.5, None, None),
        ("late", 1.0, "x", None),
        ("text", None, None, '{"n":"x"}'),
    ]


def test_dead_letters_among_the_planned_rows_are_counted_once(rig: Rig) -> None:
    doubled = b'{"table":"web.event","id":"x","data":{"n":1,"n":2}}'
    [loaded] = rig.file(doubled, *(event(str(at), n=at) for at in range(COUNT)))
    assert (loaded.inserted, loaded.dead) == (COUNT, 1)
    assert rig.ask("SELECT reason FROM catchment.open_dead_letters") == [("duplicate-key",)]
