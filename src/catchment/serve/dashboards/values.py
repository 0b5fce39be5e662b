"""A filter's values: the same or not, and from the texts of an address."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

from catchment.serve.dashboards.board import Range, Scalar

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)\Z", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)
MAX_DIGITS = 60


def same_value(one: Scalar, other: Scalar) -> bool:
    """Whether two values are one: `1` and `true` are two, `1` and `1.0` are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return one == other


def parse_number(text: str) -> int | Decimal:
    """Exactly, however long. Raises ValueError."""
    if not _NUMBER.match(text) or len(text) > MAX_DIGITS:
        raise ValueError(f"'{text}' is no number")
    return Decimal(text) if "." in text else int(text)


def parse_date(text: str) -> date:
    """Raises ValueError."""
    try:
        if _DATE.match(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError(f"'{text}' is no day, such as 2026-11-25")


def parse_range(text: str) -> Range:
    """`A..B`, `A..`, `..B`: numbers or days. Raises ValueError in words for whoever wrote it."""
    low_text, dots, high_text = (part.strip() for part in text.partition(".."))
    if not dots or not (low_text or high_text):
        raise ValueError(f"'{text}' is no range, such as 10..20, 10.. or ..20")
    low, high = _end(low_text), _end(high_text)
    if low is not None and high is not None:
        if isinstance(low, date) != isinstance(high, date):
            raise ValueError(f"'{text}' has a number at one end and a day at the other")
        if low > high:  # type: ignore[operator]
            raise ValueError(f"'{text}' ends before it begins")
    return Range(low, high)


def _end(text: str) -> int | Decimal | date | None:
    if not text:
        return None
    return parse_date(text) if _DATE.match(text) else parse_number(text)


def range_text(chosen: Range) -> str:
    """As `parse_range` reads it back."""
    low, high = ("" if end is None else value_text(end) for end in (chosen.low, chosen.high))
    return f"{low}..{high}"


def value_text(value: Scalar) -> str:
    """A value as an address has it, other than null."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, date) else str(value)
