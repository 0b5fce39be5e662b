"""The guard: does every row of a pack fit its table as it stands?

One C pass of a generated msgspec type tells, over a whole pack; what that type can't see is searched for in the
pack's bytes. A pack that fits is loaded as it lies; one that does not is `prepare`d row by row.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import chain
from operator import attrgetter, gt
from typing import Any, cast

import msgspec

from catchment.errors import Malformed
from catchment.load.contracts import Contract
from catchment.warehouses import Ids
from catchment.warehouses.shape import Shape, is_nameable, lies_well, record_type, sent_type

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError)
"""What msgspec raises for bytes that are no record: also of no UTF-8, nested too deep, of a time before year 1."""

MAX_NULL_FIELDS = 200
"""A table's fields of nulls alone that are remembered; a record with more of them is looked at by itself."""

_id = attrgetter("id")
_source = attrgetter("source")
_received_at = attrgetter("received_at")
_not_before = attrgetter("not_before")


@dataclass(frozen=True, slots=True)
class Sight:
    """What the guard saw of one pack whose rows all fit `shape_version` of its table."""

    shape_version: int
    count: int
    identities: Sequence[object]
    """Its ids, or (source, id) where it has several sources."""
    source: str | None
    """The one source, None where there are several."""
    first_received_at: datetime
    last_received_at: datetime
    search_from: datetime
    early: bool


@dataclass(slots=True)
class TableMemory:
    """What the loader has learned of a table beyond its shape. Lost with the process and learned again."""

    always_null: frozenset[str] = frozenset()
    """Fields that came with null alone: no column yet."""
    unwidenable: frozenset[str] = frozenset()
    """Columns that hold integers beyond 2^53 and stay BIGINT."""


@dataclass(slots=True)
class Memory:
    """`TableMemory` by table, for all threads of the loader."""

    _tables: dict[str, TableMemory] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, table: str) -> TableMemory:
        return self._tables.get(table, NOTHING)

    def learn_null(self, table: str, fields: frozenset[str]) -> None:
        with self._lock:
            known = self.of(table)
            always_null = known.always_null.union(filter(is_nameable, fields))
            if len(always_null) <= MAX_NULL_FIELDS:
                self._tables[table] = TableMemory(always_null, known.unwidenable)

    def learn_unwidenable(self, table: str, column: str) -> None:
        with self._lock:
            known = self.of(table)
            self._tables[table] = TableMemory(known.always_null, known.unwidenable | {column})


NOTHING = TableMemory()


def look(plain: bytes, shape: Shape, memory: TableMemory, contract: Contract) -> Sight | None:
    """What a pack holds if every row of it fits the table as it stands; None if one does not, or may not."""
    decode = trusted(shape, memory, contract)
    if decode is None or not is_utf8(plain) or has_nul(plain):
        return None
    try:
        records = decode(plain)
    except UNREADABLE:
        return None
    return sight(records, shape.version) if records else None


def sight(records: Sequence[Any], shape_version: int) -> Sight:
    """Identities and times of decoded records, at least one."""
    received = list(map(_received_at, records))
    not_before = list(map(_not_before, records))
    sources = set(map(_source, records))
    one = len(sources) == 1
    # A tuple, since the garbage collector needs to walk that once at most.
    identities: tuple[object, ...] = tuple(
        map(_id, records) if one else zip(map(_source, records), map(_id, records), strict=True)
    )
    first = min(received)
    return Sight(
        shape_version=shape_version,
        count=len(records),
        identities=identities,
        source=sources.pop() if one else None,
        first_received_at=first,
        last_received_at=max(received),
        search_from=min(first, *not_before),
        early=max(not_before) > first and any(map(gt, not_before, received)),
    )


def distinct(sights: Sequence[Sight]) -> bool:
    """Whether no (source, id) is in these packs twice, as far as ids alone can say."""
    if len({s.source for s in sights}) > 1 or any(s.source is None for s in sights[1:]):
        return False
    everything: set[object] = set()
    total = 0
    for each in sights:
        everything.update(each.identities)
        total += each.count
    return len(everything) == total


def ids_of(sights: Sequence[Sight]) -> Ids | None:
    """The ids of packs in which none is twice; None where they are of several sources."""
    source = sights[0].source
    if source is None or any(each.source != source for each in sights):
        return None
    return Ids(source, tuple(cast(Iterator[str], chain.from_iterable(each.identities for each in sights))))


def joined_sight(sights: Sequence[Sight | None]) -> Sight | None:
    """What several packs of a table hold together; None if one was not seen, or they differ in shape or source."""
    seen = [each for each in sights if each is not None]
    if len(seen) < len(sights) or len({(each.shape_version, each.source) for each in seen}) > 1:
        return None
    return Sight(
        shape_version=seen[0].shape_version,
        count=sum(each.count for each in seen),
        identities=tuple(chain.from_iterable(each.identities for each in seen)),
        source=seen[0].source,
        first_received_at=min(each.first_received_at for each in seen),
        last_received_at=max(each.last_received_at for each in seen),
        search_from=min(each.search_from for each in seen),
        early=any(each.early for each in seen),
    )


def trusted(shape: Shape, memory: TableMemory, contract: Contract, *, is_sent: bool = False) -> Any:
    """`decode_lines` for records that may be loaded as they lie; None where none may. `is_sent`: as others send
    them, not stamped yet."""
    if shape.version == 0 or shape.key or not lies_well(shape):
        return None
    fields = {column.field for column in shape.columns}
    if not contract.required <= fields or not all(map(is_nameable, contract.dropped)):
        return None
    return _decoder(shape, memory.always_null - fields, contract.dropped, contract.required, is_sent)


@lru_cache(maxsize=1_000)
def _decoder(
    shape: Shape, always_null: frozenset[str], ignored: frozenset[str], required: frozenset[str], is_sent: bool
) -> Any:
    fields = {column.field for column in shape.columns}
    if {name.lower() for name in ignored - fields} & {field.lower() for field in fields}:
        return None  # DuckDB, which folds case, would read the one as the other
    kind = sent_type if is_sent else record_type
    return msgspec.json.Decoder(kind(shape, always_null, ignored=ignored, required=required)).decode_lines


def is_utf8(plain: bytes) -> bool:
    """Whether the bytes are UTF-8. Most are ASCII, which is known without making a string of them."""
    if plain.isascii():
        return True
    try:
        plain.decode()
    except UnicodeDecodeError:
        return False
    return True


def has_nul(plain: bytes) -> bool:
    """Whether a string may hold NUL. Backslashes are rare, and one byte is found many times faster than six."""
    return b"\\" in plain and b"\\u0000" in plain


def is_plainly_sound(line: bytes, record: Any) -> bool:
    """Whether it is clear, without reading the line once more, that `strictly` would find nothing.

    `record` is the line decoded, with raw values in `data` and `rescued`. Counting quotes tells of doubled keys:
    each field that was taken accounts for so many, and another of its name would bring more.
    """
    if b"\\" in line:
        return False
    try:
        if not line.decode().isprintable():
            return False
    except UnicodeDecodeError:
        return False
    quotes = 22  # six keys and five strings of the envelope
    for fields in (record.data, record.rescued or {}):
        quotes += 2 * len(fields)
        for value in fields.values():
            quotes += bytes(value).count(b'"')
    if record.key:
        quotes += 4 + 2 + 2 * len(record.key) + 4
    if record.rescued is not None:
        quotes += 2
    return line.count(b'"') == quotes


class _Pairs(list[tuple[str, Any]]):
    """A JSON object, with every key it names."""


def strictly(line: bytes) -> None:
    """Find in one line what loads wrong or not at all: a key named twice by the record, its `data` or `rescued`
    (deeper down JSON is kept as its text, doubled keys and all), NUL, half a surrogate pair, what is no JSON.

    Raises `Malformed`. Slow: for the few lines that nothing else vouches for.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise Malformed("invalid-utf8", f"byte {error.start}") from None
    try:
        # Numbers as text: some are longer than Python turns into an int.
        value = json.loads(
            text, object_pairs_hook=_Pairs, parse_int=str, parse_float=str, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise Malformed("too-deep", "objects and arrays nested too deep to be read") from None
    except ValueError as error:
        raise Malformed("not-json", str(error)) from None
    if isinstance(value, _Pairs):
        _check_once(value)
        for name, inner in value:
            if name in {"data", "rescued"} and isinstance(inner, _Pairs):
                _check_once(inner)
    if "\\u" in text:
        _check_strings(value)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _check_once(pairs: _Pairs) -> None:
    seen = set()
    for name, _ in pairs:
        if name in seen:
            raise Malformed("duplicate-key", repr(name))
        seen.add(name)


def _check_strings(value: object) -> None:
    stack = [value]
    while stack:
        match stack.pop():
            case str(found):
                if "\0" in found:
                    raise Malformed("nul", "a string holds NUL, which no warehouse keeps")
                if any("\ud800" <= character <= "\udfff" for character in found):
                    raise Malformed("lone-surrogate", "a string holds half of a surrogate pair")
            case _Pairs() as pairs:
                for pair in pairs:
                    stack += pair
            case list(found):
                stack += found
