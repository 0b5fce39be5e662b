"""Who looks at the same moment is told the same, which is made once; nobody is told what is not for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from zoneinfo import ZoneInfo

from catchment.errors import WarehouseDown
from catchment.serve.asking import Asking
from catchment.serve.dashboards.board import Board
from catchment.serve.dashboards.read import read_board
from catchment.serve.tiles.palette import Palette
from catchment.serve.tiles.payloads import Told
from catchment.serve.tiles.recent import FOR_S, MOST, Recent
from catchment.serve.tiles.view import Viewer, view_of
from tests.serve.test_asking import Asked

TEXT = """---
title: T
refresh: 10s
filters:
  size: {type: range}
---

```sql table rows "Rows"
select 1 as a, now() as b
```
"""
ANA, BEN, CLEO = Viewer("ana@x.example", False), Viewer("ben@x.example", False), Viewer("cleo@x.example", True)


class Looking:
    """People who look at tiles; the clock is set by hand."""

    def __init__(self, asking: Asking) -> None:
        self.now_s = 100.0
        self.recent = Recent(lambda: self.now_s)
        self._asking = asking

    async def tell(self, board: Board, viewer: Viewer, size: str = "") -> Told:
        pairs = [("size", size)] if size else []
        view = await view_of(board, pairs, viewer, ZoneInfo("UTC"), self._asking)
        return await self.recent.tell(view, board.tiles[0], Palette())


def looking(work: Callable[[Looking, Asked], Coroutine[Any, Any, None]]) -> None:
    asked = Asked()

    async def main() -> None:
        asking = Asking(asked.run, asked.versions)
        try:
            await work(Looking(asking), asked)
        finally:
            asking.close()

    asyncio.run(main())


def board(text: str = TEXT) -> Board:
    found = read_board("dashboards/t.md", text)
    assert not found.all_mistakes()
    return found


def test_the_same_moment_is_told_once_and_for_a_second() -> None:
    async def work(people: Looking, _: Asked) -> None:
        it = board()
        first = await people.tell(it, ANA)
        assert first.payload["state"] == "ok"
        assert first.answer is not None
        again = await people.tell(it, BEN)
        assert again.payload is first.payload
        assert (again.asked, again.answer) == (None, None)
        assert (await people.tell(it, BEN)).json is again.json
        people.now_s += FOR_S
        assert (await people.tell(it, BEN)).payload is not first.payload

    looking(work)


def test_other_choices_roles_and_texts_are_told_by_themselves() -> None:
    async def work(people: Looking, _: Asked) -> None:
        it = board()
        told = [
            await people.tell(it, ANA),
            await people.tell(it, ANA, "1..2"),
            await people.tell(it, CLEO),
            await people.tell(board(), ANA),
        ]
        assert len({id(each.payload) for each in told}) == len(told)

    looking(work)


def test_what_names_the_user_is_told_to_nobody_else() -> None:
    async def work(people: Looking, _: Asked) -> None:
        it = board(TEXT.replace("as b", "as b -- $user.email"))
        assert it.names_user
        assert not board().names_user
        first = await people.tell(it, ANA)
        assert (await people.tell(it, BEN)).payload is not first.payload
        assert (await people.tell(it, ANA)).payload is first.payload

    looking(work)


def test_what_goes_wrong_is_looked_at_each_time() -> None:
    async def work(people: Looking, asked: Asked) -> None:
        asked.error = WarehouseDown("gone")
        it = board()
        assert (await people.tell(it, ANA)).payload["state"] == "down"
        asked.error = None
        assert (await people.tell(it, ANA)).payload["state"] == "ok"

    looking(work)


def test_no_more_is_kept_than_may_be() -> None:
    async def work(people: Looking, _: Asked) -> None:
        it = board()
        first = await people.tell(it, ANA, "0..1")
        for at in range(MOST):
            await people.tell(it, ANA, f"{at}..")
        assert (await people.tell(it, ANA, "0..1")).payload is not first.payload

    looking(work)
