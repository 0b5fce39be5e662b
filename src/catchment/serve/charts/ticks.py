"""Where the grid lines and labels of an axis stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

STEPS = (1, 2, 2.5, 3, 4, 5, 6, 8, 10, 20)
LABEL_PX = 76
"""What a label of time takes, with the space beside it."""
MOST_LABELS = 14
_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000


def four(low: float, high: float, *, from_zero: bool = False) -> list[float]:
    """Four evenly spaced round values around [low, high]; with `from_zero` one of them is 0."""
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        return [0.0, 1.0, 2.0, 3.0]
    # Values that differ by less than a float can show are one value.
    if high - low <= max(abs(low), abs(high), 1e-100) * 1e-9:
        high = low + (max(abs(low), abs(high)) if max(abs(low), abs(high)) > 1e-100 else 1.0)
    power = 10.0 ** math.floor(math.log10((high - low) / 3))
    for factor in (*STEPS, 40, 100):
        step = factor * power
        start = math.floor(low / step + 1e-9) * step
        if start + 3 * step >= high - 1e-9 * step:
            # Rounded to the step's own digits, so that 0.1 + 0.2 is 0.3.
            digits = max(0, 2 - math.floor(math.log10(step)))
            return [round(start + at * step, digits) for at in range(4)]
    raise AssertionError("a step of 100 powers spans any range")


def times(low_ms: int, high_ms: int, most: int) -> list[int]:
    """Whole units of time within [low, high], at most about so many: hours, days, Mondays, months or years."""
    days = (high_ms - low_ms) / _DAY_MS
    if days <= 2.1:
        hours = next((step for step in (1, 2, 3, 4, 6, 12, 24) if days * 24 / step <= most), 24)
        step_ms = hours * _HOUR_MS
        first = -(-low_ms // step_ms) * step_ms
        return list(range(first, high_ms + 1, step_ms))
    if days <= 100:
        return _days(low_ms, high_ms, most, days)
    return _months(low_ms, high_ms, most, days)


def _days(low_ms: int, high_ms: int, most: int, days: float) -> list[int]:
    if days <= min(most, 10):
        first = -(-low_ms // _DAY_MS) * _DAY_MS
        return list(range(first, high_ms + 1, _DAY_MS))
    weeks = max(1, math.ceil(days / 7 / most))
    start = datetime.fromtimestamp(low_ms / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if start.timestamp() * 1000 < low_ms:
        start += timedelta(days=1)
    monday = start + timedelta(days=-start.weekday() % 7)
    return list(range(round(monday.timestamp() * 1000), high_ms + 1, weeks * 7 * _DAY_MS))


def _months(low_ms: int, high_ms: int, most: int, days: float) -> list[int]:
    step = next((step for step in (1, 2, 3, 6, 12, 24, 60, 120) if days / 30.44 / step <= most), 240)
    start = datetime.fromtimestamp(low_ms / 1000, UTC)
    found: list[int] = []
    month = (start.year * 12) // step * step if step >= 12 else start.year * 12
    while True:
        at = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
        at_ms = round(at.timestamp() * 1000)
        if at_ms > high_ms:
            return found
        if at_ms >= low_ms:
            found.append(at_ms)
        month += step


def time_format(low_ms: int, high_ms: int) -> str:
    """How d3 writes the labels between them."""
    days = (high_ms - low_ms) / _DAY_MS
    if days <= 2.1:
        return "%H:%M"
    if days <= 100:
        return "%-d %b"
    return "%b" if days <= 370 else "%b %y" if days <= 1900 else "%Y"


def by_width(low_ms: int, high_ms: int) -> list[list[int]]:
    """For a plot that has room for 0, 1, 2 … labels, which: a page picks by its width."""
    return [times(low_ms, high_ms, max(2, most)) for most in range(MOST_LABELS + 1)]


def thinned(count: int) -> list[list[int]]:
    """As `by_width`, for labels of `count` bands: the indexes of those shown."""
    return [list(range(0, count, max(1, math.ceil(count / max(1, most))))) for most in range(MOST_LABELS + 1)]


def widest(texts: Sequence[str]) -> int:
    """About how many pixels the longest takes at 12 px, in Inter and its like."""
    return math.ceil(max((sum(map(_width, text)) for text in texts), default=0))


def _width(character: str) -> float:
    if character in "iljtfI.,:;'|!()[] ":
        return 4.2
    if character in "mwMW%@":
        return 10.6
    return 8.4 if character.isupper() else 7.3
