"""The wall clock of a zone: beginnings of hours, days, weeks, months, and moves by such units.

Moments are aware and in the zone. What is moved is the clock's hand, not elapsed seconds: a day later it shows the
same time, also where a night had 23 or 25 hours. Compare moments by `instant`: Python compares those of one zone by
their hands alone, and takes the hour that comes twice for one.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Unit = Literal["hour", "day", "week", "month", "quarter", "year"]
UNITS: tuple[Unit, ...] = ("hour", "day", "week", "month", "quarter", "year")
DAY: Unit = "day"

_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_HOUR = timedelta(hours=1)
_SECOND = timedelta(seconds=1)


def instant(moment: datetime) -> datetime:
    """The moment in UTC, to compare and to reckon with elapsed time."""
    return moment.astimezone(UTC)


def in_zone(wall: datetime, zone: ZoneInfo) -> datetime:
    """The moment at which the clock shows this; one that it skips is the moment of the skip, one that it shows twice
    the first of both."""
    first, second = wall.replace(tzinfo=zone, fold=0), wall.replace(tzinfo=zone, fold=1)
    if instant(second) < instant(first):
        return _skip(instant(second), instant(first), zone)
    return first


def _skip(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The moment at which the clock is put forward, which lies behind one of these and not behind the other."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0).astimezone(zone)


def as_moment(value: datetime | date, zone: ZoneInfo) -> datetime:
    """A time of the warehouse in the zone: without one it is read in it, and a day is its beginning."""
    if not isinstance(value, datetime):
        return in_zone(datetime.combine(value, time()), zone)
    if value.tzinfo is None:
        return in_zone(value, zone)
    return value.astimezone(zone)


def floor(moment: datetime, unit: Unit) -> datetime:
    """The beginning of the hour, day, week (Monday), month, quarter or year that the moment is in."""
    zone = _zone(moment)
    hour = moment.replace(minute=0, second=0, microsecond=0)
    if unit == "hour":
        return hour.astimezone(UTC).astimezone(zone)
    day = hour.replace(hour=0, tzinfo=None, fold=0)
    match unit:
        case "week":
            day -= timedelta(days=day.weekday())
        case "month":
            day = day.replace(day=1)
        case "quarter":
            day = day.replace(month=day.month - (day.month - 1) % 3, day=1)
        case "year":
            day = day.replace(month=1, day=1)
    return in_zone(day, zone)


def move(moment: datetime, count: int, unit: Unit) -> datetime:
    """The moment `count` units later, or earlier where it is negative.

    Where a month has no such day, it is that month's end: the beginning of the next.
    """
    if count == 0:
        return moment
    return in_zone(_moved(moment.replace(tzinfo=None, fold=0), count, unit), _zone(moment))


def following(beginning: datetime, unit: Unit) -> datetime:
    """The beginning of the unit after the one that begins here. An hour that comes twice is followed by itself."""
    if unit == "hour":
        elapsed = (instant(beginning) + _HOUR).astimezone(_zone(beginning))
        if elapsed.minute == 0:
            return elapsed
        return move(beginning, 1, unit)
    # A day that began late, since the clock skipped its midnight, is followed by one that need not.
    midnight = beginning.replace(tzinfo=None, fold=0, hour=0, minute=0)
    return in_zone(_moved(midnight, 1, unit), _zone(beginning))


def _moved(wall: datetime, count: int, unit: Unit) -> datetime:
    if unit in _MONTHS:
        return _move_months(wall, count * _MONTHS[unit])
    return wall + count * {"hour": _HOUR, "day": timedelta(days=1), "week": timedelta(weeks=1)}[unit]


def _move_months(wall: datetime, months: int) -> datetime:
    year, month = divmod(wall.year * 12 + wall.month - 1 + months, 12)
    days = monthrange(year, month + 1)[1]
    if wall.day <= days:
        return wall.replace(year=year, month=month + 1)
    return datetime(year, month + 1, days) + timedelta(days=1)


def _zone(moment: datetime) -> ZoneInfo:
    assert isinstance(moment.tzinfo, ZoneInfo), "moments are in the project's zone"
    return moment.tzinfo
