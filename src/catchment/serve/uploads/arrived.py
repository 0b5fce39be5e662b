"""What became of a file's rows in the warehouse: they are told by their ids, which begin with the file's hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from catchment.record import DEAD_LETTERS
from catchment.warehouses import Warehouse
from catchment.warehouses.quoting import table_name
from catchment.warehouses.rows import each_row

_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Arrived:
    """Of what was sent: `rows` stand in the table, and the loader made `dead_letters` of others. The rest had come
    before, was replaced by later rows of the same key, or, where the table `is_there` not, found no room."""

    rows: int
    dead_letters: int
    is_there: bool = True


def arrived(warehouse: Warehouse, table: str, source: str, digest: str, since: datetime) -> Arrived:
    """The rows of one file that were received from `since` on. Raises as `Warehouse.query`."""
    ids = f"{digest}:"
    is_there = warehouse.shape(table).version > 0
    letters = _count(
        warehouse,
        f"SELECT count(*) FROM {table_name(DEAD_LETTERS)} WHERE _received_at >= $4 AND table_name = $1 "
        "AND record_source = $2 AND starts_with(record_id, $3)",
        [table, source, ids, since],
    )
    if not is_there:
        return Arrived(0, letters, is_there=False)
    rows = _count(
        warehouse,
        f"SELECT count(*) FROM {table_name(table)} WHERE _received_at >= $3 AND _source = $1 AND starts_with(_id, $2)",
        [source, ids, since],
    )
    return Arrived(rows, letters)


def has_any(warehouse: Warehouse, table: str, source: str, ids: Sequence[str]) -> bool:
    """Whether the table has a row of one of these ids. Raises as `Warehouse.query`."""
    places = ", ".join(f"${at}" for at in range(2, len(ids) + 2))
    sql = f"SELECT count(*) FROM {table_name(table)} WHERE _source = $1 AND _id IN ({places})"
    return _count(warehouse, sql, [source, *ids]) > 0


def _count(warehouse: Warehouse, sql: str, params: list[Any]) -> int:
    [(count,)] = each_row(warehouse.query(sql, params, timeout_s=_TIMEOUT_S))
    return int(count)
