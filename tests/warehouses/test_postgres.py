"""The PostgreSQL warehouse: the conformance suite on a real server, and what is its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import psycopg
import pytest

from catchment.errors import CannotWiden, Malformed, Retry, SchemaChanged, StorageError, UsageError, WarehouseDown
from catchment.testing.batches import T0, TABLE, add, batch, count_rows, load, row
from catchment.testing.content import rows
from catchment.testing.warehouses import WarehouseConformance
from catchment.warehouses import Fill, Loaded, Rebuild, Rows, Warehouse
from catchment.warehouses.postgres import PostgresWarehouse
from catchment.warehouses.postgres_connections import Connection
from catchment.warehouses.postgres_load import BatchLoad
from catchment.warehouses.postgres_sql import FORMAT_VERSION
from catchment.warehouses.shape import Column, ColumnType, Widen
from tests.crash.running import until
from tests.servers.postgres import PostgresServer


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    return postgres_server.emptied_database()


@pytest.fixture
def warehouse(url: str, tmp_path: Path) -> Iterator[PostgresWarehouse]:
    with closing(PostgresWarehouse(PostgresWarehouse.Config(url), tmp_path)) as opened:
        yield opened


class TestPostgres(WarehouseConformance):
    differs: ClassVar[Mapping[str, str]] = {"test_a_backup_is_a_warehouse": "by `pg_dump`"}

    @pytest.fixture
    def warehouse(self, warehouse: PostgresWarehouse) -> PostgresWarehouse:
        return warehouse

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path

    def execute(self, warehouse: Warehouse, statement: str) -> None:
        assert isinstance(warehouse, PostgresWarehouse)
        with psycopg_of(warehouse) as connection:
            connection.execute(statement.encode())


# ---- searching ------------------------------------------------------------------------


def test_few_ids_are_looked_up_in_a_large_table_and_a_short_one_is_read(warehouse: PostgresWarehouse) -> None:
    """More rows than are worth reading for 100 ids, then fewer; both ways find the same."""
    load(warehouse, [row(str(at)) for at in range(2_000)], add(), name="many")
    for start, name in ((1_950, "each"), (2_000, "all")):
        [loaded] = load(warehouse, [row(str(at)) for at in range(start, start + 100)], name=name)
        assert loaded.inserted == 50
    many = [row(str(at)) for at in range(3_000)]
    [loaded] = load(warehouse, many, name="read")
    assert loaded.inserted == 3_000 - 2_100
    assert count_rows(warehouse) == 3_000


def prepared(warehouse: PostgresWarehouse, lines: list[bytes], name: str, **other: Any) -> Loaded:
    """Load few prepared rows, which are copied from Python."""
    given = (Rows(b"".join(lines), len(lines), prepared=True),)
    known = warehouse.shape(TABLE).version
    made = batch([], rows=given, record_count=len(lines), shape_version=known, name=name, **other)
    return warehouse.load([made])[0]


def test_few_prepared_rows_are_searched_and_remembered(warehouse: PostgresWarehouse, other: PostgresWarehouse) -> None:
    lines = [row(str(at), at=9 - at) for at in range(9)]
    assert prepared(warehouse, [*lines[:3], row("0", at=0), row("0", at=20)], "a", changes=add()).inserted == 3
    assert prepared(warehouse, lines[:5], "b").inserted == 2
    assert load(warehouse, [*lines[:6], *(row(f"more{at}") for at in range(100))], name="c")[0].inserted == 101
    assert prepared(other, lines[:7], "d").inserted == 1
    assert prepared(warehouse, lines[:8], "e").inserted == 1
    assert load(warehouse, lines, name="f")[0].inserted == 1
    assert rows(warehouse, f"SELECT _received_at FROM {TABLE} WHERE _id = '0'") == [(T0,)]
    hour = timedelta(hours=1)
    fast = [row("fast", not_before=T0 + hour)]
    assert prepared(warehouse, fast, "g").inserted == 1
    assert prepared(warehouse, [row("fast", at=7200)], "h", search_from=T0 + hour).inserted == 0


HARD = [
    "\\.",
    "\\N",
    "",
    '"',
    "a,b",
    "\x01",
    "\x02",
    "\x01\x02\x01",
    "a\nb",
    "a\r\nb",
    "\t",
    "\\",
    "'",
    "{}",
    "NULL",
    " x ",
]


@pytest.mark.parametrize("count", [1, 100])
def test_any_text_comes_through_copy(warehouse: PostgresWarehouse, count: int) -> None:
    """Also as an id, and as a source: as id it is looked up, in an array."""
    lines = [row(f"{text}{at}", source=text, s=text, j=[text]) for text in HARD for at in range(count)]
    load(warehouse, lines, add(s="varchar", j="json"), name="a")
    [loaded] = load(warehouse, lines, name="b")
    assert loaded.inserted == 0
    found = rows(warehouse, f"SELECT _id, _source, s, j FROM {TABLE}")
    expected = sorted((f"{text}{at}", text, text, [text]) for text in HARD for at in range(count))
    assert sorted((i, source, s, msgspec.json.decode(j)) for i, source, s, j in found) == expected


@pytest.mark.parametrize("count", [1, 100])
def test_the_ends_of_each_type(warehouse: PostgresWarehouse, count: int) -> None:
    doubles = [5e-324, 1.7976931348623157e308, -0.0, 0.1, 1e-7, 123456789012345680.0]
    times = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2026-01-01T00:00:00.000001-14:00"]
    lines = [
        row(f"{at}-{copy}", d=doubles[at % 6], t=times[at % 3], i=(-1) ** at * (2**63 - 1))
        for at in range(6)
        for copy in range(count)
    ]
    load(warehouse, lines, add(d="double", t="timestamptz", i="bigint"))
    found = rows(warehouse, f'SELECT d, t, i FROM {TABLE} ORDER BY _id COLLATE "C"')
    for at in range(6):
        d, t, i = found[at * count]
        assert (d, t, i) == (doubles[at], datetime.fromisoformat(times[at % 3]), (-1) ** at * (2**63 - 1))


@pytest.mark.parametrize("count", [1, 100])
def test_numbers_within_json_keep_their_digits(warehouse: PostgresWarehouse, count: int) -> None:
    """Also integers that no double holds."""
    number = "1" * 60
    lines = [row(str(at), j=0).replace(b'"j":0', b'"j":[%b,1e400]' % number.encode()) for at in range(count)]
    load(warehouse, lines, add(j="json"))
    assert rows(warehouse, f"SELECT DISTINCT j->>0, length(j->>1) FROM {TABLE}") == [(number, 401)]


@pytest.mark.parametrize("value", [b"1e999999", b'"\\ud800"'])
@pytest.mark.parametrize("count", [1, 100])
def test_what_jsonb_does_not_take_is_refused_whole(warehouse: PostgresWarehouse, value: bytes, count: int) -> None:
    load(warehouse, [row("0")], add(j="json"))
    lines = [row(str(at), j=0) for at in range(1, count)] + [row("x", j=0).replace(b'"j":0', b'"j":[' + value + b"]")]
    with pytest.raises(Malformed) as error:
        load(warehouse, lines, name="bad")
    assert error.value.reason == "not-loadable"
    assert count_rows(warehouse) == 1
    assert warehouse.ledger(["bad"]) == {}


# ---- several processes ----------------------------------------------------------------


@pytest.fixture
def other(url: str, tmp_path: Path) -> Iterator[PostgresWarehouse]:
    """The warehouse as another process has it."""
    with closing(PostgresWarehouse(PostgresWarehouse.Config(url), tmp_path / "other")) as opened:
        yield opened


def test_many_begin_an_empty_database_at_once(url: str, tmp_path: Path) -> None:
    """And make tables of one new schema, and of one name."""
    with ExitStack() as closed:
        opened = [
            closed.enter_context(closing(PostgresWarehouse(PostgresWarehouse.Config(url), tmp_path / str(at))))
            for at in range(6)
        ]
        _begin_at_once(opened)
        assert rows(opened[0], 'SELECT count(*) FROM "new"."all"') == [(6,)]


def _begin_at_once(opened: list[PostgresWarehouse]) -> None:
    def begin(at: int) -> None:
        own = batch([row("1", table=f"new.t{at}", n=1)], table=f"new.t{at}", changes=add(n="bigint"), name=f"own-{at}")
        opened[at].load([own])
        for _ in range(10):
            shape = opened[at].shape("new.all")
            changes = add(n="bigint") if shape.version == 0 else ()
            line = row(str(at), table="new.all", n=1)
            with suppress(SchemaChanged):
                opened[at].load(
                    [batch([line], table="new.all", changes=changes, shape_version=shape.version, name=f"all-{at}")]
                )
                return

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(begin, range(6)))


def test_what_another_process_changed_is_guarded_again(warehouse: PostgresWarehouse, other: PostgresWarehouse) -> None:
    load(warehouse, [row("1", a=1)], add(a="bigint"))
    assert other.shape(TABLE) == warehouse.shape(TABLE)
    load(other, [row("2", b="x")], add(b="varchar"))
    with pytest.raises(SchemaChanged):
        load(warehouse, [row("3", b=5)], add(b="bigint"), name="late")
    assert warehouse.shape(TABLE) == other.shape(TABLE)
    load(warehouse, [row("3", a=3)], name="late")
    assert count_rows(other) == 3
    assert warehouse.versions([TABLE]) == other.versions([TABLE])


@pytest.mark.parametrize("count", [3, 100])
def test_what_another_process_has_loaded_meanwhile_is_not_new(
    warehouse: PostgresWarehouse, other: PostgresWarehouse, count: int
) -> None:
    """Each remembers what it has loaded itself, and must notice that it is not all."""
    lines = [row(str(at)) for at in range(5 * count)]
    load(warehouse, lines[:count] + lines[:1], add(), name="a")
    load(warehouse, lines[: 2 * count], name="b")
    load(other, lines[: 3 * count], name="c")
    load(warehouse, lines[: 4 * count], name="d")
    load(other, lines[: 4 * count], name="e")
    load(other, lines[: 5 * count], name="f")
    [loaded] = load(warehouse, lines, name="g")
    assert loaded.inserted == 0
    assert count_rows(warehouse) == 5 * count


@pytest.mark.parametrize("count", [3, 100])
def test_of_two_loads_that_overlap_the_second_waits(
    warehouse: PostgresWarehouse, other: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    load(warehouse, [row("first")], add())
    known = warehouse.shape(TABLE).version
    lines = [row(str(at)) for at in range(count)]
    is_at_commit, may_commit = threading.Event(), threading.Event()

    def commit(connection: Connection) -> None:
        if threading.current_thread().name == "first":
            is_at_commit.set()
            assert may_commit.wait(20)
        connection.commit()

    monkeypatch.setattr("catchment.warehouses.postgres_connections.commit", commit)
    first, second = (
        threading.Thread(
            name=name,
            target=lambda by=by, name=name: by.load([batch(lines, shape_version=known, name=name)]),
        )
        for name, by in (("first", warehouse), ("second", other))
    )
    first.start()
    assert is_at_commit.wait(20)
    second.start()
    until(lambda: not second.is_alive() or _waits_for_a_lock(warehouse), "the second to wait, or to be through")
    may_commit.set()
    first.join()
    second.join()
    assert count_rows(warehouse) == count + 1


def _waits_for_a_lock(warehouse: PostgresWarehouse) -> bool:
    return bool(rows(warehouse, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory'"))


@pytest.mark.parametrize("committed", [True, False])
def test_after_a_load_whose_end_nobody_knows_what_is_there_is_looked_up(
    warehouse: PostgresWarehouse, other: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    lines = [row(str(at)) for at in range(300)]
    load(warehouse, lines[:100], add(), name="a")

    def cut(connection: Connection) -> None:
        if committed:
            connection.commit()
        connection.close()
        raise psycopg.OperationalError("the connection was cut")

    with monkeypatch.context() as patched:
        patched.setattr("catchment.warehouses.postgres_connections.commit", cut)
        with pytest.raises(WarehouseDown):
            load(warehouse, lines[:200], name="b")
    load(other, lines, name="c")
    [loaded] = load(warehouse, lines[:200], name="b")
    assert (loaded.inserted, loaded.skipped) == (0, committed)
    [loaded] = load(warehouse, lines, name="d")
    assert loaded.inserted == 0
    assert count_rows(warehouse) == 300


def test_a_memory_reaches_back_to_its_beginning_alone(warehouse: PostgresWarehouse, other: PostgresWarehouse) -> None:
    """What stood there when it began is looked up."""
    hour = timedelta(hours=1)
    load(other, [row(str(at), at=60) for at in range(100)], add(), name="a")
    load(warehouse, [row(str(at), at=7200) for at in range(100, 200)], search_from=T0 + hour, name="b")
    again = [row(str(at), at=7200) for at in range(200)]
    [loaded] = load(warehouse, again, search_from=T0, name="c")
    assert loaded.inserted == 0


def test_a_long_memory_is_shortened(warehouse: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is forgotten is looked up."""
    monkeypatch.setattr("catchment.warehouses.postgres_recent.MAX_IDS", 250)
    lines = [row(str(at), at=60 * at) for at in range(400)]
    for start in range(0, 400, 100):
        load(warehouse, lines[start : start + 100], add() if start == 0 else (), search_from=T0, name=str(start))
    [loaded] = load(warehouse, lines, search_from=T0, name="all")
    assert loaded.inserted == 0
    hour = timedelta(hours=1)
    [loaded] = load(warehouse, lines[-20:], search_from=T0 + 6 * hour, name="late")
    assert loaded.inserted == 0


def test_a_search_asks_the_database_only_where_it_must(
    warehouse: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[str] = []
    ask = BatchLoad._identities

    def counted(self: BatchLoad, statement: str, values: list[Any]) -> list[tuple[str, str]]:
        searched.append(statement)
        return ask(self, statement, values)

    monkeypatch.setattr(BatchLoad, "_identities", counted)
    lines = [row(str(at)) for at in range(400)]
    load(warehouse, lines[:100], add(), name="a")
    load(warehouse, lines[100:200], name="b")
    assert searched == []
    [loaded] = load(warehouse, lines[150:300], name="c")
    assert (loaded.inserted, len(searched)) == (100, 1)


def test_a_table_that_somebody_dropped_begins_anew(warehouse: PostgresWarehouse, other: PostgresWarehouse) -> None:
    load(warehouse, [row("1", a=1)], add(a="bigint"))
    load(other, [row("2", a=1)])
    with psycopg_of(warehouse) as connection:
        connection.execute(f"DROP TABLE {TABLE}")
    with pytest.raises(SchemaChanged):
        load(warehouse, [row("3", a=3)], name="a")
    load(warehouse, [row("3", b="x")], add(b="varchar"), name="a")
    assert [column.name for column in warehouse.shape(TABLE).columns] == ["b"]


# ---- columns that change --------------------------------------------------------------


def test_while_somebody_reads_the_table_its_columns_wait(
    warehouse: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catchment.warehouses.postgres_shapes.DDL_PATIENCE_S", 1)
    load(warehouse, [row("1", a=1)], add(a="bigint"), name="a")
    with psycopg_of(warehouse) as reader:
        reader.execute(f"SELECT * FROM {TABLE}")
        with pytest.raises(Retry, match="in use by others"):
            load(warehouse, [row("2", b=1)], add(b="bigint"), name="b")
        load(warehouse, [row("2", a=2)], name="b")  # rows alone go in
    load(warehouse, [row("3", b=1)], add(b="bigint"), name="c")
    assert count_rows(warehouse) == 3


def test_a_column_that_a_view_uses_does_not_widen(warehouse: PostgresWarehouse) -> None:
    load(warehouse, [row("1", a=1)], add(a="bigint"))
    with psycopg_of(warehouse) as connection:
        connection.execute(f"CREATE VIEW shop.model AS SELECT a FROM {TABLE}")
    with pytest.raises(CannotWiden):
        load(warehouse, [row("2", a=0.5)], [Widen("a")])
    assert warehouse.shape(TABLE).columns == (Column("a", "a", "bigint"),)


def test_a_schema_of_postgresql_itself_is_refused(warehouse: PostgresWarehouse) -> None:
    for table in ("pg_temp.x", "information_schema.x"):
        with pytest.raises(Malformed, match="for itself"):
            warehouse.load([batch([row("1", table=table)], table=table, changes=add())])


# ---- filling --------------------------------------------------------------------------


def test_what_others_write_while_values_are_put_in_place_is_not_overwritten(warehouse: PostgresWarehouse) -> None:
    """And readers see the table as it was."""
    load(warehouse, [row(str(at)) for at in range(3)], add(n="bigint"))
    fill = Fill(TABLE, warehouse.shape(TABLE).columns)
    warehouse.stage(fill, ["a"], [Rows(b"".join(row(str(at), n=at) for at in range(3)), 3)])
    with psycopg_of(warehouse) as somebody:
        somebody.execute(f"UPDATE {TABLE} SET n = 7 WHERE _id = '1'")
        filling = threading.Thread(target=warehouse.fill, args=[fill])
        filling.start()
        until(lambda: rows(warehouse, "SELECT 1 FROM pg_locks WHERE NOT granted"), "it to wait for the row")
        assert rows(warehouse, f"SELECT count(n) FROM {TABLE}") == [(0,)]
        somebody.commit()
        filling.join()
    assert rows(warehouse, f"SELECT n FROM {TABLE} ORDER BY _id") == [(0,), (7,), (2,)]


def test_a_fill_that_was_given_up_is_forgotten(warehouse: PostgresWarehouse) -> None:
    load(warehouse, [row("1")], add(n="bigint", m="bigint"))
    old, new = (Fill(TABLE, (column,)) for column in warehouse.shape(TABLE).columns)
    for fill in (old, new):
        warehouse.stage(fill, ["a"], [Rows(row("1", n=1, m=1), 1)])
    with psycopg_of(warehouse) as connection:
        connection.execute(
            "UPDATE catchment.staged SET staged_at = now() - interval '8 days' WHERE side = %s", [old.side]
        )
    warehouse.tidy(T0)
    assert not warehouse.staged(old)
    assert warehouse.staged(new) == {"a"}
    assert rows(warehouse, f"SELECT to_regclass('catchment.{old.side}') IS NULL") == [(True,)]
    assert (warehouse.fill(old).rows, warehouse.fill(new).rows) == (0, 1)


# ---- built anew -----------------------------------------------------------------------


def built(warehouse: PostgresWarehouse, kind: ColumnType) -> Rebuild:
    """A table with a view that uses its column, and another beside it with a column of that type."""
    load(warehouse, [row("1", n=1)], add(n="bigint"), name="a")
    with psycopg_of(warehouse) as connection:
        connection.execute(f"CREATE VIEW shop.model AS SELECT n + 1 AS n FROM {TABLE}")
    plan = Rebuild(TABLE, (Column("n", "n", kind),))
    warehouse.begin_rebuild(plan)
    line = row("1", n=2 if kind == "bigint" else "2")
    warehouse.load([batch([line], table=plan.side, shape_version=warehouse.shape(plan.side).version, name="a")])
    return plan


def test_grants_views_and_indexes_stay_and_readers_go_on(
    warehouse: PostgresWarehouse, postgres_server: PostgresServer, url: str, tmp_path: Path
) -> None:
    postgres_server.ask("DROP ROLE IF EXISTS analyst")
    postgres_server.ask("CREATE ROLE analyst LOGIN")
    plan = built(warehouse, "bigint")
    with psycopg_of(warehouse) as connection:
        connection.execute("GRANT USAGE ON SCHEMA shop TO analyst")
        connection.execute(f"GRANT SELECT ON {TABLE}, shop.model TO analyst")
        connection.execute(f"CREATE INDEX mine ON {TABLE} (n)")
    with psycopg_of(warehouse) as reader:
        assert reader.execute("SELECT n FROM shop.model").fetchall() == [(2,)]
        assert warehouse.end_rebuild(plan).is_done  # though the reader's transaction is still open
        assert reader.execute("SELECT n FROM shop.model").fetchall() == [(3,)]
    as_analyst = PostgresWarehouse.Config(url.replace("postgres@", "analyst@"))
    with closing(PostgresWarehouse(as_analyst, tmp_path / "analyst")) as asking:
        assert rows(asking, f"SELECT m.n, t.n FROM shop.model AS m CROSS JOIN {TABLE} AS t") == [(3, 2)]
    assert rows(warehouse, "SELECT to_regclass('shop.mine') IS NOT NULL") == [(True,)]


def test_a_column_that_a_view_uses_keeps_its_type_and_the_table_its_rows(warehouse: PostgresWarehouse) -> None:
    plan = built(warehouse, "varchar")
    with pytest.raises(UsageError, match=r"shop\.model"):
        warehouse.end_rebuild(plan)
    assert rows(warehouse, f"SELECT n FROM {TABLE}") == [(1,)]
    with psycopg_of(warehouse) as connection:
        connection.execute("DROP VIEW shop.model")
    assert warehouse.end_rebuild(plan).is_done
    assert rows(warehouse, f"SELECT n FROM {TABLE}") == [("2",)]


def test_a_rebuild_that_was_given_up_is_forgotten(warehouse: PostgresWarehouse) -> None:
    plan = built(warehouse, "bigint")
    with psycopg_of(warehouse) as connection:
        connection.execute("UPDATE catchment.staged SET staged_at = now() - interval '8 days'")
        connection.execute("UPDATE catchment.ledger SET loaded_at = now() - interval '6 days'")
    warehouse.tidy(T0)
    assert warehouse.shape(plan.side).version > 0
    with psycopg_of(warehouse) as connection:
        connection.execute("UPDATE catchment.ledger SET loaded_at = now() - interval '8 days'")
    warehouse.tidy(T0)
    assert rows(warehouse, "SELECT table_name FROM catchment.tables WHERE table_name LIKE 'catchment.reb%'") == []
    assert warehouse.ledger(["a"]) == {"a": {TABLE}}
    with pytest.raises(UsageError, match="not being built anew"):
        warehouse.end_rebuild(plan)


def test_select_is_granted_on_new_tables(postgres_server: PostgresServer, url: str, tmp_path: Path) -> None:
    """To the roles that there are: one that is gone does not stop loading."""
    postgres_server.ask("DROP ROLE IF EXISTS analyst")
    postgres_server.ask("CREATE ROLE analyst LOGIN")
    config = PostgresWarehouse.Config(url, grant_select_to=["nobody there", "analyst"])
    with closing(PostgresWarehouse(config, tmp_path)) as opened:
        load(opened, [row("1", n=7)], add(n="bigint"))
    as_analyst = PostgresWarehouse.Config(url.replace("postgres@", "analyst@"))
    with closing(PostgresWarehouse(as_analyst, tmp_path)) as asking:
        assert rows(asking, f"SELECT n FROM {TABLE}") == [(7,)]
        with pytest.raises(UsageError, match="permission denied"):
            rows(asking, "SELECT * FROM catchment.dead_letters")
    findings = PostgresWarehouse.diagnose(config, tmp_path)
    assert [finding.is_well for finding in findings] == [True, False]
    assert "nobody there" in findings[1].detail


def test_tidy_tells_the_planner_of_large_loads(warehouse: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catchment.warehouses.postgres.MANY_ROWS", 500)
    load(warehouse, [row(str(at)) for at in range(400)], add())
    warehouse.tidy(T0)
    estimate = f"SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = '{TABLE}'::regclass"
    assert rows(warehouse, estimate) == [(0,)]
    load(warehouse, [row(str(at)) for at in range(400, 800)])
    warehouse.tidy(T0)
    assert rows(warehouse, estimate) == [(800,)]


# ---- a server that is away, or is none ------------------------------------------------


def test_a_server_that_is_away_is_said_and_comes_back(
    url: str, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    with closing(PostgresWarehouse(PostgresWarehouse.Config(url), tmp_path)) as opened:
        load(opened, [row("1")], add(), name="a")
        postgres_server.stop()
        try:
            for call in (lambda: opened.ledger(["a"]), lambda: load(opened, [row("2")], name="b"), opened.halts):
                with pytest.raises(WarehouseDown):
                    call()
            with closing(PostgresWarehouse(PostgresWarehouse.Config(url), tmp_path)) as begun:
                with pytest.raises(WarehouseDown) as error:
                    begun.shape(TABLE)
                assert not PostgresWarehouse.diagnose(PostgresWarehouse.Config(url), tmp_path)[0].is_well
                assert "cannot be reached" in error.value.message
        finally:
            postgres_server.start()
        load(opened, [row("2")], name="b")
        assert count_rows(opened) == 2


def test_a_connection_that_was_cut_is_replaced(warehouse: PostgresWarehouse, postgres_server: PostgresServer) -> None:
    load(warehouse, [row("1")], add(), name="a")
    assert postgres_server.cut_connections() > 0
    with pytest.raises(WarehouseDown):
        load(warehouse, [row("2")], name="b")
    load(warehouse, [row("2")], name="b")
    assert count_rows(warehouse) == 2


def test_a_database_that_cannot_hold_every_text_is_refused(postgres_server: PostgresServer, tmp_path: Path) -> None:
    postgres_server.ask("DROP DATABASE IF EXISTS latin")
    postgres_server.ask("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    config = PostgresWarehouse.Config(postgres_server.url("latin"))
    with closing(PostgresWarehouse(config, tmp_path)) as opened, pytest.raises(UsageError, match="LATIN1"):
        opened.shape(TABLE)


def test_a_newer_format_is_refused(warehouse: PostgresWarehouse, other: PostgresWarehouse) -> None:
    warehouse.shape(TABLE)
    with psycopg_of(warehouse) as connection:
        connection.execute("UPDATE catchment.format SET version = 99")
    with pytest.raises(StorageError, match="format 99"):
        other.shape(TABLE)


def test_an_older_format_is_brought_up_to_date(warehouse: PostgresWarehouse, other: PostgresWarehouse) -> None:
    """Before fills came, there was no table for them."""
    load(warehouse, [row("1", n=1)], add(n="bigint"))
    with psycopg_of(warehouse) as connection:
        connection.execute("DROP TABLE catchment.staged")
        connection.execute("UPDATE catchment.format SET version = 1")
    fill = Fill(TABLE, other.shape(TABLE).columns)
    assert other.staged(fill) == frozenset()
    assert rows(other, "SELECT version FROM catchment.format") == [(FORMAT_VERSION,)]


def test_an_address_that_libpq_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        PostgresWarehouse(PostgresWarehouse.Config("postgresql://me:secret@host/db?nonsense=1"), tmp_path)
    assert "nonsense" in error.value.message
    assert "secret" not in str(error.value)


@contextmanager
def psycopg_of(warehouse: PostgresWarehouse) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection of somebody else's to the same database; commits at the end."""
    with closing(warehouse._connections.open()) as connection:
        yield connection
        connection.commit()
