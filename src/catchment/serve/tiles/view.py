"""One dashboard as one person sees it: its choices, and for each tile the question that it asks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from catchment.errors import CatchmentError
from catchment.serve.asking import Answer, Asking, Question
from catchment.serve.dashboards.board import Board, Choice, Fence, Filter
from catchment.serve.dashboards.choices import Chosen, Listed, ListOf, choose
from catchment.serve.tiles import running
from catchment.serve.tiles.running import Asked, Unaskable
from catchment.sql.choices import Choice as ForSql
from catchment.sql.choices import Span
from catchment.sql.scan import one_scan
from catchment.sql.splice import SpliceError
from catchment.warehouses.quoting import table_name

MAX_CHOICES = 1_000
"""A filter with more values is searched."""
MAX_NOTES = 200
MAX_AGE_S = 30.0
"""How old it may be what is known of a table's age."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """What a dashboard must know of who sees it."""

    email: str
    may_write: bool
    """An analyst, who is told of SQL and may wait longer."""

    @property
    def timeout_s(self) -> float:
        return 300.0 if self.may_write else 30.0


@dataclass(frozen=True, slots=True)
class View:
    """A board with what is chosen of it."""

    board: Board
    chosen: Chosen
    viewer: Viewer
    zone: ZoneInfo
    asking: Asking
    base: str = ""
    """What the addresses of our pages begin with."""

    @property
    def refresh_s(self) -> float:
        return self.board.refresh.total_seconds()

    def for_sql(self, *, previous: bool = False) -> dict[str, ForSql]:
        """What is spliced into SQL."""
        return self.chosen.for_sql(self.viewer.email, previous)

    def asked(self, fence: Fence, *, previous: bool = False) -> Asked:
        """The question of a tile. Raises `Unaskable`."""
        return running.ask(
            self.board,
            fence,
            self.for_sql(previous=previous),
            zone=self.zone.key,
            timeout_s=self.viewer.timeout_s,
        )

    def scan(self, asked: Asked) -> Asked | None:
        """The question that a number, the one before and its course are all answered by; None where its SQL is not
        of that form."""
        period, name = self.chosen.period, self.board.period
        if period is None or name is None or period.previous is None:
            return None
        previous = Span(period.previous.start, period.previous.end)
        try:
            spliced = one_scan(asked.composed.text, self.for_sql(), name.name, previous, self.board.dialect)
        except SpliceError:
            return None
        if spliced is None:
            return None
        values = tuple(sorted(spliced.values.items()))
        return replace(asked, question=replace(asked.question, sql=spliced.text, values=values), spliced=spliced)

    async def answer(self, asked: Asked) -> Answer:
        """Its answer. Raises what the warehouse raises."""
        return await self.asking.ask(asked.question, self.refresh_s)

    async def notes(self) -> tuple[tuple[Any, str], ...]:
        """The annotations: when, and what. None where they cannot be had: a chart is worth more than what is on it."""
        source = self.board.annotations
        if source is None:
            return ()
        try:
            asked = running.ask_source(
                self.board, source, self.for_sql(), zone=self.zone.key, timeout_s=30, max_rows=MAX_NOTES
            )
            result = (await self.answer(asked)).result
        except (CatchmentError, Unaskable):
            return ()
        at, name = result.index("at"), result.index("name")
        if at is None or name is None:
            return ()
        return tuple((row[at], str(row[name])) for row in result.rows if row[at] is not None)

    async def latest(self, table: str) -> datetime | None:
        """When the table's latest row came; None where that cannot be told."""
        question = Question(
            f"SELECT max(_received_at) FROM {table_name(table)}", (), self.zone.key, frozenset({table}), max_rows=1
        )
        try:
            rows = (await self.asking.ask(question, min(self.refresh_s, MAX_AGE_S))).result.rows
        except CatchmentError:
            return None
        return rows[0][0] if rows and isinstance(rows[0][0], datetime) else None

    async def is_bare(self, table: str) -> bool:
        """Whether it has no rows; not where that cannot be told."""
        question = Question(
            f"SELECT 1 FROM {table_name(table)} LIMIT 1", (), self.zone.key, frozenset({table}), max_rows=1
        )
        try:
            return not (await self.asking.ask(question, self.refresh_s)).result.rows
        except CatchmentError:
            return False

    def shown_click(self, fence: Fence) -> Filter | None:
        """The filter that a click on the tile sets."""
        return self.board.filters.get(fence.options.click or "")


async def view_of(
    board: Board,
    pairs: Iterable[tuple[str, str]],
    viewer: Viewer,
    zone: ZoneInfo,
    asking: Asking,
    *,
    all_lists: bool = False,
    base: str = "",
) -> View:
    """The board as an address chooses. Raises `AddressError`. Filters whose values nobody needs to know are not asked
    for them, unless `all_lists`."""
    pairs = list(pairs)
    now = datetime.now(zone)
    named = {name for name, _ in pairs}
    loop = asyncio.get_running_loop()
    listings: list[Future[Listed]] = []

    def list_of(each: Filter, parents: Mapping[str, ForSql]) -> Listed:
        if not (all_lists or each.name in named or each.default):
            return Listed(is_complete=False)
        asked = listing(board, each, parents, viewer, zone, asking)
        listings.append(asyncio.run_coroutine_threadsafe(asked, loop))
        return listings[-1].result()

    try:
        chosen = await _choose(board, pairs, now, list_of, viewer.email)
    except asyncio.CancelledError:
        for asked in listings:
            asked.cancel()
        raise
    return View(board, chosen, viewer, zone, asking, base)


async def _choose(board: Board, pairs: list[tuple[str, str]], now: datetime, list_of: ListOf, email: str) -> Chosen:
    if all(each.source is None for each in board.filters.values()):
        return choose(board, pairs, now, list_of, email)
    return await asyncio.to_thread(choose, board, pairs, now, list_of, email)


async def listing(
    board: Board, each: Filter, parents: Mapping[str, ForSql], viewer: Viewer, zone: ZoneInfo, asking: Asking
) -> Listed:
    """What there is to choose in a filter with `from`; of one that cannot be asked, nothing, and anything may be."""
    assert each.source is not None, "only such a filter is listed"
    try:
        asked = running.ask_source(
            board, each.source, parents, zone=zone.key, timeout_s=viewer.timeout_s, max_rows=MAX_CHOICES
        )
        result = (await asking.ask(asked.question, board.refresh.total_seconds())).result
    except (CatchmentError, Unaskable):
        return Listed(is_complete=False)
    label = 1 if len(result.columns) > 1 else 0
    choices = tuple(Choice(row[0], "null" if row[label] is None else str(row[label])) for row in result.rows)
    return Listed(choices, is_complete=not result.is_cut)
