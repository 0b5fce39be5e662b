"""What people's SQL may do on an embedded warehouse, beside a running loader: escapes that must fail, and what an
analyst needs."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import nanoarrow
import pytest

from catchment.errors import CatchmentError, Retry, UsageError
from catchment.sql.allowed import CLOSED_VIEWS, allowed_functions
from catchment.testing.batches import TABLE, add, load, row
from catchment.warehouses import Asker
from catchment.warehouses.duckdb import DuckDBWarehouse

pytestmark = pytest.mark.filterwarnings("ignore")  # nanoarrow says that it reads JSON as text

SECRET = "hunter2-of-nobody"
secret_df = {"password": [SECRET]}


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBWarehouse]:
    """With a loader that goes on loading, and files that it may read and people may not."""
    folder = tmp_path_factory.mktemp("safe")
    archive = folder / "archive"
    archive.mkdir()
    for name in ("secret.csv", "secret.json", "secret"):
        (archive / name).write_text(f'{{"password": "{SECRET}"}}\n')
    (folder / "outside.csv").write_text(f"password\n{SECRET}\n")
    duckdb.execute(
        "COPY (SELECT 'hunter2-of-nobody' AS password) TO $path (FORMAT parquet)",
        {"path": str(archive / "secret.parquet")},
    )
    os.environ["CATCHMENT_TEST_SECRET"] = SECRET
    opened = DuckDBWarehouse(DuckDBWarehouse.Config(), folder, readable=[archive])
    load(opened, [row(str(at), n=at, tags=["a", "b"], kind="x" if at % 2 else "y") for at in range(10)],
         add(n="bigint", tags="json", kind="varchar"))  # fmt: skip
    stop = threading.Event()

    def go_on() -> None:
        for number in itertools.count():
            if stop.wait(0.02):
                return
            with contextlib.suppress(Retry):  # somebody uses up the memory: tried again, as the loader does
                load(opened, [row(f"more-{number}", at=1000 + number)])

    loader = threading.Thread(target=go_on)
    loader.start()
    yield opened
    stop.set()
    loader.join()
    opened.close()
    del os.environ["CATCHMENT_TEST_SECRET"]


def ask(warehouse: DuckDBWarehouse, sql: str, params: Any = None, **limits: Any) -> list[tuple[Any, ...]]:
    with closing(warehouse.query(sql, params, asker=Asker(), **limits)) as stream:
        data = b"".join(stream.ipc())
    return list(nanoarrow.ArrayStream.from_readable(data).iter_tuples())


ESCAPES = """
    -- the 26 of the prototype
    SELECT * FROM read_csv('{archive}/secret.csv')
    SELECT * FROM read_text('{archive}/secret')
    SELECT * FROM glob('{archive}/*')
    SELECT * FROM '{archive}/secret.csv'
    COPY (SELECT 1) TO '{archive}/out.csv'
    ATTACH '{archive}/x.duckdb'
    INSTALL httpfs
    LOAD httpfs
    SET enable_external_access = true
    SET memory_limit = '20GB'
    RESET memory_limit
    PRAGMA threads = 64
    CREATE TABLE t AS SELECT 1
    DELETE FROM shop.orders
    CREATE TEMP TABLE t AS SELECT 1
    SELECT * FROM secret_df
    SELECT getenv('CATCHMENT_TEST_SECRET')
    SELECT * FROM duckdb_secrets()
    EXPORT DATABASE '{archive}/exported'
    SELECT value FROM duckdb_settings() WHERE name IN ('temp_directory', 'home_directory')
    SELECT path FROM duckdb_databases() WHERE NOT internal
    CHECKPOINT
    CALL enable_logging()
    SELECT * FROM query('SELECT 1')
    DETACH "catchment-warehouse"
    USE memory
    -- files by other ways
    SELECT * FROM "{archive}/secret.csv"
    SELECT * FROM "{archive}/secret".csv
    SELECT * FROM '{archive}/secret.parquet'
    SELECT * FROM '{archive}/*.json'
    SELECT * FROM '{folder}/outside.csv'
    SELECT * FROM 'file://{archive}/secret.csv'
    SELECT * FROM 'https://example.org/x.csv'
    FROM '{archive}/secret.json'
    TABLE "{archive}/secret.json"
    DESCRIBE '{archive}/secret.csv'
    SUMMARIZE '{archive}/secret.csv'
    SHOW '{archive}/secret.csv'
    SUMMARIZE SELECT * FROM read_csv('{archive}/secret.csv')
    DESCRIBE SELECT * FROM '{archive}/secret.csv'
    EXPLAIN SELECT * FROM '{archive}/secret.csv'
    EXPLAIN ANALYZE SELECT * FROM read_json('{archive}/secret.json')
    EXPLAIN (FORMAT json) SELECT * FROM read_json('{archive}/secret.json')
    EXPLAIN (ANALYZE) SELECT * FROM read_json('{archive}/secret.json')
    EXPLAIN (SELECT * FROM read_json('{archive}/secret.json'))
    PIVOT '{archive}/secret.csv' ON password
    PIVOT (SELECT * FROM read_csv('{archive}/secret.csv')) ON password USING count(*)
    PIVOT shop.orders ON (SELECT max(content) FROM read_text('{archive}/secret'))
    FROM (PIVOT read_csv('{archive}/secret.csv') ON password)
    PIVOT shop.orders ON kind IN (SELECT content FROM read_text('{archive}/secret'))
    UNPIVOT '{archive}/secret.csv' ON password
    WITH a AS (FROM read_csv('{archive}/secret.csv')) FROM a
    WITH a AS MATERIALIZED (SELECT * FROM '{archive}/secret.csv') SELECT 1 FROM shop.orders, a
    WITH RECURSIVE a AS (SELECT 1 AS x UNION ALL SELECT x FROM read_text('{archive}/secret'), a) FROM a
    WITH "{archive}/secret.csv" AS (SELECT 1) SELECT * FROM "{archive}/secret.csv"
    SELECT * FROM (WITH "{archive}/secret.csv" AS (SELECT 1) SELECT 1), '{archive}/secret.csv'
    SELECT (SELECT content FROM read_text('{archive}/secret'))
    SELECT 1 WHERE EXISTS (FROM read_blob('{archive}/secret'))
    SELECT 1 IN (SELECT size FROM read_blob('{archive}/secret'))
    SELECT n FROM shop.orders ORDER BY (SELECT size FROM read_blob('{archive}/secret'))
    SELECT n FROM shop.orders LIMIT (SELECT size FROM read_blob('{archive}/secret'))
    SELECT n FROM shop.orders GROUP BY ALL HAVING n < (SELECT size FROM read_blob('{archive}/secret'))
    SELECT n FROM shop.orders QUALIFY row_number() OVER (ORDER BY (SELECT size FROM read_blob('{archive}/secret'))) = 1
    SELECT sum(n) FILTER (WHERE EXISTS (FROM glob('{archive}/*'))) FROM shop.orders
    SELECT sum(n ORDER BY (SELECT size FROM read_blob('{archive}/secret'))) FROM shop.orders
    SELECT DISTINCT ON ((SELECT size FROM read_blob('{archive}/secret'))) n FROM shop.orders
    SELECT * REPLACE ((SELECT size FROM read_blob('{archive}/secret')) AS n) FROM shop.orders
    SELECT list_transform([1], lambda x: (SELECT content FROM read_text('{archive}/secret')))
    SELECT CASE WHEN true THEN (SELECT content FROM read_text('{archive}/secret')) END
    SELECT * FROM shop.orders o JOIN read_text('{archive}/secret') t ON true
    SELECT * FROM shop.orders, LATERAL (SELECT * FROM read_text('{archive}/secret'))
    SELECT * FROM shop.orders POSITIONAL JOIN '{archive}/secret.csv'
    (SELECT 1) UNION ALL (SELECT size FROM read_blob('{archive}/secret'))
    VALUES ((SELECT content FROM read_text('{archive}/secret')))
    SELECT * FROM system.main.read_text('{archive}/secret')
    SELECT * FROM READ_TEXT /* - */ ('{archive}/secret')
    SELECT * FROM "read_text"('{archive}/secret')
    SELECT * FROM parquet_scan('{archive}/secret.parquet')
    SELECT * FROM parquet_metadata('{archive}/secret.parquet')
    SELECT * FROM parquet_kv_metadata('{archive}/secret.parquet')
    SELECT * FROM sniff_csv('{archive}/secret.csv')
    SELECT * FROM read_ndjson_objects('{archive}/secret.json')
    SELECT * FROM read_duckdb('{folder}/warehouse.duckdb')
    SELECT * FROM read_single_csv_file('{archive}/secret.csv')
    COPY shop.orders FROM '{archive}/secret.csv'
    COPY shop.orders TO '{archive}/secret.csv'
    COPY FROM DATABASE "catchment-warehouse" TO memory
    IMPORT DATABASE '{archive}'
    -- SQL in a text, names in a text
    SELECT * FROM query_table('{archive}/secret.csv')
    SELECT * FROM query_table(['shop.orders'])
    SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))
    PRAGMA json_execute_serialized_sql('x')
    SELECT json_serialize_plan('SELECT * FROM ''{archive}/secret.csv''')
    SELECT json_deserialize_sql('x')
    SELECT * FROM seq_scan('shop.orders')
    EXECUTE a
    PREPARE a AS SELECT 1
    -- settings, secrets, logs, memory
    SELECT * FROM pg_settings
    SELECT * FROM pg_catalog.pg_settings
    SELECT * FROM system.pg_catalog.pg_settings
    SELECT * FROM duckdb_databases
    SELECT * FROM main.duckdb_databases
    SELECT * FROM pragma_database_list
    SELECT * FROM duckdb_logs
    SELECT * FROM duckdb_logs()
    SELECT * FROM duckdb_logs_parsed('QueryLog')
    SELECT * FROM duckdb_variables()
    SELECT * FROM duckdb_extensions()
    SELECT * FROM duckdb_temporary_files()
    SELECT * FROM duckdb_external_file_cache()
    SELECT * FROM duckdb_prepared_statements()
    SELECT * FROM pg_prepared_statements
    SELECT * FROM duckdb_live_query_metrics()
    SELECT * FROM which_secret('s3://a', 's3')
    SELECT current_setting('temp_directory')
    SELECT 'temp_directory'.current_setting()
    SELECT getvariable('a')
    SELECT * FROM pragma_user_agent()
    SHOW VARIABLES
    SET VARIABLE a = 1
    SET SESSION TimeZone = 'UTC'
    RESET TimeZone
    CREATE SECRET s (TYPE s3)
    SELECT * FROM self
    SELECT * FROM warehouse
    SELECT * FROM python_arrow_scan(1)
    SELECT * FROM pandas_scan(1)
    SELECT * FROM arrow_scan(1, 2, 3)
    -- what acts, waits, or breaks
    SELECT nextval('ids')
    SELECT sleep_ms(10)
    SELECT pg_sleep(1)
    SELECT setseed(0.5)
    SELECT write_log('x')
    SELECT * FROM checkpoint()
    SELECT * FROM force_checkpoint()
    SELECT * FROM enable_logging(storage = 'file', storage_path = '{archive}/log')
    SELECT * FROM enable_profiling()
    SELECT * FROM truncate_duckdb_logs()
    SELECT __internal_decompress_string(1)
    SELECT __internal_compress_string_hugeint('x')
    SELECT * FROM test_vector_types(NULL::INTEGER)
    SELECT * FROM pragma_storage_info('shop.orders')
    CALL pragma_version()
    PRAGMA version
    WITH a AS (DELETE FROM shop.orders RETURNING *) FROM a
    WITH a AS (INSERT INTO shop.orders (n) VALUES (1) RETURNING *) FROM a
    EXPLAIN ANALYZE DELETE FROM shop.orders
    EXPLAIN DELETE FROM shop.orders
    MERGE INTO shop.orders USING (SELECT 1 AS n) a ON false WHEN NOT MATCHED THEN INSERT (n) VALUES (1)
    UPDATE shop.orders SET n = 1
    INSERT INTO shop.orders (n) VALUES (1)
    TRUNCATE shop.orders
    DROP TABLE shop.orders
    ALTER TABLE shop.orders ADD COLUMN x INT
    CREATE MACRO f(x) AS x
    CREATE VIEW v AS SELECT 1
    CREATE TYPE t AS ENUM ('a')
    VACUUM
    ANALYZE
    BEGIN
    COMMIT
    ROLLBACK
    UPDATE EXTENSIONS
    COMMENT ON TABLE shop.orders IS 'x'
    SELECT 1; DELETE FROM shop.orders
    SELECT 1; SELECT 2
    SELECT * FROM memory.main.x
    SELECT * FROM "other-database".shop.orders
"""


def test_no_escape_gets_through_while_the_loader_loads(warehouse: DuckDBWarehouse) -> None:
    folder = warehouse.path.parent
    archive = folder / "archive"
    listed = [line.strip() for line in ESCAPES.splitlines() if line.strip() and not line.strip().startswith("--")]
    assert len(listed) >= 150
    before = sorted(archive.iterdir())
    got: list[str] = []
    for written in listed:
        sql = written.format(archive=archive, folder=folder)
        try:
            got.append(f"{written}: {ask(warehouse, sql, timeout_s=5.0)}")
        except UsageError as error:
            got += [f"{written}: {error}"] if SECRET in str(error) else []
    assert got == []
    assert sorted(archive.iterdir()) == before
    assert (archive / "secret.csv").read_text().startswith('{"password"')
    assert ask(warehouse, f"SELECT count(n), max(n) FROM {TABLE}") == [(10, 9)]


def test_a_refusal_names_the_place(warehouse: DuckDBWarehouse) -> None:
    with pytest.raises(UsageError) as refused:
        ask(warehouse, "SELECT 'é',\n  getenv('HOME') FROM shop.orders")
    assert refused.value.message == (
        "getenv() is not among the functions that a query may call\nLINE 2:   getenv('HOME') FROM shop.orders\n"
        "          ^"
    )
    with pytest.raises(UsageError, match=r'"shop\.orders"') as missing:
        ask(warehouse, "EXPLAIN SELECT *\nFROM shop.order")
    assert missing.value.message.endswith("LINE 2: FROM shop.order\n             ^")


NEEDED = """
    SELECT count(*), sum(n), avg(n), median(n), quantile_cont(n, 0.9), mode(kind), approx_count_distinct(n) FROM {t}
    SELECT kind, count(*) FILTER (n > 3) FROM {t} GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL
    SELECT date_trunc('week', _received_at) AS week, dayname(_received_at), hour(_received_at), isodow(now()) FROM {t}
    SELECT strftime(_received_at, '%Y-%m'), date_diff('day', _received_at, now()), now() + INTERVAL 3 DAY FROM {t}
    SELECT extract(epoch FROM _received_at), _received_at AT TIME ZONE 'Asia/Kolkata', current_date, today() FROM {t}
    SELECT n, lag(n) OVER (ORDER BY n), sum(n) OVER (PARTITION BY kind ROWS 3 PRECEDING), ntile(4) OVER () FROM {t}
    SELECT n FROM {t} QUALIFY row_number() OVER (PARTITION BY kind ORDER BY n DESC) = 1
    WITH a AS (SELECT n FROM {t}), b AS MATERIALIZED (FROM a) FROM a JOIN b USING (n) LEFT JOIN {t} c ON c.n = a.n
    WITH RECURSIVE f(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM f WHERE x < 5) SELECT * FROM f
    PIVOT {t} ON kind USING sum(n), count(*) GROUP BY n
    PIVOT {t} ON kind IN ('x', 'y') USING sum(n)
    PIVOT {t} ON n % 2 IN (0, 1), kind USING sum(n) ORDER BY ALL LIMIT 5
    WITH a AS (PIVOT {t} ON (n % 2), upper(kind) GROUP BY n) SELECT count(*) FROM a, (PIVOT {t} ON kind)
    FROM (PIVOT {t} ON kind, n % 2 USING count(*)) SELECT *
    SELECT * FROM {t} PIVOT (sum(n) FOR kind IN ('x', 'y'))
    UNPIVOT (SELECT 1 AS jan, 2 AS feb) ON jan, feb INTO NAME month VALUE sold
    SELECT unnest([1, 2]), unnest(tags::VARCHAR[]) FROM {t}
    SELECT tags ->> 0, tags -> '$[1]', json_extract_string(tags, '$[0]'), json_array_length(tags) FROM {t}
    SELECT j.key, j.value FROM {t}, json_each(tags) AS j
    SELECT to_json(o), o FROM {t} o LIMIT 1
    SELECT [x * 2 FOR x IN [1, 2, 3] IF x > 1], list_filter([1, 2], lambda x: x > 1), list_sum([1, 2]), [1, 2][1:1]
    SELECT {{'a': 1, 'b': [1]}}.a, map {{'k': 1}}['k'], struct_pack(a := 1), row(1, 2)
    SELECT * EXCLUDE (tags) REPLACE (n + 1 AS n) FROM {t}
    SELECT COLUMNS('n|kind') FROM {t}
    SELECT * FROM generate_series(1, 3), range(DATE '2026-01-01', DATE '2026-02-01', INTERVAL 1 DAY) r(day)
    SELECT time_bucket(INTERVAL 1 HOUR, _received_at), count(*) FROM {t} GROUP BY 1 ORDER BY 1
    SELECT kind, n, count(*) FROM {t} GROUP BY GROUPING SETS ((kind), (kind, n), ()) ORDER BY grouping(kind)
    SELECT 'a' || 'b', upper('x').lower(), regexp_matches('a', 'b'), 'a' LIKE 'b', 'a' ILIKE 'b' ESCAPE 'c', 'a' ~ 'b'
    SELECT try_cast('x' AS INT), '1'::DECIMAL(9, 3), 7 // 2, 2 ** 3, 5 % 2, least(1, 2), coalesce(NULL, 1), if(1, 2, 3)
    SELECT trim(BOTH 'x' FROM 'xax'), substring('abc' FROM 2 FOR 1), position('b' IN 'abc'), split_part('a b', ' ', 1)
    SELECT n IN (SELECT n FROM {t}), n BETWEEN 1 AND 3, n IS DISTINCT FROM 3, NOT EXISTS (SELECT 1) FROM {t}
    SELECT a.n FROM {t} a ASOF JOIN {t} b ON a.n >= b.n
    SELECT * FROM {t} USING SAMPLE 5
    SELECT * FROM {t} TABLESAMPLE 100%
    SELECT 1 UNION SELECT 2 EXCEPT SELECT 3
    SELECT 1 AS a UNION ALL BY NAME SELECT 2 AS b
    FROM {t}
    TABLE {t}
    VALUES (1, 'a'), (2, 'b')
    SELECT * FROM (VALUES (1)) t(x), LATERAL (SELECT x + 1)
    SELECT median(n) AS "Übersicht mit Leerzeichen; --" FROM {t} -- a comment; SELECT
    DESCRIBE {t}
    DESCRIBE SELECT n FROM {t}
    SUMMARIZE {t}
    SUMMARIZE SELECT n FROM {t}
    SHOW ALL TABLES
    EXPLAIN SELECT * FROM {t}
    EXPLAIN ANALYZE SELECT count(*) FROM {t}
    SELECT * FROM information_schema.columns WHERE table_name = 'orders'
    SELECT table_name, estimated_size FROM duckdb_tables()
    SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = 'shop'
    SELECT DISTINCT function_name FROM duckdb_functions()
    SELECT * FROM "catchment-warehouse".shop.orders
    SELECT * FROM SHOP.Orders
    SELECT * FROM catchment.ledger
    SELECT map_keys(histogram(n)), arg_max(kind, n), string_agg(kind, ',' ORDER BY n), list(n), first(n) FROM {t}
    SELECT corr(n, n), regr_slope(n, n), stddev(n), entropy(n), bool_and(n > 0), bit_or(n), product(n) FROM {t}
    SELECT md5('x'), hash('x'), uuid(), random() < 2, version(), pi(), format('{{}}', 1), printf('%d', 1), typeof(1)
"""


def test_what_an_analyst_needs_works(warehouse: DuckDBWarehouse) -> None:
    failed: list[str] = []
    for sql in (line.strip().format(t=TABLE) for line in NEEDED.splitlines() if line.strip()):
        try:
            if not ask(warehouse, sql):
                failed.append(f"{sql}: no rows")
        except CatchmentError as error:
            failed.append(f"{sql}: {error}")
    assert failed == []


def test_every_function_and_view_of_duckdb_is_judged() -> None:
    """A newer DuckDB with new ones fails here until somebody has looked at them. To allow one, add it to
    `duckdb_functions.txt`; else to `refused_functions.txt` beside this file."""
    known = set(Path(__file__).with_name("refused_functions.txt").read_text().split()) | allowed_functions()
    with duckdb.connect() as connection:
        listed = connection.execute("SELECT DISTINCT lower(function_name), function_type FROM duckdb_functions()")
        functions = {name for name, kind in listed.fetchall() if name.isidentifier() and kind != "pragma"}
        views = {
            name for (name,) in connection.execute("SELECT view_name FROM duckdb_views() WHERE internal").fetchall()
        }
    plain = {name for name in functions if not name.startswith(("__", "collate_", "icu_collate_", "st_"))}
    assert plain - known == set()
    assert known - plain == set(), "no longer there"
    assert not plain & {"read_csv", "glob", "query"} & allowed_functions()
    harmless = {name for name in views if name.startswith(("sqlite_", "pg_")) or "." not in name} - CLOSED_VIEWS
    assert views - harmless == CLOSED_VIEWS


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
        "FROM shop.orders" + " NATURAL JOIN shop.orders" * 2_000,
        "SELECT * FROM " + "(SELECT * FROM " * 3_000 + "shop.orders" + ")" * 3_000,
        "PIVOT " * 3_000 + "shop.orders",
        "EXPLAIN " * 5_000 + "SELECT 1",
        " UNION ALL ".join(["SELECT 1"] * 5_000),
    ],
    ids=["parentheses", "joins", "subqueries", "pivots", "explains", "unions"],
)
def test_what_is_very_deep_or_long_is_refused_and_breaks_nothing(warehouse: DuckDBWarehouse, sql: str) -> None:
    with pytest.raises(UsageError):
        ask(warehouse, sql, timeout_s=30.0)
    assert ask(warehouse, "SELECT 1") == [(1,)]


def test_memory_has_an_end_and_the_warehouse_goes_on(warehouse: DuckDBWarehouse) -> None:
    with pytest.raises(CatchmentError):
        ask(warehouse, "SELECT length(list(i)) FROM range(2000000000) t(i)", timeout_s=30.0)
    assert ask(warehouse, f"SELECT count(n) FROM {TABLE}") == [(10,)]
