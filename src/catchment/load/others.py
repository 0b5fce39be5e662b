"""Records of tables that a schema has no room for: rows of one table, `other_events`, each with its table's name and
its data as JSON. In the archive they lie under their own table, so that a replay brings them there once it may be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from catchment.errors import Malformed
from catchment.load.contracts import Contract, Contracts
from catchment.load.guard import NOTHING
from catchment.load.prepare import Prepared, Sorting, prepared_line
from catchment.load.stamped import Origin, Stamped
from catchment.load.values import Unfit, fitting
from catchment.warehouses import DeadLetter, Rows
from catchment.warehouses.columns import column_name
from catchment.warehouses.shape import AddColumn, Column, ColumnType, Shape

OTHERS = "other_events"

_TYPES: dict[str, ColumnType] = {
    "table": "varchar",
    "id": "varchar",
    "anonymous_id": "varchar",
    "user_id": "varchar",
    "event": "varchar",
    "event_text": "varchar",
    "received_at": "timestamptz",
    "sent_at": "timestamptz",
    "original_timestamp": "timestamptz",
    "timestamp": "timestamptz",
    "data": "json",
}
"""The columns: what events have in common, so that these can be counted and told apart without their JSON."""

_encode = msgspec.json.encode
_AS_THEY_ARE = Contract()


def others_of(schema: str) -> str:
    """The full name of a schema's table for them."""
    return f"{schema}.{OTHERS}"


def prepare_others(
    lines: Sequence[Origin],
    shape: Shape,
    contracts: Contracts,
    *,
    refused: Mapping[int, Malformed],
    now: datetime,
) -> Prepared:
    """The lines of several tables as rows of `shape`'s, or as dead letters of their own tables.

    `refused` are lines, by place, of which the warehouse said why it takes them not. An id is unique within a
    table alone, since a call may be filed in several: so the row's is `table/id`.
    """
    changes = _missing(shape)
    after = shape.after(changes)
    rows: list[bytes] = []
    dead: list[DeadLetter] = []
    works: list[Sorting] = []
    for table, places in _by_table(lines).items():
        work = Sorting(Shape(table), NOTHING, contracts.of(table), now)
        works.append(work)
        its_refused = {at: refused[place] for at, place in enumerate(places) if place in refused}
        for origin, record in work.sort([lines[place] for place in places], its_refused, every_row=True):
            try:
                rows.append(prepared_line(_row(record, after), after, _AS_THEY_ARE))
            except Malformed as error:  # somebody has made it a keyed table
                work.bury(origin, error, record)
        dead += work.dead
    return Prepared(
        shape=after,
        changes=tuple(changes),
        rows=(Rows(b"\n".join(rows) + b"\n", len(rows), prepared=True),) if rows else (),
        dead=tuple(dead),
        always_null=frozenset(),
        notes=(),
        first_received_at=min(_known(work.first for work in works), default=now),
        last_received_at=max(_known(work.last for work in works), default=now),
        search_from=min(_known(work.search_from for work in works), default=now),
        early=any(work.early for work in works),
    )


def _by_table(lines: Sequence[Origin]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, origin in enumerate(lines):
        places.setdefault(origin.table, []).append(place)
    return places


def _known(moments: Iterable[datetime | None]) -> list[datetime]:
    return [moment for moment in moments if moment is not None]


def _missing(shape: Shape) -> list[AddColumn]:
    """The columns that it lacks: all of them where it is new, some where a producer had made a table of its name."""
    fields = {column.field for column in shape.columns}
    taken = {column.name for column in shape.columns}
    changes = []
    for field, kind in _TYPES.items():
        if field not in fields:
            column = Column(field, column_name(field, taken), kind)
            taken.add(column.name)
            changes.append(AddColumn(column))
    return changes


def _row(record: Stamped, shape: Shape) -> Stamped:
    """The record as one of that table: its data whole, and beside it what columns take as it is."""
    types = {column.field: column.type for column in shape.columns}
    table = record.table.partition(".")[2]
    data = {field: raw for field, raw in record.data.items() if field in _TYPES and _fits(raw, types[field])}
    data["table"] = msgspec.Raw(_encode(table))
    data["data"] = msgspec.Raw(_encode(record.data))
    return msgspec.structs.replace(record, table=shape.table, id=f"{table}/{record.id}", data=data)


def _fits(raw: msgspec.Raw, column: ColumnType) -> bool:
    try:
        fitting(bytes(raw), column)
    except Unfit:
        return False
    return True
