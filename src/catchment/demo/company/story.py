"""The company's life, day by day, and its history up to a moment."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from operator import attrgetter, itemgetter
from random import Random

from catchment.demo.company import rhythm
from catchment.demo.company.app import App
from catchment.demo.company.calls import Call, Sdk, later
from catchment.demo.company.chats import Chats
from catchment.demo.company.payments import Payments
from catchment.demo.company.people import People
from catchment.demo.company.rhythm import Plot
from catchment.demo.company.website import Website

DAYS = 182
_CHATS_IN_THE_BAD_WEEK = 1.4
_DAY = timedelta(days=1)
_due = attrgetter("at")


def history(seed: int, until: datetime, days: int = DAYS) -> Iterator[Call]:
    """What happened from midnight of the day `days` before `until` up to `until`, in order of time.

    `until` has a zone; days are UTC's. With the default of half a year it is about 90,000 calls. The same arguments
    give the same calls. A later `until` with as many `days` more, so that the first day is the same, gives the same
    calls and those since.
    """
    return Story(seed, until, days).history()


class Story:
    """The company from its first day on. `history` comes first, and once; then things can be made to happen."""

    def __init__(self, seed: int, until: datetime, days: int) -> None:
        self.until = until.astimezone(UTC)
        self._start = self.until.replace(hour=0, minute=0, second=0, microsecond=0) - days * _DAY
        self.namespace = f"{seed} {self._start.date()}"
        self.rng = Random(self.namespace)  # noqa: S311  # a story, not a secret
        self.sdk = Sdk(self.namespace)
        self.plot = Plot(self._start)
        people = People(self.rng, self.sdk, self._start)
        self.website = Website(self.rng, self.sdk, people)
        self.app = App(self.rng, self.sdk, people, self.plot)
        self.payments = Payments(self.rng, self.sdk, people, self.plot)
        self.chats = Chats(self.rng, self.sdk, people, self.plot)
        self._life = (
            (rhythm.SIGN_UPS, self.sign_up),
            (rhythm.VISITS, self.website.visit),
            (rhythm.SESSIONS, self.app.session),
            (rhythm.PAYMENTS, self.payments.pay),
            (rhythm.SURVEYS, self.app.answer),
            (rhythm.CHATS, self.chats.chat),
        )
        self.ahead: list[Call] = []
        """After the history: what follows from it and has not happened yet, such as the rest of a visit."""

    def history(self) -> Iterator[Call]:
        """What happened until `until`, in order of time. A day is given out when the next one is there."""
        made: list[Call] = []
        day = self._start
        while day <= self.until:
            made += self._day(day)
            made.sort(key=_due)
            complete = bisect_left(made, day - _DAY, key=_due)
            yield from made[:complete]
            del made[:complete]
            day += _DAY
        happened = bisect_right(made, self.until, key=_due)
        self.ahead = made[happened:]
        yield from made[:happened]

    def _day(self, day: datetime) -> list[Call]:
        """What begins on that day, if not after the history's end; some of it ends later."""
        growth = self.plot.growth(day)
        begins: list[tuple[datetime, Callable[[datetime], list[Call]]]] = []
        for kind, begin in self._life:
            factor = growth * _CHATS_IN_THE_BAD_WEEK if kind is rhythm.CHATS and self.plot.is_bad(day) else growth
            begins += [(at, begin) for at in kind.moments(self.rng, day, factor)]
        begins.sort(key=itemgetter(0))  # in order of time: nobody pays who has yet to sign up
        calls = [call for at, begin in begins if at <= self.until for call in begin(at)]
        return calls + [self.website.announce(at, change) for at, change in self.plot.changes(day) if at <= self.until]

    def sign_up(self, at: datetime) -> list[Call]:
        """Somebody opens an account on the website and, within the hour, the app."""
        person, calls = self.website.sign_up(at)
        return calls + self.app.first_session(later(calls[-1].at, 60 + self.rng.random() * 3000), person)
