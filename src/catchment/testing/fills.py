"""What every warehouse does as columns are filled: a part of its conformance suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catchment.errors import Malformed, SchemaChanged
from catchment.testing.batches import T0, TABLE, add, batch, delete, keyed, load, pack_of, row, upsert
from catchment.testing.content import rows
from catchment.warehouses import Fill, Filled, Rows, Warehouse
from catchment.warehouses.shape import ColumnType, Widen

_BOTH = ("loaded", "filled")


def lying(lines: Sequence[bytes]) -> Rows:
    """Rows as they lie."""
    return Rows(b"".join(lines), len(lines))


class FillConformance:
    """For a `warehouse` (empty) and a `folder` whose files it may read."""

    def test_values_that_were_gathered_are_put_in_place_at_once(self, warehouse: Warehouse, folder: Path) -> None:
        """Of three files: one as it lies, some lines as they lie, and prepared rows."""
        lines = [row(str(at), at=at, rescued={"n": at, "s": "x", "other": 0}, a=1) for at in range(300)]
        load(warehouse, lines, add(a="bigint", n="bigint", s="varchar"))
        path = folder / "packs.ndjson.zst"
        path.write_bytes(pack_of([row(str(at), at=at, n=at, s="x", other=0) for at in range(100)]))
        fill = self.filling(warehouse, "n", "s")
        assert warehouse.staged(fill) == frozenset()
        prepared = [row(str(at), at=at, n=at, s="x") for at in range(200, 299)]
        prepared.append(row("299", at=299, rescued={"n": "no number"}, s="x"))
        before = warehouse.versions([TABLE])
        warehouse.stage(fill, ["a"], [Rows((str(path),), 100)])
        warehouse.stage(fill, [], [lying([row(str(at), at=at, n=at, s="x", other=0) for at in range(100, 200)])])
        warehouse.stage(fill, ["b", "c"], [Rows(b"".join(prepared), 100, prepared=True)])
        assert warehouse.staged(fill) == {"a", "b", "c"}
        assert rows(warehouse, f"SELECT count(n), count(s) FROM {TABLE}") == [(0, 0)]
        assert warehouse.versions([TABLE]) == before
        assert warehouse.fill(fill) == Filled(300, 1)
        assert warehouse.versions([TABLE]) != before
        assert rows(warehouse, f"SELECT sum(n)::BIGINT, count(s), count(*) FROM {TABLE}") == [
            (sum(range(299)), 300, 300)
        ]
        found = rows(warehouse, f"SELECT CAST(_rescued AS VARCHAR) FROM {TABLE} WHERE _id IN ('0', '150', '299')")
        assert sorted(sorted(msgspec.json.decode(rescued)) for (rescued,) in found) == [
            ["n", "other"],
            ["other"],
            ["other"],
        ]
        assert warehouse.staged(fill) == frozenset()
        assert warehouse.fill(fill) == Filled(0, 0)

    @pytest.mark.parametrize("kept", [{}, {"n": 3}, {"n": 3, "other": 1}], ids=["nothing", "a field", "some fields"])
    def test_only_nulls_of_rows_that_are_there_are_filled(self, warehouse: Warehouse, kept: dict[str, int]) -> None:
        """Whatever is in `_rescued`: where that is nothing else, all may be put in place in a simpler way."""
        rescued = kept or None
        lines = [
            row("1", n=1),
            row("2"),
            row("3", source="other"),
            row("5", rescued=rescued),
            row("6", rescued=rescued),
        ]
        load(warehouse, lines, add(n="bigint", m="bigint"))
        gathered = [row("1", n=7, m=7), row("2", at=1, n=7), row("3", n=7), row("4", n=7), row("2", m=2)]
        gathered += [row("5", n=3), row("6", m=3)]
        assert self.fill(warehouse, gathered, "n", "m") == Filled(4, 0)
        found = rows(warehouse, f"SELECT _id, n, m FROM {TABLE} ORDER BY _id")
        assert found == [("1", 1, 7), ("2", None, 2), ("3", None, None), ("5", 3, None), ("6", None, 3)]
        found = rows(warehouse, f"SELECT _id, CAST(_rescued AS VARCHAR) FROM {TABLE} WHERE _rescued IS NOT NULL")
        left = {identity: msgspec.json.decode(rest) for identity, rest in found}
        others = {name: value for name, value in kept.items() if name != "n"}
        assert left == {identity: rest for identity, rest in (("5", others), ("6", kept)) if rest}

    @pytest.mark.parametrize("count", [1, 200])
    def test_rescued_becomes_null_with_its_last_field_and_else_is_as_it_was(
        self, warehouse: Warehouse, count: int
    ) -> None:
        keeps = {"n": 1, "text": 'a "quoted" ü', "deep": {"n": [1, None, {"n": 2}]}}
        lines = [row(f"all {at}", rescued={"n": 1}) for at in range(count)]
        lines += [row(f"some {at}", rescued=keeps) for at in range(count)]
        lines += [row(f"no value {at}", rescued={"n": None, "m": 1}) for at in range(count)]
        load(warehouse, lines, add(n="bigint"))
        gathered = [row(f"{name} {at}", n=1) for name in ("all", "some") for at in range(count)]
        assert self.fill(warehouse, gathered, "n") == Filled(2 * count, 0)
        assert rows(warehouse, f"SELECT count(*) FROM {TABLE} WHERE n = 1 AND _rescued IS NULL") == [(count,)]
        [(kept,)] = rows(warehouse, f"SELECT DISTINCT CAST(_rescued AS VARCHAR) FROM {TABLE} WHERE _id LIKE 'some%'")
        assert msgspec.json.decode(kept) == {name: value for name, value in keeps.items() if name != "n"}
        [(kept,)] = rows(warehouse, f"SELECT DISTINCT CAST(_rescued AS VARCHAR) FROM {TABLE} WHERE _id LIKE 'no%'")
        assert msgspec.json.decode(kept) == {"n": None, "m": 1}

    def test_what_stays_rescued_keeps_all_its_digits(self, warehouse: Warehouse) -> None:
        rescued = b'"rescued":{"n":1,"long":0.12345678901234567890123,"wide":123456789012345678901234567890}'
        line = row("1", rescued={}).replace(b'"rescued":{}', rescued)
        prepared = Rows(line, 1, prepared=True)
        warehouse.load([batch([], rows=(prepared,), record_count=1, changes=add(n="bigint"))])
        self.fill(warehouse, [row("1", n=1)], "n")
        [(kept,)] = rows(warehouse, f"SELECT CAST(_rescued AS VARCHAR) FROM {TABLE}")
        assert "0.12345678901234567890123" in kept
        assert "123456789012345678901234567890" in kept
        assert '"n"' not in kept

    def test_of_two_values_for_one_row_none_is_taken_and_the_same_twice_is_one(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1"), row("2", rescued={"n": 1})], add(n="bigint"))
        assert self.fill(warehouse, [row("1", n=5), row("1", n=5), row("2", n=1), row("2", n=2)], "n") == Filled(1, 1)
        assert rows(warehouse, f"SELECT n, _rescued IS NULL FROM {TABLE} ORDER BY _id") == [(5, True), (None, False)]

    def test_every_type_is_filled_as_it_is_loaded(self, warehouse: Warehouse) -> None:
        types: dict[str, ColumnType] = {
            "b": "boolean", "i": "bigint", "d": "double", "t": "timestamptz", "s": "varchar", "j": "json",
        }  # fmt: skip
        values: dict[str, Any] = {
            "b": False, "i": -(2**63), "d": 0.1, "t": "2026-01-02T03:04:05.678901+02:00",
            "s": "it's \"ü\" 😀", "j": {"k": [1, None], "big": 2**64},
        }  # fmt: skip
        load(warehouse, [row("loaded", **values), row("filled"), row("nulls")], add(**types))
        nothing: dict[str, Any] = dict.fromkeys(types)
        assert self.fill(warehouse, [row("filled", **values), row("nulls", **nothing)], *types).rows == 1
        wanted = "b, i, d, t, s, CAST(j AS VARCHAR)"
        loaded, filled = (rows(warehouse, f"SELECT {wanted} FROM {TABLE} WHERE _id = '{x}'") for x in _BOTH)
        assert msgspec.json.decode(loaded[0][-1]) == msgspec.json.decode(filled[0][-1]) == values["j"]
        assert loaded[0][:-1] == filled[0][:-1]

    def test_rows_that_do_not_load_are_not_gathered(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1"), row("2")], add(t="timestamptz"))
        fill = self.filling(warehouse, "t")
        odd = [row("1", t="2026-01-01T00:00:00Z"), row("2", t="2026-01-01T00:00:00.1234567Z")]
        with pytest.raises(Malformed):
            warehouse.stage(fill, ["a"], [lying(odd)])
        assert warehouse.staged(fill) == frozenset()
        assert warehouse.fill(fill) == Filled(0, 0)

    def test_what_is_gathered_already_is_not_gathered_again(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1")], add(n="bigint"))
        fill = self.filling(warehouse, "n")
        warehouse.stage(fill, ["a"], [lying([row("1", n=1)])])
        warehouse.stage(fill, ["a"], [lying([row("1", n=2)])])
        assert warehouse.fill(fill) == Filled(1, 0)
        assert rows(warehouse, f"SELECT n FROM {TABLE}") == [(1,)]

    def test_another_fill_gathers_for_itself(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1")], add(n="bigint", m="bigint"))
        one, other = self.filling(warehouse, "n"), self.filling(warehouse, "m")
        warehouse.stage(one, ["a"], [lying([row("1", n=1)])])
        warehouse.stage(other, ["a"], [lying([row("1", m=1)])])
        assert warehouse.fill(one) == Filled(1, 0)
        assert warehouse.staged(other) == {"a"}
        warehouse.tidy(T0)
        assert warehouse.fill(other) == Filled(1, 0)

    def test_a_fill_of_columns_that_are_others_by_now_is_refused(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1")], add(n="bigint"))
        fill = self.filling(warehouse, "n")
        warehouse.stage(fill, ["a"], [lying([row("1", n=1)])])
        load(warehouse, [row("2", n=0.5)], [Widen("n")])
        with pytest.raises(SchemaChanged):
            warehouse.stage(fill, ["b"], [lying([row("1", n=1)])])
        with pytest.raises(SchemaChanged):
            warehouse.fill(fill)
        assert warehouse.staged(fill) == frozenset()
        assert rows(warehouse, f"SELECT n FROM {TABLE} ORDER BY _id") == [(None,), (0.5,)]

    def test_keyed_rows_are_filled_by_the_record_that_won(self, warehouse: Warehouse) -> None:
        keyed(warehouse, [upsert("1", 1, id="old"), upsert("1", 2, id="new"), delete("2", 3, id="gone")], name="a")
        assert self.fill(warehouse, [row("old", m=1), row("new", m=2), row("gone", m=3)], "m") == Filled(1, 0)
        assert rows(warehouse, f"SELECT _key, m FROM {TABLE}") == [('["1"]', 2)]

    def filling(self, warehouse: Warehouse, *names: str) -> Fill:
        """A fill of these columns as they are."""
        columns = {column.name: column for column in warehouse.shape(TABLE).columns}
        return Fill(TABLE, tuple(columns[name] for name in names))

    def fill(self, warehouse: Warehouse, lines: Sequence[bytes], *names: str) -> Filled:
        """Gather these lines and put them in place."""
        fill = self.filling(warehouse, *names)
        warehouse.stage(fill, ["a file"], [lying(lines)])
        return warehouse.fill(fill)
