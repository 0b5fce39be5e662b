"""`cast`: a field's value as another type. What cannot be one stays as it is: the loader then keeps it in `_rescued`
where the column is of that type."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from catchment.record import timestamp

Kind = Literal["text", "integer", "number", "boolean", "time", "json"]

_INTEGER = re.compile(r"[+-]?\d{1,400}\Z", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z", re.ASCII)
_TRUE, _FALSE = frozenset({"true", "t", "yes", "y", "1"}), frozenset({"false", "f", "no", "n", "0"})
_MILLISECONDS_FROM, _MICROSECONDS_FROM, _NANOSECONDS_FROM = 100_000_000_000, 10**14, 10**17
"""A number of seconds from here on would be of the year 5138."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encode = msgspec.json.Encoder().encode


def cast(value: Any, kind: Kind) -> Any:
    """The value as this type, or as it was. Null stays null."""
    if value is None:
        return None
    return _CASTS[kind](value)


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else _encode(value).decode()


def _integer(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _INTEGER.match(value.strip()):
        return int(value)
    return value


def _number(value: Any) -> Any:
    if isinstance(value, str) and _NUMBER.match(text := value.strip()):
        number = int(text) if _INTEGER.match(text) else float(text)
        return number if math.isfinite(number) else value
    return value


def _boolean(value: Any) -> Any:
    if isinstance(value, int) and value in {0, 1}:
        return bool(value)
    if isinstance(value, str) and (word := value.strip().lower()) in _TRUE | _FALSE:
        return word in _TRUE
    return value


def _time(value: Any) -> Any:
    """RFC 3339 in UTC. A number counts seconds since 1970, or milli-, micro- or nanoseconds where it is as large; a
    text without a zone is UTC."""
    moment: datetime | None = None
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            moment = _since_1970(value)
        elif isinstance(value, str):
            text = value.strip()
            if _NUMBER.match(text):
                moment = _since_1970(float(text) if not _INTEGER.match(text) else int(text))
            else:
                moment = datetime.fromisoformat(text)
                moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return value
    return value if moment is None else timestamp(moment).decode()


def _since_1970(number: float) -> datetime:
    size = abs(number)
    if size >= _NANOSECONDS_FROM:
        return _EPOCH + timedelta(microseconds=number // 1_000)
    if size >= _MICROSECONDS_FROM:
        return _EPOCH + timedelta(microseconds=number)
    return _EPOCH + (timedelta(milliseconds=number) if size >= _MILLISECONDS_FROM else timedelta(seconds=number))


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value


_CASTS: Mapping[Kind, Callable[[Any], Any]] = {
    "text": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "time": _time,
    "json": _json,
}
