"""Types from whole columns: canonical texts alone, so that every text can be had back from its value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchment.sniff import Column, is_pointed, is_whole


def type_of(*values: str | None) -> str:
    column = Column()
    for value in values:  # one at a time: the order and the cut must not matter
        column.add([value])
    whole = Column()
    whole.add(values)
    assert column.type == whole.type
    return column.type


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "-2", "0"], "bigint"),
        (["9223372036854775807", "-9223372036854775808"], "bigint"),
        (["9223372036854775808"], "varchar"),
        (["-9223372036854775809"], "varchar"),
        (["0412"], "varchar"),
        (["1_000"], "varchar"),
        (["1,000"], "varchar"),
        (["+1"], "varchar"),
        (["-0"], "varchar"),
        ([" 1"], "varchar"),
        (["1\n"], "varchar"),
        (["١٢"], "varchar"),  # digits, but not ASCII ones
        (["1", "x"], "varchar"),
        (["1", None, "2"], "bigint"),
        (["1", ""], "varchar"),  # an empty text is a value; a null is none
        ([None, None], "varchar"),
        ([], "varchar"),
        (["7.50"], "varchar"),
        (["7.5"], "double"),
        (["1e5"], "varchar"),
        (["1e+16"], "double"),
        (["100000.0"], "double"),
        ([".5"], "varchar"),
        (["5."], "varchar"),
        (["-0.0"], "double"),
        (["0.1", "0.30000000000000004"], "double"),
        (["0.1000000000000000055511151231257827"], "varchar"),
        (["nan"], "varchar"),
        (["inf"], "varchar"),
        (["Infinity"], "varchar"),
        (["1e999"], "varchar"),
        (["1", "2.5"], "double"),  # as R and JavaScript write doubles
        (["1.0", "2.5"], "double"),  # as Python does
        (["1", "1.0"], "varchar"),  # both at once: two texts of one value
        (["9007199254740992", "0.5"], "double"),
        (["9007199254740993", "0.5"], "varchar"),
        (["true", "false"], "boolean"),
        (["True"], "varchar"),
        (["true", "1"], "varchar"),
        (["t"], "varchar"),
        (["2013-01-01T10:00:00Z", "2013-01-01T10:00:00.123456+02:00"], "timestamptz"),
        (["2013-01-01T10:00:00"], "varchar"),
        (["2013-01-01 10:00:00Z"], "varchar"),
        (["2013-02-30T10:00:00Z"], "varchar"),
        (["2013-01-01T10:00:00.1234567Z"], "varchar"),
        (["2013-01-01"], "varchar"),
    ],
)
def test_types(values: list[str | None], expected: str) -> None:
    assert type_of(*values) == expected
    assert type_of(*reversed(values)) == expected


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_every_64_bit_integer_is_one(numbers: list[int]) -> None:
    assert type_of(*map(str, numbers)) == "bigint"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_every_finite_double_is_one(numbers: list[float]) -> None:
    assert type_of(*map(repr, numbers)) == "double"


@given(st.text("0123456789_.eE+-", max_size=10))
def test_what_is_typed_can_be_written_back(text: str) -> None:
    """No two texts of a typed column have the same value."""
    if type_of(text) == "bigint":
        assert str(int(text)) == text
    if type_of(text) == "double":
        assert repr(float(text)) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_one_way_of_writing_whole_numbers_at_a_time(number: float) -> None:
    assert is_pointed(repr(number))
    assert is_whole(repr(number)) == (not repr(number).endswith(".0"))
