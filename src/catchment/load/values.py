"""The type ladder: which column a JSON value wants, and whether it fits the one there is. See docs/types.md.

Nothing here changes a value: a value either stands in a column exactly, or is rescued as its JSON text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from math import isfinite

import msgspec

from catchment.warehouses.shape import MAX_EXACT_INTEGER, ColumnType

_RFC3339 = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?"
    r"(Z|[+-]([01]\d|2[0-3]):[0-5]\d)\Z",
    re.ASCII,
)
_decode_string = msgspec.json.Decoder(str).decode


class Unfit(Exception):
    """The value does not stand in the column exactly."""


def wanted(texts: Iterable[bytes]) -> ColumnType | None:
    """The column type for a new field with these values (raw JSON, none of them null); None where no column
    would hold even one, such as integers beyond 64 bits.
    """
    return elected(Counter(kind for kind in map(kind_of, texts) if kind is not None))


def elected(votes: Counter[ColumnType]) -> ColumnType | None:
    """The kind most values have; a mix of integers and fractions is DOUBLE; text is TIMESTAMPTZ only if all of it
    is."""
    if "double" in votes and "bigint" in votes:
        votes["double"] += votes.pop("bigint")
    if "varchar" in votes and "timestamptz" in votes:
        votes["varchar"] += votes.pop("timestamptz")
    return votes.most_common(1)[0][0] if votes else None


def kind_of(text: bytes) -> ColumnType | None:
    """The column type that one value (raw JSON, not null) wants; None where none would hold it."""
    kind: ColumnType | None
    match text[:1]:
        case b"{" | b"[":
            kind = "json"
        case b'"':
            kind = "varchar" if moment(text) is None else "timestamptz"
        case b"t" | b"f":
            kind = "boolean"
        case _ if _is_integer(text):
            kind = None if _integer(text) is None else "bigint"
        case _:
            kind = "double" if isfinite(float(text)) else None
    return kind


def fitting(text: bytes, column: ColumnType) -> object:
    """The value as the column holds it, ready to be encoded.

    Raises `Unfit`.
    """
    match column:
        case "json":
            return msgspec.Raw(text)
        case "varchar" if text[:1] == b'"':
            return _decode_string(text)
        case "timestamptz" if (found := moment(text)) is not None:
            return found
        case "boolean" if text in {b"true", b"false"}:
            return text == b"true"
        case "bigint" | "double" if text[:1] not in b'"{[tfn':
            return _number(text, column)
    raise Unfit


def _number(text: bytes, column: ColumnType) -> int | float:
    if _is_integer(text):
        value = _integer(text)
        if value is None or (column == "double" and abs(value) > MAX_EXACT_INTEGER):
            raise Unfit
        return value
    number = float(text)
    if column == "double" and isfinite(number):
        return number
    if column == "bigint" and number.is_integer() and abs(number) <= MAX_EXACT_INTEGER:
        return int(number)  # 3.0 is 3
    raise Unfit


def wants_widening(text: bytes) -> bool:
    """Whether the value is a number that BIGINT can't hold and DOUBLE can."""
    if text[:1] in b'"{[tfn' or _is_integer(text):
        return False
    number = float(text)
    return isfinite(number) and not (number.is_integer() and abs(number) <= MAX_EXACT_INTEGER)


def _is_integer(text: bytes) -> bool:
    return b"." not in text and b"e" not in text and b"E" not in text


def _integer(text: bytes) -> int | None:
    """The value, if it has 64 bits; longer text is not even converted."""
    value = int(text) if len(text) <= 20 else 2**63
    return value if -(2**63) <= value < 2**63 else None


def moment(text: bytes) -> str | None:
    """A JSON string that is strict RFC 3339 with a zone and at most six fractional digits, within the
    years 1 to 9999, decoded; else None."""
    if text[:1] != b'"' or not 22 <= len(text) <= 34:
        return None
    string = _decode_string(text)
    return string if is_moment(string) else None


def is_moment(string: str) -> bool:
    """Whether a decoded string is such a one."""
    if not _RFC3339.match(string):
        return False
    try:
        datetime.fromisoformat(string).astimezone(UTC)
    except (ValueError, OverflowError):
        return False
    return True
