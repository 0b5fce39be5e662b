"""What every warehouse does with views of the latest values: a part of its conformance suite."""

from __future__ import annotations

from typing import Any

import pytest

from catchment.errors import UsageError
from catchment.testing.batches import (
    TABLE,
    add,
    batch,
    load,
    named,
    row,
)
from catchment.testing.content import rows
from catchment.warehouses import LatestView, Warehouse
from catchment.warehouses.shape import Widen

OTHER = "shop.other"
VIEW = LatestView("shop.latest", TABLE, "user", "id", "time", ("hidden", "time"))


class ViewConformance:
    """For a `warehouse` (empty)."""

    def test_tables_are_those_of_the_schema(self, warehouse: Warehouse) -> None:
        assert list(warehouse.tables("shop")) == []
        load(warehouse, [row("1", user="u")], add(user="varchar"))
        warehouse.load([batch([row("1", table=OTHER)], table=OTHER)])
        warehouse.load([batch([row("1", table="shops.orders")], table="shops.orders")])
        warehouse.latest_view(VIEW)
        assert sorted(warehouse.tables("shop")) == [TABLE, OTHER]

    def view(self, warehouse: Warehouse, columns: str = "id, plan, n") -> list[tuple[Any, ...]]:
        return rows(warehouse, f"SELECT {columns} FROM shop.latest ORDER BY 1")

    def test_a_view_has_the_latest_value_of_every_field(self, warehouse: Warehouse) -> None:
        columns = add(user="varchar", time="timestamptz", plan="varchar", n="bigint", hidden="varchar")
        early, later, latest = (f"2026-11-23T{hour}:00:00Z" for hour in ("07", "08", "09"))
        load(
            warehouse,
            [
                named("1", {"user": "u", "time": early, "plan": "old", "n": 1, "hidden": "s"}),
                named("2", {"user": "u", "time": latest, "plan": "new"}),
                named("3", {"user": "u", "time": later, "n": 3}),
                named("4", {"user": "v", "plan": "without a time"}),
                named("5", {"plan": "of nobody"}),
            ],
            columns,
        )
        assert warehouse.latest_view(VIEW)
        assert self.view(warehouse) == [("u", "new", 3), ("v", "without a time", None)]
        load(warehouse, [named("6", {"user": "u", "time": later, "plan": "came late"}), named("7", {"user": "w"})])
        assert self.view(warehouse) == [("u", "new", 3), ("v", "without a time", None), ("w", None, None)]
        with pytest.raises(UsageError):
            self.view(warehouse, "hidden")
        with pytest.raises(UsageError):
            self.view(warehouse, "_received_at")

    def test_of_values_of_one_time_the_one_received_last_is_the_latest(self, warehouse: Warehouse) -> None:
        lines = [row(str(number), at=number % 7, user="u", plan=str(number % 7)) for number in range(100)]
        load(warehouse, lines, add(user="varchar", plan="varchar"))
        warehouse.latest_view(VIEW)
        assert self.view(warehouse, "id, plan") == [("u", "6")]

    def test_a_view_made_again_has_the_columns_of_now(self, warehouse: Warehouse) -> None:
        assert warehouse.latest_view(VIEW)
        load(warehouse, [row("1", plan="a")], add(plan="varchar"))
        assert warehouse.latest_view(VIEW)
        load(warehouse, [row("2", at=1, user="u", n=1)], add(user="varchar", n="bigint"))
        assert warehouse.latest_view(VIEW)
        assert self.view(warehouse) == [("u", None, 1)]
        load(warehouse, [row("3", at=2, user="u", n=0.5, more=True)], [Widen("n"), *add(more="boolean")])
        for _ in range(2):
            assert warehouse.latest_view(VIEW)
        assert self.view(warehouse, "id, n, more") == [("u", 0.5, True)]

    def test_a_view_is_no_reason_for_a_load_to_fail(self, warehouse: Warehouse) -> None:
        """Widened, added to, and not made again in between."""
        load(warehouse, [row("1", user="u", n=1)], add(user="varchar", n="bigint"))
        warehouse.latest_view(VIEW)
        load(warehouse, [row("2", at=1, user="u", n=0.5)], [Widen("n"), *add(plan="varchar")])
        warehouse.latest_view(VIEW)
        assert self.view(warehouse) == [("u", None, 0.5)]

    def test_a_table_of_a_views_name_has_it(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1", user="u")], add(user="varchar"))
        assert warehouse.latest_view(VIEW)
        warehouse.load([batch([row("1", table=VIEW.view, n=7)], table=VIEW.view, changes=add(n="bigint"))])
        assert not warehouse.latest_view(VIEW)
        assert rows(warehouse, f"SELECT _id, n FROM {VIEW.view}") == [("1", 7)]
