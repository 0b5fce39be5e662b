"""Nested objects as columns of one row: `{"page": {"url": …}}` becomes `page_url`, as in Segment's warehouse.

What a limit turns away is not lost: it goes into `rescued`, by the path that the client sent it under. A null is no
column, as there; arrays stay as they are, and become JSON columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from catchment.naming import identifier

_LONGEST_CACHED_NAME = 100
_MAX_CACHED_NAMES = 10_000
_MAX_PREFIXES = 500
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**63 - 1

_columns: dict[str, dict[str, str]] = {}
"""By prefix and name, the columns of names that come often."""


_NONE: dict[str, str] = {}


def column(name: str, prefix: str = "") -> str:
    """The name as an identifier behind a prefix. Whatever strangers invent, no more than so many are remembered."""
    found = prefix + identifier(name)
    known = _columns.get(prefix)
    if known is None:
        if len(_columns) >= _MAX_PREFIXES or len(prefix) > _LONGEST_CACHED_NAME:
            return found
        known = _columns[prefix] = {}
    if len(name) <= _LONGEST_CACHED_NAME and len(known) < _MAX_CACHED_NAMES:
        known[name] = found
    return found


class Limits(msgspec.Struct, frozen=True, gc=False):
    """What becomes columns: objects so deep, so many columns, texts of so many characters."""

    depth: int
    columns: int
    string_chars: int


def flatten(
    prefix: str,
    values: Mapping[str, Any],
    limits: Limits,
    row: dict[str, Any],
    rescued: dict[str, Any],
    path: str,
    depth: int = 1,
) -> None:
    """Add the values to `row` as columns whose names begin with `prefix`, and to `rescued`, under their `path`, what
    cannot be one: a name that is taken, a value beyond the limits."""
    columns = _columns.get(prefix, _NONE)
    longest = limits.string_chars
    has_room = len(row) + len(values) <= limits.columns
    for name, value in values.items():
        kind = type(value)
        if kind is str:
            fits = len(value) <= longest
        elif kind is dict:
            if depth < limits.depth:
                below = (columns.get(name) or column(name, prefix)) + "_"
                flatten(below, value, limits, row, rescued, f"{path}.{name}", depth + 1)
                has_room = len(row) + len(values) <= limits.columns
            else:
                rescued[f"{path}.{name}"] = value
            continue
        elif value is None:
            continue
        else:
            fits = kind is not int or _MIN_INTEGER <= value <= _MAX_INTEGER
        target = columns.get(name) or column(name, prefix)
        if fits and (has_room or len(row) < limits.columns or target in row):
            there = row.setdefault(target, value)
            if there is value or (kind is str and there == value):  # SDKs repeat a page's name among its properties
                continue
        rescued[f"{path}.{name}"] = value
