"""A number tile's value against the period before and its target, each judged as it is shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from catchment.serve.dashboards.board import Good, Options, Target
from catchment.serve.dashboards.clock import instant
from catchment.serve.dashboards.formats import Format, Number, parse_format, shown_value, trimmed, usual_format, write
from catchment.serve.dashboards.periods import Span

NOTHING = "–"
"""In place of a number where there is none."""

_RATES = {"bp", "bps", "pp", "pts", "%", "‰", "°", "°C", "°F", "K"}
"""Units whose numbers differ by so much, not by so many percent."""
_METER_ROOM = Decimal("1.25")
_LATE = 10
"""The data began late in the period before if the first of so many parts of it has none."""


@dataclass(frozen=True, slots=True)
class Change:
    """How the number moved. `text` is without a sign: `5 pts`, `12%`; `is_good` is None where nothing says so."""

    direction: Literal["up", "down", "flat"]
    text: str
    is_good: bool | None

    @property
    def signed(self) -> str:
        """`+5 pts`, `−12%`."""
        return {"up": "+", "down": "−", "flat": ""}[self.direction] + self.text


@dataclass(frozen=True, slots=True)
class Reached:
    """Whether the target is reached. `text` is it alone, `90 s`; `words` say which way: `at most 90 s`."""

    is_reached: bool
    value: Decimal
    text: str
    words: str


@dataclass(frozen=True, slots=True)
class Meter:
    """A bar from nothing to everything: how far it is full, and where the target's tick stands, both from 0 to 1."""

    filled: float
    tick: float


@dataclass(frozen=True, slots=True)
class Judged:
    """A number as a tile shows it. `before` is that of the period before, `from 43%`, or nothing."""

    text: str
    unit: str
    shown: Decimal | None
    change: Change | None = None
    before: str = ""
    target: Reached | None = None
    meter: Meter | None = None


def judge(value: Any, previous: Any, options: Options, *, has_previous: bool = True) -> Judged:
    """Judge a value. `has_previous` is False where the period before cannot be compared (`began_late`).

    A value that is no number is shown as it is, and judged by nothing.
    """
    number = as_number(value)
    if number is None:
        return Judged(_other_text(value), "", None)
    how = parse_format(options.format) if options.format else usual_format(number)
    shown = shown_value(number, how)
    before, change = "", None
    past = as_number(previous) if has_previous and options.compare is not False else None
    if past is not None:
        shown_past = shown_value(past, how)
        change = _change(shown, shown_past, how, options) if shown_past else None
        before = f"from {_before_text(past, how, options, change)}" if shown_past else "from 0"
    target = _reached(shown, options.target, options.good, how, options.unit) if options.target else None
    meter = _meter(shown, target.value, how) if target else None
    return Judged(write(number, how), options.unit, shown, change, before, target, meter)


def began_late(previous: Span, first_row: datetime | None) -> bool:
    """Whether the first tenth of the period before has no rows, so that comparing with it would mislead.

    `first_row` is the time of its first row, or the start of the first bucket that has one; None if it has none.
    """
    if first_row is None:
        return True
    start, end = instant(previous.start), instant(previous.end)
    return instant(first_row) >= start + (end - start) / _LATE


def _other_text(value: Any) -> str:
    """What is no number, or none that can be reckoned with."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return NOTHING if value is None or isinstance(value, float | Decimal) else str(value)


def as_number(value: Any) -> Number | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    is_finite = value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)
    return value if is_finite else None


def is_reached(shown: Decimal, target: Target, good: Good | None) -> bool:
    """Whether a number as shown reaches its target."""
    match target.comparison or ("<=" if good == "down" else ">="):
        case "<":
            return shown < target.value
        case "<=":
            return shown <= target.value
        case ">":
            return shown > target.value
    return shown >= target.value


def target_text(target: Target, how: Format, unit: str = "") -> str:
    """A target as numbers of that format are written; as its author wrote it, where that would round it."""
    short = trimmed(how)
    if shown_value(target.value, short) == target.value:
        text = write(target.value, short)
    else:
        text = target.text.lstrip("<>= ")
    return f"{text} {unit}" if unit else text


def _change(shown: Decimal, past: Decimal, how: Format, options: Options) -> Change:
    difference = shown - past
    if not difference:
        return Change("flat", "no change", None)
    direction: Literal["up", "down"] = "up" if difference > 0 else "down"
    good = _good(options)
    size = abs(difference)
    if how.is_percent:
        text = f"{_plain(size * 100)} {'pt' if size * 100 == 1 else 'pts'}"
    elif _is_absolute(shown, past, how, options):
        # The difference of two rounded numbers has no more digits than they have.
        text = f"{write(size, trimmed(how))}{' ' + options.unit if options.unit else ''}"
    else:
        text = _percent(size / past)
    return Change(direction, text, None if good is None else direction == good)


def _is_absolute(shown: Decimal, past: Decimal, how: Format, options: Options) -> bool:
    """Whether a difference says more than a percentage: of rates, and of what may be negative."""
    return how.is_signed or options.unit in _RATES or past < 0 or shown < 0


def _before_text(past: Number, how: Format, options: Options, change: Change | None) -> str:
    text = write(past, how)
    has_unit = change is not None and bool(options.unit) and change.text.endswith(options.unit)
    return text if has_unit or not options.unit else f"{text} {options.unit}"


def _good(options: Options) -> Good | None:
    """Which way is good: as said, else as the target has it."""
    if options.good is not None or options.target is None:
        return options.good
    return "down" if options.target.comparison.startswith("<") else "up"


def _percent(share: Decimal) -> str:
    percent = share * 100
    if percent < Decimal("0.1"):
        return "under 0.1%"
    return f"{write(percent, parse_format(',.0f' if percent >= 10 else '.1~f'))}%"


def _plain(number: Decimal) -> str:
    return write(number, parse_format(",.6~f"))


def _reached(shown: Decimal, target: Target, good: Good | None, how: Format, unit: str) -> Reached:
    text = target_text(target, how, unit)
    comparison = target.comparison or ("<=" if good == "down" else ">=")
    words = {"<": "under", "<=": "at most", ">": "over", ">=": "at least"}[comparison]
    return Reached(is_reached(shown, target, good), target.value, text, f"{words} {text}")


def _meter(shown: Decimal, target: Decimal, how: Format) -> Meter | None:
    if shown < 0 or target <= 0:
        return None
    whole = Decimal(1) if how.is_percent and max(shown, target) <= 1 else max(shown, target) * _METER_ROOM
    return Meter(float(shown / whole), float(target / whole))
