"""Days and weeks by the project's clock: in Kolkata, and over a day of 23 hours and one of 25, the same on DuckDB
and on PostgreSQL; and the number that one scan answers is the plain query's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from catchment.warehouses.postgres import PostgresWarehouse
from tests.load.loading import event
from tests.serve.pages import World, payloads, serving
from tests.servers.postgres import PostgresServer

ZONES = {
    "Asia/Kolkata": datetime(2026, 3, 5, tzinfo=UTC),
    "America/Los_Angeles": datetime(2026, 3, 6, tzinfo=UTC),
    "America/Los_Angeles ": datetime(2026, 10, 30, tzinfo=UTC),
}
BOARD = """\
---
title: Days
filters:
  period: {{type: period, default: {period}}}
---
```sql table rows page=100
select cast(cast(date_trunc('{unit}', happened) as date) as varchar) as day, count(*) as n from web.event
where happened in $period group by 1 order by 1
```

```sql number one
select count(*) from web.event where happened in $period
```

```sql number plain compare=off
select n from (select count(*) as n from web.event where happened in $period) t
```
"""


def moments(start: datetime) -> list[datetime]:
    return [start + timedelta(minutes=37 * n) for n in range(200)]


@contextmanager
def serving_on(dialect: str, folder: Path, zone: str, request: pytest.FixtureRequest) -> Iterator[World]:
    """The pages on that warehouse, which is real."""
    warehouse = None
    if dialect == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        warehouse = PostgresWarehouse(PostgresWarehouse.Config(server.emptied_database()), folder)
    with serving(folder, zone=zone, warehouse=warehouse, dialect=dialect) as world:
        yield world


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
@pytest.mark.parametrize("name", ZONES)
def test_days_and_weeks_are_those_of_the_project_s_clock(
    name: str, dialect: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    zone = ZoneInfo(name.strip())
    times = moments(ZONES[name])
    with serving_on(dialect, tmp_path, zone.key, request) as world:
        world.rig.file(*(event(f"e{n}", happened=at.isoformat()) for n, at in enumerate(times)))
        local = [at.astimezone(zone) for at in times]
        first, last = local[0].date() + timedelta(days=1), local[-1].date() - timedelta(days=1)
        inside = [at.date() for at in local if first <= at.date() <= last]
        for unit in ("day", "week"):
            world.board(unit, BOARD.format(period=f"{first}..{last}", unit=unit))
            wanted = Counter(inside if unit == "day" else [at - timedelta(days=at.weekday()) for at in inside])
            found = world.person("viewer").get(f"/d/{unit}/tiles/rows/csv").body.decode().split()[1:]
            assert found == [f"{day},{count}" for day, count in sorted(wanted.items())]
        assert number(world, "one") == number(world, "plain") == len(inside)
        world.board("day", BOARD.format(period="2031-01-01..2031-01-05", unit="day"))
        assert number(world, "one") == number(world, "plain") == 0


def number(world: World, tile: str) -> int:
    html = payloads(world.person("viewer").get("/d/day"))[tile]["html"]
    found = re.search(r'class="big[^>]*>([\d,]+)<', html)
    assert found, html
    return int(found[1].replace(",", ""))
