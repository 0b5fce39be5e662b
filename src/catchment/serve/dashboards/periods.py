"""Periods as one writes them, and what they are at a moment: start, end, the period before, its buckets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal, cast
from zoneinfo import ZoneInfo

from catchment.serve.dashboards.clock import DAY, UNITS, Unit, floor, following, in_zone, instant, move
from catchment.serve.dashboards.spelling import nearest

FORMS: Mapping[str, str] = {
    "last N UNITs": "N hours, days, weeks, months, quarters or years, the running one among them.",
    "last N full UNITs": "The same without the running one.",
    "this UNIT": "The running one, as far as its end.",
    "previous UNIT": "The one before it.",
    "today": "The running day.",
    "A..B": "Days, such as `2026-11-01..2026-11-10`, both in.",
    "all": "All of time; nothing to compare with.",
}

GRAIN_DAYS: tuple[tuple[int, Unit], ...] = ((2, "hour"), (92, "day"), (400, "week"))
"""The grain of a period up to so many days; of a longer one it is `month`."""

MAX_BUCKETS = 1500
"""A finer grain is not offered."""

FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2199, 12, 31)
_MAX_COUNTS: Mapping[Unit, int] = {
    "hour": 20_000, "day": 20_000, "week": 5_000, "month": 1_200, "quarter": 400, "year": 100,
}  # fmt: skip

_LAST = re.compile(r"last (?P<count>\d{1,5}) (?P<full>full )?(?P<unit>[a-z]+?)s?\Z")
_RUNNING = re.compile(r"(?P<which>this|previous) (?P<unit>[a-z]+)\Z")
_BETWEEN = re.compile(r"(?P<first>\d{4}-\d{2}-\d{2}) ?\.\. ?(?P<last>\d{4}-\d{2}-\d{2})\Z")

_EXPECTED = "such as last 30 days, this month, previous week, today, 2026-11-01..2026-11-10 or all"


@dataclass(frozen=True, slots=True)
class PeriodText:
    """A period as written, canonically in `text`; `at` says what it is at a moment."""

    form: Literal["last", "this", "previous", "between", "all"]
    unit: Unit = "day"
    count: int = 1
    full: bool = False
    first: date | None = None
    last: date | None = None
    is_today: bool = False

    @property
    def text(self) -> str:
        """As an address and a file have it: `last 30 days`."""
        match self.form:
            case "last":
                return f"last {self.count} {'full ' if self.full else ''}{self.unit}{'' if self.count == 1 else 's'}"
            case "between":
                return f"{self.first}..{self.last}"
            case "all":
                return "all"
        return "today" if self.is_today else f"{self.form} {self.unit}"

    @property
    def label(self) -> str:
        """As people read it: `Last 30 days`, `1–10 Nov 2026`."""
        if self.form == "between":
            assert self.first is not None
            assert self.last is not None
            return days_label(self.first, self.last)
        text = "all time" if self.form == "all" else self.text
        return text[0].upper() + text[1:]

    @property
    def step(self) -> int:
        """How many units lie between it and the period before, where it is one of units."""
        return self.count if self.form == "last" else 1

    def at(self, now: datetime, grain: Unit | None = None) -> Period:
        """What this is at `now`, which is in the project's zone. `grain` is what a viewer chose instead of the usual.

        Raises ValueError for a grain that has too many steps.
        """
        now = now.replace(second=0, microsecond=0)
        bounds = self._bounds(now)
        if bounds is None:
            return Period(self, now, None, None, None, grain or "month")
        start, end = bounds
        usual = _grain(start, end)
        if grain is not None and grain not in (offered := _grains(start, end)):
            raise ValueError(f"'{grain}' is too fine for {self.text}; grains: {', '.join(offered)}")
        return Period(self, now, start, end, self._previous(start, end, now), grain or usual)

    def _bounds(self, now: datetime) -> tuple[datetime, datetime] | None:
        zone = cast("ZoneInfo", now.tzinfo)
        running = floor(now, self.unit)
        match self.form:
            case "all":
                return None
            case "between":
                assert self.first is not None
                assert self.last is not None
                return _midnight(self.first, zone), _midnight(self.last + timedelta(days=1), zone)
            case "this":
                return running, following(running, self.unit)
            case "previous":
                return floor(move(running, -1, self.unit), self.unit), running
        end = running if self.full else following(running, self.unit)
        back = self.count if self.full else self.count - 1
        return floor(move(running, -back, self.unit), self.unit) if back else running, end

    def _previous(self, start: datetime, end: datetime, now: datetime) -> Span | None:
        if instant(now) < instant(start):
            return None
        if self.form == "between":
            assert self.first is not None
            assert self.last is not None
            zone, unit = cast("ZoneInfo", now.tzinfo), DAY
            count = (self.last - self.first).days + 1
            before = _midnight(self.first - timedelta(days=count), zone)
        else:
            count, unit = self.step, self.unit
            before = floor(move(start, -count, unit), unit)
        if instant(now) >= instant(end):
            return Span(before, start)
        return Span(before, move(now, -count, unit))


@dataclass(frozen=True, slots=True)
class Span:
    """A time from `start` on and before `end`, aware, in the project's zone."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Bucket:
    """One step of a grain. `start` is what `date_trunc` gives, which may lie before the period's start."""

    start: datetime
    end: datetime
    is_running: bool
    """Now is in it."""
    is_cut: bool
    """The period has only a part of it."""
    is_future: bool
    """It has not begun."""


@dataclass(frozen=True, slots=True)
class Period:
    """A period at a moment. `start` and `end` (excluded) are None for all of time; `previous` is None where there is
    nothing to compare with."""

    written: PeriodText
    now: datetime
    start: datetime | None
    end: datetime | None
    previous: Span | None
    grain: Unit

    @property
    def text(self) -> str:
        """As an address has it."""
        return self.written.text

    @property
    def label(self) -> str:
        """As people read it."""
        return self.written.label

    @property
    def is_running(self) -> bool:
        """Whether it has begun and not ended."""
        if self.start is None or self.end is None:
            return True
        return instant(self.start) <= instant(self.now) < instant(self.end)

    @property
    def usual_grain(self) -> Unit:
        """The one that it has where no viewer chose another."""
        return "month" if self.start is None or self.end is None else _grain(self.start, self.end)

    @property
    def grains(self) -> tuple[Unit, ...]:
        """Those that a viewer may choose."""
        if self.start is None or self.end is None:
            return UNITS[1:]
        return _grains(self.start, self.end)

    def forward(self, moment: datetime) -> datetime:
        """A moment of the period before, as far into this one: what charts draw both on the same axis by."""
        if self.written.form == "between":
            assert self.written.first is not None
            assert self.written.last is not None
            return move(moment, (self.written.last - self.written.first).days + 1, "day")
        return move(moment, self.written.step, self.written.unit)

    def buckets(self, grain: Unit | None = None) -> tuple[Bucket, ...]:
        """Its steps of a grain; none for all of time, whose data alone tells where it begins."""
        if self.start is None or self.end is None:
            return ()
        return buckets(self.start, self.end, grain or self.grain, self.now)


def parse_period(text: str) -> PeriodText:
    """Raises ValueError in words for whoever wrote it."""
    words = " ".join(text.lower().split())
    if words == "all":
        return PeriodText("all")
    if words == "today":
        return PeriodText("this", is_today=True)
    if found := _LAST.match(words):
        unit, count = _unit(found["unit"], text), int(found["count"])
        if not 0 < count <= _MAX_COUNTS[unit]:
            raise ValueError(f"'{text}': from 1 to {_MAX_COUNTS[unit]:,} {unit}s")
        return PeriodText("last", unit, count, found["full"] is not None)
    if found := _RUNNING.match(words):
        form = cast('Literal["this", "previous"]', found["which"])
        return PeriodText(form, _unit(found["unit"], text))
    if found := _BETWEEN.match(words):
        return _between(found["first"], found["last"])
    raise ValueError(f"'{text}' is no period, {_EXPECTED}")


def _unit(word: str, text: str) -> Unit:
    if word not in UNITS:
        near = nearest(word, UNITS)
        remedy = f"did you mean {near}?" if near else f"units: {', '.join(UNITS)}"
        raise ValueError(f"'{text}': no unit '{word}'; {remedy}")
    return word


def _between(first_text: str, last_text: str) -> PeriodText:
    try:
        first, last = date.fromisoformat(first_text), date.fromisoformat(last_text)
    except ValueError:
        raise ValueError(f"'{first_text}..{last_text}' has a day that no calendar has") from None
    if last < first:
        raise ValueError(f"'{first_text}..{last_text}' ends before it begins")
    if first < FIRST_DAY or last > LAST_DAY:
        raise ValueError(f"'{first_text}..{last_text}': days from {FIRST_DAY} to {LAST_DAY}")
    return PeriodText("between", first=first, last=last)


def buckets(start: datetime, end: datetime, grain: Unit, now: datetime) -> tuple[Bucket, ...]:
    """The steps of a grain from `start` on and before `end`, as far as 10,000."""
    steps: list[Bucket] = []
    at = floor(start, grain)
    while instant(at) < instant(end) and len(steps) < 10_000:
        after = following(at, grain)
        steps.append(
            Bucket(
                at,
                after,
                is_running=instant(at) <= instant(now) < instant(after),
                is_cut=instant(at) < instant(start) or instant(after) > instant(end),
                is_future=instant(at) > instant(now),
            )
        )
        at = after
    return tuple(steps)


def days_label(first: date, last: date) -> str:
    """`1–10 Nov 2026`, `28 Oct – 3 Nov 2026`, `30 Dec 2026 – 2 Jan 2027`, `25 Nov 2026`."""
    end = f"{last.day} {last:%b %Y}"
    if first == last:
        return end
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}–{end}"
    return f"{first.day} {first:%b}{'' if first.year == last.year else f' {first.year}'} – {end}"


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return in_zone(datetime(day.year, day.month, day.day), zone)


def _days(start: datetime, end: datetime) -> float:
    """How far the clock's hands move, in days."""
    return (end.replace(tzinfo=None) - start.replace(tzinfo=None)) / timedelta(days=1)


def _grain(start: datetime, end: datetime) -> Unit:
    days = _days(start, end)
    return next((grain for most, grain in GRAIN_DAYS if days <= most), "month")


_LEAST_DAYS: Mapping[Unit, float] = {"hour": 1 / 24, "day": 1, "week": 7, "month": 28, "quarter": 90, "year": 365}


def _grains(start: datetime, end: datetime) -> tuple[Unit, ...]:
    """The usual one, and those that are no longer than the period and have few enough steps in it."""
    days = _days(start, end)
    usual = _grain(start, end)
    return tuple(
        unit
        for unit in UNITS
        if unit == usual or (days / _LEAST_DAYS[unit] <= MAX_BUCKETS and _LEAST_DAYS[unit] <= max(days, 1))
    )
