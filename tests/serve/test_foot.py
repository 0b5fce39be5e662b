"""The foot of a dashboard: as of when its data is."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from tests.accounts.asking import Answer
from tests.serve.pages import World, scripts

AGES = """\
---
title: Ages
refresh: 1h
filters:
  kind: {type: one, options: [a, b]}
---
```sql number old "Old"
select count(*) from web.event where n < 3
```

```sql number new "New"
select count(*) from web.event where kind in $kind
```
"""


def test_the_foot_tells_the_age_of_the_oldest_result(world: World) -> None:
    viewer, address = world.person("viewer"), "/d/ages/tiles?kind=b"
    world.board("ages", AGES)

    def times(answer: Answer) -> list[str]:
        return re.findall(r"As of <time>(.*?)</time>, UTC", answer.body.decode().replace("\\u003c", "<"))

    before_s = time.time()
    page = viewer.get("/d/ages?kind=b")
    after_s = time.time()
    assert page.body.index(b'"id":"new"') < page.body.index(b"As of"), "after the tiles"
    assert times(page)[0] in {f"{datetime.fromtimestamp(at, UTC):%H:%M}" for at in (before_s, after_s)}
    [tag] = [each["tag"] for each in scripts(page) if "tag" in each]
    board = world.site.library.entry("ages").board
    kept = world.site.asking._kept
    [old] = [key for key in kept if key[0].strip() == board.fence("old").sql.text.strip()]
    kept[old].true_at_s = datetime(2026, 11, 2, 8, 5, tzinfo=UTC).timestamp()
    assert times(viewer.get(address)) == ["2 Nov, 08:05"], "one tile is older than the other"
    again = viewer.get(address, if_none_match=tag)
    assert (again.status, again.header("as-of")) == (304, "2 Nov, 08:05"), "the same tiles, and their age"
    assert times(viewer.get("/d/ages?kind=a")) == times(viewer.get("/d/ages/tiles?kind=a"))
    world.board("ages", AGES.replace("kind in $kind", "nosuchcolumn in $kind").replace("web.event", "web.none"))
    assert times(viewer.get("/d/ages")) == [], "nothing is known where nothing is answered"
