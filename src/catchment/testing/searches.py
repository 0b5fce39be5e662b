"""What every warehouse takes for new, and what for a copy: a part of its conformance suite."""

from __future__ import annotations

from datetime import timedelta

import pytest

from catchment.testing.batches import T0, TABLE, add, count_rows, load, row
from catchment.testing.content import rows
from catchment.warehouses import Ids, Warehouse


class SearchConformance:
    """For a `warehouse` (empty)."""

    @pytest.mark.parametrize("count", [3, 300])
    def test_the_same_records_in_another_batch_are_not_new(self, warehouse: Warehouse, count: int) -> None:
        lines = [row(str(at)) for at in range(count)]
        load(warehouse, lines, add(), name="a")
        [loaded] = load(warehouse, [*lines, row("new")], name="b")
        assert (loaded.inserted, loaded.duplicates, loaded.skipped) == (1, count, False)
        assert count_rows(warehouse) == count + 1

    @pytest.mark.parametrize("count", [3, 300])
    def test_copies_within_a_batch_are_one_row_and_the_earliest_wins(self, warehouse: Warehouse, count: int) -> None:
        copies = [row("1", at=count - at, n=at) for at in range(count)]
        [loaded] = load(warehouse, copies, add(n="bigint"))
        assert (loaded.inserted, loaded.duplicates) == (1, count - 1)
        assert rows(warehouse, f"SELECT n FROM {TABLE}") == [(count - 1,)]

    @pytest.mark.parametrize("count", [2, 200])
    def test_an_id_is_unique_within_its_source_alone(self, warehouse: Warehouse, count: int) -> None:
        load(warehouse, [row("1", source=f"s{at}") for at in range(count)], add())
        assert count_rows(warehouse) == count

    @pytest.mark.parametrize("count", [1, 200])
    def test_the_search_goes_back_to_search_from(self, warehouse: Warehouse, count: int) -> None:
        """What lies before it is not searched: that is the bound that makes it cheap."""
        lines = [row(str(at)) for at in range(count)]
        load(warehouse, lines, add(), name="a")
        again = [row(str(at), at=3600) for at in range(count)]
        load(warehouse, again, name="b", search_from=T0)
        assert count_rows(warehouse) == count
        load(warehouse, again, name="c", search_from=T0 + timedelta(seconds=3600))
        assert count_rows(warehouse) == 2 * count

    @pytest.mark.parametrize("known", [0, 3, 1_500])
    def test_a_batch_of_which_the_ids_are_told_adds_what_is_new(self, warehouse: Warehouse, known: int) -> None:
        identities = ("ü", "'", *(f"{at:05}" for at in range(4_998)))
        there = [row(each) for each in identities[:known]]
        others = [row(each, source="app") for each in identities[-500:]]
        older = [row(each, at=-10) for each in identities[-20:]]
        load(warehouse, [*there, *others, *older], add(), name="a")
        lines = [row(each, n=1) for each in identities]
        for name, inserted in (("b", len(lines) - known), ("c", 0)):
            [loaded] = load(
                warehouse, lines, add(n="bigint") if name == "b" else (), name=name,
                distinct=True, ids=Ids("web", identities),
            )  # fmt: skip
            assert (loaded.inserted, loaded.duplicates) == (inserted, len(lines) - inserted)
        in_web = f"SELECT count(*), count(DISTINCT _id), count(n) FROM {TABLE} WHERE _source = 'web'"
        assert rows(warehouse, in_web) == [(len(lines) + len(older), len(lines), len(lines) - known)]

    @pytest.mark.parametrize("count", [1, 200, 5_000])
    def test_rows_of_fast_clocks_are_found_though_they_lie_before_the_bound(
        self, warehouse: Warehouse, count: int
    ) -> None:
        """not_before lies an hour after received_at; the retry comes two hours later, and is searched from the
        hour on alone."""
        hour = timedelta(hours=1)
        first = [row(str(at), not_before=T0 + hour) for at in range(count)]
        load(warehouse, first, add(), name="a", early=True)
        retry = [row(str(at), at=7200, not_before=T0 + hour) for at in range(count)]
        ids = Ids("web", tuple(str(at) for at in range(count)))
        load(warehouse, retry, name="b", search_from=T0 + hour, distinct=True, ids=ids)
        assert count_rows(warehouse) == count
