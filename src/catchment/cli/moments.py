"""Times as people write them in an option."""

from __future__ import annotations

from datetime import UTC, datetime

from catchment.errors import UsageError


def moment(text: str | None) -> datetime | None:
    """The time, in UTC where it names no zone. Raises `UsageError`."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time", "write it as 2026-11-23T10:00:00Z, or as 2026-11-23") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
