"""The guard: does every row of a pack fit its table as it stands?

One C pass of a generated msgspec type tells, over a whole pack; what that type can't see is searched for in the
pack's bytes. A pack that fits is loaded as it lies; one that does not is `prepare`d row by row.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from operator import attrgetter, gt
from typing import Any

import msgspec

from catchment.errors import Malformed
from catchment.warehouses.shape import Shape, is_nameable, lies_well, record_type

_DIGITS_AND_POINTS = bytes(0x30 if 0x30 <= byte <= 0x39 else byte if byte in b".:" else 0x20 for byte in range(256))
_SEVENTH_DIGIT = b":00.0000000"

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
        return self._tables.get(table, _NOTHING)

    def learn_null(self, table: str, fields: frozenset[str]) -> None:
        with self._lock:
            known = self.of(table)
            nameable = frozenset(filter(is_nameable, fields))
            self._tables[table] = TableMemory(known.always_null | nameable, known.unwidenable)

    def learn_unwidenable(self, table: str, column: str) -> None:
        with self._lock:
            known = self.of(table)
            self._tables[table] = TableMemory(known.always_null, known.unwidenable | {column})


_NOTHING = TableMemory()


def look(plain: bytes, shape: Shape, memory: TableMemory) -> Sight | None:
    """What a pack holds if every row of it fits the table as it stands; None if one does not, or may not."""
    if shape.version == 0 or shape.key or not lies_well(shape):
        return None
    if not is_utf8(plain) or has_nul(plain):
        return None
    unmapped = memory.always_null - {column.field for column in shape.columns}
    try:
        records = decoder(shape, unmapped)(plain)
    except msgspec.DecodeError:
        return None
    return sight(records, shape.version) if records else None


def sight(records: Sequence[Any], shape_version: int) -> Sight:
    """Identities and times of decoded records, at least one."""
    received = list(map(_received_at, records))
    not_before = list(map(_not_before, records))
    sources = set(map(_source, records))
    one = len(sources) == 1
    identities: list[object] = list(
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
        early=any(map(gt, not_before, received)),
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


@lru_cache(maxsize=4_000)
def decoder(shape: Shape, always_null: frozenset[str]) -> Any:
    """`decode_lines` for records that fit the shape."""
    return msgspec.json.Decoder(record_type(shape, always_null)).decode_lines


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


def has_seventh_digit(plain: bytes) -> bool:
    """Whether a time may have a seventh fractional digit, which msgspec and DuckDB would cut in silence. Too
    slow for every pack: DuckDB checks what it reads from files (`duckdb_sql.read_columns`)."""
    return _SEVENTH_DIGIT in plain.translate(_DIGITS_AND_POINTS)


def strictly(line: bytes) -> None:
    """Find in one line what loads wrong or not at all: duplicate keys of the envelope or of `data`, NUL, half a
    surrogate pair.

    Raises `Malformed`. Slow: for the few lines that nothing else vouches for.
    """
    import json

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            raise Malformed("duplicate-key", repr(next(name for name in names if names.count(name) > 1)))
        return found

    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise Malformed("invalid-utf8", f"byte {error.start}") from None
    if "\\u" in text or '"' in text:
        try:
            value = json.loads(text, object_pairs_hook=once)
        except (ValueError, RecursionError) as error:
            raise Malformed("not-json", str(error)) from None
        if "\\u" in text:
            _check_strings(value)


def _check_strings(value: object) -> None:
    stack = [value]
    while stack:
        match stack.pop():
            case str(found):
                if "\0" in found:
                    raise Malformed("nul", "a string holds NUL, which no warehouse keeps")
                if any("\ud800" <= character <= "\udfff" for character in found):
                    raise Malformed("lone-surrogate", "a string holds half of a surrogate pair")
            case dict(found):
                stack += found.keys()
                stack += found.values()
            case list(found):
                stack += found
