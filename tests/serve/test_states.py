"""What is seen when something is not as it should be: the warehouse is away, data is old, a table is empty."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from catchment.serve.tiles.view import Viewer
from tests.load.loading import event
from tests.serve.pages import World, payloads, serving

BOARD = """\
---
title: States
owner: Ana
refresh: 10s
stale_after: {stale_after}
filters:
  kind: {{type: one, options: [a, b, c]}}
---
```sql number many "Many"
select count(*) as n from web.event where kind in $kind
```

```sql table rows "Rows"
select n, kind from web.event where kind in $kind order by n
```

```sql line drawn "Drawn"
select n, n * 2 as twice from web.event where kind in $kind order by n
```
"""
BARE = """\
---
title: Bare
---
```sql table rows "Rows"
select kind from web.nobody
```
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path) as made:
        made.board("states", BOARD.format(stale_after="1h"))
        made.rig.now = datetime.now(UTC)
        made.rig.file(*(event(f"e{n}", n=n, kind="ab"[n % 2]) for n in range(9)))
        yield made


def forget_when(world: World) -> None:
    """Answers are as old as if `refresh` had passed."""
    for kept in world.site.asking._kept.values():
        kept.checked_s = float("-inf")


def tiles(world: World, query: str = "", role: Any = "viewer") -> dict[str, Any]:
    return payloads(world.person(role).get(f"/d/states{query}"))


def shown(tile: dict[str, Any]) -> tuple[Any, Any]:
    return tile.get("html"), tile.get("spec")


def test_while_the_warehouse_is_down_the_last_result_is_shown_with_its_time(world: World) -> None:
    before = tiles(world)
    assert {tile["state"] for tile in before.values()} == {"ok"}
    assert not any("notice" in tile for tile in before.values())
    world.is_down = True
    forget_when(world)
    world.site.asked.close()
    down = tiles(world)
    for name, tile in down.items():
        assert tile["state"] == "down", name
        assert re.match(r"As of \d\d:\d\d:\d\d\. The warehouse cannot be reached", tile["notice"]["html"])
        assert shown(tile) == shown(before[name]), name
    unseen = tiles(world, "?kind=c")
    assert {tile["state"] for tile in unseen.values()} == {"down"}
    assert all("The warehouse cannot be reached" in tile["html"] for tile in unseen.values())
    assert all("tried again" in tile["html"] for tile in unseen.values())
    world.is_down = False
    forget_when(world)
    assert {name: shown(tile) for name, tile in tiles(world).items()} == {
        name: shown(tile) for name, tile in before.items()
    }


def test_old_data_is_amber_with_its_table_its_age_and_what_is_allowed(world: World) -> None:
    world.board("states", BOARD.format(stale_after="10s"))
    world.rig.warehouse._connection.execute("UPDATE web.event SET _received_at = now() - INTERVAL 3 HOUR")
    for tile in tiles(world).values():
        assert tile["notice"]["tone"] == "amber"
        assert "<b>web.event</b> is 3 h old; limit 10 s" in tile["notice"]["html"]
        assert tile["state"] == "ok", "and is shown"


def test_no_rows_for_what_is_chosen_can_be_cleared(world: World) -> None:
    found = tiles(world, "?kind=c")
    assert found["rows"]["state"] == "empty"
    assert "No rows" in found["rows"]["html"]
    assert "for Kind c." in found["rows"]["html"]
    assert ">Clear</a>" in found["rows"]["html"]
    assert ">0<" in found["many"]["html"], "a count of nothing is 0"


def test_an_empty_table_says_how_to_send_to_it(world: World) -> None:
    world.board("bare", BARE)
    world.rig.file(event("one", "web.nobody", kind="a"))
    world.rig.warehouse._connection.execute("DELETE FROM web.nobody")
    said = payloads(world.person("analyst").get("/d/bare"))["rows"]["html"]
    assert "web.nobody has no rows yet" in said
    assert "catchment send web.nobody FILE" in said
    assert "catchment send" not in payloads(world.person("viewer").get("/d/bare"))["rows"]["html"]


def test_a_viewer_s_query_has_half_a_minute_and_an_analyst_s_five() -> None:
    assert Viewer("a@acme.example", may_write=False).timeout_s == 30
    assert Viewer("a@acme.example", may_write=True).timeout_s == 300
