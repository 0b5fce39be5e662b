"""What a page is told of a tile: its marks or its HTML, or what it says instead."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

import msgspec

from catchment.errors import CatchmentError, Retry, UsageError
from catchment.serve.asking import Answer
from catchment.serve.charts import vega_lite
from catchment.serve.charts.frame import Note
from catchment.serve.charts.series import Buckets, Columns, wall_ms
from catchment.serve.dashboards.board import Fence, Mistake
from catchment.serve.dashboards.clock import UNITS, as_moment, in_zone, instant
from catchment.serve.dashboards.formats import Format, parse_format, trimmed, write
from catchment.serve.dashboards.numbers import target_text
from catchment.serve.dashboards.periods import Period, buckets
from catchment.serve.dashboards.shape import Shape, in_order, shape_of
from catchment.serve.results import Result
from catchment.serve.tiles import charting, numbers, saying, tables
from catchment.serve.tiles.palette import Palette
from catchment.serve.tiles.running import Asked, Unaskable, error_place
from catchment.serve.tiles.view import View
from catchment.sql.tables import tables_read

Payload = dict[str, Any]
CHARTS = {"line", "area", "bar", "scatter", "heat", "vega-lite"}
LONG_SQL_CHARACTERS = 5_000
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True)
class Told:
    """A tile's payload, with what it was made of."""

    payload: Payload
    asked: Asked | None = None
    answer: Answer | None = None
    mistakes: tuple[Mistake, ...] = ()
    remembered_s: float | None = None
    """`true_at_s` of an answer that is not kept."""

    @property
    def true_at_s(self) -> float | None:
        """When what it shows was so, in seconds since 1970; None where it shows no answer."""
        return self.remembered_s if self.answer is None else self.answer.true_at_s

    @cached_property
    def json(self) -> bytes:
        """The payload as JSON that ends no script element."""
        return _ENCODER.encode(self.payload).replace(b"<", b"\\u003c")


async def tell(view: View, fence: Fence, palette: Palette) -> Told:
    """All that a page needs of a tile. Raises nothing of what its author or the warehouse did wrong: it says it."""
    waiting = view.chosen.waiting
    if fence.mistakes:
        return _wrong(view, fence, fence.mistakes)
    if waiting:
        return Told(_of(fence, "waits", html=saying.waits(waiting)))
    if fence.kind == "vega-lite":
        return await _own_chart(view, fence)
    try:
        # Long SQL is parsed aside: all other pages would wait for it.
        asked = await asyncio.to_thread(view.asked, fence) if _is_long(view, fence) else view.asked(fence)
    except Unaskable as error:
        return _wrong(view, fence, error.mistakes)
    try:
        if fence.kind == "number":
            return await _number(view, fence, asked)
        return await _answered(view, fence, asked, palette)
    except UsageError as error:
        return _wrong(view, fence, [_mistake(view, asked, error)], asked)
    except Retry as error:
        return Told(_of(fence, "down", html=saying.down(error)), asked)
    except CatchmentError as error:
        return Told(_of(fence, "error", html=saying.failed(view, error)), asked)


def _is_long(view: View, fence: Fence) -> bool:
    return sum(len(each.sql.text) for each in (fence, *view.board.queries.values())) > LONG_SQL_CHARACTERS


def _wrong(
    view: View, fence: Fence, mistakes: Sequence[Mistake], asked: Asked | None = None, answer: Answer | None = None
) -> Told:
    return Told(_of(fence, "error", html=saying.wrong(view, mistakes)), asked, answer, tuple(mistakes))


def _mistake(view: View, asked: Asked, error: UsageError) -> Mistake:
    """What the warehouse said of the SQL, where in the file."""
    at = error_place(str(error), asked.question.sql)
    line, column = asked.place(*at) if at else (asked.composed.at(0).line, asked.composed.at(0).column)
    return Mistake(view.board.path, line, column, saying.first_line(error))


def _of(fence: Fence, state: str, **more: Any) -> Payload:
    return {"id": fence.id, "state": state, "sub": fence.options.unit if fence.kind in CHARTS else "", **more}


async def _own_chart(view: View, fence: Fence) -> Told:
    """A chart that its author specified, over the board's queries."""
    results: dict[str, Result] = {}
    asked, answer = None, None
    try:
        for name in fence.datasets:
            asked = view.asked(view.board.queries[name])
            answer = await view.answer(asked)
            results[name] = answer.result
        spec = await asyncio.to_thread(vega_lite.vega_lite_spec, fence.spec or {}, results, view.zone)
    except Unaskable as error:
        return _wrong(view, fence, error.mistakes)
    except ValueError as error:
        place = fence.place("kind")
        text = " ".join(str(error).split())[:300]
        return _wrong(view, fence, [Mistake(view.board.path, place.line, place.column, text)])
    except UsageError as error:
        assert asked is not None, "only a query is refused so"
        return _wrong(view, fence, [_mistake(view, asked, error)], asked)
    except CatchmentError as error:
        return Told(_of(fence, "down", html=saying.down(error)), asked)
    if answer is None:
        return Told(_of(fence, "ok", spec=spec, key="", label=fence.title))
    return Told(
        await _shown(view, fence, asked, answer, {"spec": spec, "key": "", "label": fence.title}), asked, answer
    )


async def _number(view: View, fence: Fence, asked: Asked) -> Told:
    scan = view.scan(asked)
    answer = await view.answer(scan or asked)
    if scan is None:
        shape = shape_of(view.board.path, fence, answer.result.columns)
        if shape.mistakes:
            return _wrong(view, fence, shape.mistakes, asked, answer)
        before = None
        if fence.options.compare is not False and _mentions_period(view, asked):
            before = (await view.answer(view.asked(fence, previous=True))).result
        shown = numbers.plain(fence, answer.result, before, view.chosen.period)
    else:
        found = numbers.Scan.of(answer.result)
        if found.is_empty:
            plain = await view.answer(asked)
            found = found.with_value(plain.result)
        shown = numbers.scanned(fence, found, view.chosen.period, view.zone)
    # The number alone, where it has no rows, is a dash and says for which choices.
    html = numbers.html(shown, saying.choices(view) if shown.is_nothing else "")
    return Told(await _shown(view, fence, asked, answer, {"html": html}), asked, answer)


def _mentions_period(view: View, asked: Asked) -> bool:
    period = view.board.period
    return (
        period is not None
        and period.name in asked.spliced.used
        and view.chosen.period is not None
        and view.chosen.period.previous is not None
    )


async def _answered(view: View, fence: Fence, asked: Asked, palette: Palette) -> Told:
    answer = await view.answer(asked)
    result = answer.result
    shape = shape_of(view.board.path, fence, result.columns, view.shown_click(fence))
    if shape.mistakes:
        return _wrong(view, fence, shape.mistakes, asked, answer)
    if not result.rows:
        bare = await _bare(view, asked)
        return Told(_of(fence, "empty", html=saying.bare(view, bare) if bare else saying.empty(view)), asked, answer)
    if fence.kind == "table":
        page = tables.page_of(view, fence, shape, result, 1)
        return Told(await _shown(view, fence, asked, answer, {"html": tables.html(page)}), asked, answer)
    ordered = replace(result, rows=tuple(map(tuple, in_order(result.rows, shape))))
    previous = await _previous(view, fence, asked, shape)
    wanted = await _wanted(view, fence, asked, shape, ordered, palette)
    drawn = charting.drawn(wanted, ordered, previous, _shift(view))
    payload = {"spec": drawn.spec, "key": drawn.key, "hover": drawn.hover, "label": drawn.label}
    if fence.options.click and shape.is_flat:
        payload["click"] = fence.options.click
    return Told(await _shown(view, fence, asked, answer, payload), asked, answer)


async def _bare(view: View, asked: Asked) -> str:
    """The first of the tables that a tile reads that has no rows at all; none where each has some."""
    for table in sorted(asked.question.tables or ()):
        if "." in table and await view.is_bare(table):
            return table
    return ""


async def _previous(view: View, fence: Fence, asked: Asked, shape: Shape) -> Result | None:
    """The period before, of a line of one series."""
    if fence.kind != "line" or not fence.options.compare or shape.has_series or not _mentions_period(view, asked):
        return None
    try:
        return (await view.answer(view.asked(fence, previous=True))).result
    except (CatchmentError, Unaskable):
        return None


def _shift(view: View) -> Callable[[Any], Any]:
    """Moves a time of the period before to where it stands in this one, by the wall clock."""
    period = view.chosen.period
    if period is None or period.previous is None or period.start is None:
        return lambda value: value
    moved = period

    def shift(value: Any) -> Any:
        if isinstance(value, datetime | date):
            return moved.forward(as_moment(value, view.zone)).replace(tzinfo=None)
        return value

    return shift


async def _wanted(
    view: View, fence: Fence, asked: Asked, shape: Shape, result: Result, palette: Palette
) -> charting.Wanted:
    options = fence.options
    assert shape.x is not None, "a chart without mistakes has an x"
    steps = _buckets(view, asked, result, shape.x) if shape.is_over_time else None
    notes = [Note(wall_ms(at, view.zone), name) for at, name in await view.notes()] if shape.is_over_time else []
    how = parse_format(options.format) if options.format else None
    return charting.Wanted(
        kind=fence.kind or "line",
        columns=Columns(shape.x, shape.y, shape.color, shape.order),
        write=writer(how),
        write_short=writer(trimmed(how)) if how else plain,
        color_of=palette.color,
        zone=view.zone,
        is_flat=shape.is_flat,
        order=options.order,
        stack=options.stack or "zero",
        target=None if options.target is None else float(options.target.value),
        target_text="" if options.target is None else target_text(options.target, how or _PLAIN),
        notes=tuple(notes),
        buckets=steps,
    )


_PLAIN = parse_format(",.12~g")


def writer(how: Format | None) -> Callable[[Any], str]:
    """How a chart writes its heights: as the fence says, else with few digits."""
    if how is not None:
        return lambda value: write(Decimal(repr(value)) if isinstance(value, float) else value, how)
    return plain


def plain(value: Any) -> str:
    """A number at a glance: thousands are told apart, and there are no more than four digits behind the first."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _buckets(view: View, asked: Asked, result: Result, x: int) -> Buckets | None:
    """The period's, as an axis of time has them; of the rows' own grain where the SQL does not name the period's."""
    period, name = view.chosen.period, view.board.period
    if period is None or name is None or not period.buckets():
        return None
    found = period.buckets()
    if f"${name.name}.grain" not in asked.composed.text.lower():
        places = {wall_ms(row[x], view.zone) for row in result.rows if row[x] is not None}
        for grain in reversed(UNITS):
            steps = buckets(_start(period, places, view), period.end or period.now, grain, period.now)
            known = {wall_ms(step.start.replace(tzinfo=None), view.zone) for step in steps}
            if places <= known:
                found = steps
                break
        else:
            return Buckets(min(places, default=0), max(places, default=1))
    starts = [wall_ms(bucket.start.replace(tzinfo=None), view.zone) for bucket in found if not bucket.is_future]
    running = next((wall_ms(b.start.replace(tzinfo=None), view.zone) for b in found if b.is_running), None)
    last = wall_ms(found[-1].start.replace(tzinfo=None), view.zone)
    return Buckets(starts[0] if starts else last, last, tuple(starts), running)


def _start(period: Period, places: set[int], view: View) -> datetime:
    """Where the axis begins: with the period, or with what the rows have before it."""
    start = period.start or period.now
    if not places:
        return start
    first = in_zone(datetime.fromtimestamp(min(places) / 1000, UTC).replace(tzinfo=None), view.zone)
    return min(start, first, key=instant)


async def _shown(view: View, fence: Fence, asked: Asked | None, answer: Answer, more: Payload) -> Payload:
    state = "down" if answer.trouble is not None else "ok"
    payload = _of(fence, state, ms=round(answer.result.ran_ms), **more)
    if answer.trouble is not None:
        payload["notice"] = saying.old_notice(view, answer.result.ran_at_s)
    elif asked is not None and (stale := await _stale(view, asked)) is not None:
        payload["notice"] = stale
    return payload


async def _stale(view: View, asked: Asked) -> dict[str, str] | None:
    """Of the tables that a tile reads, the one that is older than the board allows."""
    limit = view.board.stale_after
    if limit is None:
        return None
    now = datetime.now(UTC)
    for table in sorted(asked.question.tables or tables_read(asked.question.sql, view.board.dialect) or ()):
        if "." not in table:
            continue  # a query of the board's own
        latest = await view.latest(table)
        if latest is not None and now - latest > limit:
            return saying.stale_notice(table, now - latest, limit)
    return None


def tag(parts: Sequence[object]) -> str:
    """An ETag of what a page shows."""
    return f'"{hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:20]}"'
