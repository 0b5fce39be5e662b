"""The shape of a loaded table: its columns, how they may change, and the type its records decode into."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw

from catchment.record import MAX_ID_CHARACTERS

ColumnType = Literal["boolean", "bigint", "double", "timestamptz", "varchar", "json"]

METADATA = ("_id", "_received_at", "_source", "_batch", "_loaded_at", "_rescued", "_version", "_key")
"""Columns of ours; `_version` and `_key` (the key's values as canonical JSON text) only in keyed tables."""

MOST_COLUMNS = 1_590
"""PostgreSQL and Redshift end at 1,600 columns, ours included; dropped ones count as well."""

RESERVED = frozenset({*METADATA, "ctid", "cmax", "cmin", "oid", "tableoid", "xmax", "xmin"})
"""Names that no field's column gets: ours, and those that every table of PostgreSQL has. The same for every
warehouse, so that a project's SQL can move from one to another."""


def batch_id(batch: str) -> str:
    """What a row's `_batch` says of the archive file it came in: 12 characters, which DuckDB keeps in place, where
    63 in each row would be a tenth of what is written. `catchment.ledger` has it beside the file's name."""
    return hashlib.sha256(batch.encode()).hexdigest()[:12]


MAX_EXACT_INTEGER = 2**53
"""Up to here a double holds every integer."""


class Column(msgspec.Struct, frozen=True):
    """One field of the data and the column it is kept in."""

    field: str
    name: str
    type: ColumnType


class AddColumn(msgspec.Struct, frozen=True, tag=True, tag_field="change"):
    """A field that the table does not have yet."""

    column: Column


class Widen(msgspec.Struct, frozen=True, tag=True, tag_field="change"):
    """BIGINT to DOUBLE, the one widening that changes no value: refused (`CannotWiden`) by the warehouse where
    a value stands beyond 2^53."""

    name: str
    type: ColumnType = "double"


class SetKey(msgspec.Struct, frozen=True, tag=True, tag_field="change"):
    """The fields that identify a row of a mirrored table; once, when it is made."""

    fields: tuple[str, ...]


Change = AddColumn | Widen | SetKey


class Shape(msgspec.Struct, frozen=True):
    """A table's columns at a `version`, which grows with every change; version 0 is no table."""

    table: str
    version: int = 0
    columns: tuple[Column, ...] = ()
    key: tuple[str, ...] = ()

    def after(self, changes: Iterable[Change]) -> Shape:
        """The shape once the changes are made, at the next version. Changes made already change nothing."""
        columns = {column.field: column for column in self.columns}
        key = self.key
        for change in changes:
            match change:
                case AddColumn(column):
                    columns.setdefault(column.field, column)
                case Widen(name, wider):
                    columns = {f: Column(f, c.name, wider) if c.name == name else c for f, c in columns.items()}
                case SetKey(fields):
                    key = fields
        after = Shape(self.table, self.version, tuple(columns.values()), key)
        if after == self and self.version > 0:
            return self
        return Shape(self.table, self.version + 1, after.columns, key)


_BOUNDED: dict[str, Any] = {
    "boolean": bool,
    "bigint": Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)],
    # An integer beyond 2^53 would be rounded in silence, perhaps down to 2^53 itself before it is compared here:
    # whoever comes so close is looked at one by one.
    "double": Annotated[float, Meta(gt=-MAX_EXACT_INTEGER, lt=MAX_EXACT_INTEGER)],
    "timestamptz": Annotated[datetime, Meta(tz=True)],
    "varchar": str,
    "json": Raw,
}

_NOT_NULL = dict[str, Raw] | list[Raw] | str | int | float | bool
"""Any JSON but null."""


def is_nameable(field: str) -> bool:
    """Whether msgspec and DuckDB can be told to read a field of this name."""
    return field != "" and not any(character in '"\\' or character < " " for character in field)


@lru_cache(maxsize=4_000)
def lies_well(shape: Shape) -> bool:
    """Whether records can be read as they lie: every field can be named, and no two fold to one (DuckDB folds
    case). Else they are prepared, and go by column name."""
    fields = [column.field for column in shape.columns]
    return all(map(is_nameable, fields)) and len({field.lower() for field in fields}) == len(fields)


Moment = Annotated[datetime, Meta(tz=True)]


def record_type(
    shape: Shape,
    always_null: frozenset[str] = frozenset(),
    *,
    ignored: frozenset[str] = frozenset(),
    required: frozenset[str] = frozenset(),
) -> type[msgspec.Struct]:
    """The msgspec type of a stamped record whose `data` fits the columns: one C pass tells whether it does.
    Only for a shape that `lies_well`.

    Columns of `required` fields must not be null. Fields of `always_null` have no column and may hold null alone;
    those of `ignored` may hold anything, or null alone where they have a column; any other unknown field fails.
    Not seen by it: duplicate keys, NUL, a seventh fractional digit, invalid UTF-8 inside JSON columns.
    A type takes milliseconds to make and half a kilobyte a column.
    """
    data = _data_type(shape, always_null, ignored, required)
    keyed: list[Any] = [("op", str, "upsert"), ("key", Raw, Raw(b"")), ("version", str, "")] if shape.key else []
    return msgspec.defstruct(
        "StampedRecord",
        [
            ("table", Literal[shape.table]),
            ("id", str),
            ("received_at", Moment),
            ("not_before", Moment),
            ("source", str),
            ("data", data),
            ("rescued", None if ignored else Raw, None),  # where something ignored may be, too
            *keyed,
        ],
        forbid_unknown_fields=True,
        gc=False,
    )


def sent_type(
    shape: Shape,
    always_null: frozenset[str] = frozenset(),
    *,
    ignored: frozenset[str] = frozenset(),
    required: frozenset[str] = frozenset(),
) -> type[msgspec.Struct]:
    """The same of a record as others send it, with an id and nothing of its own that a stamp would give it."""
    return msgspec.defstruct(
        "SentRecord",
        [
            ("table", Literal[shape.table]),
            ("id", Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]),
            ("data", _data_type(shape, always_null, ignored, required)),
            ("source", Annotated[str, Meta(min_length=1)], ""),
        ],
        forbid_unknown_fields=True,
        gc=False,
    )


def _data_type(
    shape: Shape, always_null: frozenset[str], ignored: frozenset[str], required: frozenset[str]
) -> type[msgspec.Struct]:
    needed: list[Any] = []
    fields: list[Any] = []
    for at, column in enumerate(shape.columns):
        kind = _BOUNDED[column.type]
        if column.field in required:
            not_null = _NOT_NULL if column.type == "json" else kind
            needed.append((f"f{at}", not_null, msgspec.field(name=column.field)))
        else:
            nullable = Raw if column.type == "json" else kind | None  # Raw takes null, and no union
            allowed = None if column.field in ignored else nullable
            fields.append((f"f{at}", allowed, msgspec.field(default=None, name=column.field)))
    passed = ignored - always_null - {column.field for column in shape.columns}
    for letter, names, kind in (("n", always_null, None), ("i", passed, Raw)):
        fields += [
            (f"{letter}{at}", kind, msgspec.field(default=None, name=name)) for at, name in enumerate(sorted(names))
        ]
    return msgspec.defstruct("Data", [*needed, *fields], forbid_unknown_fields=True, gc=False)


@lru_cache(maxsize=1_000)
def part_type(columns: tuple[Column, ...]) -> type[msgspec.Struct]:
    """The type of a stamped record, of any table, of which these columns alone are wanted: whatever else it has is
    passed over. A value that its column does not take fails, and so does one that the record has in `rescued`."""
    data: list[Any] = []
    rescued: list[Any] = []
    for at, column in enumerate(columns):
        kind = Raw if column.type == "json" else _BOUNDED[column.type] | None
        data.append((f"f{at}", kind, msgspec.field(default=None, name=column.field)))
        rescued.append((f"f{at}", None, msgspec.field(default=None, name=column.field)))
    return msgspec.defstruct(
        "StampedPart",
        [
            ("data", msgspec.defstruct("DataPart", data, gc=False)),
            ("rescued", msgspec.defstruct("RescuedPart", rescued, gc=False) | None, None),
        ],
        gc=False,
    )
