"""Clients' times: read as they are sent, and corrected for a clock that is wrong.

Segment's correction: a client says when something happened and when it sent that, both by its own clock; how long
ago it was is their difference, whatever the clock said.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_MILLISECONDS_FROM = 100_000_000_000
"""A number from here on is milliseconds: as seconds it would be the year 5138."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = datetime(1, 1, 2, tzinfo=UTC)
_LAST = datetime(9999, 12, 30, tzinfo=UTC)
"""A day within what Python can tell in any zone."""


def moment(value: object) -> datetime | None:
    """A time in UTC, of ISO 8601 (without a zone: UTC) or of seconds or milliseconds since 1970; else None."""
    try:
        if type(value) is str:
            found = datetime.fromisoformat(value)
            if found.tzinfo is None:
                return found.replace(tzinfo=UTC)
            return found if found.tzinfo is UTC else found.astimezone(UTC)
        if type(value) is int or type(value) is float:
            seconds = value / 1000 if abs(value) >= _MILLISECONDS_FROM else value
            return _EPOCH + timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        pass
    return None


def corrected(happened: datetime | None, sent: datetime | None, received: datetime) -> datetime:
    """When it happened, by our clock: as long before `received` as the client sent it after it happened."""
    if happened is None:
        return received
    if sent is None:
        return happened
    try:
        when = received - (sent - happened)
    except OverflowError:
        return happened
    return when if _FIRST < when < _LAST else happened
