"""How every warehouse removes what is too old: a part of its conformance suite."""

from __future__ import annotations

from datetime import timedelta

import pytest

from catchment.record import DEAD_LETTERS
from catchment.testing.batches import T0, TABLE, add, batch, count_rows, delete, keyed, load, row, upsert
from catchment.testing.content import rows
from catchment.warehouses import DeadLetter, Warehouse

_LATER = T0 + timedelta(seconds=100)
_MANY = 1_000


class ExpiryConformance:
    """For a `warehouse` (empty)."""

    @pytest.mark.parametrize("count", [3, 300])
    def test_rows_received_before_a_time_go_and_others_stay(self, warehouse: Warehouse, count: int) -> None:
        load(warehouse, [row(str(at), at=at) for at in range(count)], add())
        warehouse.load([batch([row("other", table="shop.other")], table="shop.other", changes=add())])
        before = warehouse.versions([TABLE, "shop.other"])
        assert warehouse.expire(TABLE, T0 + timedelta(seconds=2), _MANY) == 2
        assert rows(warehouse, f"SELECT count(*), min(_received_at) FROM {TABLE}") == [
            (count - 2, T0 + timedelta(seconds=2))
        ]
        assert rows(warehouse, "SELECT count(*) FROM shop.other") == [(1,)]
        after = warehouse.versions([TABLE, "shop.other"])
        assert after[TABLE] != before[TABLE]
        assert after["shop.other"] == before["shop.other"]
        assert warehouse.expire(TABLE, T0 + timedelta(seconds=2), _MANY) == 0
        assert warehouse.versions([TABLE]) == {TABLE: after[TABLE]}

    def test_as_many_go_at_once_as_are_asked_for(self, warehouse: Warehouse) -> None:
        load(warehouse, [row(str(at), at=at) for at in range(10)], add())
        assert [warehouse.expire(TABLE, T0 + timedelta(seconds=7), 3) for _ in range(4)] == [3, 3, 1, 0]
        assert count_rows(warehouse) == 3

    def test_of_a_table_that_is_not_there_nothing_goes(self, warehouse: Warehouse) -> None:
        assert warehouse.expire(TABLE, _LATER, _MANY) == 0
        assert warehouse.shape(TABLE).version == 0

    def test_what_went_is_loaded_again_where_the_batch_is(self, warehouse: Warehouse) -> None:
        """Whether it may is the loader's business; a warehouse remembers no ids of what it has removed."""
        lines = [row(str(at), at=at) for at in range(100)]
        load(warehouse, lines, add(), name="a")
        assert warehouse.expire(TABLE, T0 + timedelta(seconds=40), _MANY) == 40
        [loaded] = load(warehouse, lines, name="b")
        assert (loaded.inserted, loaded.duplicates) == (40, 60)
        assert count_rows(warehouse) == 100

    def test_a_keyed_row_leaves_its_tombstone(self, warehouse: Warehouse) -> None:
        keyed(warehouse, [upsert("1", 2, n=2), upsert("2", 1, n=2), delete("3", 1)], name="a")
        assert warehouse.expire(TABLE, _LATER, 1) == 1
        assert warehouse.expire(TABLE, _LATER, _MANY) == 1
        keyed(warehouse, [upsert("1", 1, n=1), upsert("3", 1, id="0")], name="older")
        assert count_rows(warehouse) == 0
        keyed(warehouse, [upsert("1", 3, n=3)], name="newer")
        assert rows(warehouse, f"SELECT n FROM {TABLE}") == [(3,)]
        assert warehouse.expire(TABLE, _LATER, _MANY) == 1
        stones = rows(warehouse, "SELECT key, version FROM catchment.tombstones ORDER BY 1")
        assert stones == [('["1"]', "0003"), ('["2"]', "0001"), ('["3"]', "0001")]

    def test_dead_letters_go_by_the_table_that_they_are_about(self, warehouse: Warehouse) -> None:
        letters = [
            DeadLetter(f"{table}-{at}", table, "not-json", "", "", T0 + timedelta(seconds=at), b"x")
            for table in ("shop.a", "shop.b", "")
            for at in (0, 50)
        ]
        warehouse.load([batch([], changes=add(), dead=tuple(letters), record_count=len(letters))])
        before = warehouse.versions([DEAD_LETTERS])
        then = T0 + timedelta(seconds=10)
        assert warehouse.expire(DEAD_LETTERS, then, _MANY, about="shop.a") == 1
        assert warehouse.expire(DEAD_LETTERS, then, _MANY, about="") == 1
        left = rows(warehouse, "SELECT _id FROM catchment.dead_letters ORDER BY 1")
        assert left == [("-50",), ("shop.a-50",), ("shop.b-0",), ("shop.b-50",)]
        assert warehouse.expire(DEAD_LETTERS, then, _MANY) == 1
        assert warehouse.versions([DEAD_LETTERS]) != before
