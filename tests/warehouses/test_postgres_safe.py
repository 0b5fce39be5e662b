"""What people's SQL may do on PostgreSQL, also where the loader's role may do everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from catchment.errors import CatchmentError, UsageError
from catchment.sql.choices import Between, Choice, Contains, Equal, Span
from catchment.sql.scan import one_scan, scanned
from catchment.sql.splice import splice
from catchment.testing.askers import asked
from catchment.testing.batches import T0, TABLE, add, load, row
from catchment.warehouses.postgres import PostgresWarehouse
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.filterwarnings("ignore")  # nanoarrow says that it reads JSON as text


@pytest.fixture(scope="module")
def url(postgres_server: PostgresServer) -> str:
    return postgres_server.new_database()


@pytest.fixture(scope="module")
def warehouse(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresWarehouse]:
    """Of a superuser: nothing but the guard is in the way."""
    folder: Path = tmp_path_factory.mktemp("safe")
    with closing(PostgresWarehouse(PostgresWarehouse.Config(url), folder)) as opened:
        lines = [row(str(at), at=3600 * at, n=at, kind="50% x" if at % 2 else "Cards") for at in range(10)]
        load(opened, [*lines, row("10", n=10)], add(n="bigint", kind="varchar"))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE FUNCTION public.acts() RETURNS int LANGUAGE sql AS 'SELECT 1'")
            connection.execute("CREATE FUNCTION public.reads(int) RETURNS int STABLE LANGUAGE sql AS 'SELECT $1'")
        yield opened


ESCAPES = r"""
    SELECT pg_read_file('/etc/passwd')
    SELECT * FROM pg_ls_dir('/')
    SELECT * FROM pg_stat_file('/etc/passwd')
    SELECT pg_read_binary_file('/etc/passwd')
    SELECT lo_import('/etc/passwd')
    SELECT lo_export(1, '/tmp/x')
    SELECT lo_get(1)
    SELECT pg_sleep(1)
    SELECT pg_terminate_backend(1)
    SELECT pg_cancel_backend(pid) FROM pg_locks
    SELECT pg_reload_conf()
    SELECT pg_rotate_logfile()
    SELECT pg_switch_wal()
    SELECT pg_advisory_lock(1)
    SELECT pg_advisory_xact_lock(1)
    SELECT pg_try_advisory_lock(1)
    SELECT pg_notify('a', 'b')
    SELECT pg_logical_emit_message(true, 'a', 'b')
    SELECT set_config('role', 'postgres', false)
    SELECT set_config('transaction_read_only', 'off', true)
    SELECT pg_catalog.set_config('statement_timeout', '0', true)
    SELECT "set_config"('statement_timeout', '0', true)
    SELECT SET_CONFIG /* - */ ('statement_timeout', '0', true)
    SELECT set_config --
        ('statement_timeout', '0', true)
    SELECT U&"set\005fconfig"('statement_timeout', '0', true)
    SELECT (SELECT set_config('statement_timeout', '0', true))
    SELECT query_to_xml('SELECT pg_sleep(1)', true, true, '')
    SELECT * FROM ts_stat('SELECT to_tsvector(pg_sleep(1)::text)')
    SELECT dblink('SELECT 1', 'x')
    SELECT * FROM crosstab('SELECT 1')
    SELECT nextval('x')
    SELECT setval('x', 1)
    SELECT currval('x')
    SELECT txid_current()
    SELECT pg_current_xact_id()
    SELECT current_setting('data_directory')
    SELECT * FROM pg_show_all_settings()
    SELECT pg_stat_get_backend_activity(1)
    SELECT * FROM pg_stat_get_activity(NULL)
    SELECT pg_export_snapshot()
    SELECT acts()
    SELECT public.acts()
    SELECT * FROM acts()
    SELECT * FROM pg_authid
    SELECT * FROM pg_catalog.pg_shadow
    SELECT * FROM "pg_user_mappings"
    SELECT * FROM pg_settings
    SELECT * FROM pg_stat_activity
    SELECT * FROM pg_hba_file_rules
    SELECT * FROM pg_file_settings
    TABLE pg_authid
    SHOW data_directory
    SHOW ALL
    SET ROLE postgres
    RESET ROLE
    SET statement_timeout = 0
    COPY (SELECT 1) TO PROGRAM 'cat'
    COPY shop.orders TO '/tmp/x'
    COPY shop.orders TO STDOUT
    SELECT 1; DELETE FROM shop.orders
    SELECT 1; COMMIT; DELETE FROM shop.orders
    DELETE FROM shop.orders
    WITH a AS (DELETE FROM shop.orders RETURNING *) SELECT * FROM a
    WITH a AS (SELECT 1) DELETE FROM shop.orders
    EXPLAIN ANALYZE DELETE FROM shop.orders
    EXPLAIN (ANALYZE) DELETE FROM shop.orders
    EXPLAIN ANALYZE SELECT pg_sleep(1)
    SELECT * INTO x FROM shop.orders
    SELECT * FROM shop.orders FOR UPDATE
    CREATE TEMP TABLE x (n int)
    DO 'BEGIN NULL; END'
    CALL x()
    LISTEN a
    LOCK TABLE shop.orders
    PREPARE a AS SELECT 1
    DECLARE a CURSOR FOR SELECT 1
    FETCH ALL FROM asked
    VACUUM
    LOAD 'x'
    BEGIN
    COMMIT
    COMMENT ON TABLE shop.orders IS 'x'
"""


def test_no_escape_gets_through(warehouse: PostgresWarehouse) -> None:
    listed = [part.strip() for part in ESCAPES.replace("--\n", "--\0").splitlines() if part.strip()]
    got: list[str] = []
    for sql in (each.replace("\0", "\n") for each in listed):
        with suppress(UsageError):
            got.append(f"{sql}: {asked(warehouse, sql)}")
    assert len(listed) >= 70
    assert got == []
    assert asked(warehouse, f"SELECT count(*) FROM {TABLE}") == [(11,)]


NEEDED = """
    SELECT count(*), avg(n), percentile_cont(0.5) WITHIN GROUP (ORDER BY n), string_agg(kind, ',' ORDER BY n) FROM {t}
    SELECT date_trunc('week', _received_at), to_char(_received_at, 'YYYY-MM'), age(now()) FROM {t}
    SELECT n, lag(n) OVER (ORDER BY n), row_number() OVER (PARTITION BY kind ORDER BY n) FROM {t}
    WITH RECURSIVE f(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM f WHERE x < 5) SELECT * FROM f
    SELECT kind, count(*) FILTER (WHERE n > 3) FROM {t} GROUP BY GROUPING SETS ((kind), ()) HAVING count(*) > 1
    SELECT jsonb_build_object('a', 1) ->> 'a', '{{"a": [1]}}'::jsonb #> '{{a,0}}', jsonb_array_elements('[1, 2]')
    SELECT d::date FROM generate_series('2026-01-01'::timestamp, '2026-01-03', '1 day') AS d
    SELECT regexp_replace('a', 'b', 'c'), split_part('a b', ' ', 1), lower('A'), coalesce(NULL, 'x'), format('%s', 1)
    SELECT width_bucket(n, 0, 10, 5), round(n / 3.0, 2), random() < 2, clock_timestamp() > now() FROM {t}
    SELECT * FROM {t} TABLESAMPLE system (100)
    SELECT unnest(ARRAY[1, 2]), array_agg(n) FROM {t} GROUP BY 1
    SELECT DISTINCT ON (kind) kind, n FROM {t} ORDER BY kind, n DESC
    SELECT a.n FROM {t} a JOIN LATERAL (SELECT max(n) AS m FROM {t} b WHERE b.kind = a.kind) x ON x.m = a.n
    SELECT 'pg_sleep(1)', $$ set_config('a') $$, "n" AS "set_config(" FROM {t} -- pg_sleep(1)
    SELECT reads(1), pg_size_pretty(pg_total_relation_size('{t}'::regclass)), current_user, version()
    SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname = 'shop'
    EXPLAIN (ANALYZE, BUFFERS) SELECT * FROM {t}
    VALUES (1), (2)
    TABLE {t}
    (SELECT 1) UNION ALL (SELECT 2)
"""


def test_what_an_analyst_needs_works(warehouse: PostgresWarehouse) -> None:
    failed: list[str] = []
    for sql in (line.strip().format(t=TABLE) for line in NEEDED.splitlines() if line.strip()):
        try:
            if not asked(warehouse, sql):
                failed.append(f"{sql}: no rows")
        except CatchmentError as error:
            failed.append(f"{sql}: {error}")
    assert failed == []


def test_people_have_the_rights_of_the_readers_role(
    url: str, warehouse: PostgresWarehouse, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE safe_reader NOLOGIN")
        connection.execute("GRANT USAGE ON SCHEMA shop TO safe_reader")
        connection.execute(f"GRANT SELECT ON {TABLE} TO safe_reader")
    config = PostgresWarehouse.Config(url, reader_role="safe_reader")
    with closing(PostgresWarehouse(config, tmp_path)) as narrow:
        assert asked(narrow, f"SELECT current_user::text, count(*) FROM {TABLE}") == [("safe_reader", 11)]
        with pytest.raises(UsageError, match="permission denied"):
            asked(narrow, "SELECT * FROM catchment.ledger")
        with closing(narrow.query("SELECT current_user::text")) as stream:  # our own questions have the loader's
            assert b"postgres" in b"".join(stream.ipc())
    missing = PostgresWarehouse.Config(url, reader_role='no "such" role')
    with closing(PostgresWarehouse(missing, tmp_path)) as wrong, pytest.raises(UsageError, match="does not exist"):
        asked(wrong, "SELECT 1")


def test_filters_are_spliced_for_postgres(warehouse: PostgresWarehouse) -> None:
    filters: dict[str, Choice] = {
        "kind": Equal(("Cards", "'; DROP TABLE shop.orders; --"), many=True),
        "null": Equal(null=True, many=True),
        "period": Span(T0, datetime(2026, 11, 23, 15, tzinfo=UTC), "hour"),
        "search": Contains("50%"),
        "range": Between(3, 5),
        "org": Equal(many=True),
        "one": Equal((7,)),
    }

    def ids(where: str) -> list[Any]:
        spliced = splice(f"SELECT n FROM {TABLE} WHERE {where} ORDER BY n", filters, "postgres")
        return [n for (n,) in asked(warehouse, spliced.text, spliced.values)]

    assert ids("kind in $kind") == [0, 2, 4, 6, 8]
    assert ids("kind not in $kind") == [1, 3, 5, 7, 9]
    assert ids("kind in $null") == [10]
    assert ids("kind in $search") == [1, 3, 5, 7, 9]
    assert ids("n in $range and kind in $org and '%' <> '$one'") == [3, 4, 5]
    assert ids("_received_at in $period") == [0, 1, 2, 3, 4, 10]
    assert ids("n = $one") == [7]
    grouped = splice("SELECT date_trunc($period.grain, _received_at), count(*) FROM shop.orders WHERE _received_at in "
                     "$period GROUP BY 1 ORDER BY 1", filters, "postgres")  # fmt: skip
    assert [count for _, count in asked(warehouse, grouped.text, grouped.values)] == [2, 1, 1, 1, 1]


def test_one_scan_on_postgres(warehouse: PostgresWarehouse) -> None:
    hours = [datetime(2026, 11, 23, hour, tzinfo=UTC) for hour in range(10, 20)]
    filters: dict[str, Choice] = {"period": Span(hours[5], hours[9], "hour")}
    sql = "SELECT sum(n) FILTER (WHERE n > 0) / 1.0 FROM shop.orders WHERE _received_at in $period"
    spliced = one_scan(sql, filters, "period", Span(hours[1], hours[4]), "postgres")
    assert spliced is not None
    found = scanned(asked(warehouse, spliced.text, spliced.values))
    assert (found.value, found.previous, found.previous_first) == (5 + 6 + 7 + 8, 1 + 2 + 3, hours[1])
    assert [(at, int(value)) for at, value in found.points] == list(zip(hours[5:9], [5, 6, 7, 8], strict=True))
