"""A result's values are exactly those of the warehouse."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchment.errors import UsageError
from catchment.serve.results import Result, read
from catchment.serve.tiles import tables
from tests.serve.streams import Stream


def asked(sql: str, max_rows: int = 100) -> Result:
    return read(Stream(sql), max_rows)


def test_values_of_every_kind() -> None:
    result = asked(
        """
        SELECT 9007199254740993::BIGINT AS big, -1.25::DECIMAL(38, 9) AS exact,
          TIMESTAMPTZ '2026-11-01 08:00:00+00' AS at, DATE '2026-11-01' AS day, 'a''b' AS text, true AS flag,
          [1, 2] AS list, {'a': 1} AS struct, NULL::INT AS nothing
        """
    )
    assert [column.kind for column in result.columns] == [
        "number", "number", "time", "date", "text", "bool", "json", "json", "number",
    ]  # fmt: skip
    assert result.rows == (
        (
            9007199254740993, Decimal("-1.250000000"), datetime(2026, 11, 1, 8, tzinfo=UTC), date(2026, 11, 1),
            "a'b", True, "[1, 2]", '{"a": 1}', None,
        ),
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.none(),
            st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**28), max_value=10**28),
        ),
        max_size=20,
    )
)
def test_decimals_keep_sign_and_digits(values: list[Decimal | None]) -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (nth INT, d DECIMAL(38, 9))")
        for at, value in enumerate(values):
            connection.execute(
                "INSERT INTO t VALUES (?, ?::DECIMAL(38, 9))", [at, None if value is None else str(value)]
            )
        found = read(Stream("SELECT d FROM t ORDER BY nth", connection), 100)
    assert [row[0] for row in found.rows] == values


def test_no_more_rows_than_wanted_and_it_says_so() -> None:
    cut = asked("SELECT * FROM range(100000)", max_rows=10)
    assert (len(cut.rows), cut.is_cut) == (10, True)
    whole = asked("SELECT * FROM range(10)", max_rows=10)
    assert (len(whole.rows), whole.is_cut) == (10, False)


def test_the_stream_is_closed() -> None:
    stream = Stream("SELECT 1")
    read(stream, 10)
    assert stream.is_closed


@pytest.mark.parametrize(
    "sql", ["SELECT 'abc'::VARCHAR WHERE 'abc'::BOOL", "SELECT if(i > 40_000, 'a', '1')::INT FROM range(50_000) t(i)"]
)
def test_what_fails_while_it_runs_says_why(sql: str) -> None:
    stream = Stream(sql)
    with pytest.raises(UsageError, match="Could not convert string"):
        read(stream, 100_000)
    assert stream.is_closed


@pytest.mark.parametrize(
    ("values", "digits"),
    [
        ([11.4, 10.18, 7.0, None], 2),
        ([0.834, 1.0], 3),
        ([3.0, 4.0], 0),
        ([0.1, 0.12345], 0),
        ([1e-9, 0.5], 0),
        ([float("inf"), float("nan"), 0.5], 0),
        ([1, "a", Decimal("1.25")], 0),
    ],
)
def test_points_of_a_column_stand_below_each_other(values: list[object], digits: int) -> None:
    assert tables.places(values) == digits
    assert tables.padded("11.4", 2) == "11.40"
    assert tables.padded("7", 2) == "7.00"
    assert tables.padded("-1,234.5", 3) == "-1,234.500"
