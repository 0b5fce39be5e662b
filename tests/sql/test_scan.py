"""A number, the one before it and its course out of one scan: the same as the plain queries say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchment.sql.choices import Choice, Equal, Span
from catchment.sql.scan import one_scan, scanned
from catchment.sql.splice import splice

MIDNIGHT = datetime(2026, 11, 1, tzinfo=UTC)
PERIOD = Span(MIDNIGHT, MIDNIGHT + timedelta(days=2), "day")
BEFORE = Span(MIDNIGHT - timedelta(days=2), MIDNIGHT - timedelta(hours=11))

EXPRESSIONS = [
    "count(*)",
    "count(n)",
    "count(distinct kind)",
    "sum(n)",
    "median(n) / 2 as half",
    "100.0 * (count(*) filter (n >= 5) - count(*) filter (where n < 2)) / count(*)",
    "avg((n <= 3)::int) total",
    "max(date_diff('second', ts, timestamptz '2026-11-05 00:00:00Z'))",
    "round(sum(case when kind = 'a' then n end), 1)",
    "quantile_cont(n, 0.9)",
    "arg_max(kind, ts)",
    "count(*) * 1.0 / (select count(*) from t)",
    "coalesce(sum(n), 0)",
]
CONDITIONS = [
    "ts in $period",
    "ts in ($period) and kind in $kind",
    "kind in $kind and n between 0 and 8 and ts in $period and true",
    "case when kind is null then false else n >= 0 end and (kind = 'a' or n > 1) and ts in $period -- and no more",
    "(ts at time zone 'UTC' at time zone /* there */ 'UTC') in $period",
    "ts in $period and not (n > 7 or kind is null)",
]


def test_what_is_sent() -> None:
    filters: dict[str, Choice] = {"period": PERIOD, "kind": Equal(("a",), many=True)}
    found = one_scan(
        "select count(*) -- all\nfrom t where ts in $period and kind in $kind;", filters, "period", BEFORE
    )
    assert found is not None
    assert found.text == (
        "select count(*) -- all\n"
        ", case when ts >= $scan_start then 1 else 0 end, date_trunc($scan_grain, ts), min(ts) "
        "from t where (ts >= $scan_before_start and ts < $scan_end "
        "and (ts < $scan_before_end or ts >= $scan_start)) and kind in ($kind_0)\n"
        "group by grouping sets ((2), (2, 3)) order by 2, 3 nulls first"
    )
    assert found.values == {
        "scan_start": PERIOD.start, "scan_grain": "day", "scan_before_start": BEFORE.start, "scan_end": PERIOD.end,
        "scan_before_end": BEFORE.end, "kind_0": "a",
    }  # fmt: skip
    assert found.used == {"period", "kind"}


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from t where ts in $period or n = 1",
        "select count(*) from t where not ts in $period",
        "select count(*) from t where ts not in $period",
        "select count(*) from t where (ts in $period or n = 1)",
        "select count(*) from t where ts in $period group by kind",
        "select count(*) from t where ts in $period having count(*) > 1",
        "select count(*) from t where ts in $period limit 1",
        "select count(*) from t where ts in $period union select 1",
        "select count(*) from (select * from t where ts in $period)",
        "with u as (select * from t where ts in $period) select count(*) from u",
        "select count(*) from t where ts in $period and n > (select avg(n) from t where ts in $period)",
        "select count(*) / date_diff('day', $period.start, $period.end) from t where ts in $period",
        "select count(*) filter (ts in $period) from t where n = 1",
        "select n from t where ts in $period",
        "select n + max(n) from t where ts in $period",
        "select 1 from t where ts in $period",
        "select sum(n) over () from t where ts in $period",
        "select unnest([count(*)]) from t where ts in $period",
        "select distinct count(*) from t where ts in $period",
        "select count(*), max(n) from t where ts in $period",
        "select count(*) from t using sample 5 where ts in $period",
        "from t select count(*) where ts in $period",
        "select count(*) from t where ts in $period = true",
        "select count(*) from t; select count(*) from t where ts in $period",
        "select approximate count(distinct n) x y from t where ts in $period",
        "select count(*) from t",
    ],
)
def test_other_forms_go_plainly(sql: str) -> None:
    assert one_scan(sql, {"period": PERIOD}, "period", BEFORE) is None


def test_a_period_without_bounds_goes_plainly() -> None:
    sql = "select count(*) from t where ts in $period"
    assert one_scan(sql, {"period": Span(grain="day")}, "period", BEFORE) is None
    assert one_scan(sql, {"period": PERIOD}, "period", Span()) is None


ROWS = st.lists(
    st.tuples(
        st.integers(-60, 60).map(lambda hours: MIDNIGHT + timedelta(hours=hours)) | st.none(),
        st.integers(0, 9) | st.none(),
        st.sampled_from(["a", "b", None]),
    ),
    max_size=25,
)
_database = duckdb.connect()
_database.execute("SET TimeZone = 'UTC'")


@settings(max_examples=60, deadline=None)
@given(ROWS, st.sampled_from(EXPRESSIONS), st.sampled_from(CONDITIONS), st.sampled_from([(), ("a",), ("b", "a")]))
def test_one_scan_says_what_plain_queries_say(
    rows: list[tuple[Any, ...]], expression: str, condition: str, kinds: tuple[str, ...]
) -> None:
    _database.execute("CREATE OR REPLACE TABLE t (ts TIMESTAMPTZ, n INTEGER, kind VARCHAR)")
    if rows:
        _database.executemany("INSERT INTO t VALUES ($1, $2, $3)", rows)
    sql = f"select {expression} from t where {condition}"
    filters: dict[str, Choice] = {"period": PERIOD, "kind": Equal(kinds, many=True)}

    def plainly(span: Span, column: str = "") -> list[tuple[Any, ...]]:
        written = sql.replace("select ", f"select {column}", 1) + ("\ngroup by 1 order by 1" if column else "")
        spliced = splice(written, filters | {"period": span})
        return _database.execute(spliced.text, spliced.values).fetchall()

    spliced = one_scan(sql, filters, "period", BEFORE)
    assert spliced is not None
    found = scanned(_database.execute(spliced.text, spliced.values).fetchall())
    how_many = splice(f"select count(*), min(ts) from t where {condition}", filters | {"period": BEFORE})
    [(counted, first)] = _database.execute(how_many.text, how_many.values).fetchall()
    [(value,)] = plainly(PERIOD)
    [(previous,)] = plainly(BEFORE)
    points = plainly(PERIOD, "date_trunc('day', ts), ")
    assert found.is_empty == (not points)
    assert found.is_empty or found.value == value
    assert (found.previous, found.previous_first) == ((previous, first) if counted else (None, None))
    assert list(found.points) == points
