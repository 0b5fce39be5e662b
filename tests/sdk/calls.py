"""The calls that every SDK makes, and what must arrive of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

CallType = Literal["track", "identify", "page", "screen", "group", "alias"]
ANONYMOUS_ID = "7d9f1c3e-anonymous"
USER_ID = "user-é-1"
MARK = "mark"
"""The property or trait that tells one call from every other; an alias has it as its previous id."""
DAY = datetime(2024, 2, 29, 12, 34, 56, 789000, UTC)

EVERY_KIND: dict[str, Any] = {
    "emoji": "🐙 naïve 日本語 👩‍👩‍👧",
    "escaped": 'a "quoted" \\ back/slash,\tand\nlines',
    "clipped": "half an octopus \ud83d",
    "empty": "",
    "nothing": None,
    "yes": True,
    "no": False,
    "fraction": 0.1,
    "huge": 1.5e300,
    "minus": -12,
    "two_to_53": 2**53,
    "two_to_53_and_1": 2**53 + 1,
    "two_to_63": 2**63,
    "two_to_64_and_1": 2**64 + 1,
    "date": DAY,
    "looksLikeADate": "2024-02-29T12:34:56Z",
    "nested": {
        "address": {"city": "Zürich", "geo": {"lat": 47.3769, "lon": 8.5417}},
        "tags": ["a", "b"],
        "none": None,
    },
    "list": [1, "two", None, {"three": [3, 3.5]}, []],
    "camelCase": "and snake_case",
    "With Spaces and-dashes": 1,
    "no_keys": {},
    "no_items": [],
}
"""Whatever a value can be. The SDKs made of JavaScript have doubles for numbers and round the large ones."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an SDK. `values` are its properties or traits; without a timestamp the SDK says when."""

    type: CallType
    values: dict[str, Any]
    name: str | None = None
    user_id: str | None = USER_ID
    group_id: str | None = None
    previous_id: str | None = None
    timestamp: datetime | None = None

    @property
    def mark(self) -> str:
        return self.previous_id or str(self.values[MARK])


def calls(rounds: int = 1) -> Iterator[Call]:
    """An anonymous visitor is identified; each round then makes each kind of call."""
    yield Call("track", {MARK: "anonymous", "plan": None}, name="Landed", user_id=None)
    for at in range(rounds):
        yield Call(
            "identify", {MARK: f"identify-{at}", "email": "ada@example.com", "age": 36, "born": DAY, "tags": ["x"]}
        )
        yield Call("track", {MARK: f"track-{at}", **EVERY_KIND}, name="Order Completed 🐙")
        yield Call("track", {MARK: f"dated-{at}", "total": 12.5}, name="Order Shipped", timestamp=DAY)
        yield Call("page", {MARK: f"page-{at}", "section": "naïve"}, name="Home 🏠")
        yield Call("screen", {MARK: f"screen-{at}", "depth": {"level": 2}}, name="Settings")
        yield Call("group", {MARK: f"group-{at}", "name": "Ünïcorn", "employees": 2**31}, group_id="group-1")
        yield Call("alias", {}, previous_id=f"alias-{at}")


def encode(each: Call) -> dict[str, Any]:
    """For a driver: JSON in which a date is `{"$date": …}`."""
    return {
        "type": each.type,
        "name": each.name,
        "userId": each.user_id,
        "anonymousId": ANONYMOUS_ID,
        "groupId": each.group_id,
        "previousId": each.previous_id,
        "values": _dates_wrapped(each.values),
        "timestamp": _dates_wrapped(each.timestamp),
    }


def _dates_wrapped(value: Any) -> Any:
    match value:
        case datetime():
            return {"$date": value.isoformat()}
        case dict():
            return {key: _dates_wrapped(inner) for key, inner in value.items()}
        case list():
            return [_dates_wrapped(inner) for inner in value]
        case _:
            return value


def as_python_sends(value: Any) -> Any:
    """What is left of a value in JSON written by Python: integers of any size, dates with an offset."""
    return json.loads(json.dumps(value, default=lambda date: date.isoformat()))


def as_javascript_sends(value: Any) -> Any:
    """What is left of a value in JSON written by JavaScript: integers rounded to doubles, dates in milliseconds."""
    match value:
        case bool():
            return value
        case int():
            return int(Decimal(repr(float(value))))
        case datetime():
            return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case dict():
            return {key: as_javascript_sends(inner) for key, inner in value.items()}
        case list():
            return [as_javascript_sends(inner) for inner in value]
        case _:
            return value
