"""What a loaded table says, independent of how its columns came about: the measure of *equal by content*."""

from __future__ import annotations

import json
import warnings
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from catchment.load.values import moment
from catchment.warehouses import Warehouse
from catchment.warehouses.quoting import name, table_name
from catchment.warehouses.rows import rows_of

Identity = tuple[str, str]


def content(warehouse: Warehouse, table: str) -> dict[Identity, dict[str, Any]]:
    """By (source, id): each field's value, read from columns and `_rescued`, nulls left out.

    Two tables are equal by content when these are equal. Raises `AssertionError` for a row that is there twice.
    """
    columns = warehouse.shape(table).columns
    selected = "".join(f", {name(column.name)}" for column in columns)
    found: dict[Identity, dict[str, Any]] = {}
    for source, identity, rescued, *values in rows(
        warehouse, f"SELECT _source, _id, _rescued{selected} FROM {table_name(table)}"
    ):
        assert (source, identity) not in found, f"{source}/{identity} is in {table} twice"
        row = {
            column.field: json.loads(value) if column.type == "json" else value
            for column, value in zip(columns, values, strict=True)
            if value is not None
        }
        row |= json.loads(rescued) if rescued else {}
        found[source, identity] = {field: canonical(value) for field, value in row.items()}
    return found


def canonical(value: Any) -> Any:
    """A value such that what the type ladder calls the same is equal: 3 and 3.0, an instant in any zone."""
    match value:
        case str() if moment(json.dumps(value).encode()) is not None:
            return datetime.fromisoformat(value).astimezone(UTC)
        case datetime():
            return value.astimezone(UTC)
        case float() if value.is_integer():
            return int(Decimal(repr(value)))  # as its digits say, which is what a JSON column of PostgreSQL keeps
        case list():
            return [_inside(each) for each in value]
        case dict():
            return {field: _inside(each) for field, each in value.items()}
        case bool():
            return ("a boolean", value)  # which Python calls equal to a number
    return value


def _inside(value: Any) -> Any:
    """Inside JSON, times are text."""
    return value if isinstance(value, str) else canonical(value)


def rows(warehouse: Warehouse, sql: str) -> list[tuple[Any, ...]]:
    """A query's rows as Python values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nanoarrow says that it reads JSON columns as text
        return rows_of(warehouse, sql)
