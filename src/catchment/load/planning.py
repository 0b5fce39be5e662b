"""Which columns a table is to get, so that as much as possible of a batch finds a place in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from catchment.load.contracts import Contract
from catchment.load.guard import TableMemory
from catchment.load.notes import note
from catchment.load.stamped import Origin, Stamped
from catchment.load.values import wanted, wants_widening
from catchment.warehouses import SchemaChange
from catchment.warehouses.columns import column_name
from catchment.warehouses.shape import MOST_COLUMNS, AddColumn, Change, Column, SetKey, Shape, Widen

Read = tuple[Origin, Stamped]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to change before the rows are loaded."""

    changes: tuple[Change, ...]
    no_room: frozenset[str]
    """Fields that the table has no room for: those that came last."""
    notes: tuple[SchemaChange, ...]
    """What is told of the changes."""


@dataclass(slots=True)
class _Seen:
    """A field without a column: its values, and where the first one came."""

    first: Read
    texts: list[bytes] = field(default_factory=list)


def planned(lines: Iterable[Read], shape: Shape, memory: TableMemory, contract: Contract) -> Plan:
    """The columns to add or widen for these lines, as far as the contract lets the table change."""
    known = {column.field: column for column in shape.columns}
    is_new = shape.version == 0
    seen: dict[str, _Seen] = {}
    widened: dict[str, tuple[Column, Read]] = {}
    key: tuple[str, ...] = ()
    first: Read | None = None
    for line in lines:
        record = line[1]
        first = first or line
        key = key or record.key
        for name, raw in record.data.items():
            text = bytes(raw)
            column = known.get(name)
            if text == b"null":
                continue
            if column is not None:
                if _widens(column, text, memory, contract):
                    widened.setdefault(name, (column, line))
            elif contract.may_get(name, is_new_table=is_new):
                seen.setdefault(name, _Seen(line)).texts.append(text)
    if is_new and first is not None:
        for name, declared in contract.columns.items():
            if declared.type is not None and name not in contract.dropped:
                seen.setdefault(name, _Seen(first))
    return _plan(shape, contract, seen, widened, key, first)


def _widens(column: Column, text: bytes, memory: TableMemory, contract: Contract) -> bool:
    if column.type != "bigint" or column.name in memory.unwidenable:
        return False
    declared = contract.declared_type(column.field)
    if declared is not None:
        return declared == "double"
    return contract.may_get(column.field, is_new_table=False) and wants_widening(text)


def _plan(
    shape: Shape,
    contract: Contract,
    seen: dict[str, _Seen],
    widened: dict[str, tuple[Column, Read]],
    key: tuple[str, ...],
    first: Read | None,
) -> Plan:
    changes: list[Change] = []
    notes: list[SchemaChange] = []
    for column, line in widened.values():
        changes.append(Widen(column.name))
        notes.append(note("widened", line, column, before=column.type, after="double"))
    is_new = shape.version == 0
    if is_new and first is not None:
        notes.append(note("table added", first))
    taken = {column.name for column in shape.columns}
    no_room: set[str] = set()
    for name, found in seen.items():
        kind = contract.declared_type(name) or wanted(found.texts)
        if kind is None:
            continue
        declared = contract.columns.get(name)
        is_full = len(taken) >= contract.max_columns and declared is None and not (key or shape.key)
        if is_full or len(taken) >= MOST_COLUMNS:
            no_room.add(name)
            continue
        column = Column(name, column_name(declared.rename if declared and declared.rename else name, taken), kind)
        taken.add(column.name)
        changes.append(AddColumn(column))
        if not is_new:
            notes.append(note("column added", found.first, column, after=kind))
    if is_new and key:
        changes.append(SetKey(key))
    return Plan(tuple(changes), frozenset(no_room), tuple(notes))
