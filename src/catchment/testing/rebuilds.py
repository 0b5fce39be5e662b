"""What every warehouse does as a table is built anew: a part of its conformance suite."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from catchment.errors import Retry, SchemaChanged, UsageError
from catchment.testing.batches import T0, TABLE, add, batch, count_rows, delete, keyed, load, row, upsert, version
from catchment.testing.content import rows
from catchment.warehouses import Batch, Rebuild, Rebuilt, Rows, SchemaChange, Warehouse
from catchment.warehouses.shape import Column, ColumnType

HOUR = timedelta(hours=1)


class RebuildConformance:
    """For a `warehouse` (empty)."""

    def test_the_new_rows_take_the_old_ones_place_at_once(self, warehouse: Warehouse) -> None:
        load(warehouse, [row(str(at), n=at) for at in range(100)], add(n="bigint"), name="a")
        load(warehouse, [row("100", n=100)], name="b")
        plan = self.begun(warehouse)
        build(warehouse, plan, [row(str(at), n=-at) for at in range(100)], "a")
        assert rows(warehouse, f"SELECT sum(n)::BIGINT FROM {TABLE}") == [(5050,)]
        assert warehouse.end_rebuild(plan) == Rebuilt(missing=("b",))
        build(warehouse, plan, [row("100", n=-100)], "b")
        before = warehouse.versions([TABLE])
        assert warehouse.end_rebuild(plan) == Rebuilt(rows=101, is_done=True)
        assert rows(warehouse, f"SELECT sum(n)::BIGINT, count(DISTINCT _id) FROM {TABLE}") == [(-5050, 101)]
        assert warehouse.versions([TABLE]) != before
        assert warehouse.shape(plan.side).version == 0
        assert warehouse.ledger(["a", "b"]) == {"a": {TABLE}, "b": {TABLE}}
        [loaded] = load(warehouse, [row("100"), row("101")], name="c")
        assert loaded.inserted == 1
        with pytest.raises(UsageError, match="not being built anew"):
            warehouse.end_rebuild(plan)

    def test_it_is_gone_on_with_where_it_was(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1")], add(), name="a")
        load(warehouse, [row("2")], name="b")
        plan = self.begun(warehouse)
        build(warehouse, plan, [row("1")], "a")
        warehouse.tidy(T0)
        warehouse.begin_rebuild(plan)
        assert warehouse.ledger(["a", "b"]) == {"a": {TABLE, plan.side}, "b": {TABLE}}
        build(warehouse, plan, [row("1")], "a")
        build(warehouse, plan, [row("2")], "b")
        assert warehouse.end_rebuild(plan).rows == 2

    def test_files_that_cannot_be_had_are_gone_without(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1")], add(), name="a")
        load(warehouse, [row("1")], name="b")
        plan = self.begun(warehouse)
        build(warehouse, plan, [row("1")], "b")
        assert warehouse.end_rebuild(plan).missing == ("a",)
        assert warehouse.end_rebuild(plan, without=["a", "never heard of"]).is_done

    def test_rows_that_the_new_table_lacks_are_not_lost_unasked(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1"), row("2"), row("1", source="other")], add(), name="a")
        plan = self.begun(warehouse)
        build(warehouse, plan, [row("1")], "a")
        assert warehouse.end_rebuild(plan) == Rebuilt(others=2)
        assert count_rows(warehouse) == 3
        assert warehouse.end_rebuild(plan, drops_others=True) == Rebuilt(rows=1, others=2, is_done=True)
        assert count_rows(warehouse) == 1

    def test_what_is_there_twice_is_there_once_afterwards(self, warehouse: Warehouse) -> None:
        """As somebody's own INSERT may have made it; here by a search that does not reach back."""
        load(warehouse, [row("1")], add(), name="a")
        load(warehouse, [row("1", at=7200)], name="b", search_from=T0 + HOUR)
        assert count_rows(warehouse) == 2
        plan = self.begun(warehouse)
        build(warehouse, plan, [row("1")], "a")
        build(warehouse, plan, [row("1", at=7200)], "b")
        assert warehouse.end_rebuild(plan).rows == 1
        assert rows(warehouse, f"SELECT _received_at FROM {TABLE}") == [(T0,)]

    @pytest.mark.parametrize(
        ("was", "becomes", "value", "found"),
        [("varchar", "bigint", 7, 7), ("bigint", "varchar", "7", "7"), ("varchar", "boolean", True, True)],
    )
    def test_columns_change_their_type_and_go(
        self, warehouse: Warehouse, was: ColumnType, becomes: ColumnType, value: Any, found: Any
    ) -> None:
        values = {"varchar": "x", "bigint": 1}
        load(
            warehouse, [row("1", c=values[was], gone=1, stays=1)], add(gone="bigint", c=was, stays="bigint"), name="a"
        )
        known = version(warehouse)
        columns = (Column("c", "c", becomes), Column("stays", "stays", "bigint"))
        plan = self.begun(warehouse, columns, ("gone",))
        build(warehouse, plan, [row("1", c=value, stays=2)], "a")
        told = [SchemaChange("retyped", TABLE, "c", "c", was, becomes), SchemaChange("dropped", TABLE, "gone", "gone")]
        assert warehouse.end_rebuild(plan, noted=told).is_done
        assert rows(warehouse, f"SELECT c, stays FROM {TABLE}") == [(found, 2)]
        shape = warehouse.shape(TABLE)
        assert (shape.columns, shape.version > known) == (columns, True)
        with pytest.raises(UsageError, match="gone"):
            rows(warehouse, f"SELECT gone FROM {TABLE}")
        kinds = rows(warehouse, "SELECT kind FROM catchment.schema_change ORDER BY kind")
        assert kinds == [("dropped",), ("retyped",)]
        load(warehouse, [row("2", gone="x")], add(gone="varchar"), name="b")
        assert rows(warehouse, f"SELECT gone FROM {TABLE} ORDER BY _id") == [(None,), ("x",)]

    def test_columns_that_came_meanwhile(self, warehouse: Warehouse) -> None:
        """In the old table they stay, in the new one they must be in the old one, too."""
        load(warehouse, [row("1")], add(a="bigint"), name="a")
        plan = self.begun(warehouse)
        load(warehouse, [], add(filled="bigint"), names=())
        build(warehouse, plan, [row("1", b=2)], "a", changes=add(b="bigint"))
        with pytest.raises(SchemaChanged):
            warehouse.end_rebuild(plan)
        load(warehouse, [], add(b="bigint"), names=())
        assert warehouse.end_rebuild(plan).is_done
        assert rows(warehouse, f"SELECT a, filled, b FROM {TABLE}") == [(None, None, 2)]

    def test_views_answer_from_the_new_rows(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1", n=1)], add(n="bigint"), name="a")
        self.execute(warehouse, f"CREATE VIEW shop.all_orders AS SELECT n FROM {TABLE}")
        plan = self.begun(warehouse)
        build(warehouse, plan, [row("1", n=2)], "a")
        assert warehouse.end_rebuild(plan).is_done
        assert rows(warehouse, "SELECT n FROM shop.all_orders") == [(2,)]

    def test_what_was_deleted_stays_so(self, warehouse: Warehouse) -> None:
        """Also where the record that did it is no longer there, and by a deletion that comes meanwhile."""
        keyed(warehouse, [upsert("1", 1, n=1), upsert("2", 1, n=1), upsert("3", 1, n=1)], name="a")
        keyed(warehouse, [delete("1", 3)], name="b")
        plan = self.begun(warehouse)
        build(warehouse, plan, [upsert("1", 1, n=1), upsert("2", 1, n=2), upsert("3", 1, n=2)], "a", key=("k",))
        keyed(warehouse, [delete("2", 3)], name="c")
        build(warehouse, plan, [delete("2", 3)], "c", key=("k",))
        assert warehouse.end_rebuild(plan, without=["b"]) == Rebuilt(rows=1, is_done=True)
        assert rows(warehouse, f"SELECT _key, n FROM {TABLE}") == [('["3"]', 2)]
        keyed(warehouse, [upsert("1", 2, n=1), upsert("2", 2, n=1), upsert("3", 2, n=3)], name="d")
        assert rows(warehouse, f"SELECT _key, n FROM {TABLE}") == [('["3"]', 3)]
        keys = "SELECT key FROM catchment.tombstones ORDER BY key"
        assert rows(warehouse, keys) == [('["1"]',), ('["2"]',)]

    def test_a_key_that_the_new_table_lacks_is_another_row(self, warehouse: Warehouse) -> None:
        keyed(warehouse, [upsert("1", 1), upsert("2", 1)], name="a")
        plan = self.begun(warehouse)
        build(warehouse, plan, [upsert("1", 2)], "a", key=("k",))
        assert warehouse.end_rebuild(plan) == Rebuilt(others=1)

    def test_rows_of_fast_clocks_are_found_afterwards(self, warehouse: Warehouse) -> None:
        fast = [row("1", not_before=T0 + HOUR)]
        load(warehouse, fast, add(), name="a", early=True)
        plan = self.begun(warehouse)
        build(warehouse, plan, fast, "a", early=True)
        assert warehouse.end_rebuild(plan).is_done
        load(warehouse, [row("1", at=7200, not_before=T0 + HOUR)], name="b", search_from=T0 + HOUR)
        assert count_rows(warehouse) == 1
        assert rows(warehouse, "SELECT table_name FROM catchment.early") == [(TABLE,)]

    def test_loads_are_held_back_until_it_is_at_its_end(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1")], add(), name="a")
        plan = self.begun(warehouse)
        assert warehouse.end_rebuild(plan, holds_back=True).missing == ("a",)
        with pytest.raises(Retry):
            load(warehouse, [row("2")], name="b")
        other = batch([row("1", table="shop.other")], table="shop.other", changes=add())
        assert warehouse.load([other])[0].inserted == 1
        build(warehouse, plan, [row("1")], "a")
        assert warehouse.end_rebuild(plan).is_done
        assert load(warehouse, [row("2")], name="b")[0].inserted == 1

    def begun(
        self, warehouse: Warehouse, columns: tuple[Column, ...] | None = None, dropped: tuple[str, ...] = ()
    ) -> Rebuild:
        """A rebuild of the table as it is, or with these columns."""
        plan = Rebuild(TABLE, warehouse.shape(TABLE).columns if columns is None else columns, dropped)
        warehouse.begin_rebuild(plan)
        return plan

    def execute(self, warehouse: Warehouse, statement: str) -> None:
        """Somebody else's statement, which the warehouse's own protocol has no way for."""
        raise NotImplementedError("a subclass of RebuildConformance says how others write")


def build(warehouse: Warehouse, plan: Rebuild, lines: Sequence[bytes], name: str, **other: Any) -> None:
    """Load these lines into the new table."""
    known = warehouse.shape(plan.side).version
    given: dict[str, Any] = {"table": plan.side, "shape_version": known, "name": name, **other}
    if given.get("key"):
        given |= {"rows": (Rows(b"".join(lines), len(lines), prepared=True),), "record_count": len(lines)}
        lines = []
    made: Batch = batch(lines, **given)
    warehouse.load([made])
