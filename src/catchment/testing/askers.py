"""What every warehouse does with queries of people: a part of its conformance suite."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from catchment.errors import CatchmentError, Retry, UsageError
from catchment.testing.batches import TABLE, add, load, row
from catchment.warehouses import Asker, LatestView, Warehouse
from catchment.warehouses.rows import each_row

ENDLESS = (
    "SELECT count(*) FROM generate_series(1, 1000000) AS a(i), generate_series(1, 1000000) AS b(j) "
    "WHERE (a.i + b.j) % 7 = 3"
)
NOT_FOR_PEOPLE = (
    f"DELETE FROM {TABLE}",
    f"SELECT 1; DELETE FROM {TABLE}",
    f"WITH gone AS (DELETE FROM {TABLE} RETURNING *) SELECT * FROM gone",
    f"EXPLAIN ANALYZE DELETE FROM {TABLE}",
    f"COPY {TABLE} TO '/tmp/copied.csv'",
    "SELECT 1; SELECT 2",
    "SET TimeZone = 'UTC'",
    "SELECT * FROM pg_settings",
    "SELECT pg_sleep(0)",
    "SELECT nextval('ids')",
    "SELECT no_such_function()",
    "SELECT * FROM no.such_table",
    "BEGIN",
    "",
)
FOR_PEOPLE = (
    "WITH a AS (SELECT n, row_number() OVER (ORDER BY n) AS k FROM {t}) SELECT count(*), max(k) FROM a",
    "SELECT coalesce(sum(n), 0), cast(count(DISTINCT n) AS varchar), lower('A') || 'b' FROM {t} HAVING true",
    "SELECT * FROM (VALUES (1, 'a'), (2, NULL)) AS v(x, y) WHERE y IS NULL OR x IN (1, 3) ORDER BY 1 LIMIT 1",
    "SELECT date_trunc('day', _received_at), extract(hour FROM _received_at) FROM {t}",
    "SELECT i FROM generate_series(1, 3) AS g(i) UNION ALL SELECT CASE WHEN random() < 2 THEN 4 END",
    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop'",
    "EXPLAIN SELECT * FROM {t}",
    "EXPLAIN ANALYZE SELECT * FROM {t}",
)


def asked(warehouse: Warehouse, sql: str, params: Any = None, **asker: str) -> list[tuple[Any, ...]]:
    """The rows that a person gets."""
    with closing(warehouse.query(sql, params, asker=Asker(**asker))) as stream:
        return list(each_row(stream))


class AskerConformance:
    """For a `warehouse` (empty)."""

    def test_a_person_may_read_and_reckon(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1", n=7)], add(n="bigint"))
        for sql in FOR_PEOPLE:
            assert asked(warehouse, sql.format(t=TABLE)), sql

    def test_a_person_may_do_nothing_else(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1", n=7)], add(n="bigint"))
        for sql in NOT_FOR_PEOPLE:
            with pytest.raises(UsageError):
                pytest.fail(f"{sql}: {asked(warehouse, sql)}")
        assert asked(warehouse, f"SELECT n FROM {TABLE}") == [(7,)]

    def test_a_persons_values_are_bound_by_name(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1", n=7, name="x' OR 1 = 1 --")], add(n="bigint", name="varchar"))
        sql = f"SELECT n FROM {TABLE} WHERE name IN ($a_0, $a_1) AND n >= $n AND '$b' <> $$ $c $$ -- $d"
        assert asked(warehouse, sql, {"a_0": "x' OR 1 = 1 --", "a_1": "", "n": 7}) == [(7,)]
        assert asked(warehouse, sql, {"a_0": "x", "a_1": "' OR true OR '", "n": 7}) == []
        assert asked(warehouse, f"SELECT n FROM {TABLE} WHERE n % 2 = 1 AND name LIKE $p", {"p": "%%' --"}) == []

    def test_a_view_is_read_as_a_table_is(self, warehouse: Warehouse) -> None:
        load(warehouse, [row("1", user="u", n=7)], add(user="varchar", n="bigint"))
        warehouse.latest_view(LatestView("shop.latest", TABLE, "user", "id", "_received_at"))
        assert asked(warehouse, "SELECT id, n FROM shop.latest") == [("u", 7)]

    def test_a_query_runs_in_its_zone_alone(self, warehouse: Warehouse) -> None:
        hour = "SELECT cast(extract(hour FROM timestamp '2026-01-01 00:00:00' AT TIME ZONE 'UTC') AS integer)"
        assert asked(warehouse, hour, zone="Asia/Kolkata") == [(5,)]
        assert asked(warehouse, hour, zone="America/New_York") == [(19,)]
        assert asked(warehouse, hour) == [(0,)]
        with pytest.raises(UsageError, match="Nowhere"):
            asked(warehouse, hour, zone="Nowhere/'; --")

    def test_a_query_is_ended_by_its_id(self, warehouse: Warehouse) -> None:
        assert not warehouse.cancel("one")
        ended: list[BaseException] = []

        def read() -> None:
            try:
                asked(warehouse, ENDLESS, query_id="one")
            except CatchmentError as error:
                ended.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        _until(lambda: warehouse.cancel("one"))
        reader.join(30)
        assert not reader.is_alive()
        assert [(type(error), str(error)) for error in ended] == [(Retry, "the query was cancelled")]
        _until(lambda: not warehouse.cancel("one"))
        assert asked(warehouse, "SELECT 1", query_id="one") == [(1,)]

    def test_two_queries_that_run_have_two_ids(self, warehouse: Warehouse) -> None:
        with closing(warehouse.query(ENDLESS, asker=Asker("one"))) as stream:
            with pytest.raises(UsageError, match="running already"):
                asked(warehouse, "SELECT 1", query_id="one")
            assert asked(warehouse, "SELECT 1", query_id="two") == [(1,)]
            stream.close()
        _until(lambda: not warehouse.cancel("one"))
        assert asked(warehouse, "SELECT 1", query_id="one") == [(1,)]


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
