"""One world of pages for the tests of a module that only read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.load.loading import event
from tests.serve.pages import World, serving

OPEN = """\
---
title: Orders
owner: Ana
refresh: 10s
filters:
  period: {type: period, default: all}
  queue: {type: many, options: [Cards, Other, null]}
  kind: {type: one, from: "select distinct kind from web.event order by 1"}
  size: {type: range, default: null}
---
Some **prose** <script>alert(1)</script> and [a link](javascript:alert(2)).

```sql number "How many"
select count(*) from web.event where kind in $kind
```

```sql table rows "All rows" page=5
select n, kind, big, note from web.event where kind in $kind order by n
```

```sql bar "By kind"
select kind, count(*) as events from web.event where kind in $kind group by 1 order by 1
```
"""

SECRET = """\
---
title: Salaries
owner: Bea
groups: finance
filters:
  kind: {type: one, from: "select distinct kind from web.event"}
---
The hidden word is Quetzal.

```sql number total "Paid"
select 4711 as n from web.event limit 1
```
"""

BROKEN = """\
---
title: Broken
owner: Cleo
---
```sql number fine "Fine"
select count(*) from web.event
```

```sql table wrong "Wrong"
select nosuchcolumn from web.event
```

```sql pie
select 1
```

```sql table two "Two"
select 1; select 2
```
"""

NASTY = '<script>alert("x")</script>\'"&amp;'


def fill(world: World) -> None:
    """The boards, and some events."""
    world.board("orders", OPEN)
    world.board("money/salaries", SECRET)
    world.board("broken", BROKEN)
    events = [
        event(f"e{n}", n=n, kind=("Cards", "Other", NASTY)[n % 3], big=9007199254740993 + n, note=NASTY)
        for n in range(30)
    ]
    world.rig.file(*events)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root: Path = tmp_path_factory.mktemp("pages")
    with serving(root, home="money/salaries") as made:
        fill(made)
        yield made
