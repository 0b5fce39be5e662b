"""Rows that do not fit their table as it stands: plan its new columns, rescue what no column takes, bury what is
no record; then write the batch's rows once more for the load.

Only here does the loader build Python objects of a payload, row by row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import msgspec

from catchment.errors import Malformed
from catchment.load.columns import column_name
from catchment.load.guard import UNREADABLE, TableMemory, decoder, has_nul, is_plainly_sound, sight, strictly
from catchment.load.values import Unfit, fitting, wanted, wants_widening
from catchment.warehouses import DeadLetter, Rows
from catchment.warehouses.shape import (
    MAX_EXACT_INTEGER,
    AddColumn,
    Change,
    Column,
    Moment,
    SetKey,
    Shape,
    Widen,
    lies_well,
)


class Stamped(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A stamped record of any table, its fields' values raw."""

    table: str
    id: str
    received_at: Moment
    not_before: Moment
    source: str
    data: dict[str, msgspec.Raw]
    rescued: dict[str, msgspec.Raw] | None = None
    op: Literal["insert", "upsert", "delete"] = "insert"
    key: tuple[str, ...] = ()
    version: str = ""
    retries: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """A line with the archive file it lies in."""

    line: bytes
    file: str
    number: int
    table: str = ""


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
    refused: frozenset[str]
    """Fields that the table has no room for."""
    first_received_at: datetime
    last_received_at: datetime
    search_from: datetime
    early: bool


_decode = msgspec.json.Decoder(Stamped).decode
_encode = msgspec.json.Encoder().encode


def prepare(
    lines: Sequence[Origin],
    shape: Shape,
    memory: TableMemory,
    *,
    refused: Mapping[int, Malformed],
    frozen: bool,
    max_columns: int,
    every_row: bool,
    now: datetime,
) -> Prepared:
    """Make all lines loadable or dead letters.

    `frozen` tables get no new columns, and others none beyond `max_columns`, unless they are keyed: a mirror has
    what its source has. What they lack is rescued. `every_row` looks at every line strictly,
    also at those the guard's type accepts: for batches the warehouse refused, and for small ones. `refused` are
    lines, by place, of which the warehouse said why it takes them not. `now` stands in for the received_at of
    lines that have none.
    """
    work = Sorting(shape, memory, now)
    odd = work.sort(lines, refused, every_row=every_row)
    changes, refused_fields = _plan(odd, shape, memory, frozen=frozen, max_columns=max_columns)
    after = shape.after(changes)
    if work.fitting_lines and not lies_well(after):
        # A new column has a name that no reader can be told of: now no row can be read as it lies.
        return prepare(
            lines, shape, memory, refused=refused, frozen=frozen, max_columns=max_columns, every_row=True, now=now
        )
    as_they_lie = work.fitting_lines
    prepared = []
    may_lie = not every_row and lies_well(after) and not after.key
    decode = decoder(after, frozenset()) if may_lie and odd else None
    for origin, record in odd:
        if decode is not None and _fits(decode, origin.line):
            as_they_lie.append(origin.line)
            continue
        try:
            prepared.append(prepared_line(record, after))
        except Malformed as error:
            work.bury(origin, error, record)
    return Prepared(
        shape=after,
        changes=tuple(changes),
        rows=tuple(
            Rows(b"\n".join(each) + b"\n", len(each), prepared=how)
            for each, how in ((as_they_lie, False), (prepared, True))
            if each
        ),
        dead=tuple(work.dead),
        always_null=_nulls(odd, after),
        refused=refused_fields,
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
        trusted = not every_row and self.shape.version > 0 and not self.shape.key and lies_well(self.shape)
        unmapped = self.memory.always_null - {column.field for column in self.shape.columns}
        decode = decoder(self.shape, unmapped) if trusted else None
        odd = []
        for place, origin in enumerate(lines):
            records = _fits(decode, origin.line) if decode is not None else None
            if records:
                self._note(records)
                self.fitting_lines.append(origin.line)
                continue
            record = None
            try:
                record = _read(origin.line)
                if not is_plainly_sound(origin.line, record):
                    strictly(origin.line)
                self._check(record)
                if place in refused:
                    raise refused[place]
            except Malformed as error:
                self.bury(origin, error, record or _identified(origin.line))
            else:
                self._note([record])
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
                received_at=record.received_at if record else self.now,
                bytes=origin.line,
                source=record.source if record else "",
                record_id=record.id if record else "",
            )
        )


def _read(line: bytes) -> Stamped:
    try:
        return _decode(line)
    except UNREADABLE as error:
        strictly(line)  # it may know better what is wrong
        raise Malformed("not-a-record", str(error)) from None


def _identified(line: bytes) -> Stamped | None:
    """A refused line as far as it can be read: whose record it is, even where its values are not to be trusted."""
    try:
        return _decode(line)
    except UNREADABLE:
        return None


def _fits(decode: Any, line: bytes) -> Any:
    """The decoded line in a list, or None."""
    try:
        line.decode()
        return None if has_nul(line) else decode(line)
    except UNREADABLE:
        return None


def _plan(
    odd: Iterable[tuple[Origin, Stamped]], shape: Shape, memory: TableMemory, *, frozen: bool, max_columns: int
) -> tuple[list[Change], frozenset[str]]:
    """The columns to add or widen so that as much as possible finds a place, and the fields that no room is left
    for: those that came last."""
    known = {column.field: column for column in shape.columns}
    values: dict[str, list[bytes]] = {}
    widened: dict[str, Change] = {}
    key: tuple[str, ...] = ()
    for _, record in odd:
        key = key or record.key
        for name, raw in record.data.items():
            text = bytes(raw)
            column = known.get(name)
            if text == b"null":
                continue
            if column is None:
                values.setdefault(name, []).append(text)
            elif column.type == "bigint" and column.name not in memory.unwidenable and wants_widening(text):
                widened[column.name] = Widen(column.name)
    if frozen:
        return [], frozenset()
    changes: list[Change] = [*widened.values()]
    taken = {column.name for column in shape.columns}
    no_room: set[str] = set()
    is_keyed = bool(key or shape.key)
    for name, texts in values.items():
        kind = wanted(texts)
        if kind is not None and len(taken) >= max_columns and not is_keyed:
            no_room.add(name)
        elif kind is not None:
            column = Column(name, column_name(name, taken), kind)
            taken.add(column.name)
            changes.append(AddColumn(column))
    if shape.version == 0 and key:
        changes.append(SetKey(key))
    return changes, frozenset(no_room)


def prepared_line(record: Stamped, shape: Shape) -> bytes:
    """One line with `data` by column name; raises `Malformed` where its key is not the table's."""
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
            data[column.name] = fitting(text, column.type)
        except Unfit:
            rescued[name] = raw
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
        line |= {"op": record.op, "key": _key(record), "version": record.version}
    return _encode(line)


def _key(record: Stamped) -> str:
    """The key's values as canonical JSON text: 1 and 1.0 are one key, whatever columns hold them."""
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
