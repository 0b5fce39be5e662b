"""Durations as a dashboard writes them: `30s`, `15m`, `1h`, `2 days`."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_WORDS = {"second": "s", "sec": "s", "minute": "m", "hour": "h", "day": "d", "week": "w"}
_DURATION = re.compile(r"(?P<count>\d{1,6})\s*(?P<unit>[a-z]+)\Z")


def parse_duration(text: str) -> timedelta:
    """Raises ValueError in words for the author of a dashboard."""
    found = _DURATION.match(text.strip().lower())
    unit = found["unit"] if found else ""
    scale_s = _UNITS_S.get(unit) or _UNITS_S.get(_WORDS.get(unit.removesuffix("s"), ""))
    if found is None or scale_s is None:
        raise ValueError("must be a duration, such as 30s, 15m or 1h")
    return timedelta(seconds=int(found["count"]) * scale_s)
