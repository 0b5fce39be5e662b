"""Batches of stamped records, made by hand: what the warehouses' conformance suite loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import msgspec

from catchment.pack import build
from catchment.record import Line, timestamp
from catchment.testing.content import rows
from catchment.warehouses import Batch, Rows, Warehouse
from catchment.warehouses.shape import AddColumn, Change, Column, ColumnType, SetKey

T0 = datetime(2026, 11, 23, 10, tzinfo=UTC)
TABLE = "shop.orders"

_encode = msgspec.json.Encoder().encode


def row(
    identity: str,
    *,
    at: float = 0,
    source: str = "web",
    not_before: datetime | None = None,
    rescued: Mapping[str, Any] | None = None,
    table: str = TABLE,
    **data: Any,
) -> bytes:
    """One stamped record, received `at` seconds after T0."""
    received_at = T0 + timedelta(seconds=at)
    line: dict[str, Any] = {
        "table": table,
        "id": identity,
        "received_at": timestamp(received_at).decode(),
        "not_before": timestamp(not_before or received_at).decode(),
        "source": source,
        "data": data,
    }
    if rescued is not None:
        line["rescued"] = rescued
    return _encode(line) + b"\n"


def named(identity: str, data: dict[str, Any]) -> bytes:
    """One stamped record with fields of any name."""
    return row(identity, **data)


def upsert(key: str, at_version: int, *, id: str = "", op: str = "upsert", **data: Any) -> bytes:  # noqa: A002
    """One prepared row of a keyed table; its id grows with the version unless given."""
    line: dict[str, Any] = msgspec.json.decode(row(id or f"{key}-{at_version}", k=key, **data))
    return _encode({**line, "op": op, "key": _encode([key]).decode(), "version": f"{at_version:04}"}) + b"\n"


def delete(key: str, at_version: int, *, id: str = "") -> bytes:  # noqa: A002
    """The deletion of a key."""
    return upsert(key, at_version, id=id, op="delete")


def add(**types: ColumnType) -> list[Change]:
    """Columns named as their fields."""
    return [AddColumn(Column(name, name, kind)) for name, kind in types.items()]


_unique = count(1)


def batch(lines: Sequence[bytes], *, name: str = "", **other: Any) -> Batch:
    """A batch of these lines as they lie, under a name of its own; `other` are fields of `Batch`."""
    fields: dict[str, Any] = {
        "names": (name or f"incoming/{next(_unique):06}",),
        "table": TABLE,
        "rows": (Rows(b"".join(lines), len(lines)),) if lines else (),
        "record_count": len(lines),
        "first_received_at": T0,
        "last_received_at": T0,
        "search_from": T0,
        "shape_version": 0,
        **other,
    }
    return Batch(**{**fields, "changes": tuple(fields.get("changes", ())), "key": tuple(fields.get("key", ()))})


def load(warehouse: Warehouse, lines: Sequence[bytes], changes: Sequence[Change] = (), **other: Any) -> list[Any]:
    """Load these lines at the table's present shape."""
    return warehouse.load([batch(lines, changes=changes, shape_version=version(warehouse), **other)])


def keyed(warehouse: Warehouse, lines: Sequence[bytes], *, name: str) -> None:
    """Load prepared rows into the keyed table, which the first call makes."""
    first = version(warehouse) == 0
    changes: list[Change] = [*add(k="varchar", n="bigint", m="bigint"), SetKey(("k",))] if first else []
    prepared = (Rows(b"".join(lines), len(lines), prepared=True),)
    warehouse.load(
        [
            batch(
                [], rows=prepared, record_count=len(lines), changes=changes, key=("k",), name=name,
                shape_version=version(warehouse),
            )
        ]
    )  # fmt: skip


def version(warehouse: Warehouse) -> int:
    return warehouse.shape(TABLE).version


def pack_of(lines: Sequence[bytes]) -> bytes:
    """The lines as a pack."""
    return build(TABLE, [Line(TABLE, line, T0, T0) for line in lines])


def count_rows(warehouse: Warehouse) -> int:
    return int(rows(warehouse, f"SELECT count(*) FROM {TABLE}")[0][0])
