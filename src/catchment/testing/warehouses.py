"""The conformance suite that every warehouse passes, near or far.

class TestMyWarehouse(WarehouseConformance):
    @pytest.fixture
    def warehouse(self, tmp_path):
        ...
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from catchment.errors import CannotWiden, Malformed, Retry, SchemaChanged, UsageError
from catchment.record import DEAD_LETTERS
from catchment.testing.askers import AskerConformance
from catchment.testing.batches import (
    T0,
    TABLE,
    add,
    batch,
    count_rows,
    delete,
    keyed,
    load,
    named,
    pack_of,
    row,
    upsert,
    version,
)
from catchment.testing.content import rows
from catchment.testing.entries import EntryConformance
from catchment.testing.expiring import ExpiryConformance
from catchment.testing.fills import FillConformance
from catchment.testing.rebuilds import RebuildConformance
from catchment.testing.searches import SearchConformance
from catchment.testing.views import ViewConformance
from catchment.warehouses import DeadLetter, LedgerEntry, Rows, SchemaChange, Warehouse
from catchment.warehouses.shape import AddColumn, Column, Widen


class WarehouseConformance(
    SearchConformance,
    AskerConformance,
    EntryConformance,
    ExpiryConformance,
    ViewConformance,
    FillConformance,
    RebuildConformance,
):
    """Subclass it under a name that begins with `Test`, and give it a `warehouse` (empty) and a `folder` whose
    files the warehouse may read."""

    differs: ClassVar[Mapping[str, str]] = {}
    """Where an engine does otherwise what a test is about, by the test's name: what it does instead, for the matrix in
    the docs. `test_a_backup_is_a_warehouse` is one that may differ: `backup` then names the engine's own tools."""

    @pytest.fixture
    def warehouse(self) -> Iterator[Warehouse]:
        raise NotImplementedError("a subclass of WarehouseConformance overrides the fixture `warehouse`")

    @pytest.fixture
    def folder(self) -> Path:
        raise NotImplementedError("a subclass of WarehouseConformance overrides the fixture `folder`")

    # ---- tables -----------------------------------------------------------------------

    def test_a_table_that_is_not_there_has_an_empty_shape(self, warehouse: Warehouse) -> None:
        shape = warehouse.shape(TABLE)
        assert (shape.table, shape.version, shape.columns) == (TABLE, 0, ())

    def test_the_first_batch_makes_the_table(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1", n=7)], add(n="bigint"))
        assert warehouse.shape(TABLE).columns == (Column("n", "n", "bigint"),)
        assert rows(warehouse, f"SELECT _id, _source, n FROM {TABLE}") == [("1", "web", 7)]

    def test_metadata_columns(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1", at=3, rescued={"x": [1]})], add(), name="incoming/a")
        [(received_at, batch, loaded_at, rescued)] = rows(
            warehouse,
            "SELECT _received_at, batch, _loaded_at, _rescued "
            f"FROM {TABLE} JOIN catchment.ledger ON batch_id = _batch",
        )
        assert received_at == T0 + timedelta(seconds=3)
        assert batch == "incoming/a"
        assert abs(datetime.now(UTC) - loaded_at) < timedelta(minutes=1)
        assert msgspec.json.decode(rescued) == {"x": [1]}

    @pytest.mark.parametrize("count", [1, 500])
    def test_every_type_keeps_its_values(self, warehouse: Warehouse, count: int) -> None:
        columns = add(b="boolean", i="bigint", d="double", t="timestamptz", s="varchar", j="json")
        values: dict[str, Any] = {
            "b": True, "i": -(2**63), "d": 0.1, "t": "2026-01-02T03:04:05.678901+02:00",
            "s": "it's \"ü\" 😀\n\t\\", "j": {"k": [1, None, {"deep": "😀"}], "big": 2**64},
        }  # fmt: skip
        load(warehouse, [row(str(at), **values) for at in range(count)], columns)
        [got] = rows(warehouse, f"SELECT b, i, d, t, s, j FROM {TABLE} WHERE _id = '0'")
        assert got[:3] == (True, -(2**63), 0.1)
        assert got[3] == datetime(2026, 1, 2, 1, 4, 5, 678901, tzinfo=UTC)
        assert got[4] == values["s"]
        assert msgspec.json.decode(got[5]) == values["j"]
        assert count_rows(warehouse) == count

    @pytest.mark.parametrize("count", [1, 500])
    def test_null_and_absent_are_null(self, warehouse: Warehouse, count: int) -> None:
        columns = add(b="boolean", i="bigint", d="double", t="timestamptz", s="varchar", j="json")
        nothing: dict[str, Any] = dict.fromkeys("bidtsj")
        load(warehouse, [row(str(at), **(nothing if at % 2 else {})) for at in range(count)], columns)
        nulls = " AND ".join(f"{name} IS NULL" for name in "bidtsj")
        assert rows(warehouse, f"SELECT count(*) FROM {TABLE} WHERE {nulls}") == [(count,)]

    @pytest.mark.parametrize("field", ["select", "a b", "it's", "Ünï", "a.b", "x" * 300, "semi;colon--"])
    @pytest.mark.parametrize("count", [1, 100])
    def test_any_field_name_can_be_read(self, warehouse: Warehouse, field: str, count: int) -> None:
        load(
            warehouse,
            [named(str(at), {field: at}) for at in range(count)],
            [AddColumn(Column(field, "the_column", "bigint"))],
        )
        assert rows(warehouse, f"SELECT sum(the_column)::BIGINT FROM {TABLE}") == [(sum(range(count)),)]

    def test_columns_are_added_and_old_rows_lack_them(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1", a=1)], add(a="bigint"))
        load(warehouse, [row("2", a=2, b="x")], add(b="varchar"))
        assert rows(warehouse, f"SELECT a, b FROM {TABLE} ORDER BY a") == [(1, None), (2, "x")]

    def test_the_shape_version_grows_with_changes_alone(self, warehouse: Warehouse) -> None:
        versions = []
        for at, changes in enumerate([add(a="bigint"), add(), add(b="varchar")]):
            load(warehouse, [row(str(at), a=at)], changes)
            versions.append(warehouse.shape(TABLE).version)
        assert versions[0] == versions[1] < versions[2]

    def test_bigint_widens_to_double(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1", a=2**53)], add(a="bigint"))
        load(warehouse, [row("2", a=0.5)], [Widen("a")])
        assert warehouse.shape(TABLE).columns == (Column("a", "a", "double"),)
        assert rows(warehouse, f"SELECT a FROM {TABLE} ORDER BY a") == [(0.5,), (float(2**53),)]

    @pytest.mark.parametrize("beyond", [2**53 + 1, -(2**53) - 1])
    def test_bigint_beyond_2_to_the_53_does_not_widen(self, warehouse: Warehouse, beyond: int) -> None:
        load(warehouse, [row("1", a=beyond)], add(a="bigint"))
        with pytest.raises(CannotWiden):
            load(warehouse, [row("2", a=0.5)], [Widen("a")])
        assert rows(warehouse, f"SELECT a FROM {TABLE}") == [(beyond,)]

    def test_a_batch_guarded_against_another_shape_is_refused(self, warehouse: Warehouse) -> None:
        old = warehouse.shape(TABLE).version
        load(warehouse, [row("1", a=1)], add(a="bigint"))
        with pytest.raises(SchemaChanged):
            warehouse.load([batch([row("2", a=2)], shape_version=old, name="late")])
        assert warehouse.ledger(["late"]) == {}

    # ---- the ledger, and what is loaded -------------------------------------------------

    def test_the_ledger_skips_what_it_has(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1")], add(), name="a")
        [loaded] = load(warehouse, [row("2")], name="a")
        assert (loaded.skipped, loaded.inserted) == (True, 0)
        assert count_rows(warehouse) == 1

    def test_past_the_ledger_missing_rows_are_inserted_and_others_are_not(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1")], add(), name="a")
        loaded = warehouse.load(
            [batch([row("1"), row("2")], shape_version=warehouse.shape(TABLE).version, name="a")], past_ledger=True
        )
        assert [each.inserted for each in loaded] == [1]
        assert count_rows(warehouse) == 2
        assert rows(warehouse, "SELECT count(*) FROM catchment.ledger WHERE batch = 'a'") == [(1,)]

    def test_files_as_they_lie(self, warehouse: Warehouse, folder: Path) -> None:
        lines = [row(str(at), n=at) for at in range(100)]
        path = folder / "packs.ndjson.zst"
        path.write_bytes(pack_of(lines[:40]) + pack_of(lines[40:]))
        loaded = warehouse.load(
            [batch([], changes=add(n="bigint"), rows=(Rows((str(path),), 100),), record_count=100)]
        )
        assert [each.inserted for each in loaded] == [100]
        assert rows(warehouse, f"SELECT sum(n)::BIGINT FROM {TABLE}") == [(4950,)]

    @pytest.mark.parametrize("count", [1, 100])
    def test_prepared_rows_go_by_column_name(self, warehouse: Warehouse, count: int) -> None:
        """Some field names no reader can be told of, and some fold to one."""
        changes = [
            AddColumn(Column(field, name, "bigint"))
            for field, name in (("userId", "user_id"), ("USERID", "userid_2"), ('\n"\\', "field"))
        ]
        lines = [row(str(at), user_id=1, userid_2=2, field=3) for at in range(count)]
        warehouse.load(
            [batch([], changes=changes, rows=(Rows(b"".join(lines), count, prepared=True),), record_count=count)]
        )
        assert rows(warehouse, f"SELECT DISTINCT user_id, userid_2, field FROM {TABLE}") == [(1, 2, 3)]

    def test_several_files_loaded_together_are_all_in_the_ledger(self, warehouse: Warehouse) -> None:
        version = warehouse.shape(TABLE).version
        warehouse.load([batch([row("1"), row("2")], shape_version=version, names=("a", "b"), changes=add())])
        assert warehouse.ledger(["a", "b", "c"]) == {"a": {TABLE}, "b": {TABLE}}

    def test_a_file_loaded_together_with_one_that_was_is_entered_once(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1")], add(), name="a")
        for past_ledger in (False, True):
            both = batch([row("1"), row("2")], shape_version=version(warehouse), names=("a", "b"))
            warehouse.load([both], past_ledger=past_ledger)
        assert rows(warehouse, "SELECT batch FROM catchment.ledger ORDER BY 1") == [("a",), ("b",)]
        assert count_rows(warehouse) == 2

    def test_rows_under_no_name_leave_no_ledger(self, warehouse: Warehouse) -> None:
        warehouse.load([batch([row("1")], names=(), changes=add())])
        assert rows(warehouse, "SELECT count(*) FROM catchment.ledger") == [(0,)]

    def test_rows_that_do_not_load_change_nothing(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1", n=1)], add(n="bigint"), name="a")
        broken = b"".join(row(str(at), n=1) for at in range(100)).replace(b'"n":1', b'"n":"x"', 1)
        with pytest.raises(Malformed) as error:
            warehouse.load([batch([], rows=(Rows(broken, 100),), shape_version=version(warehouse), name="b")])
        assert error.value.reason == "not-loadable"
        assert warehouse.ledger(["b"]) == {}
        assert count_rows(warehouse) == 1

    def test_a_seventh_fractional_digit_in_a_file_is_refused(self, warehouse: Warehouse) -> None:
        lines = [row(str(at), t="2026-01-01T00:00:00.1234567Z") for at in range(100)]
        with pytest.raises(Malformed):
            load(warehouse, lines, add(t="timestamptz"))

    def test_what_fails_takes_the_whole_call_with_it(self, warehouse: Warehouse) -> None:
        good = batch([row("1")], changes=add(), name="a")
        bad = batch([], table="shop.other", rows=(Rows(b"nonsense\n" * 100, 100),), changes=add(), name="a")
        with pytest.raises(Malformed):
            warehouse.load([good, bad])
        assert warehouse.ledger(["a"]) == {}

    def test_many_threads_load_the_same_records_once(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("first")], add())
        lines = [row(str(at)) for at in range(200)]
        known = version(warehouse)

        def work(number: int) -> None:
            for at in range(5):
                warehouse.load([batch(lines, shape_version=known, name=f"{number}-{at}")])

        threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert count_rows(warehouse) == 201
        assert rows(warehouse, "SELECT count(*) FROM catchment.ledger") == [(21,)]

    # ---- keyed tables -----------------------------------------------------------------

    def test_the_highest_version_of_a_key_wins_in_any_order(self, warehouse: Warehouse) -> None:
        keyed(warehouse, [upsert("1", 2, n=2), upsert("1", 1, n=1)], name="a")
        keyed(warehouse, [upsert("1", 3, n=3)], name="b")
        keyed(warehouse, [upsert("1", 2, n=22)], name="c")
        assert rows(warehouse, f"SELECT n, _version, _key FROM {TABLE}") == [(3, "0003", '["1"]')]

    def test_ties_break_by_id(self, warehouse: Warehouse) -> None:
        keyed(warehouse, [upsert("1", 1, id="b", n=1)], name="a")
        keyed(warehouse, [upsert("1", 1, id="a", n=2)], name="b")
        assert rows(warehouse, f"SELECT n FROM {TABLE}") == [(1,)]
        keyed(warehouse, [upsert("1", 1, id="c", n=3)], name="c")
        assert rows(warehouse, f"SELECT n FROM {TABLE}") == [(3,)]

    def test_an_upsert_replaces_the_whole_row(self, warehouse: Warehouse) -> None:
        keyed(warehouse, [upsert("1", 1, n=1, m=1)], name="a")
        keyed(warehouse, [upsert("1", 2, m=2)], name="b")
        assert rows(warehouse, f"SELECT n, m FROM {TABLE}") == [(None, 2)]

    def test_a_delete_outlives_its_row(self, warehouse: Warehouse) -> None:
        keyed(warehouse, [upsert("1", 1, n=1)], name="a")
        keyed(warehouse, [delete("1", 3)], name="b")
        assert count_rows(warehouse) == 0
        keyed(warehouse, [upsert("1", 2, n=2)], name="c")
        assert count_rows(warehouse) == 0
        keyed(warehouse, [upsert("1", 4, n=4)], name="d")
        assert rows(warehouse, f"SELECT n FROM {TABLE}") == [(4,)]

    def test_a_tombstone_keeps_its_id_for_ties(self, warehouse: Warehouse) -> None:
        keyed(warehouse, [delete("1", 1, id="b")], name="a")
        keyed(warehouse, [upsert("1", 1, id="a", n=1)], name="b")
        assert count_rows(warehouse) == 0
        keyed(warehouse, [upsert("1", 1, id="c", n=2)], name="c")
        assert count_rows(warehouse) == 1

    def test_a_key_has_a_row_or_a_tombstone_however_its_changes_are_batched(self, warehouse: Warehouse) -> None:
        keyed(warehouse, [delete("1", 1), delete("2", 1)], name="a")
        keyed(warehouse, [upsert("1", 2, n=1), upsert("3", 1, n=1)], name="b")
        keyed(warehouse, [delete("3", 2), upsert("4", 2, n=1), delete("4", 1)], name="c")
        tombstones = "SELECT key, version FROM catchment.tombstones ORDER BY key"
        assert rows(warehouse, tombstones) == [('["2"]', "0001"), ('["3"]', "0002")]
        assert rows(warehouse, f"SELECT _key FROM {TABLE} ORDER BY _key") == [('["1"]',), ('["4"]',)]

    # ---- dead letters, ledger, halts --------------------------------------------------

    def test_dead_letters_come_with_the_ledger_and_once(self, warehouse: Warehouse) -> None:
        letter = DeadLetter("d1", TABLE, "duplicate-key", "'x'", "file:3", T0, b"\x00\xff", "web", "1")
        [loaded] = warehouse.load([batch([row("1")], changes=add(), dead=(letter, letter), name="a")])
        assert loaded.dead == 1
        warehouse.load([batch([], shape_version=version(warehouse), dead=(letter,), name="b")])
        assert rows(
            warehouse,
            f"SELECT _id, table_name, reason, detail, origin, record_source, record_id, bytes FROM {DEAD_LETTERS}",
        ) == [("d1", TABLE, "duplicate-key", "'x'", "file:3", "web", "1", "AP8=")]

    def test_what_is_noted_of_a_table_is_written_with_its_rows_once(self, warehouse: Warehouse) -> None:
        change = SchemaChange("rescued", TABLE, "it's", "its", "bigint", "string", "web", "1", "incoming/a")
        told = "SELECT kind, field, column_name, type_before, type_after, record_source, record_id, batch "
        of_table = f"FROM catchment.schema_change WHERE table_name = '{TABLE}'"
        where = f"{of_table} ORDER BY field, type_after"
        load(warehouse, [row("1", a=1)], add(a="bigint"), name="incoming/a", noted=(change,))
        assert rows(warehouse, told + where) == [
            ("rescued", "it's", "its", "bigint", "string", "web", "1", "incoming/a")
        ]
        other = msgspec.structs.replace(change, after="object")
        load(warehouse, [row("2", a=1)], noted=(change, other))
        load(warehouse, [row("1", a=1)], name="incoming/a", noted=(msgspec.structs.replace(change, field="z"),))
        assert rows(warehouse, "SELECT type_after " + where) == [("object",), ("string",)]
        [(changed_at,)] = rows(warehouse, "SELECT max(changed_at) " + of_table)
        assert abs(datetime.now(UTC) - changed_at) < timedelta(minutes=1)

    def test_a_field_may_vanish_more_than_once(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1", a=1)], add(a="bigint"))
        for _ in range(2):
            load(warehouse, [], names=(), noted=(SchemaChange("vanished", TABLE, "a", "a", "bigint"),))
        assert rows(warehouse, "SELECT count(*) FROM catchment.schema_change") == [(2,)]
        assert count_rows(warehouse) == 1

    def test_entered_batches_are_skipped_and_forgotten_ones_are_not(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("0")], add(), name="z")
        entry = LedgerEntry("a", TABLE, 1, T0, T0)
        warehouse.enter([entry, entry])
        warehouse.enter([entry])
        assert warehouse.ledger(["a"]) == {"a": {TABLE}}
        [loaded] = load(warehouse, [row("1")], name="a")
        assert loaded.skipped
        lost = LedgerEntry("c", TABLE, 1, T0, T0, same_as=("a", "b"))
        with pytest.raises(Retry):
            warehouse.enter([lost])
        warehouse.enter([LedgerEntry("b", TABLE, 1, T0, T0), LedgerEntry("c", TABLE, 1, T0, T0, same_as=("a", "z"))])
        assert warehouse.ledger(["c"]) == {"c": {TABLE}}
        warehouse.forget(["a"])
        assert warehouse.ledger(["a"]) == {}
        [loaded] = load(warehouse, [row("1")], name="a")
        assert loaded.inserted == 1

    def test_versions_change_with_the_content_alone(self, warehouse: Warehouse) -> None:
        before = warehouse.versions([TABLE, "shop.other"])
        load(warehouse, [row("1")], add(), name="a")
        after = warehouse.versions([TABLE, "shop.other"])
        assert after[TABLE] != before[TABLE]
        assert after["shop.other"] == before["shop.other"]
        load(warehouse, [row("1")], name="a")
        assert warehouse.versions([TABLE])[TABLE] == after[TABLE]

    def test_row_count(self, warehouse: Warehouse) -> None:
        assert warehouse.row_count(TABLE, T0, 10) == 0
        load(warehouse, [row(str(at), at=at) for at in range(20)], add())
        assert warehouse.row_count(TABLE, T0 + timedelta(seconds=15), 10) == 5
        assert warehouse.row_count(TABLE, T0, 10) == 10

    def test_halts(self, warehouse: Warehouse) -> None:
        warehouse.halt(TABLE, "too many")
        [halt] = warehouse.halts()
        assert (halt.table, halt.reason, halt.resumed_at) == (TABLE, "too many", None)
        warehouse.resume(TABLE)
        [halt] = warehouse.halts()
        assert halt.resumed_at is not None
        warehouse.halt(TABLE, "again")
        [halt] = warehouse.halts()
        assert (halt.reason, halt.resumed_at) == ("again", None)

    def test_tidy_forgets_old_rows_of_fast_clocks(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1", not_before=T0 + timedelta(hours=1))], add(), name="a")
        warehouse.tidy(T0)
        assert rows(warehouse, "SELECT _id FROM catchment.early") == [("1",)]
        warehouse.tidy(T0 + timedelta(seconds=1))
        assert rows(warehouse, "SELECT _id FROM catchment.early") == []

    def test_tidy_keeps_everything_that_counts(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1")], add(), name="a")
        warehouse.tidy(T0)
        assert count_rows(warehouse) == 1
        assert warehouse.ledger(["a"]) == {"a": {TABLE}}

    def test_a_backup_is_a_warehouse(self, warehouse: Warehouse, tmp_path: Path) -> None:
        if "test_a_backup_is_a_warehouse" in self.differs:
            with pytest.raises(UsageError, match="backed up by") as error:
                warehouse.backup(tmp_path / "backup")
            assert error.value.hint
            return
        load(warehouse, [row("1", n=5)], add(n="bigint"), name="a")
        warehouse.backup(tmp_path / "backup")
        load(warehouse, [row("2", n=6)], name="b")
        assert self.read_backup(tmp_path / "backup", f"SELECT n FROM {TABLE}") == [(5,)]

    def read_backup(self, path: Path, sql: str) -> list[tuple[Any, ...]]:
        """What a backup answers."""
        raise NotImplementedError("a subclass of WarehouseConformance says how its backups are read")
