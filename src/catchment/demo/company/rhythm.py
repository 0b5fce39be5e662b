"""When things happen: by the hour and the weekday, and what changes over the months."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import sqrt
from random import Random

_WEEK = timedelta(days=7)
_BAD_WEEK_AFTER = timedelta(days=133)
_GROWTH = 0.5
"""What half a year adds to the traffic of the first day, as a part of it."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often something happens.

    `per_day` is the mean of the first days; `weekdays` are seven factors from Monday on, about 1 on average;
    `hours` are 24 weights, which need not add up to anything.
    """

    per_day: float
    weekdays: tuple[float, ...]
    hours: tuple[float, ...]

    def moments(self, rng: Random, day: datetime, factor: float) -> list[datetime]:
        """When it happens on the day that begins at `day`, in order of time."""
        mean = self.per_day * self.weekdays[day.weekday()] * factor
        count = max(0, round(rng.gauss(mean, sqrt(mean))))
        hours = rng.choices(range(24), self.hours, k=count)
        return sorted(day + timedelta(hours=hour, milliseconds=int(rng.random() * 3_600_000)) for hour in hours)


_OFFICE = (1.2, 1.15, 1.1, 1.1, 1.05, 0.7, 0.7)
_LEISURE = (0.95, 0.95, 0.95, 1.0, 1.15, 1.2, 0.8)
_AWAKE = (2, 1, 0.5, 0.3, 0.3, 1, 3, 6, 9, 11, 12, 12, 13, 12, 11, 11, 11, 12, 13, 14, 14, 12, 8, 4)
_MEALS = (1, 0.6, 0.4, 0.3, 0.3, 0.6, 2, 6, 9, 7, 7, 10, 16, 14, 8, 7, 8, 11, 15, 14, 10, 7, 4, 2)
_DESK = (1.5, 1, 0.7, 0.5, 0.5, 0.8, 2, 5, 10, 14, 15, 13, 11, 12, 13, 12, 11, 10, 8, 7, 6, 5, 4, 2.5)

VISITS = Rhythm(16, _OFFICE, _AWAKE)
"""Of the website, by visitors and by customers."""
SIGN_UPS = Rhythm(8, _OFFICE, _AWAKE)
SESSIONS = Rhythm(20, _LEISURE, _AWAKE)
"""Of the app."""
PAYMENTS = Rhythm(72, _LEISURE, _MEALS)
SURVEYS = Rhythm(7, (1, 1, 1, 1, 1, 1, 1), _AWAKE)
"""Answered."""
CHATS = Rhythm(52, _OFFICE, _DESK)


@dataclass(frozen=True, slots=True)
class Change:
    """Something that the company did, or that befell it: so long after the first day."""

    after: timedelta
    name: str
    area: str


_EVENING_SHIFT_AFTER = timedelta(days=118)
CHANGES = (
    Change(timedelta(days=12, hours=9), "Round-ups", "product"),
    Change(timedelta(days=61, hours=10), "Shared goals", "product"),
    Change(_EVENING_SHIFT_AFTER, "Evening shift", "support"),
    Change(_BAD_WEEK_AFTER + timedelta(hours=8), "Stolen cards", "risk"),
    Change(_BAD_WEEK_AFTER + timedelta(days=7, hours=8), "New card rules", "risk"),
    Change(timedelta(days=155, hours=10), "Instant transfers", "product"),
)


class Plot:
    """What changes over the months. `start` is midnight of the first day."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        bad_day = start + _BAD_WEEK_AFTER
        self.bad_week = bad_day - timedelta(days=bad_day.weekday())
        """Midnight of its Monday: stolen card numbers are used for seven days, and customers ask about it."""

    def changes(self, day: datetime) -> list[tuple[datetime, Change]]:
        """What is new on the day that begins at `day`."""
        begins = ((self._moment(change), change) for change in CHANGES)
        return [(at, change) for at, change in begins if day <= at < day + timedelta(days=1)]

    def _moment(self, change: Change) -> datetime:
        at = self._start + change.after
        return at if change.area != "risk" else at - timedelta(days=(self._start + _BAD_WEEK_AFTER).weekday())

    def has_evening_shift(self, at: datetime) -> bool:
        """Whether people answer chats in the evening as they do by day."""
        return at >= self._start + _EVENING_SHIFT_AFTER

    def has_new_rules(self, at: datetime) -> bool:
        """Whether the bad week has taught something."""
        return at >= self.bad_week + _WEEK

    def progress(self, at: datetime) -> float:
        """0 on the first day, 1 after half a year, and on."""
        return (at - self._start) / timedelta(days=182)

    def growth(self, at: datetime) -> float:
        """Traffic as a factor of the first day's."""
        return 1 + _GROWTH * self.progress(at)

    def is_bad(self, at: datetime) -> bool:
        """Whether it lies in the bad week."""
        return self.bad_week <= at < self.bad_week + _WEEK
