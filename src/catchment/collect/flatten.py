"""Nested objects as columns of one row: `{"page": {"url": …}}` becomes `page_url`, as in Segment's warehouse.

What a limit turns away is not lost: it goes into `rescued`, by the path that the client sent it under. A null is no
column, as there; arrays stay as they are, and become JSON columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from catchment.naming import identifier

_LONGEST_CACHED_NAME = 100
_MAX_CACHED_NAMES = 50_000
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**63 - 1

_names: dict[str, str] = {}


def column(name: str) -> str:
    """The name as an identifier; those that come often are remembered, whatever strangers invent."""
    known = _names.get(name)
    if known is None:
        known = identifier(name)
        if len(name) <= _LONGEST_CACHED_NAME and len(_names) < _MAX_CACHED_NAMES:
            _names[name] = known
    return known


@dataclass(frozen=True, slots=True)
class Limits:
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
) -> None:
    """Add the values to `row` as columns whose names begin with `prefix`, and to `rescued`, under their `path`, what
    cannot be one: a name that is taken, a value beyond the limits."""
    _flatten(prefix, values, limits, row, rescued, path, 1)


def _flatten(
    prefix: str,
    values: Mapping[str, Any],
    limits: Limits,
    row: dict[str, Any],
    rescued: dict[str, Any],
    path: str,
    depth: int,
) -> None:
    for name, value in values.items():
        if value is None:
            continue
        found = _names.get(name)
        target = prefix + (column(name) if found is None else found)
        kind = type(value)
        if kind is dict:
            if depth < limits.depth:
                _flatten(target + "_", value, limits, row, rescued, f"{path}.{name}", depth + 1)
            else:
                rescued[f"{path}.{name}"] = value
        elif target in row:
            if row[target] != value:  # SDKs repeat a page's name among its properties
                rescued[f"{path}.{name}"] = value
        elif (
            len(row) >= limits.columns
            or (kind is str and len(value) > limits.string_chars)
            or (kind is int and not _MIN_INTEGER <= value <= _MAX_INTEGER)
        ):
            rescued[f"{path}.{name}"] = value
        else:
            row[target] = value
