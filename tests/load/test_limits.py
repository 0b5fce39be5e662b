"""A flood of names: how many tables and columns there may be, how fast tables come, and where the rest goes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catchment.load.config import LoadConfig, TableLoadConfig
from catchment.load.in_flight import InFlight
from catchment.load.limits import Limits, Place
from catchment.load.loader import Loader, Wanted
from catchment.load.replay import replay
from catchment.load.rewrite import rewrite
from catchment.load.sweep import Sweep
from catchment.service import Stop
from catchment.testing.content import content
from catchment.warehouses.duckdb import DuckDBWarehouse
from tests.load.loading import T0, Rig, columns, event, packed, stamped
from tests.load.test_halts import BAD

FEW = LoadConfig(min_rejected=10**9, max_tables=3, max_new_tables_per_minute=1_000)


@pytest.fixture
def few(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path, FEW, Wanted(frozenset({"web.tracks"})))
    yield made
    made.close()


def fill(rig: Rig, count: int = 3) -> None:
    """Tables that take up the room there is."""
    for number in range(count):
        rig.file(event("0", f"web.t{number}", n=1))


def tables(rig: Rig) -> set[str]:
    return set(rig.warehouse.tables("web"))


# ---- tables beyond the limit -----------------------------------------------------------------


def test_beyond_the_limit_rows_go_to_the_table_of_others(few: Rig) -> None:
    fill(few)
    data = {
        "id": "m1",
        "user_id": "u",
        "event": "late",
        "timestamp": "2026-11-23T09:00:00Z",
        "n": 2**60,
        "o": {"a": 1},
    }
    [loaded] = few.file(event("m1", "web.late", **data))
    assert (loaded.table, loaded.inserted, loaded.duplicates) == ("web.other_events", 1, 0)
    assert tables(few) == {"web.t0", "web.t1", "web.t2", "web.other_events"}
    row = few.ask(
        'SELECT _id, _source, "table", id, user_id, event, "timestamp", anonymous_id, data FROM web.other_events'
    )
    assert row[0][:6] == ("late/m1", "web", "late", "m1", "u", "late")
    assert row[0][6] == T0 - timedelta(hours=1)
    assert row[0][7] is None
    assert msgspec.json.decode(row[0][8]) == data


def test_what_does_not_fit_the_common_columns_stands_in_data_alone(few: Rig) -> None:
    fill(few)
    data = {"id": 7, "user_id": ["u"], "timestamp": "soon", "table": "mine", "data": {"deep": [1]}, "event": None}
    few.file({**event("m1", "web.late"), "data": data})
    [(table, identity, user, moment, whole, rescued)] = few.ask(
        'SELECT "table", id, user_id, "timestamp", data, _rescued FROM web.other_events'
    )
    assert (table, identity, user, moment, rescued) == ("late", None, None, None, None)
    assert msgspec.json.decode(whole) == data


def test_what_was_rescued_on_the_way_stays_so(few: Rig) -> None:
    fill(few)
    few.loader.load(few.put(packed(stamped("1", b'{"n":1}', table="web.late", extra=b',"rescued":{"x":[1]}'))))
    assert few.ask("SELECT _rescued FROM web.other_events") == [('{"x":[1]}',)]


def test_tables_that_are_there_and_those_that_are_named_have_their_own(few: Rig) -> None:
    config = msgspec.structs.replace(FEW, tables={"web.named": TableLoadConfig()})
    rig = Rig(few.folder / "named", config, Wanted(frozenset({"web.tracks"})))
    fill(rig)
    for table in ("web.t1", "web.tracks", "web.named", "app.other_schema"):
        rig.file(event("x", table, n=2))
        assert rig.ask(f"SELECT n FROM {table} WHERE _id = 'x'") == [(2,)]
    rig.close()


def test_keyed_tables_are_let_through(few: Rig) -> None:
    fill(few)
    extra = b',"op":"upsert","key":["k"],"version":"1"'
    few.loader.load(few.put(packed(stamped("1", b'{"k":1}', table="web.mirror", extra=extra))))
    assert few.ask("SELECT k, _version FROM web.mirror") == [(1, "1")]


def test_the_same_id_in_two_tables_is_two_rows_and_in_one_is_one(few: Rig) -> None:
    fill(few)
    for _ in range(2):
        few.file(event("m", "web.a", n=1), event("m", "web.b", n=2), event("m", "web.a", n=1))
    assert few.ask("SELECT _id FROM web.other_events ORDER BY 1") == [("a/m",), ("b/m",)]


def test_many_tables_are_one_statement_and_each_is_in_the_ledger(few: Rig) -> None:
    fill(few)
    parts = few.put(*[packed(stamped("m", b'{"n":1}', table=f"web.flood{at}")) for at in range(300)])
    [loaded] = few.loader.load(parts)
    assert (loaded.inserted, len(loaded.names)) == (300, 300)
    (name,) = {part.name for part in parts}
    assert few.warehouse.ledger([name]) == {name: {f"web.flood{at}" for at in range(300)}}
    assert few.ask("SELECT count(*), sum(records)::BIGINT, sum(inserted)::BIGINT FROM catchment.ledger "
                   "WHERE table_name LIKE 'web.flood%'") == [(300, 300, 300)]  # fmt: skip
    [again] = few.loader.load(parts)
    assert again.skipped
    assert few.swept() == 0


def test_dead_letters_are_those_of_the_table_they_were_for(few: Rig, tmp_path: Path) -> None:
    fill(few)
    roomy = Rig(tmp_path / "roomy")
    for rig in (few, roomy):
        rig.loader.load(
            rig.put(packed(stamped("good", b'{"a":1}', table="web.x"), stamped("bad", BAD, table="web.x")))
        )
    question = "SELECT _id, table_name, reason, record_id FROM catchment.open_dead_letters"
    assert few.ask(question) == roomy.ask(question)
    assert few.ask("SELECT _id FROM web.other_events") == [("x/good",)]
    roomy.close()


def test_a_row_that_the_warehouse_refuses_is_found_among_those_of_other_tables(few: Rig) -> None:
    from tests.load.test_loader import Grumpy, loader_on

    fill(few)
    few.file(event("0", "web.x", n=1))
    parts = few.put(
        *[packed(stamped(str(at), b'{"s":"fine"}', table=f"web.f{at}")) for at in range(9)],
        packed(stamped("bad", b'{"s":"poison"}', table="web.g")),
    )
    loader = loader_on(few, Grumpy(few, b"poison"))
    assert sum(each.inserted for each in loader.load(parts)) == 0  # the halves were loaded under no name
    assert few.ask("SELECT count(*) FROM web.other_events") == [(10,)]
    assert few.ask("SELECT table_name, record_id FROM catchment.open_dead_letters") == [("web.g", "bad")]
    assert few.swept() == 0


def test_too_much_rejected_halts_the_table_of_others(tmp_path: Path) -> None:
    rig = Rig(tmp_path, msgspec.structs.replace(FEW, min_rejected=10))
    fill(rig)
    bad = [packed(*[stamped(f"{at}-{n}", BAD, table=f"web.b{at}") for n in range(4)]) for at in range(5)]
    assert rig.loader.load(rig.put(*bad)) == []
    assert rig.halts.holds("web.other_events")
    assert rig.loader.load(rig.put(packed(stamped("1", table="web.c")))) == []
    assert rig.swept() == 0
    rig.warehouse.resume("web.other_events")
    rig.halts.refresh()
    assert rig.swept() == 6
    rig.close()


def test_a_table_of_that_name_that_was_there_takes_them(few: Rig) -> None:
    few.file({**event("mine", "web.other_events"), "data": {"data": 1, "table": "x"}})
    fill(few)
    few.file(event("m", "web.late", n=1))
    assert columns(few, "web.other_events")["user_id"] == "varchar"
    assert content(few.warehouse, "web.other_events") == {
        ("web", "mine"): {"data": 1, "table": "x"},
        ("web", "late/m"): {"data": {"n": 1}, "table": "late"},
    }


def test_once_there_is_room_a_replay_brings_the_rows_into_their_own_table(few: Rig) -> None:
    fill(few)
    few.file(event("m1", "web.late", n=1))
    few.file(event("m2", "web.late", n=2))
    roomy = Loader.of(few.warehouse, few.archive, msgspec.structs.replace(FEW, max_tables=4), lets_out=True)
    assert replay(roomy, few.archive, "web.late", since=None, until=None).inserted == 2
    assert few.ask("SELECT _id, n FROM web.late ORDER BY 1") == [("m1", 1), ("m2", 2)]
    assert few.ask("SELECT count(*) FROM web.other_events") == [(2,)]
    assert replay(roomy, few.archive, "web.late", since=None, until=None).inserted == 0


def test_its_rows_stay_together_until_then(few: Rig) -> None:
    """Also where a crash left the schema with a table less than the loader had let in."""
    few.file(event("0", "web.t0", n=1))
    for table in ("web.t1", "web.t2"):
        assert few.loader.limits.place(table) is Place.OWN  # and then it dies
    few.file(event("m1", "web.late", n=1))
    after = Loader.of(few.warehouse, few.archive, FEW)
    again = few.put(few.message(event("m1", "web.late", n=1), event("m2", "web.late", n=2), event("0", "web.t1", n=1)))
    assert sum(each.inserted for each in after.load(again)) == 2
    assert few.ask("SELECT _id FROM web.other_events ORDER BY 1") == [("late/m1",), ("late/m2",)]
    assert tables(few) == {"web.t0", "web.t1", "web.other_events"}


def test_a_replay_within_the_limit_repairs_the_table_of_others(few: Rig) -> None:
    fill(few)
    few.file(event("m1", "web.late", n=1))
    few.warehouse._new_cursor().execute("DELETE FROM web.other_events")
    assert replay(few.loader, few.archive, "web.late", since=None, until=None).inserted == 1
    assert replay(few.loader, few.archive, "web.late", since=None, until=None).inserted == 0


# ---- the rate --------------------------------------------------------------------------------


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def slow(rig: Rig, per_minute: int = 1, max_tables: int = 1_000) -> Clock:
    """The rig's loader with a rate, by a clock that the test turns."""
    clock = Clock()
    config = msgspec.structs.replace(FEW, max_tables=max_tables, max_new_tables_per_minute=per_minute)
    limits = Limits(rig.warehouse, config, clock=clock)
    rig.loader = replace(Loader.of(rig.warehouse, rig.archive, config), limits=limits)
    rig.sweep = Sweep(rig.loader, rig.archive, InFlight())
    return clock


def test_beyond_the_rate_tables_wait_and_are_loaded_as_it_allows(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = slow(rig)
    parts = rig.put(*[packed(stamped("m", table=f"web.n{at}")) for at in range(8)])
    assert len(rig.loader.load(parts)) == 5
    reads: list[str] = []
    monkeypatch.setattr(type(rig.archive), "open", counting(type(rig.archive).open, reads))
    assert [rig.swept(), rig.swept()] == [0, 0]
    assert rig.sweep.unloaded == 3
    assert len(reads) == 1  # to know its tables, and then no more
    clock.now_s += 60
    assert [rig.swept(), rig.swept(), rig.swept()] == [1, 0, 0]
    assert rig.sweep.unloaded == 2
    assert len(reads) == 3
    clock.now_s += 120
    assert [rig.swept(), rig.swept()] == [2, 0]
    assert tables(rig) == {f"web.n{at}" for at in range(8)}


def counting(original: Any, calls: list[Any]) -> Any:
    def opened(self: Any, name: str) -> Any:
        calls.append(name)
        return original(self, name)

    return opened


def test_a_table_that_is_there_never_waits(rig: Rig) -> None:
    slow(rig)
    for at in range(5):
        rig.file(event("1", f"web.n{at}"))
    assert rig.file(event("1", "web.waits")) == []
    for at in range(5):
        [loaded] = rig.file(event("2", f"web.n{at}"))
        assert loaded.inserted == 1


def test_waiting_tables_go_to_the_others_once_no_room_is_left(rig: Rig) -> None:
    clock = slow(rig, max_tables=6)
    rig.loader.load(rig.put(*[packed(stamped("m", table=f"web.n{at}")) for at in range(9)]))
    clock.now_s += 60
    assert rig.swept() == 4
    assert rig.ask("SELECT count(*) FROM web.other_events") == [(3,)]
    assert rig.swept() == 0


def test_the_rate_is_a_schemas_own(rig: Rig) -> None:
    limits = Limits(rig.warehouse, msgspec.structs.replace(FEW, max_new_tables_per_minute=1, max_tables=99))
    assert [limits.place(f"a.t{at}") for at in range(6)] == [Place.OWN] * 5 + [Place.WAITS]
    assert limits.place("b.t") is Place.OWN
    assert limits.place("a.t0") is Place.OWN
    assert limits.place("catchment.dead_letters") is Place.OWN


def test_the_defaults_let_a_companys_first_day_through(rig: Rig) -> None:
    limits = Limits(rig.warehouse, LoadConfig())
    assert {limits.place(f"a.t{at}") for at in range(100)} == {Place.OWN}
    unpaced = Limits(rig.warehouse, LoadConfig(), paced=False)
    assert Counter(unpaced.place(f"a.t{at}") for at in range(600)) == {Place.OWN: 500, Place.OTHERS: 100}


def test_rewritten_files_do_not_wait_since_they_were_loaded_once(rig: Rig) -> None:
    rig.loader.load(rig.put(*[packed(stamped("m", table=f"web.n{at}")) for at in range(8)]))
    list(rewrite(rig.archive, rig.warehouse, now=rig.now + timedelta(days=2), age=timedelta(hours=1)))
    rig.warehouse.close()
    rig.warehouse.path.unlink()
    rig.warehouse = DuckDBWarehouse(DuckDBWarehouse.Config(), rig.folder, readable=[rig.folder / "archive"])
    slow(rig)
    assert rig.sweep.everything(Stop()) == 8


def test_a_restore_gives_the_room_to_those_that_came_first(few: Rig) -> None:
    fill(few)
    lines = [stamped("m", b'{"n":1}', table=f"web.a{at}", at_s=7_200) for at in range(5)]
    few.loader.load(few.put(*[packed(line) for line in lines]))
    had = {table: content(few.warehouse, table) for table in tables(few)}
    assert "web.other_events" in had
    list(rewrite(few.archive, few.warehouse, now=few.now + timedelta(days=2), age=timedelta(hours=1)))
    few.warehouse.close()
    few.warehouse.path.unlink()
    few.warehouse = DuckDBWarehouse(DuckDBWarehouse.Config(), few.folder, readable=[few.folder / "archive"])
    loader = Loader.of(few.warehouse, few.archive, FEW, paced=False)
    assert Sweep(loader, few.archive, InFlight()).everything(Stop()) == 8
    assert {table: content(few.warehouse, table) for table in tables(few)} == had


# ---- columns ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 100])
def test_fields_beyond_the_columns_are_rescued(tmp_path: Path, count: int) -> None:
    rig = Rig(tmp_path, msgspec.structs.replace(FEW, max_columns=2))
    rows = [{**event(f"{n}-{at}"), "data": {f"f{n}": at, "always": at}} for n in range(5) for at in range(count)]
    [loaded] = rig.file(*rows)
    assert (loaded.inserted, loaded.dead) == (5 * count, 0)
    assert columns(rig) == {"f0": "bigint", "always": "bigint"}
    rig.file(*[event(f"more-{at}", more=at) for at in range(count)])
    found = content(rig.warehouse, "web.event")
    assert found == {("web", row["id"]): row["data"] for row in rows} | {
        ("web", f"more-{at}"): {"more": at} for at in range(count)
    }
    rig.close()


def test_a_table_may_have_a_limit_of_its_own_and_columns_still_widen(tmp_path: Path) -> None:
    rig = Rig(tmp_path, LoadConfig(max_columns=1, tables={"web.wide": TableLoadConfig(max_columns=3)}))
    rig.file(event("1", "web.wide", a=1, b=1, c=1, d=1), event("1", "web.event", a=1, b=1))
    rig.file(event("2", "web.event", a=0.5))
    assert columns(rig, "web.wide") == {"a": "bigint", "b": "bigint", "c": "bigint"}
    assert columns(rig) == {"a": "double"}
    rig.close()


def test_mirrored_tables_have_as_many_columns_as_their_source(tmp_path: Path) -> None:
    rig = Rig(tmp_path, LoadConfig(max_columns=1))
    extra = b',"op":"upsert","key":["k"],"version":"%d"'
    for at, data in enumerate((b'{"a":1,"k":1}', b'{"b":1,"k":1}')):
        rig.loader.load(rig.put(packed(stamped(str(at), data, table="web.mirror", extra=extra % at))))
    assert set(columns(rig, "web.mirror")) == {"a", "b", "k"}
    rig.close()


# ---- in any rounds ---------------------------------------------------------------------------

_serial = itertools.count()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("limits"), FEW)
    yield made
    made.close()


@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3)), min_size=1, max_size=60),
    st.lists(st.integers(1, 20), max_size=8),
    st.booleans(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_in_any_rounds_each_record_is_there_once(
    shared: Rig, sent: list[tuple[int, int]], sizes: list[int], twice: bool
) -> None:
    """Records of eight tables where three may be, many sent again, in rounds of any size, some past the ledger."""
    schema = f"s{next(_serial)}"
    rounds = []
    left = sent * 2 if twice else sent
    for size in itertools.chain(sizes, itertools.repeat(10)):
        if not left:
            break
        now, left = left[:size], left[size:]
        parts = shared.put(
            *[packed(stamped(str(n), b'{"n":%d}' % n, table=f"{schema}.t{t}", source=schema)) for t, n in now]
        )
        rounds.append(parts)
        shared.loader.load(parts)
    for parts in rounds:
        shared.loader.load(parts, past_ledger=True)
    found: Counter[str] = Counter()
    for table in shared.warehouse.tables(schema):
        for identity in (identity for _, identity in content(shared.warehouse, table)):
            found[identity if table.endswith("other_events") else f"{table.partition('.')[2]}/{identity}"] += 1
    assert found == Counter({f"t{t}/{n}": 1 for t, n in sent})
