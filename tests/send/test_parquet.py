"""Parquet: each type's JSON, as the table in the module has it."""

from __future__ import annotations

import base64
from pathlib import Path

import duckdb
import msgspec
import pytest

from catchment.errors import UsageError
from tests.send.harness import send_as


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A name that DuckDB would take for a pattern, and another file that fits it."""
    write(tmp_path / "odd other 'name.parquet", "SELECT 'wrong' AS file")
    return tmp_path / "odd *'name.parquet"


def write(path: Path, select: str) -> Path:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.sql(select).write_parquet(str(path))
    return path


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("true", b"true"),
        ("42::TINYINT", b"42"),
        ("18446744073709551615::UBIGINT", b"18446744073709551615"),
        ("7.50::DECIMAL(5,2)", b"7.50"),
        ("-1234567890123456789012345678.1234567890::DECIMAL(38,10)", b"-1234567890123456789012345678.1234567890"),
        ("0.1::DOUBLE", b"0.1"),
        ("0.1::FLOAT", b"0.10000000149011612"),
        ("'nan'::DOUBLE", b'"nan"'),
        ("'-inf'::FLOAT", b'"-inf"'),
        ("'2024-01-01 10:00:00.123456+02'::TIMESTAMPTZ", b'"2024-01-01T08:00:00.123456Z"'),
        ("'2024-01-01 10:00:00'::TIMESTAMP", b'"2024-01-01 10:00:00"'),
        ("'2024-01-01 10:00:00.123456789'::TIMESTAMP_NS", b'"2024-01-01 10:00:00.123456789"'),
        ("'infinity'::TIMESTAMPTZ", b'"infinity"'),
        ("'2024-02-29'::DATE", b'"2024-02-29"'),
        ("'10:00:00.5'::TIME", b'"10:00:00.5"'),
        ("'c6255c57-cc40-46d0-befe-819aa188301b'::UUID", b'"c6255c57-cc40-46d0-befe-819aa188301b"'),
        ("'\\x00\\xFF'::BLOB", b'"' + base64.b64encode(b"\x00\xff") + b'"'),
        ("'a\"\\' || chr(10) || 'é'", '"a\\"\\\\\\né"'.encode()),
        ("NULL::INTEGER", b"null"),
        ('\'{"a": 1.50, "b":\n12345678901234567890123.5}\'::JSON', b'{"a":1.50,"b":12345678901234567890123.5}'),
        ("[1, NULL, 3]", b"[1,null,3]"),
        ("[]::INTEGER[]", b"[]"),
        ("[['nan'::DOUBLE], NULL]", b'[["nan"],null]'),
        ("{'a': 7.50::DECIMAL(5,2), 'b''\"': [{'c': '\\xFF'::BLOB}]}", b'{"a":7.50,"b\'\\"":[{"c":"/w=="}]}'),
        ("MAP {'k': 'inf'::DOUBLE, 'l': NULL}", b'{"k":"inf","l":null}'),
        ("MAP {'2024-01-01'::DATE: [1]}", b'{"2024-01-01":[1]}'),
        ("MAP {}::MAP(VARCHAR, INTEGER)", b"{}"),
    ],
)
def test_types(path: Path, sql: str, expected: bytes) -> None:
    outcome = send_as("parquet", write(path, f"""SELECT 1 AS n, {sql} AS "x""'y" """))
    assert outcome.letters == []
    assert outcome.raw == [b'{"n":1,"x\\"\'y":' + expected + b"}"]


def test_many_rows_keep_their_order_and_ids(path: Path) -> None:
    outcome = send_as("parquet", write(path, "SELECT range AS n, 'row ' || range AS name FROM range(12_345)"))
    assert [row["n"] for row in outcome.rows] == list(range(12_345))
    assert [int(str(each).split(":")[1]) for each in outcome.ids] == list(range(1, 12_346))


def test_ids_from_a_field(path: Path) -> None:
    write(path, "SELECT * FROM (VALUES (1, 'a'), (2, NULL), (3, '')) AS t(n, name)")
    outcome = send_as("parquet", path, "name")
    assert outcome.ids == ["a"]
    assert len(outcome.letters) == 2
    assert msgspec.json.decode(base64.b64decode(outcome.letters[0]["bytes"])) == {"n": 2, "name": None}
    with pytest.raises(UsageError, match="no field 'other' for --id"):
        send_as("parquet", path, "other")


def test_an_empty_one(path: Path) -> None:
    assert send_as("parquet", write(path, "SELECT 1 AS n WHERE false")).rows == []


@pytest.mark.parametrize("content", [b"", b"PAR1 and nothing more", b"a,b\n1,2\n"])
def test_what_is_no_parquet(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        send_as("parquet", path)
    assert path.name in caught.value.message
    assert "data.parquet" not in caught.value.message
