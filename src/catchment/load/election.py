"""Which type a new column is to have, by all the values that its field has in the archive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from catchment.load.guard import UNREADABLE, has_nul, is_utf8
from catchment.load.values import elected, is_moment, kind_of
from catchment.warehouses.shape import ColumnType, is_nameable

_KINDS: dict[type, ColumnType] = {bool: "boolean", float: "double", dict: "json", list: "json"}


@dataclass(slots=True)
class _File:
    records: int = 0
    kinds: set[tuple[str, ColumnType]] = field(default_factory=set)
    is_plain: bool = True


@dataclass(slots=True)
class Election:
    """Counts the values of some fields, a pack at a time, most of it without a step of Python's a row."""

    fields: Sequence[str]
    _votes: dict[str, Counter[ColumnType]] = field(default_factory=dict)
    _files: dict[str, _File] = field(default_factory=dict)

    def count(self, name: str, plain: bytes, records: int) -> None:
        """The values of the lines of a pack of this file, and how many they are."""
        file = self._files.setdefault(name, _File())
        before = {name: Counter(self._of(name)) for name in self.fields}
        file.is_plain = self._count_pack(plain) and file.is_plain and is_utf8(plain) and not has_nul(plain)
        file.records += records
        file.kinds |= {(name, kind) for name in self.fields for kind in self._of(name) - before[name]}

    def fitting(self) -> dict[str, int]:
        """The files whose values all fit the columns that were elected, as far as that is plain; how many records
        each has."""
        elected = {(name, kind) for name, kind in self.result().items() if kind is not None}
        return {name: file.records for name, file in self._files.items() if file.is_plain and file.kinds <= elected}

    def _count_pack(self, plain: bytes) -> bool:
        """Whether every value is what its vote says, and stands in `data`."""
        if all(map(is_nameable, self.fields)):
            try:
                records = _decoder(tuple(self.fields))(plain)
            except UNREADABLE:
                pass  # such as a number beyond a double
            else:
                plainly = True
                for at, name in enumerate(self.fields):
                    get = attrgetter(f"f{at}")
                    plainly &= self._count(name, [get(record.data) for record in records])
                    rescued = [get(record.rescued) for record in records if record.rescued is not None]
                    plainly &= self._count(name, rescued) and not any(value is not None for value in rescued)
                return plainly
        self._count_each(plain)
        return False

    def result(self) -> dict[str, ColumnType | None]:
        """What each field wants; None where no column would hold one of its values, or there are none."""
        return {name: elected(+self._of(name)) for name in self.fields}

    def _of(self, name: str) -> Counter[ColumnType]:
        return self._votes.setdefault(name, Counter())

    def _count(self, name: str, values: list[Any]) -> bool:
        """Whether each of them, but nulls, has a vote."""
        votes, is_each = self._of(name), True
        for kind, number in Counter(map(type, values)).items():
            if kind is int:
                within = sum(-(2**63) <= value < 2**63 for value in values if type(value) is int)
                votes["bigint"] += within
                is_each = is_each and within == number
            elif kind is str and votes["varchar"]:  # no text alters that any more
                votes["varchar"] += number
            elif kind is str:
                moments = sum(is_moment(value) for value in values if type(value) is str)
                votes["timestamptz"] += moments
                votes["varchar"] += number - moments
            elif kind in _KINDS:
                votes[_KINDS[kind]] += number
        return is_each

    def _count_each(self, plain: bytes) -> None:
        for line in plain.split(b"\n"):
            try:
                record = _decode_raw(line)
            except UNREADABLE:
                continue
            for name in self.fields:
                text = bytes(record.data.get(name) or (record.rescued or {}).get(name) or b"null")
                kind = None if text == b"null" else kind_of(text)
                if kind is not None:
                    self._of(name)[kind] += 1


class _Raws(msgspec.Struct, gc=False):
    data: dict[str, msgspec.Raw]
    rescued: dict[str, msgspec.Raw] | None = None


_decode_raw = msgspec.json.Decoder(_Raws).decode


@lru_cache(maxsize=100)
def _decoder(fields: tuple[str, ...]) -> Any:
    named = [(f"f{at}", Any, msgspec.field(default=None, name=name)) for at, name in enumerate(fields)]
    part = msgspec.defstruct("Part", named, gc=False)
    record = msgspec.defstruct("Record", [("data", part), ("rescued", part | None, None)], gc=False)
    return msgspec.json.Decoder(record).decode_lines
