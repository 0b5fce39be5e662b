"""Rows that do not fit their table as it stands: plan its new columns, rescue what no column takes, bury what is
no record; then write the batch's rows once more for the load.

Only here does the loader build Python objects of a payload, row by row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from catchment.errors import Malformed
from catchment.load.contracts import Contract
from catchment.load.guard import (
    NOTHING,
    UNREADABLE,
    TableMemory,
    has_nul,
    is_plainly_sound,
    sight,
    strictly,
    trusted,
)
from catchment.load.notes import Notes
from catchment.load.planning import planned
from catchment.load.stamped import Origin, Stamped, identified, read, without
from catchment.load.values import Unfit, fitting
from catchment.warehouses import DeadLetter, Rows, SchemaChange
from catchment.warehouses.shape import MAX_EXACT_INTEGER, Change, Column, Shape, lies_well


@dataclass(slots=True)
class Prepared:
    """What became of a batch's lines."""

    shape: Shape
    """The table's, once `changes` are made."""
    changes: tuple[Change, ...]
    rows: tuple[Rows, ...]
    dead: tuple[DeadLetter, ...]
    always_null: frozenset[str]
    """Unknown fields that came with null alone."""
    notes: tuple[SchemaChange, ...]
    """What is told of the table's changes, and of values that found no place in it."""
    first_received_at: datetime
    last_received_at: datetime
    search_from: datetime
    early: bool


_encode = msgspec.json.Encoder().encode


def prepare(
    lines: Sequence[Origin],
    shape: Shape,
    memory: TableMemory,
    *,
    refused: Mapping[int, Malformed],
    contract: Contract,
    every_row: bool,
    now: datetime,
) -> Prepared:
    """Make all lines loadable or dead letters.

    What the table has no place for gets one, is rescued, or makes its record a dead letter, as the contract says. A
    keyed table gets columns beyond its limit: a mirror has what its source has. `every_row` looks at every line
    strictly, also at those the guard's type accepts: for batches the warehouse refused, and for small ones. `refused`
    are lines, by place, of which the warehouse said why it takes them not. `now` stands in for the received_at of
    lines that have none.
    """
    work = Sorting(shape, memory, contract, now)
    odd = work.sort(lines, refused, every_row=every_row)
    plan = planned(odd, shape, memory, contract)
    after = shape.after(plan.changes)
    if work.fitting_lines and not lies_well(after):
        # A new column has a name that no reader can be told of: now no row can be read as it lies.
        return prepare(lines, shape, memory, refused=refused, contract=contract, every_row=True, now=now)
    as_they_lie = work.fitting_lines
    prepared = []
    notes = Notes(contract, plan.no_room, list(plan.notes))
    decode = trusted(after, NOTHING, contract) if odd and not every_row else None
    for origin, record in odd:
        if decode is not None and _fits(decode, origin.line):
            as_they_lie.append(origin.line)
            continue
        try:
            line = prepared_line(record, after, contract, partial(notes.rescued, (origin, record)))
            prepared.append(line)
        except Malformed as error:
            work.bury(origin, error, record)
    return Prepared(
        shape=after,
        changes=plan.changes,
        rows=tuple(
            Rows(b"\n".join(each) + b"\n", len(each), prepared=how)
            for each, how in ((as_they_lie, False), (prepared, True))
            if each
        ),
        dead=tuple(work.dead),
        always_null=_nulls(odd, after),
        notes=tuple(notes.found),
        first_received_at=work.first or now,
        last_received_at=work.last or now,
        search_from=work.search_from or now,
        early=work.early,
    )


@dataclass(slots=True)
class Sorting:
    """Sorts a batch's lines into those that fit, those to look at, and the dead."""

    shape: Shape
    memory: TableMemory
    contract: Contract
    now: datetime
    fitting_lines: list[bytes] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    first: datetime | None = None
    last: datetime | None = None
    search_from: datetime | None = None
    early: bool = False

    def sort(
        self, lines: Sequence[Origin], refused: Mapping[int, Malformed], *, every_row: bool
    ) -> list[tuple[Origin, Stamped]]:
        """The lines to look at, read; `refused` and `every_row` as `prepare` has them."""
        decode = None if every_row else trusted(self.shape, self.memory, self.contract)
        odd = []
        for place, origin in enumerate(lines):
            records = _fits(decode, origin.line) if decode is not None else None
            if records:
                self._note(records)
                self.fitting_lines.append(origin.line)
                continue
            record = None
            try:
                record = read(origin.line)
                if not is_plainly_sound(origin.line, record):
                    strictly(origin.line)
                self._check(record)
                if place in refused:
                    raise refused[place]
            except Malformed as error:
                self.bury(origin, error, record or identified(origin.line))
            else:
                self._note([record])
                for name in self.contract.dropped:
                    record.data.pop(name, None)
                    (record.rescued or {}).pop(name, None)
                odd.append((origin, record))
        return odd

    def _check(self, record: Stamped) -> None:
        if record.table != self.shape.table:
            raise Malformed("not-a-record", f"a record of {record.table} in a pack of {self.shape.table}")
        if (record.op == "insert") != (record.key == ()):
            raise Malformed("not-a-record", "`key` goes with the ops `upsert` and `delete` - at `$.key`")
        if self.shape.version > 0 and record.key != self.shape.key:
            raise Malformed(
                "key-mismatch", f"the record's key is {list(record.key)}, the table's {list(self.shape.key)}"
            )

    def _note(self, records: Sequence[Any]) -> None:
        seen = sight(records, self.shape.version)
        self.first = min(seen.first_received_at, self.first or seen.first_received_at)
        self.last = max(seen.last_received_at, self.last or seen.last_received_at)
        self.search_from = min(seen.search_from, self.search_from or seen.search_from)
        self.early = self.early or seen.early

    def bury(self, origin: Origin, error: Malformed, record: Stamped | None) -> None:
        """A dead letter's id is made of its record, but for its times: so that copies are one, another content is
        another, and so is another attempt at a retried one."""
        identity: list[object] = [hashlib.sha256(origin.line).hexdigest()]
        if record is not None:
            identity = [record.source, record.id, record.op, record.data, *filter(None, [record.retries])]
        self.dead.append(
            DeadLetter(
                id=hashlib.sha256(_encode([self.shape.table, *identity])).hexdigest()[:32],
                table=self.shape.table,
                reason=error.reason,
                detail=error.detail,
                origin=f"{origin.file}:{origin.number}",
                received_at=record.received_at if record else origin.received_at or self.now,
                bytes=without(origin.line, self.contract.dropped) if self.contract.dropped else origin.line,
                source=record.source if record else "",
                record_id=record.id if record else "",
            )
        )


def _fits(decode: Any, line: bytes) -> Any:
    """The decoded line in a list, or None."""
    try:
        line.decode()
        return None if has_nul(line) else decode(line)
    except UNREADABLE:
        return None


Rescued = Callable[[str, bytes, Column | None], object]
"""Told of a value that finds no place: its field, its JSON, and the column that does not take it, if there is one."""


def prepared_line(
    record: Stamped, shape: Shape, contract: Contract, rescued_one: Rescued = lambda *value: None
) -> bytes:
    """One line with `data` by column name. Raises `Malformed` where its key is not the table's, or it breaks the
    contract."""
    if record.key != shape.key:
        raise Malformed("key-mismatch", f"the record's key is {list(record.key)}, the table's {list(shape.key)}")
    columns = {column.field: column for column in shape.columns}
    data: dict[str, object] = {}
    rescued = dict(record.rescued or {})
    for name, raw in record.data.items():
        text = bytes(raw)
        if text == b"null":
            continue
        column = columns.get(name)
        try:
            if column is None:
                raise Unfit
            if column.type == "varchar" and contract.declared_type(name) == "varchar" and text[:1] != b'"':
                data[column.name] = text.decode()
            else:
                data[column.name] = fitting(text, column.type)
        except Unfit:
            if contract.mode == "reject":
                raise Malformed("contract", _no_place(name, text, column)) from None
            rescued[name] = raw
            rescued_one(name, text, column)
    if contract.required and record.op != "delete":
        _check_required(data, columns, contract)
    line: dict[str, object] = {
        "table": record.table,
        "id": record.id,
        "received_at": record.received_at,
        "not_before": record.not_before,
        "source": record.source,
        "data": data,
    }
    if rescued:
        line["rescued"] = rescued
    if shape.key:
        line |= {"op": record.op, "key": key_text(record), "version": record.version}
    return _encode(line)


def _no_place(name: str, text: bytes, column: Column | None) -> str:
    if column is None:
        return f"the table has no column for the field {name!r}"
    return f"the column {column.name} ({column.type}) does not take {text[:60].decode(errors='replace')}"


def _check_required(data: Mapping[str, object], columns: Mapping[str, Column], contract: Contract) -> None:
    for name in sorted(contract.required):
        column = columns.get(name)
        if column is None or column.name not in data:
            raise Malformed("contract", f"the field {name!r} must have a value that its column takes")


def key_text(record: Stamped) -> str:
    """The key's values as canonical JSON text: 1 and 1.0 are one key, whatever columns hold them.

    Raises `Malformed` where one has none.
    """
    values: list[object] = []
    for name in record.key:
        text = bytes(record.data.get(name, b"null"))
        if text == b"null":
            raise Malformed("key-mismatch", f"the key field {name!r} has no value")
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, ValueError):  # a number too large for a double, or for Python
            values.append(msgspec.Raw(text))
            continue
        is_exact_integer = isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT_INTEGER
        values.append(int(value) if is_exact_integer else value)
    return _encode(values).decode()


def _nulls(odd: Iterable[tuple[Origin, Stamped]], shape: Shape) -> frozenset[str]:
    known = {column.field for column in shape.columns}
    found = {
        name for _, record in odd for name, raw in record.data.items() if name not in known and bytes(raw) == b"null"
    }
    return frozenset(found)
