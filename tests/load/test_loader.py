"""The second step against a real warehouse: guard again, bisect, and one table's trouble is its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from catchment.errors import Malformed, Retry, SchemaChanged, WarehouseDown
from catchment.load.loader import Loader
from catchment.warehouses import Batch, Loaded, Warehouse
from catchment.warehouses.shape import Shape
from tests.load.loading import T0, Rig, columns, event, packed, stamped


class Grumpy:
    """The rig's warehouse, which refuses rows that hold certain bytes; and anything else it is told to."""

    def __init__(self, rig: Rig, *refuses: bytes) -> None:
        self.warehouse: Warehouse = rig.warehouse
        self.refuses = refuses
        self.failures: list[Exception | None] = []
        self.failing: dict[str, Exception] = {}
        self.loads: list[list[Batch]] = []
        self.swallows = False

    def __getattr__(self, name: str) -> object:
        return getattr(self.warehouse, name)

    def load(self, batches: Sequence[Batch], *, past_ledger: bool = False) -> list[Loaded]:
        self.loads.append(list(batches))
        if self.swallows:
            return [Loaded(batch.files, batch.table, 0, 0, 0, skipped=True) for batch in batches]
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        for batch in batches:
            if batch.table in self.failing:
                raise self.failing[batch.table]
            for rows in batch.rows:
                assert isinstance(rows.data, bytes)
                if any(each in rows.data for each in self.refuses):
                    raise Malformed("not-loadable", f"{batch.table} does not like it")
        return self.warehouse.load(batches, past_ledger=past_ledger)


def loader_on(rig: Rig, warehouse: object, window: timedelta = timedelta(days=7)) -> Loader:
    return replace(rig.loader, warehouse=warehouse, window=window)  # type: ignore[arg-type]


# ---- guarding again --------------------------------------------------------------------------


def test_columns_that_changed_meanwhile_are_guarded_again(rig: Rig) -> None:
    """Two rounds were looked at before either was loaded, and both bring the same new field."""
    rig.file(event("0", a=1))
    first = rig.put(packed(*[stamped(f"1-{at}", b'{"a":1,"new":1}') for at in range(100)]))
    second = rig.put(packed(*[stamped(f"2-{at}", b'{"a":1,"new":"x"}') for at in range(100)]))
    third = rig.put(packed(*[stamped(f"3-{at}", b'{"a":1}') for at in range(100)]))
    for parts in (first, second, third):
        [loaded] = rig.loader.load(parts)
        assert loaded.inserted == 100
    assert columns(rig) == {"a": "bigint", "new": "bigint"}
    assert rig.ask("SELECT count(new), count(_rescued) FROM web.event") == [(100, 100)]


def test_schema_changed_is_no_failure(rig: Rig) -> None:
    grumpy = Grumpy(rig)
    grumpy.failures = [SchemaChanged("web.event")] * 3
    [loaded] = loader_on(rig, grumpy).load(rig.put(rig.message(event("1", a=1))))
    assert (loaded.inserted, len(grumpy.loads)) == (1, 4)


def test_schema_that_never_stands_still_is_left_for_later(rig: Rig) -> None:
    grumpy = Grumpy(rig)
    grumpy.failures = [SchemaChanged("web.event")] * 100
    with pytest.raises(SchemaChanged):
        loader_on(rig, grumpy).load(rig.put(rig.message(event("1", a=1))))


def test_a_column_that_cannot_widen_keeps_its_integers_and_fractions_are_rescued(rig: Rig) -> None:
    rig.file(event("1", n=2**53 + 1))
    for count in (1, 100):
        rig.file(*[event(f"{count}-{at}", n=0.5) for at in range(count)])
    assert columns(rig) == {"n": "bigint"}
    assert rig.ask("SELECT count(n), min(_rescued::VARCHAR) FROM web.event") == [(1, '{"n":0.5}')]


def test_what_cannot_widen_is_asked_once(rig: Rig) -> None:
    grumpy = Grumpy(rig)
    loader = loader_on(rig, grumpy)
    loader.load(rig.put(rig.message(event("1", n=2**60))))
    for at in range(3):
        loader.load(rig.put(rig.message(event(f"x{at}", n=0.5))))
    assert len(grumpy.loads) == 5  # one of them twice


# ---- rows that the warehouse refuses -----------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 64, 65, 300])
def test_exactly_the_refused_row_is_a_dead_letter(rig: Rig, count: int) -> None:
    lines = [stamped(str(at), b'{"a":"%s"}' % (b"poison" if at == count // 2 else b"fine")) for at in range(count)]
    [loaded] = loader_on(rig, Grumpy(rig, b"poison")).load(rig.put(packed(*lines)))
    assert (loaded.dead, loaded.skipped) == (1, False)
    assert rig.ask("SELECT count(*), count(DISTINCT _id) FROM web.event") == [(count - 1, count - 1)]
    assert rig.ask("SELECT reason, detail, record_id, origin FROM catchment.dead_letters") == [
        ("not-loadable", "web.event does not like it", str(count // 2), f"{loaded.names[0]}:{count // 2 + 1}")
    ]


def test_several_refused_rows(rig: Rig) -> None:
    bad = {3, 4, 77, 199}
    lines = [stamped(str(at), b'{"a":"%s"}' % (b"poison" if at in bad else b"fine")) for at in range(200)]
    loader_on(rig, Grumpy(rig, b"poison")).load(rig.put(packed(*lines)))
    found = rig.ask("SELECT record_id FROM catchment.dead_letters")
    assert {int(identity) for (identity,) in found} == bad
    assert rig.ask("SELECT count(*) FROM web.event") == [(196,)]
    assert rig.swept() == 0


def test_a_refused_row_spoils_no_other_table(rig: Rig) -> None:
    grumpy = Grumpy(rig, b"poison")
    loaded = loader_on(rig, grumpy).load(
        rig.put(*[rig.message(event("1", f"web.t{at}", a="poison" if at == 1 else "fine")) for at in range(3)])
    )
    assert {each.table: (each.inserted, each.dead) for each in loaded} == {
        "web.t0": (1, 0), "web.t1": (0, 1), "web.t2": (1, 0)
    }  # fmt: skip


# ---- tables that cannot load -------------------------------------------------------------------


def test_one_table_that_cannot_load_holds_up_no_other(rig: Rig) -> None:
    grumpy = Grumpy(rig)
    grumpy.failing["web.t1"] = Retry("no such column")
    parts = rig.put(*[rig.message(event("1", f"web.t{at}", a=1)) for at in range(3)])
    with pytest.raises(Retry):
        loader_on(rig, grumpy).load(parts)
    assert rig.ask("SELECT table_name FROM catchment.ledger ORDER BY 1") == [("web.t0",), ("web.t2",)]
    grumpy.failing.clear()
    assert sum(each.inserted for each in loader_on(rig, grumpy).load(parts)) == 1


def test_a_warehouse_that_is_down_is_asked_once(rig: Rig) -> None:
    grumpy = Grumpy(rig)
    grumpy.failures = [WarehouseDown("away")]
    with pytest.raises(WarehouseDown):
        loader_on(rig, grumpy).load(rig.put(*[rig.message(event("1", f"web.t{at}", a=1)) for at in range(3)]))
    assert len(grumpy.loads) == 1


def test_with_the_warehouse_down_packs_are_archived_unseen(rig: Rig) -> None:
    class Down:
        def shape(self, table: str) -> Shape:
            raise WarehouseDown("away")

    assert loader_on(rig, Down()).look("web.event", stamped("1").text) is None


# ---- what the warehouse is handed --------------------------------------------------------------


def handed(rig: Rig, *lines_of_packs: int, window: timedelta = timedelta(days=7), **stamp: float) -> Batch:
    """The batch of packs of so many rows, in a table that fits them."""
    rig.file(event("first", a=1))
    grumpy = Grumpy(rig)
    serial = iter(range(10**6))
    packs = [
        packed(*[stamped(str(next(serial)), b'{"a":1}', **stamp) for _ in range(count)])  # type: ignore[arg-type]
        for count in lines_of_packs
    ]
    grumpy.swallows = True
    loader_on(rig, grumpy, window).load(rig.put(*packs))
    [[batch]] = grumpy.loads
    return batch


def test_many_rows_that_fit_load_from_their_file_as_it_lies(rig: Rig) -> None:
    batch = handed(rig, 600, 600)
    [rows] = batch.rows
    assert rows.data == (rig.archive.url(batch.names[0]),)
    assert (rows.count, rows.prepared, batch.distinct, batch.early) == (1200, False, True, False)


@pytest.mark.parametrize(("count", "prepared"), [(64, True), (65, False)])
def test_few_rows_are_prepared_since_they_go_past_the_warehouses_reader(rig: Rig, count: int, prepared: bool) -> None:
    [rows] = handed(rig, count).rows
    assert rows.prepared is prepared


def test_packs_of_a_shared_file_go_as_lines(rig: Rig) -> None:
    rig.file(event("first", a=1))
    lines = [stamped(str(at), b'{"a":1}') for at in range(100)]
    other = packed(stamped("1", table="web.other"))
    loaded = {each.table: each for each in rig.loader.load(rig.put(packed(*lines), other))}
    assert (loaded["web.event"].inserted, loaded["web.other"].inserted) == (100, 1)


def test_rows_of_fast_clocks_are_told_of(rig: Rig) -> None:
    assert handed(rig, 100, age_s=-60).early


def test_recent_rows_are_searched_from_their_own_time(rig: Rig) -> None:
    assert handed(rig, 100, age_s=120, window=timedelta(days=36500)).search_from == T0 - timedelta(seconds=120)


def test_old_rows_are_searched_a_window_further_back(rig: Rig) -> None:
    """`early` may have forgotten what was received so long ago."""
    old = -(365 * 86_400)
    batch = handed(rig, 100, at_s=old, age_s=60, window=timedelta(days=7))
    assert batch.search_from == T0 + timedelta(seconds=old) - timedelta(days=7)


@pytest.mark.parametrize("count", [1, 100])
def test_rows_of_the_first_year(rig: Rig, count: int) -> None:
    records = [{**event(str(at), a=1), "received_at": "0001-01-01T00:00:01Z"} for at in range(count)]
    [loaded] = rig.file(*records)
    assert loaded.inserted == count
    [again] = rig.file(*records)
    assert again.duplicates == count


def test_two_parts_of_rows_with_copies_across_them(rig: Rig) -> None:
    """The same id once as it lies and once prepared, in one batch."""
    rig.file(event("first", a=1))
    lines = [stamped(str(at), b'{"a":1}') for at in range(100)]
    odd = [stamped(str(at), b'{"a":"odd"}', at_s=5) for at in range(0, 200, 2)]
    [loaded] = rig.loader.load(rig.put(packed(*lines, *odd)))
    assert (loaded.inserted, loaded.duplicates) == (150, 50)
    assert rig.ask("SELECT count(*), count(DISTINCT _id) FROM web.event") == [(151, 151)]


def test_early_rows_from_a_file_are_found_by_a_later_copy(rig: Rig) -> None:
    hour = 3600
    fast = [stamped(str(at), b'{"a":1}', at_s=0, age_s=-hour) for at in range(100)]
    rig.loader.load(rig.put(packed(*fast)))
    rig.loader.load(rig.put(packed(*[stamped(f"x{at}", b'{"a":1}') for at in range(100)])))
    retry = [stamped(str(at), b'{"a":1}', at_s=2 * hour, age_s=hour) for at in range(100)]
    loader = loader_on(rig, rig.warehouse, timedelta(days=36500))
    [loaded] = loader.load(rig.put(packed(*retry)))
    assert (loaded.inserted, loaded.duplicates) == (0, 100)


def test_widening_and_its_rows_are_one_transaction(rig: Rig) -> None:
    rig.file(*[event(f"a{at}", n=at) for at in range(100)])
    rig.file(*[event(f"b{at}", n=at + 0.5, m=at) for at in range(100)])
    assert columns(rig) == {"n": "double", "m": "bigint"}
    assert rig.ask("SELECT sum(n), count(_rescued) FROM web.event") == [(2 * 4950 + 50.0, 0)]


def test_many_tables_in_one_load(rig: Rig) -> None:
    tables = [f"web.t{at}" for at in range(100)]
    for identity in ("1", "2"):
        loaded = rig.loader.load(rig.put(*[rig.message(event(identity, table, a=1)) for table in tables]))
        assert len(loaded) == 100
        assert sum(each.inserted for each in loaded) == 100


# ---- keys --------------------------------------------------------------------------------------


def upsert(identity: str, table: str = "crm.users", **other: object) -> dict[str, object]:
    record = {"table": table, "id": identity, "source": "crm", "op": "upsert", "key": ["k"], "version": "1"}
    return {**record, "data": {"k": 1}, **other}


@pytest.mark.parametrize("count", [1, 100])
def test_a_key_that_is_not_the_tables_is_a_dead_letter(rig: Rig, count: int) -> None:
    rig.file(upsert("1"))
    rig.file(event("2", a=1))
    wrong = [
        upsert("3", key=["other"], data={"k": 1, "other": 2}),
        event("4", "crm.users", k=1),
        upsert("5", "web.event"),
    ]
    good = [upsert(f"good-{at}", data={"k": 10 + at}) for at in range(count)]
    rig.file(*wrong, *good)
    assert rig.ask("SELECT record_id, reason FROM catchment.dead_letters ORDER BY 1") == [
        ("3", "key-mismatch"), ("4", "key-mismatch"), ("5", "key-mismatch")
    ]  # fmt: skip
    assert rig.ask("SELECT count(*) FROM crm.users") == [(count + 1,)]


@pytest.mark.parametrize("data", [{}, {"k": None}])
def test_a_key_without_a_value_is_a_dead_letter(rig: Rig, data: dict[str, object]) -> None:
    rig.file(upsert("1", data=data), upsert("2"))
    assert rig.ask("SELECT record_id, reason FROM catchment.dead_letters") == [("1", "key-mismatch")]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b"1", b"1.0", True),
        (b"1", b'"1"', False),
        (b"1", b"true", False),
        (b"9007199254740993", b"9007199254740992", False),
        (b"123456789012345678901234567890", b"123456789012345678901234567891", False),
        (b"1e400", b"1e401", False),
        (b"1e300", b"1e300", True),
        (b'"a\\u00fc"', '"aü"'.encode(), True),
    ],
)
def test_which_keys_are_one(rig: Rig, one: bytes, other: bytes, same: bool) -> None:
    extra = b',"op":"upsert","key":["k"],"version":"%d"'
    lines = [
        stamped(str(at), b'{"k":%b}' % key, table="crm.users", extra=extra % at) for at, key in enumerate([one, other])
    ]
    rig.loader.load(rig.put(packed(*lines)))
    assert rig.ask("SELECT count(*) FROM crm.users") == [(1 if same else 2,)]
    assert rig.ask("SELECT count(*) FROM catchment.dead_letters") == [(0,)]


@pytest.mark.parametrize("extra", [b',"op":"delete"', b',"key":["k"]', b',"op":"merge","key":["k"]'])
def test_an_op_that_is_none_is_a_dead_letter(rig: Rig, extra: bytes) -> None:
    rig.loader.load(rig.put(packed(stamped("1", b'{"k":1}', extra=extra), stamped("2", b'{"k":1}'))))
    assert rig.ask("SELECT _id FROM web.event") == [("2",)]
    assert rig.ask("SELECT reason FROM catchment.dead_letters") == [("not-a-record",)]


def test_deletes_count_as_done_and_not_as_duplicates(rig: Rig) -> None:
    rig.file(upsert("1"), upsert("2", data={"k": 2}))
    [loaded] = rig.file(upsert("3", op="delete", version="2"), upsert("4", version="0"))
    assert (loaded.inserted, loaded.duplicates) == (1, 1)


# ---- dead letters -------------------------------------------------------------------------------


def test_a_dead_letter_is_one_however_often_its_record_comes(rig: Rig) -> None:
    bad = b'{"a":1,"a":2}'
    for at_s in (0, 3600):
        rig.loader.load(rig.put(packed(stamped("1", bad, at_s=at_s))))
        rig.loader.load(rig.put(packed(*[stamped(f"{at_s}-{at}") for at in range(100)], stamped("1", bad, at_s=at_s))))
    assert rig.ask("SELECT record_id FROM catchment.dead_letters") == [("1",)]


def test_records_that_differ_are_two_dead_letters(rig: Rig) -> None:
    rig.loader.load(rig.put(packed(stamped("1", b'{"a":1,"a":2}'), stamped("1", b'{"a":"\\u0000"}'))))
    assert rig.ask("SELECT reason FROM catchment.dead_letters ORDER BY 1") == [("duplicate-key",), ("nul",)]


def test_a_line_that_is_no_record_at_all_is_a_dead_letter_without_an_id(rig: Rig) -> None:
    line = stamped("1")
    junk = [type(line)(line.table, text, T0, T0) for text in (b"junk\n", b'{"table":"web.event"}\n', b"[]\n")]
    rig.loader.load(rig.put(packed(*junk)))
    rig.loader.load(rig.put(packed(*junk)))
    assert rig.ask("SELECT reason, record_id FROM catchment.dead_letters ORDER BY 1") == [
        ("not-a-record", ""), ("not-a-record", ""), ("not-json", "")
    ]  # fmt: skip


def test_a_record_of_another_table_in_a_pack_is_a_dead_letter(rig: Rig) -> None:
    line = stamped("1", table="web.other")
    rig.loader.load(rig.put(packed(stamped("2"), type(line)("web.event", line.text, T0, T0))))
    assert rig.ask("SELECT reason FROM catchment.dead_letters") == [("not-a-record",)]
    assert rig.ask("SELECT _id FROM web.event") == [("2",)]


def test_own_tables_get_no_columns(rig: Rig) -> None:
    line = stamped("1", b'{"reason":"x","surprise":1}', table="catchment.dead_letters")
    before = rig.warehouse.shape("catchment.dead_letters").columns
    rig.loader.load(rig.put(packed(line)))
    assert rig.warehouse.shape("catchment.dead_letters").columns == before
    assert rig.ask("SELECT _rescued FROM catchment.dead_letters") == [('{"surprise":1}',)]
