"""The format by example, for its reference: each answer is what the code says, not what somebody wrote down."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from catchment.serve.dashboards.formats import parse_format, write
from catchment.serve.dashboards.periods import parse_period
from catchment.serve.dashboards.read import read_board
from catchment.sql.choices import Between, Choice, Contains, Equal, Span
from catchment.sql.splice import splice

EXAMPLE = """\
---
title: Chat queue
owner: support
refresh: 30s
filters:
  period: {type: period, default: last 30 days}
  queue: {type: many, from: "select distinct queue from chats order by 1"}
annotations: select released_on as at, name from releases where released_on in $period
---
Half of everyone should have an answer within **90 seconds**.

```sql query mine
select * from chats where created_at in $period and queue in $queue
```
```sql number "Answered in 90 s" format=.0% target=50%
select avg((wait_s <= 90)::int) from mine
```
```sql number waiting "Waiting now" target=<20
select count(*) from chats where state = 'waiting' and queue in $queue
```
```sql area "Conversations" width=8 order=chat,email,phone
select date_trunc($period.grain, created_at) as day, channel, count(*) as chats from mine group by all
```
```sql bar "By queue" width=4 click=queue x=chats y=queue
select queue, count(*) as chats from mine group by 1 order by 2 desc
```
```sql table "Longest waits" page=10 link.id=/chats/{id} bar.wait_s
select id, queue, wait_s from mine order by wait_s desc limit 100
```
```vega-lite mine "How long people wait" width=12
{"mark": "bar", "encoding": {"x": {"bin": true, "field": "wait_s"}, "y": {"aggregate": "count"}}}
```
"""
"""A dashboard without mistakes that has something of everything."""

NOW = datetime(2026, 11, 25, 12, 40, tzinfo=ZoneInfo("America/Los_Angeles"))

PERIODS = (
    "last 30 days", "last 30 full days", "last 12 months", "this week", "previous month", "2026-11-01..2026-11-10",
    "last 24 hours", "today",
)  # fmt: skip

_CHOSEN: dict[str, Choice] = {
    "queue": Equal(("Cards", "Other"), many=True),
    "org": Equal(many=True),
    "channel": Equal(("email",), null=True, many=True),
    "region": Equal(("West",)),
    "period": Span("…", "…", "day"),
    "amount": Between(low=10),
    "search": Contains("50%"),
}
SPLICED = (
    "queue in $queue",
    "lower(queue) not in ($queue)",
    "org in $org",
    "channel in $channel",
    "created_at in $period",
    "amount in $amount",
    "title in $search",
    "coalesce($region, 'everywhere')",
    "date_trunc($period.grain, created_at)",
    "note <> 'in $queue' -- in $queue",
)

FORMATS = (
    (1234567.891, (",d", ",.2f", ".3s", ".2e")),
    (0.4837, (".0%", ".1%", "+.1%")),
    (-12.5, (".0f", "(.1f", "+.1f")),
)

WRONG = """\
---
title: Chat queue
refresh: 1s
filters:
  period: {type: period, default: last 30 dayz}
  queue: {type: many, from: "select queue from chats where region in $region"}
  region: {type: many, from: "select region from chats where queue in $queue"}
---
```sql pie "By queue"
select queue, count(*) from chats group by 1
```
```sql number "Waiting" widht=3 click=regoin
select count(*) from chats where queue in $qeue
```
```sql number "Waiting"
select 1; drop table chats
```
```sql line waiting target=many
select 1
```
```sql line waiting
select 1
"""
"""A dashboard with a mistake of each kind."""


@dataclass(frozen=True, slots=True)
class PeriodRow:
    """A period at `NOW`, in words."""

    text: str
    start: str
    end: str
    previous: str
    grain: str


def period_rows() -> Iterator[PeriodRow]:
    """What each of `PERIODS` is."""
    for text in PERIODS:
        period = parse_period(text).at(NOW)
        assert period.start is not None
        assert period.end is not None
        assert period.previous is not None
        previous = f"{_moment(period.previous.start)} – {_moment(period.previous.end)}"
        yield PeriodRow(text, _moment(period.start), _moment(period.end), previous, period.grain)


def _moment(moment: datetime) -> str:
    day = f"{moment:%m-%d}" if moment.year == NOW.year else f"{moment:%Y-%m-%d}"
    return f"{day} {moment:%H:%M}" if moment.hour or moment.minute else day


def spliced_rows() -> Iterator[tuple[str, str]]:
    """What is sent in place of each of `SPLICED`, when Cards and Other are chosen in `queue`, nothing in `org`, and so
    on."""
    for written in SPLICED:
        yield written, splice(written, _CHOSEN).text


def format_rows() -> Iterator[tuple[str, str, str]]:
    """Formats, numbers, and how these are written."""
    for value, formats in FORMATS:
        for text in formats:
            yield text, str(value), write(value, parse_format(text))


def wrong_lines() -> list[str]:
    """All that is said of `WRONG`."""
    return [str(mistake) for mistake in read_board("dashboards/chat-queue.md", WRONG).all_mistakes()]
