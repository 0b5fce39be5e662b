"""The list of dashboards and the catalogue: ages, views, favourites, who uses what."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from catchment.state.views import KEPT_DAYS, Views
from catchment.warehouses.postgres import PostgresWarehouse
from tests.load.loading import event
from tests.serve.pages import Person, World, serving
from tests.servers.postgres import PostgresServer

DAYS = """\
---
title: Days
owner: Ana
stale_after: 1h
---
How **busy** each [day](/d/x) was.

```sql number days "Days"
select count(*) as n from web.day
```
"""
CITIES = """\
---
title: Cities
owner: viewer-none@acme.example
---
```sql query near
select * from web.city
```

```sql number cities "Cities"
select count(*) as n from near
```
"""
PATIENCE_S = 30.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path) as made:
        fill(made)
        yield made


@pytest.fixture(params=["duckdb", "postgres"])
def each_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """On each warehouse, where hours begin at half past."""
    warehouse = None
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        warehouse = PostgresWarehouse(PostgresWarehouse.Config(server.emptied_database()), tmp_path)
    with serving(tmp_path, zone="Asia/Kolkata", warehouse=warehouse, dialect=request.param) as made:
        fill(made)
        yield made


def fill(made: World) -> None:
    made.board("days", DAYS)
    made.board("geo/cities", CITIES)
    made.rig.file(*(event(f"d{n}", "web.day", n=n, kind=("a", "b")[n % 2]) for n in range(9)))
    made.rig.now = datetime.now(UTC)
    made.rig.file(*(event(f"c{n}", "web.city", name=f"city {n}") for n in range(12)))


def rows(person: Person, address: str = "/dashboards") -> list[list[str]]:
    """The cells of the list, in words."""
    body = person.get(address).body.decode()
    found = re.findall(r"<tr>(.*?)</tr>", body.partition("<tbody>")[2], re.DOTALL)
    return [
        [
            " ".join(unescape(re.sub(r"<[^>]+>", " ", cell)).split())
            for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)
        ]
        for row in found
    ]


def until_equal(get: Any, wanted: object) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while (found := get()) != wanted:
        assert time.monotonic() < give_up_s, found
        time.sleep(0.02)


def test_a_dashboard_has_its_owner_the_age_of_its_data_and_its_views(world: World) -> None:
    viewer = world.person("viewer")
    for _ in range(3):
        viewer.get("/d/geo/cities")
    viewer.get("/d/days")
    viewer.get("/d/days/tiles")  # other choices of one who looks at it already
    until_equal(lambda: [row[4] for row in rows(viewer)], ["3", "1"])
    cities, days = rows(viewer)
    assert cities[1] == "Cities geo"
    assert re.fullmatch(r"\d+ (s|min)", cities[3]), "through the query in front of its tile"
    assert days[1:3] == ["Days How busy each day was.", "Ana"]
    assert re.fullmatch(r"\d+ d web\.day, limit 1 h", days[3])


def test_some_are_chosen(world: World) -> None:
    viewer = world.person("viewer")

    def titles(query: str) -> list[str]:
        return [row[1].split()[0] for row in rows(viewer, f"/dashboards?{query}")]

    assert titles("show=stale") == ["Days"]
    assert titles("show=mine") == ["Cities"]
    assert titles("show=favourites") == []
    assert titles("show=nonsense") == titles("show=all") == ["Cities", "Days"]
    assert viewer.ask("PUT", "/favourites/days").status == 204
    assert titles("show=favourites") == ["Days"]
    assert titles("show=all") == ["Days", "Cities"], "favourites come first"
    assert titles("q=busy") == titles("q=web.day") == titles("q=ana") == ["Days"]
    assert titles("q=count") == [], "SQL is not for everybody to search"
    assert titles("q=busy+city") == []


def test_ages_are_not_known_while_the_warehouse_is_down(world: World) -> None:
    world.is_down = True
    assert {row[3] for row in rows(world.person("viewer"))} == {"–"}


def test_views_are_counted_by_day_and_forgotten(world: World) -> None:
    today = datetime.now(UTC).date()
    old = today - timedelta(days=KEPT_DAYS + 1)
    with world.state.writing() as transaction:
        views = Views(transaction)
        views.add({"a": 2}, old)
        assert views.since(old) == {"a": 2}
        views.add({"a": 3, "b": 1}, today)
        views.add({"a": 1}, today)
        assert views.since(old) == {"a": 4, "b": 1}
        assert views.since(today + timedelta(days=1)) == {}


def test_the_catalogue_tells_of_each_table_how_fresh_and_who_uses_it(each_world: World) -> None:
    analyst = each_world.person("analyst")
    found = {row[0]: row for row in rows(analyst, "/catalogue")}
    assert found["day"][3] == found["city"][3] == "1"
    assert re.fullmatch(r"\d+ d", found["day"][4])
    assert re.fullmatch(r"\d+ (s|min)", found["city"][4])
    analyst.get("/d/geo/cities")
    until_equal(lambda: "1 view<" in analyst.get("/catalogue/web.city").body.decode(), True)
    page = analyst.get("/catalogue/web.city").body.decode()
    assert re.search(r'aria-label="12 rows since \d\d:\d\d, at most 12 in one minute"', page)
    assert re.search(r"In the table at most [\d.]+ (s|min) after it was received", page)
    assert "such as city 0" in page
    assert "a, b</td>" in analyst.get("/catalogue/web.day").body.decode()
    assert "columns that the loader adds" in page
    assert "/sql?sql=SELECT%20%2A%0AFROM%20web.city" in page


def test_a_query_given_by_an_address_is_a_tab_of_its_own(world: World) -> None:
    analyst = world.person("analyst")
    analyst.ask("POST", "/sql/keep", body={"tab": {"id": "a", "title": "Kept", "sql": "select 1"}, "place": 0})
    page = analyst.get("/sql?sql=select+2").body.decode()
    assert 'data-tab="1"' in page
    assert '"sql":"select 1"' in page
    assert '"sql":"select 2"' in page
