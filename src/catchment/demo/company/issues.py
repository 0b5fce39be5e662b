"""Issues on GitHub, of the company's own code and of what it gives away: opened, labelled, wished for, closed.

There is no connector yet; these come as one would send them: an issue as it is, whole, each time that it changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Literal

from catchment.demo.company.calls import Call, Json, later, stamp
from catchment.demo.company.rhythm import Rhythm
from catchment.demo.company.story import DAYS

TABLE = "github.issues"
KEY, VERSION = "id", "updated_at"

_YEARS_BEFORE = timedelta(days=3 * 365)
_OPENED = Rhythm(1.25, (1.3, 1.25, 1.2, 1.2, 1.05, 0.5, 0.5), (1, 1, 1, 1, 1, 1, 2, 4, 8, 9, 9, 8, 7, 9, 10, 9, 8, 6,
                                                                4, 4, 4, 3, 2, 1))  # fmt: skip
_GROWTH_A_YEAR = 0.2
_LIVE_GAP_S = 8.0
_DAY = timedelta(days=1)

_REPOSITORIES = (
    ("ferry", "app-ios", 22),
    ("ferry", "app-android", 24),
    ("ferry", "website", 12),
    ("ferry", "ledger", 10),
    ("ferry-open", "money", 14),
    ("ferry-open", "card-ui", 9),
    ("ferry-open", "round-ups", 6),
    ("harbour-labs", "risk-engine", 8),
    ("harbour-labs", "scoring", 5),
)
_PEOPLE = ("amara-o", "bram-vd", "ciara-b", "duarte-s", "elif-k", "fergus-d", "hana-n", "priya-r", "tomas-f", "zoe-w")
_THINGS = (
    "a joint account", "the Lisbon locale", "dark mode", "a card in two wallets", "amounts above 10,000",
    "a slow network", "the first of the month", "two time zones", "a changed surname", "an expired card",
    "offline mode", "large fonts",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Kind:
    """A sort of issue: what it is called, how often it comes, and how long until it is closed, if ever."""

    label: str
    weight: int
    titles: tuple[str, ...]
    days: float
    never: float
    wishes: float
    """How many +1s it gets, usually."""


_KINDS = (
    _Kind("bug", 44, ("Crash with {}", "Wrong total for {}", "Round-up is lost for {}"), 5, 0.03, 0.6),
    _Kind("feature", 22, ("Support {}", "Let me choose {}", "Show the balance for {}"), 55, 0.22, 3.5),
    _Kind("question", 14, ("How do I set up {}?", "Is {} meant to work?"), 1.5, 0.02, 0.2),
    _Kind("performance", 9, ("Slow start with {}", "Scrolling stutters with {}"), 16, 0.08, 1.2),
    _Kind("docs", 8, ("Document {}", "Example for {} is out of date"), 9, 0.06, 0.3),
    _Kind("security", 3, ("Session survives {}", "Log masks nothing for {}"), 2, 0.0, 0.3),
)  # fmt: skip
_FURTHER = ("good first issue", "needs design", "regression", "customer request")

_What = Literal["label", "assign", "comment", "wish", "close"]


@dataclass(frozen=True, slots=True)
class _Change:
    at: datetime
    what: _What
    value: str | None = None


class Issues:
    """The issues up to a moment, and on. `history` comes first, and once.

    The same arguments give the same calls; with a later `until` and as many `days` more, the same and those since.
    """

    def __init__(self, seed: int, until: datetime, days: int = DAYS) -> None:
        self._until = until.astimezone(UTC)
        self._start = self._until.replace(hour=0, minute=0, second=0, microsecond=0) - days * _DAY
        self._namespace = f"{seed} {self._start.date()} issues"
        self._rng = Random(self._namespace)  # noqa: S311  # a story, not a secret
        self._numbers: dict[str, int] = defaultdict(int)
        self._open: list[Json] = []

    def history(self) -> Iterator[Call]:
        """Every issue as it was on the first day, then each change until `until`, in order of time.

        They go back some years; whoever first looks at a repository sees how it is, not how it came to be.
        """
        changes: list[tuple[datetime, int, Json, _Change | None]] = []
        for place, row in enumerate(self._opened()):
            changes.append((row["created_at"], place, row, None))
            changes += [(change.at, place, row, change) for change in self._life(row) if change.at <= self._until]
        changes.sort(key=lambda each: each[:2])
        rows: dict[int, Json] = {}
        before = [each for each in changes if each[0] < self._start]
        for _, place, row, change in before:
            rows[place] = _changed(row, change) if change is None else _changed(rows[place], change)
        for row in rows.values():
            yield _call(self._start, row)
        for at, place, row, change in changes[len(before) :]:
            rows[place] = _changed(row if change is None else rows[place], change)
            yield _call(at, rows[place])
        self._open = [row for row in rows.values() if row["state"] == "open"]

    def following(self) -> Iterator[Call]:
        """What happens then, without end: something every few seconds."""
        rng = self._rng
        rng.seed(f"{self._namespace} live {stamp(self._until)}")
        at = self._until
        while True:
            at = later(at, 0.001 + rng.expovariate(1 / _LIVE_GAP_S))
            chance = rng.random()
            if chance < 0.12 or not self._open:
                row = _changed(self._new(at), None)
            else:
                row = self._open.pop(int(len(self._open) * rng.random() ** 2))
                what: _What = "close" if chance < 0.24 else "comment" if chance < 0.6 else "wish"
                row = _changed(row, _Change(at, what))
            if row["state"] == "open":
                self._open.append(row)
            yield _call(at, row)

    def _opened(self) -> Iterator[Json]:
        """The issues as they were opened, in order of time."""
        day = self._start - _YEARS_BEFORE
        while day <= self._until:
            factor = 1 + _GROWTH_A_YEAR * ((day - self._start + _YEARS_BEFORE) / timedelta(days=365))
            for at in _OPENED.moments(self._rng, day, factor):
                if at <= self._until:
                    yield self._new(at)
            day += _DAY

    def _new(self, at: datetime) -> Json:
        rng = self._rng
        organization, repository, _ = rng.choices(_REPOSITORIES, [weight for *_, weight in _REPOSITORIES])[0]
        kind = rng.choices(_KINDS, [kind.weight for kind in _KINDS])[0]
        self._numbers[repository] += 1 + int(rng.expovariate(0.8))  # pull requests take numbers, too
        number = self._numbers[repository]
        return {
            "id": int(at.timestamp() * 1000) - 1_200_000_000_000,
            "organization": organization,
            "repository": repository,
            "number": number,
            "title": rng.choice(kind.titles).format(rng.choice(_THINGS)),
            "url": f"https://github.example/{organization}/{repository}/issues/{number}",
            "author": rng.choice(_PEOPLE),
            "assignee": None,
            "state": "open",
            "labels": [kind.label],
            "comments": 0,
            "plus_ones": 0,
            "created_at": at,
            "updated_at": at,
            "closed_at": None,
        }

    def _life(self, row: Json) -> list[_Change]:
        """What becomes of an issue, in order of time."""
        rng = self._rng
        opened: datetime = row["created_at"]
        kind = next(kind for kind in _KINDS if kind.label == row["labels"][0])
        days = kind.days * rng.lognormvariate(0, 1.2)
        closed = None if rng.random() < kind.never else later(opened, days * 86_400)
        changes = []
        if rng.random() < 0.3:
            changes.append(_Change(later(opened, rng.expovariate(1 / 9_000)), "label", rng.choice(_FURTHER)))
        if rng.random() < 0.6:
            changes.append(_Change(later(opened, rng.expovariate(1 / 80_000)), "assign", rng.choice(_PEOPLE)))
        further: tuple[tuple[_What, float, float], ...] = (
            ("comment", rng.expovariate(1 / 2), max(1.0, days / 3)),
            ("wish", rng.expovariate(1 / kind.wishes) * rng.lognormvariate(0, 0.8), 60.0),
        )
        for what, count, apart_d in further:
            for _ in range(int(count)):
                changes.append(_Change(later(opened, 60 + rng.expovariate(1 / apart_d) * 86_400), what))
        changes = [change for change in changes if closed is None or change.at < closed]
        if closed is not None:
            changes.append(_Change(closed, "close"))
        return sorted(changes, key=lambda change: change.at)


def _changed(row: Json, change: _Change | None) -> Json:
    """The issue afterwards; without a change, as it was opened."""
    if change is None:
        return row
    # No two versions are of one millisecond: that tells which is the newer.
    at = max(change.at, row["updated_at"] + timedelta(milliseconds=1))
    new = row | {"updated_at": at}
    match change.what:
        case "label":
            new["labels"] = [*row["labels"], change.value]
        case "assign":
            new["assignee"] = change.value
        case "comment":
            new["comments"] = row["comments"] + 1
        case "wish":
            new["plus_ones"] = row["plus_ones"] + 1
        case "close":
            new |= {"state": "closed", "closed_at": at}
    return new


def _call(at: datetime, row: Json) -> Call:
    times = {name: stamp(row[name]) for name in ("created_at", "updated_at", "closed_at") if row[name] is not None}
    return Call("github", at, row | times)
