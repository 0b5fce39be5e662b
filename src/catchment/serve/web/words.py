"""Times in words."""

from __future__ import annotations

from datetime import UTC, datetime


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
