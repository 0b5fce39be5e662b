"""Times as the state keeps them: whole microseconds since 1970, UTC, which sort and subtract in any database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def stamp(moment: datetime) -> int:
    """A time, which must have a zone, as it is kept."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(stamp: int) -> datetime:
    """The time that was kept, in UTC."""
    return _EPOCH + timedelta(microseconds=stamp)


def moment_or_none(stamp: int | None) -> datetime | None:
    """The same of what may be absent."""
    return None if stamp is None else moment(stamp)
