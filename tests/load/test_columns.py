"""Field names become column names: one a field, whatever they are, and every one usable in a real warehouse."""

from __future__ import annotations

import re

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchment.naming import MAX_NAME_BYTES, snake_case
from catchment.warehouses.columns import column_name
from catchment.warehouses.quoting import name
from catchment.warehouses.shape import METADATA


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("userId", "user_id"),
        ("User ID", "user_id"),
        ("HTTPServer", "http_server"),
        ("already_snake", "already_snake"),
        ("Größe", "groe"),
        ("é", "e"),
        ("a.b-c", "a_b_c"),
        ("  x  ", "x"),
        ("_private", "_private"),
        ("2nd", "_2nd"),
        ("", "field"),
        ("___", "field"),
        ("日本", "field"),
        ("select", "select"),
        ("utm_Source2Name", "utm_source2_name"),
    ],
)
def test_snake_case(field: str, expected: str) -> None:
    assert snake_case(field) == expected


def test_a_name_that_is_taken_gets_a_hash_of_the_field() -> None:
    first = column_name("userId", [])
    second = column_name("user_id", [first])
    assert first == "user_id"
    assert re.fullmatch(r"user_id_[0-9a-f]{8}", second)
    assert second == column_name("user_id", [first, "something", "else"])


@pytest.mark.parametrize("field", METADATA)
def test_metadata_keeps_its_names(field: str) -> None:
    assert column_name(field, []) not in METADATA


def test_long_names_that_begin_alike_are_told_apart() -> None:
    one, two = (column_name("x" * 200 + end, []) for end in "ab")
    assert one != two
    assert {len(one), len(two)} == {MAX_NAME_BYTES}


FIELDS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["userId", "user_id", "USER_ID", "user id", "_id", "_ID", "_Id", "select", "", "x" * 70, "x" * 71]
    ),
    st.text("aAbB_ 1é", max_size=4),
)


@given(st.lists(FIELDS, max_size=30, unique=True))
@settings(max_examples=300, deadline=None)
def test_the_mapping_is_injective(fields: list[str]) -> None:
    taken: dict[str, str] = {}
    for field in fields:
        column = column_name(field, taken.keys())
        assert re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", column)
        assert column not in METADATA
        assert column not in taken
        assert column == column_name(field, list(taken))
        taken[column] = field


@given(st.lists(FIELDS, min_size=1, max_size=20, unique=True))
@settings(max_examples=40, deadline=None)
def test_every_name_is_a_column_in_duckdb(fields: list[str]) -> None:
    names: list[str] = []
    for field in fields:
        names.append(column_name(field, names))
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t ({', '.join(f'{name(each)} BIGINT' for each in (*METADATA, *names))})")
        connection.execute(f"SELECT {', '.join(map(name, names))} FROM t")


def test_reserved_words_are_columns() -> None:
    with duckdb.connect() as connection:
        words = [word for (word,) in connection.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall()]
        names: list[str] = []
        for word in words:
            names.append(column_name(word, names))
        connection.execute(f"CREATE TABLE t ({', '.join(f'{name(each)} BIGINT' for each in names)})")
