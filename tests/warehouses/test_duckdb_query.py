"""Asking an embedded warehouse: what comes back, what is refused, how a query ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest
from nanoarrow.ipc import InputStream

from catchment.errors import Retry, UsageError
from catchment.warehouses.duckdb_query import (
    ACTING_FUNCTIONS,
    DuckDBStream,
    called_functions,
    confine,
    run_query,
)

FOREVER = "SELECT count(*) FROM range(1_000_000_000_000) t(i) WHERE i % 7 = 3"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "rows.csv").write_text("a,b\n1,2\n")
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    return folder


@pytest.fixture
def database(tmp_path: Path, archive: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute("CREATE TABLE numbers AS SELECT range AS n FROM range(1000)")
        connection.execute("CREATE SEQUENCE ids")
        confine(connection, [archive])
        yield connection


def ask(database: duckdb.DuckDBPyConnection, sql: str, params: Any = None, **limits: Any) -> DuckDBStream:
    return run_query(database.cursor(), sql, params, **limits)


def answer(stream: DuckDBStream) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Types and rows as another DuckDB reads them from the IPC stream."""
    data = b"".join(stream.ipc())
    with duckdb.connect() as reader:
        relation = reader.from_arrow(InputStream.from_readable(data).__arrow_c_stream__())
        return [str(kind) for kind in relation.types], relation.fetchall()


def rows(database: duckdb.DuckDBPyConnection, sql: str, params: Any = None, **limits: Any) -> list[tuple[Any, ...]]:
    return answer(ask(database, sql, params, **limits))[1]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1, 'x'", [(1, "x")]),
        ("SELECT 1; -- and nothing more\n ;", [(1,)]),
        ("WITH a AS (SELECT 2 AS x) SELECT x FROM a", [(2,)]),
        ("VALUES (1), (2)", [(1,), (2,)]),
        ("FROM range(2)", [(0,), (1,)]),
        ("TABLE numbers LIMIT 1", [(0,)]),
        ("DESCRIBE numbers", [("n", "BIGINT", "YES", None, None, None)]),
        ("SHOW TABLES", [("numbers",)]),
        ("PIVOT (SELECT 'x' AS k, 3 AS v) ON k USING sum(v)", [(Decimal(3),)]),
        ("SELECT n FROM numbers WHERE false", []),
        ("SELECT 1 AS a, 2 AS a, 'c'::ENUM('c') AS a", [(1, 2, "c")]),
    ],
)
def test_reading_statements(database: duckdb.DuckDBPyConnection, sql: str, expected: list[Any]) -> None:
    assert rows(database, sql) == expected


def test_explain_and_summarize(database: duckdb.DuckDBPyConnection) -> None:
    assert "SCAN" in rows(database, "EXPLAIN SELECT * FROM numbers")[0][1].upper()
    assert "Total Time" in rows(database, "EXPLAIN ANALYZE SELECT count(*) FROM numbers")[0][1]
    assert rows(database, "SUMMARIZE numbers")[0][:4] == ("n", "BIGINT", "0", "999")


@pytest.mark.parametrize(
    ("sql", "params"),
    [("SELECT $1 + $2", [1, 2]), ("SELECT ? + ?", (1, 2)), ("SELECT $a + $b", {"a": 1, "b": 2})],
)
def test_parameters(database: duckdb.DuckDBPyConnection, sql: str, params: Any) -> None:
    assert rows(database, sql, params) == [(3,)]
    assert rows(database, sql, params, max_rows=1) == [(3,)]


VALUES = [
    ("timestamptz '2026-01-01 10:00:00.123456+02'", datetime(2026, 1, 1, 8, 0, 0, 123456, UTC)),
    ("timestamp 'infinity'", datetime.max),
    ("""'{"a": [1e400, "é"]}'::JSON""", '{"a": [1e400, "é"]}'),
    ("""['{"a": 1}'::JSON, NULL]""", ['{"a": 1}', None]),
    ("""{'j': '{"a": 1}'::JSON}""", {"j": '{"a": 1}'}),
    ("1.50::DECIMAL(4,2)", Decimal("1.50")),
    ("99999999999999999999999999999999999999::HUGEINT", Decimal("9" * 38)),
    ("[1::HUGEINT]", [Decimal(1)]),
    ("{'h': 1::HUGEINT, 'a b\"': 'x'}", {"h": Decimal(1), 'a b"': "x"}),
    ("MAP {'k': 1::HUGEINT}", {"k": Decimal(1)}),
    ("[1, 2]::HUGEINT[2]", (Decimal(1), Decimal(2))),
    ("union_value(h := 1::HUGEINT)", Decimal(1)),
    ("'b'::ENUM('a', 'b')", "b"),
    ("['b'::ENUM('a', 'b')]", ["b"]),
    ("'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::UUID", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
    ("'\\xAA\"\\x00'::BLOB", b'\xaa"\x00'),
    ("'101'::BIT", "101"),
    ("'10:00:00+02'::TIMETZ", "10:00:00+02"),
    ("123456789012345678901234567890123456789012::BIGNUM", "123456789012345678901234567890123456789012"),
    ("{'a': 1}::VARIANT", '{"a":1}'),
    ("{'a': {}}", {"a": {}}),
    ("NULL", None),
]


@pytest.mark.parametrize(("expression", "expected"), VALUES, ids=[expression for expression, _ in VALUES])
def test_values(database: duckdb.DuckDBPyConnection, expression: str, expected: Any) -> None:
    result = rows(database, f"SELECT {expression} AS v UNION ALL SELECT NULL")
    assert result == [(expected,), (None,)]


def test_every_type_of_duckdb_comes_through(database: duckdb.DuckDBPyConnection) -> None:
    columns = [name for name, *_ in database.cursor().execute("DESCRIBE SELECT * FROM test_all_types()").fetchall()]
    within_38_digits = [name for name in columns if name not in {"hugeint", "uhugeint"}]
    for name in within_38_digits:
        sql = f'SELECT "{name}"::VARCHAR, "{name}" FROM test_all_types()'
        assert len(answer(ask(database, sql))[1]) == 3, name


def test_json_stays_json(database: duckdb.DuckDBPyConnection) -> None:
    assert answer(ask(database, "SELECT '1'::JSON, ['1'::JSON], {'a': '1'::JSON}"))[0] == [
        "JSON",
        "JSON[]",
        "STRUCT(a JSON)",
    ]


def test_a_number_beyond_arrows_digits_is_an_error_and_no_other_number(
    database: duckdb.DuckDBPyConnection,
) -> None:
    with pytest.raises(UsageError, match=r"170141183460469231731687303715884105727(?s:.*)Try: CAST it to VARCHAR"):
        rows(database, "SELECT 170141183460469231731687303715884105727::HUGEINT")


REFUSED = [
    "CREATE TABLE x (i INT)",
    "CREATE TEMP TABLE x (i INT)",
    "INSERT INTO numbers VALUES (1)",
    "WITH a AS (INSERT INTO numbers VALUES (1) RETURNING *) SELECT * FROM a",
    "WITH a AS (DELETE FROM numbers RETURNING *) SELECT * FROM a",
    "EXPLAIN ANALYZE INSERT INTO numbers VALUES (1)",
    "COPY (SELECT 1) TO 'x.csv'",
    "ATTACH 'x'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET threads = 1",
    "SET GLOBAL threads = 1",
    "RESET threads",
    "PRAGMA enable_profiling",
    "CALL enable_logging()",
    "CHECKPOINT",
    "VACUUM",
    "EXPORT DATABASE 'x'",
    "USE temp",
    "PREPARE x AS SELECT 1",
    "BEGIN",
    "COMMIT",
    "UPDATE EXTENSIONS",
    "SELECT nextval('ids')",
    "SELECT 'ids'.nextval()",
    "SELECT * FROM enable_logging(storage = 'file', storage_path = 'x')",
    "SELECT * FROM system.main.Enable_Logging /* - */ ()",
    "SELECT \"write_log\"('x')",
    "SELECT * FROM query('SELECT * FROM enable_logging()')",
    "SELECT * FROM json_execute_serialized_sql('{}')",
    "SELECT * FROM checkpoint()",
    "SELECT 1; SELECT 2",
    "",
    "-- nothing",
    "SELECT * FROM read_text('/etc/hostname')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM 'https://example.org/x.csv'",
    "SELECT getenv('HOME')",
    "SELECT * FROM self",
    "SELECT * FROM relation",
    "SELECT current_setting('s3_region')",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_refused(database: duckdb.DuckDBPyConnection, sql: str) -> None:
    settings = database.execute("SELECT name, value FROM duckdb_settings() ORDER BY name").fetchall()
    with pytest.raises(UsageError):
        answer(ask(database, sql))
    assert database.execute("SELECT count(*) FROM numbers").fetchall() == [(1000,)]
    assert database.execute("SELECT name, value FROM duckdb_settings() ORDER BY name").fetchall() == settings
    assert database.execute("SELECT nextval('ids')").fetchall() == [(1,)]


def test_files_of_the_archive_alone(database: duckdb.DuckDBPyConnection, archive: Path) -> None:
    assert rows(database, f"SELECT * FROM '{archive}/rows.csv'") == [(1, 2)]
    for outside in (archive.parent / "secret.csv", archive / ".." / "secret.csv"):
        with pytest.raises(UsageError, match="files of the archive"):
            ask(database, f"SELECT * FROM '{outside}'")


def test_every_function_that_may_act_is_judged() -> None:
    """A newer DuckDB with new functions fails here until somebody has looked at them."""
    with duckdb.connect() as connection:
        listed = connection.execute(
            """SELECT DISTINCT function_name FROM duckdb_functions()
               WHERE function_type = 'table' OR function_type = 'scalar' AND has_side_effects"""
        ).fetchall()
    harmless = set(Path(__file__).with_name("harmless_functions.txt").read_text().split())
    assert {name for (name,) in listed} - harmless == set(ACTING_FUNCTIONS)


def test_called_functions() -> None:
    sql = """SELECT "a""B"(1), é.F /* x */ (2), g --y
             (3), 'h(' FROM "i(" """
    assert list(called_functions(sql)) == ['a"b', "f", "g"]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC"\nLINE 1: SELEC 1\n        ^'),
        ("SELECT\n nope FROM numbers", '"nope" not found'),
        ("SELECT 'a'::INT", "Could not convert string 'a' to INT32\nLINE 1: SELECT 'a'::INT\n                  ^"),
        ("SELECT error('bo' || 'om') FROM numbers", "boom"),
        ("SELECT ?", "Values were not provided"),
    ],
)
def test_wrong_sql(database: duckdb.DuckDBPyConnection, sql: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        answer(ask(database, sql))
    assert message in caught.value.message
    assert len(caught.value.message) < 1_000


@pytest.mark.parametrize(
    "sql",
    [FOREVER, f"EXPLAIN ANALYZE {FOREVER}", f"PIVOT ({FOREVER.replace('count(*)', 'i % 3 AS k')}) ON k"],
    ids=["select", "explain", "pivot"],
)
def test_timeout(database: duckdb.DuckDBPyConnection, sql: str) -> None:
    started = time.monotonic()
    with pytest.raises(Retry, match=r"longer than 0\.2 s"):
        answer(ask(database, sql, timeout_s=0.2))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("deep", ["(" * 50_000 + "1" + ")" * 50_000, "NOT " * 50_000 + "true"])
def test_deep_nesting_is_an_error_and_no_crash(database: duckdb.DuckDBPyConnection, deep: str) -> None:
    with pytest.raises(UsageError, match="depth"):
        rows(database, f"SELECT {deep}")


def test_sql_that_takes_minutes_to_plan_is_refused(database: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(UsageError, match="use parameters"):
        rows(database, " UNION ALL ".join(["SELECT 1"] * 20_000))


def test_timeout_of_a_slow_reader(database: duckdb.DuckDBPyConnection) -> None:
    chunks = ask(database, "SELECT * FROM range(10_000_000)", timeout_s=0.1).ipc()
    next(chunks)
    started = time.monotonic()

    def read_slowly() -> None:
        for _ in chunks:
            time.sleep(0.01)

    with pytest.raises(Retry, match="longer than"):
        read_slowly()
    assert time.monotonic() - started < 5


def test_max_rows_ends_the_query_early(database: duckdb.DuckDBPyConnection) -> None:
    started = time.monotonic()
    assert len(rows(database, "SELECT i FROM range(1_000_000_000_000) t(i)", max_rows=3)) == 3
    assert time.monotonic() - started < 5
    assert rows(database, "SELECT 1", max_rows=0) == []


def test_closing_from_another_thread_ends_a_running_query(database: duckdb.DuckDBPyConnection) -> None:
    stream = ask(database, FOREVER)
    ended: list[object] = []
    chunks = stream.ipc()

    def read() -> None:
        try:
            ended.extend(chunks)
        except Retry as error:
            ended.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    stream.close()
    stream.close()
    reader.join(5)
    assert not reader.is_alive()
    assert [str(error) for error in ended] == ["the query was given up by its reader"]


def test_closing_between_two_pieces_is_no_end_of_the_result(database: duckdb.DuckDBPyConnection) -> None:
    stream = ask(database, "SELECT * FROM range(1_000_000)")
    chunks = stream.ipc()
    next(chunks)
    stream.close()
    with pytest.raises(Retry, match="given up"):
        list(chunks)


def test_what_is_dropped_or_closed_unread_leaves_no_transaction(database: duckdb.DuckDBPyConnection) -> None:
    def connections() -> int:
        return int(database.execute("SELECT count FROM duckdb_connection_count()").fetchall()[0][0])

    before = connections()
    ask(database, "SELECT 1")
    ask(database, "SELECT 1").close()
    next(ask(database, "SELECT * FROM range(1_000_000)").ipc())
    answer(ask(database, "SELECT 1"))
    with pytest.raises(UsageError):
        ask(database, "SELECT nope")
    assert connections() == before


def test_a_result_sees_one_moment(database: duckdb.DuckDBPyConnection) -> None:
    stream = ask(database, "SELECT count(*) FROM numbers")
    database.execute("INSERT INTO numbers VALUES (1)")
    assert answer(stream)[1] == [(1000,)]


def test_memory_stays_flat(database: duckdb.DuckDBPyConnection) -> None:
    """200,000 rows of 10 KB: 2 GB in all."""
    process = psutil.Process()
    chunks = ask(database, "SELECT repeat('x', 10_000) || i FROM range(200_000) t(i)").ipc()
    next(chunks)
    before = peak = process.memory_info().rss
    read_bytes = 0
    for piece in chunks:
        read_bytes += len(piece)
        peak = max(peak, process.memory_info().rss)
    assert read_bytes > 2_000_000_000
    assert peak - before < 700_000_000


def test_the_capsule_is_the_same_stream(database: duckdb.DuckDBPyConnection) -> None:
    with duckdb.connect() as reader:
        relation = reader.from_arrow(
            ask(database, "SELECT '1'::JSON AS j, n FROM numbers ORDER BY n").__arrow_c_stream__()
        )
        assert relation.types[0] == "JSON"
        assert relation.fetchall() == [("1", n) for n in range(1000)]
