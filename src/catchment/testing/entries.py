"""What every warehouse does with batches that account for those of other tables: a part of its conformance suite."""

from __future__ import annotations

import contextlib
import threading

from catchment.errors import Retry
from catchment.testing.batches import (
    T0,
    TABLE,
    add,
    batch,
    count_rows,
    load,
    row,
    version,
)
from catchment.testing.content import rows
from catchment.warehouses import LedgerEntry, Warehouse

OTHER = "shop.other"


class EntryConformance:
    """For a `warehouse` (empty)."""

    def test_the_ledger_has_the_entries_of_a_batch_once_it_is_loaded(self, warehouse: Warehouse) -> None:
        entries = (LedgerEntry("a", OTHER, 1, T0, T0), LedgerEntry("b", "shop.third", 2, T0, T0))
        [loaded] = load(warehouse, [row("1"), row("2"), row("3")], add(), names=(), entries=entries)
        assert (loaded.names, loaded.inserted, loaded.skipped) == (("a", "b"), 3, False)
        assert warehouse.ledger(["a", "b"]) == {"a": {OTHER}, "b": {"shop.third"}}
        assert rows(warehouse, "SELECT sum(records)::BIGINT, sum(inserted)::BIGINT FROM catchment.ledger") == [(3, 3)]
        assert rows(warehouse, f"SELECT DISTINCT batch FROM {TABLE} JOIN catchment.ledger ON batch_id = _batch") == [
            ("a",)
        ]
        assert warehouse.shape(OTHER).version == 0

    def test_entries_that_the_ledger_has_are_skipped_and_else_rows_are_searched(self, warehouse: Warehouse) -> None:
        first, second = LedgerEntry("a", OTHER, 1, T0, T0), LedgerEntry("b", OTHER, 1, T0, T0)
        load(warehouse, [row("1")], add(), names=(), entries=(first,))
        [loaded] = load(warehouse, [row("new")], names=(), entries=(first,))
        assert (loaded.skipped, loaded.inserted) == (True, 0)
        [loaded] = load(warehouse, [row("1"), row("2")], names=(), entries=(first, second))
        assert (loaded.skipped, loaded.inserted, loaded.duplicates) == (False, 1, 1)
        assert rows(warehouse, "SELECT batch FROM catchment.ledger ORDER BY 1") == [("a",), ("b",)]
        known = warehouse.shape(TABLE).version
        again = batch([row("1"), row("3")], names=(), entries=(first,), shape_version=known)
        assert [each.inserted for each in warehouse.load([again], past_ledger=True)] == [1]
        assert count_rows(warehouse) == 3

    def test_of_two_loads_that_would_enter_one_batch_one_does(self, warehouse: Warehouse) -> None:
        """One of them into its own table, the other into another: as when the limits are changed meanwhile."""
        load(warehouse, [row("first")], add())
        warehouse.load([batch([row("first", table=OTHER)], table=OTHER, name="first")])
        known, its = version(warehouse), warehouse.shape(OTHER).version
        inserted: list[int] = []

        def work(number: int, own: bool) -> None:
            for at in range(10):
                entry = LedgerEntry(f"{at}", OTHER, 50, T0, T0)
                lines = [row(f"{at}-{n}", table=OTHER if own else TABLE) for n in range(50)]
                made = (
                    batch(lines, table=OTHER, name=entry.name, shape_version=its)
                    if own
                    else batch(lines, names=(), entries=(entry,), shape_version=known)
                )
                with contextlib.suppress(Retry):
                    inserted.extend(each.inserted for each in warehouse.load([made]))

        threads = [threading.Thread(target=work, args=[number, number % 2 == 0]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(inserted) == 500
        assert rows(warehouse, f"SELECT count(*) FROM catchment.ledger WHERE table_name = '{OTHER}'") == [(11,)]
