from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchment.listen.cast import Kind, cast


@pytest.mark.parametrize(
    ("value", "kind", "found"),
    [
        ("17", "integer", 17),
        (" -17 ", "integer", -17),
        ("9007199254740993", "integer", 9007199254740993),
        (17.0, "integer", 17),
        (17.5, "integer", 17.5),
        (True, "integer", 1),
        ("17.5", "integer", "17.5"),
        ("many", "integer", "many"),
        ("１７", "integer", "１７"),
        ("99.50", "number", 99.5),
        ("1e3", "number", 1000.0),
        ("17", "number", 17),
        ("1e999", "number", "1e999"),
        ("nan", "number", "nan"),
        ([1], "number", [1]),
        ("yes", "boolean", True),
        ("F", "boolean", False),
        (0, "boolean", False),
        (2, "boolean", 2),
        ("maybe", "boolean", "maybe"),
        (17, "text", "17"),
        (False, "text", "false"),
        ({"a": 1}, "text", '{"a":1}'),
        ("as it is", "text", "as it is"),
        (1795428000, "time", "2026-11-23T10:00:00.000000Z"),
        (1795428000.25, "time", "2026-11-23T10:00:00.250000Z"),
        (1795428000123, "time", "2026-11-23T10:00:00.123000Z"),
        (1795428000123456, "time", "2026-11-23T10:00:00.123456Z"),
        (1795428000123456789, "time", "2026-11-23T10:00:00.123456Z"),
        ("1795428000", "time", "2026-11-23T10:00:00.000000Z"),
        ("2026-11-23 10:00", "time", "2026-11-23T10:00:00.000000Z"),
        ("2026-11-23T10:00:00+02:00", "time", "2026-11-23T08:00:00.000000Z"),
        ("0001-01-01T00:00:00+14:00", "time", "0001-01-01T00:00:00+14:00"),
        ("soon", "time", "soon"),
        (1e300, "time", 1e300),
        ('{"a": [1]}', "json", {"a": [1]}),
        ("{", "json", "{"),
        (None, "time", None),
    ],
)
def test_casts(value: Any, kind: Kind, found: Any) -> None:
    result = cast(value, kind)
    assert result == found
    assert type(result) is type(found)


@given(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.lists(st.integers())),
    st.sampled_from(["text", "integer", "number", "boolean", "time", "json"]),
)
def test_whatever_comes_nothing_is_raised_and_twice_is_once(value: Any, kind: Kind) -> None:
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        return
    once = cast(value, kind)
    json.dumps(once)
    if kind != "json":  # what is JSON within JSON is read once more
        assert cast(once, kind) == once
