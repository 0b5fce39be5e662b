"""Times in words."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo


def span(seconds: float) -> str:
    """A length of time in one unit."""
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def ago(at_s: float) -> str:
    """How long ago a Unix time was."""
    passed_s = max(0.0, datetime.now(UTC).timestamp() - at_s)
    return "just now" if passed_s < 60 else f"{span(passed_s)} ago"


def day(at_s: float, zone: ZoneInfo) -> str:
    """The day of a Unix time, with its year where that is not this one."""
    at = datetime.fromtimestamp(at_s, zone)
    return f"{at:%-d %b}" if at.year == datetime.now(zone).year else f"{at:%-d %b %Y}"
