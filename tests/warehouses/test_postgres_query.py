"""Queries of PostgreSQL: one statement that reads, its types in Arrow, its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import nanoarrow
import pytest

from catchment.errors import Retry, UsageError, WarehouseDown
from catchment.testing.batches import TABLE, add, count_rows, load, row
from catchment.warehouses.postgres import PostgresWarehouse
from catchment.warehouses.postgres_query import by_number
from catchment.warehouses.rows import each_row
from tests.crash.running import until
from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="module")
def warehouse(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresWarehouse]:
    """One for all: nothing here may change it."""
    folder: Path = tmp_path_factory.mktemp("asked")
    config = PostgresWarehouse.Config(postgres_server.new_database())
    with closing(PostgresWarehouse(config, folder)) as opened:
        load(opened, [row(str(at), n=at) for at in range(10)], add(n="bigint"))
        yield opened


def ask(warehouse: PostgresWarehouse, sql: str, params: Any = None, **more: Any) -> list[tuple[Any, ...]]:
    return list(nanoarrow.ArrayStream(warehouse.query(sql, params, **more)).iter_tuples())


TYPES: dict[str, tuple[str, Any]] = {
    "true": ("bool", True),
    "7::smallint": ("int16", 7),
    "7": ("int32", 7),
    "'-9223372036854775808'::bigint": ("int64", -(2**63)),
    "0.5::real": ("float", 0.5),
    "'-Infinity'::float8": ("double", float("-inf")),
    "5e-324::float8": ("double", 5e-324),
    "1.50::numeric(10, 2)": ("decimal128(38, 2)", Decimal("1.50")),
    "1.2345": ("decimal128(38, 4)", Decimal("1.2345")),
    "12345678901234567890123456789012345678::numeric": (
        "decimal128(38, 0)",
        Decimal("12345678901234567890123456789012345678"),
    ),
    "date '2026-11-23'": ("date32", date(2026, 11, 23)),
    "date '0001-01-01'": ("date32", date(1, 1, 1)),
    "timestamp '2026-11-23 10:00:00.123456'": ("timestamp('us', '')", datetime(2026, 11, 23, 10, 0, 0, 123456)),
    "timestamptz '9999-12-31 23:59:59.999999Z'": (
        "timestamp('us', 'UTC')",
        datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
    ),
    "'ü ' || chr(10) || '\\'": ("string", "ü \n\\"),
    "''": ("string", ""),
    "'\\x00ff'::bytea": ("binary", b"\x00\xff"),
    "'{\"a\": [1, null]}'::jsonb": ("string", '{"a": [1, null]}'),
    "array[1, null]": ("string", "{1,NULL}"),
    "interval '1 day 2 hours'": ("string", "1 day 02:00:00"),
    "'a'::name": ("string", "a"),
    "int4range(1, 3)": ("string", "[1,3)"),
}


@pytest.mark.parametrize("expression", TYPES)
@pytest.mark.filterwarnings("ignore")  # nanoarrow says that it reads JSON as text
def test_each_type_keeps_its_value_and_null_is_null(warehouse: PostgresWarehouse, expression: str) -> None:
    kind, value = TYPES[expression]
    sql = f"SELECT x FROM (VALUES (1, {expression}), (2, NULL), (3, {expression})) AS t (place, x) ORDER BY place"
    with closing(warehouse.query(sql)) as stream:
        found = nanoarrow.ArrayStream(stream)
        schema = found.schema.field(0)
        assert kind in str(schema) or kind in str(schema.type), schema
        assert list(found.iter_tuples()) == [(value,), (None,), (value,)]


@pytest.mark.parametrize(
    "value", ["'infinity'::timestamptz", "'NaN'::numeric", "'4000-01-01 BC'::date", "1e40::numeric"]
)
def test_what_arrow_cannot_say_is_said(warehouse: PostgresWarehouse, value: str) -> None:
    with (
        pytest.raises(UsageError, match="column odd") as error,
        closing(warehouse.query(f"SELECT {value} AS odd")) as s,
    ):
        list(s.ipc())
    assert "odd::text" in error.value.hint


def test_a_negative_number_is_one(warehouse: PostgresWarehouse) -> None:
    """Read by DuckDB: nanoarrow takes the sixteen bytes of a decimal for a number without a sign."""
    with closing(warehouse.query("SELECT '-0.07'::numeric, -(10::numeric ^ 15), -7")) as stream:
        [found] = duckdb.from_arrow(stream.__arrow_c_stream__()).fetchall()
    assert found == (Decimal("-0.07"), -(10**15), -7)


def test_a_large_result_comes_in_pieces_and_whole(warehouse: PostgresWarehouse) -> None:
    sql = "SELECT i, repeat('x', i % 900), i / 8.0, sum(i) FROM generate_series(1, 30000) i GROUP BY i ORDER BY i"
    found = ask(warehouse, sql)
    assert [i for i, *_ in found] == list(range(1, 30_001))
    assert all(len(text) == i % 900 for i, text, *_ in found)
    assert all((eighth, total) == (Decimal(i) / 8, i) for i, _, eighth, total in found)


def test_digits_that_come_late_are_not_cut_off(warehouse: PostgresWarehouse) -> None:
    sql = "SELECT CASE WHEN i > 5000 THEN i / 8.0 ELSE i END AS late FROM generate_series(1, 6000) i"
    with pytest.raises(UsageError, match="column late"), closing(warehouse.query(sql)) as stream:
        list(stream.ipc())


@pytest.mark.parametrize("rows", [0, 1, 7, 5_000])
def test_at_most_so_many_rows(warehouse: PostgresWarehouse, rows: int) -> None:
    assert len(ask(warehouse, "SELECT * FROM generate_series(1, 4000)", max_rows=rows)) == min(rows, 4_000)


def test_no_rows_have_columns(warehouse: PostgresWarehouse) -> None:
    with closing(warehouse.query(f"SELECT n, _id AS n FROM {TABLE} WHERE false")) as stream:
        schema = nanoarrow.ArrayStream(stream).schema
        assert [schema.field(at).name for at in range(schema.n_fields)] == ["n", "n"]


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELECT n FROM shop.orders WHERE n = $1 AND _id = $2", [3, "3"]),
        ("SELECT n FROM shop.orders WHERE n = $n AND _id = $id AND $n > 0", {"n": 3, "id": "3"}),
        ("SELECT n FROM shop.orders WHERE n = ANY ($1) AND $2::text IS NULL", [[3], None]),
        ("SELECT n FROM shop.orders WHERE n = 3 AND '$n' <> $$ $n $$ AND \"n\" = $n -- $nobody", {"n": 3}),
        ("SELECT n FROM shop.orders WHERE _received_at > $1 AND n = 3", [datetime(2026, 1, 1, tzinfo=UTC)]),
    ],
)
def test_parameters_are_values(warehouse: PostgresWarehouse, sql: str, params: Any) -> None:
    assert ask(warehouse, sql, params) == [(3,)]


def test_a_parameter_is_never_sql(warehouse: PostgresWarehouse) -> None:
    evil = "'; DROP TABLE shop.orders; --"
    assert ask(warehouse, "SELECT $1::text", [evil]) == [(evil,)]
    assert by_number("SELECT $a, $b, $a", {"a": 1, "b": 2}) == ("SELECT $1, $2, $1", [1, 2])
    with pytest.raises(UsageError, match="nope"):
        warehouse.query("SELECT $nope", {"a": 1})


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM shop.orders",
        "WITH gone AS (DELETE FROM shop.orders RETURNING *) SELECT * FROM gone",
        "EXPLAIN ANALYZE DELETE FROM shop.orders",
        "SELECT 1; DELETE FROM shop.orders",
        "SELECT 1; COMMIT; DELETE FROM shop.orders",
        "SELECT * INTO shop.copy FROM shop.orders",
        "CREATE TABLE shop.copy (n bigint)",
        "COPY shop.orders TO PROGRAM 'cat'",
        "SELECT nextval(pg_get_serial_sequence('catchment.columns', 'place'))",
        "SELECT set_config('transaction_read_only', 'off', false), 1",
        "SELECT * FROM shop.orders FOR UPDATE",
        "SET ROLE postgres",
        "COMMIT",
        "LOCK TABLE shop.orders",
        "TRUNCATE shop.orders",
        "DO $$ BEGIN DELETE FROM shop.orders; END $$",
        "PREPARE x AS SELECT 1",
        "",
        "   -- nothing",
        ";",
    ],
)
def test_what_does_more_than_read_is_refused_and_does_nothing(warehouse: PostgresWarehouse, sql: str) -> None:
    with pytest.raises(UsageError), closing(warehouse.query(sql)) as stream:
        list(stream.ipc())
    assert count_rows(warehouse) == 10
    assert list(warehouse.tables("shop")) == [TABLE]


@pytest.mark.parametrize(
    "sql",
    ["SELECT 1;", "(SELECT 1)", "/* a */ SELECT 1 -- b", "VALUES (1)", "WITH x AS (SELECT 1) TABLE x", "select 1 ; "],
)
def test_ways_to_read(warehouse: PostgresWarehouse, sql: str) -> None:
    assert ask(warehouse, sql) == [(1,)]


def test_explain_and_show(warehouse: PostgresWarehouse) -> None:
    assert "Result" in ask(warehouse, "EXPLAIN SELECT 1")[0][0]
    assert ask(warehouse, "SHOW TimeZone") == [("UTC",)]
    assert len(ask(warehouse, "EXPLAIN (FORMAT TEXT) SELECT * FROM shop.orders, shop.orders o", max_rows=2)) == 2


def test_an_error_points_at_its_place(warehouse: PostgresWarehouse) -> None:
    with pytest.raises(UsageError) as error:
        warehouse.query("SELECT n,\n       nope\nFROM shop.orders")
    assert error.value.message == 'column "nope" does not exist\nLINE 2:        nope\n               ^'
    with pytest.raises(UsageError, match="division by zero"), closing(warehouse.query("SELECT 1 / 0")) as stream:
        list(stream.ipc())


def test_a_query_that_takes_too_long_is_ended(warehouse: PostgresWarehouse) -> None:
    began_s = time.monotonic()
    with pytest.raises(Retry, match=r"longer than 0\.3 s"), closing(warehouse.query(SLOW, timeout_s=0.3)) as stream:
        list(stream.ipc())
    assert time.monotonic() - began_s < 10
    until(lambda: not running(warehouse), "the server to end it")


SLOW = "SELECT pg_sleep(60)::text"


def running(warehouse: PostgresWarehouse) -> bool:
    return bool(ask(warehouse, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))


def test_a_query_that_is_given_up_is_cancelled(warehouse: PostgresWarehouse) -> None:
    stream = warehouse.query(SLOW)
    failed: list[BaseException] = []

    def read() -> None:
        try:
            list(stream.ipc())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    until(lambda: running(warehouse) or failed, "the query to run")
    assert not failed
    stream.close()
    thread.join(20)
    assert isinstance(failed[0], Retry)
    assert "given up" in str(failed[0])
    until(lambda: not running(warehouse), "the server to end it")


def test_a_stream_that_nobody_reads_lets_go(warehouse: PostgresWarehouse) -> None:
    with closing(warehouse.query("SELECT 'unread'")):
        pass
    warehouse.query("SELECT 'unread'").close()
    left = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%unread%' AND pid <> pg_backend_pid()"
    until(lambda: ask(warehouse, left) == [(0,)], "the connections to go")


def test_a_server_that_goes_away_meanwhile(warehouse: PostgresWarehouse, postgres_server: PostgresServer) -> None:
    with closing(warehouse.query("SELECT i, repeat('x', 1000) FROM generate_series(1, 1000000) i")) as stream:
        pieces = stream.ipc()
        next(pieces)
        next(pieces)
        postgres_server.cut_connections()
        with pytest.raises(WarehouseDown):
            list(pieces)


def test_who_reads_its_rows_hears_that_it_went_away(
    warehouse: PostgresWarehouse, postgres_server: PostgresServer
) -> None:
    """Not that nanoarrow could not read: after `WarehouseDown` a loader tries again, after anything else it ends."""
    for read in (1, 20_000):
        sql = "SELECT i, repeat('x', 1000) FROM generate_series(1, 1000000) i"
        rows = each_row(warehouse.query(sql))
        for _ in range(read - 1):
            next(rows)
        postgres_server.cut_connections()
        with pytest.raises(WarehouseDown):
            list(rows)
