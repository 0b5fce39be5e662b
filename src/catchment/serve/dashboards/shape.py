"""Which column of a result a tile draws as what: as its fence says, else by the columns' kinds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from catchment.serve.dashboards.board import Fence, Filter, Mistake
from catchment.serve.dashboards.options import CHARTS
from catchment.serve.dashboards.spelling import nearest

HIDDEN = "_"
"""Columns whose names begin so are not shown."""
ORDER = "_order"
"""The column that sorts."""

MAX_TOLD = 12

TIMES = frozenset({"time", "date"})
NAMES = frozenset({"text", "bool"})


class Column(Protocol):
    """A column of a result; `kind` is time, date, number, text, bool, json or other."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Shape:
    """Indexes into a row. Of a chart: `x`, `y` (several: a series each) and `color`, of a number `y` alone; of a table
    `links` by their options' order, `bars`, and `totals`, its numbers.

    A flat bar has its names in `x` and its numbers in `y`, whichever way round the fence has them. `visible` are the
    columns that may be shown, `order` the one that sorts, `click` the one whose value a click chooses. `is_over_time`:
    x is a time, so that the chart spans the whole period.
    """

    visible: tuple[int, ...]
    x: int | None = None
    y: tuple[int, ...] = ()
    color: int | None = None
    order: int | None = None
    is_flat: bool = False
    is_over_time: bool = False
    click: int | None = None
    links: tuple[int, ...] = ()
    bars: tuple[int, ...] = ()
    totals: tuple[int, ...] = ()
    mistakes: tuple[Mistake, ...] = ()

    @property
    def has_series(self) -> bool:
        """Whether there may be more than one line, area or colour of bar."""
        return self.color is not None or len(self.y) > 1


def shape_of(path: str, fence: Fence, columns: Sequence[Column], click: Filter | None = None) -> Shape:
    """The shape of a fence's result; `click` is the filter that the fence's `click` names.

    What is wrong is in `mistakes`: then there is nothing to draw.
    """
    return _Shaping(path, fence, columns, click).shape()


def in_order(rows: Iterable[Sequence[Any]], shape: Shape) -> list[Sequence[Any]]:
    """The rows as `_order` sorts them, null at the end; as they come where there is none."""
    if shape.order is None:
        return list(rows)
    at = shape.order
    return sorted(rows, key=lambda row: (row[at] is None, row[at]))


class _Shaping:
    def __init__(self, path: str, fence: Fence, columns: Sequence[Column], click: Filter | None) -> None:
        self._path = path
        self._fence = fence
        self._columns = columns
        self._click_filter = click
        self._mistakes: list[Mistake] = []
        self._visible = tuple(at for at, column in enumerate(columns) if not column.name.startswith(HIDDEN))
        self._order = next((at for at, column in enumerate(columns) if column.name.lower() == ORDER), None)

    def shape(self) -> Shape:
        if not self._visible:
            self._note("", "the result has no column that is shown: their names begin with _")
            return self._made()
        match self._fence.kind:
            case "number":
                return self._number()
            case "table":
                return self._table()
            case "heat":
                return self._heat()
        return self._chart() if self._fence.kind in CHARTS else self._made()

    # ---- kinds ------------------------------------------------------------------------------

    def _number(self) -> Shape:
        if len(self._visible) > 1:
            names = ", ".join(self._columns[at].name for at in self._visible[:MAX_TOLD])
            self._note("", f"a number is one value; the result has {len(self._visible)} columns: {names}")
        return self._made(y=self._visible[:1])

    def _table(self) -> Shape:
        options = self._fence.options
        links = []
        for link in options.links:
            key = f"link.{link.column}"
            links.append(self._named(key, link.column))
            for name in link.columns:
                self._named(key, name)
        bars = [self._number_named(f"bar.{name}", name) for name in options.bars]
        numbers = tuple(at for at in self._visible if self._kind(at) == "number")
        return self._made(
            links=tuple(at for at in links if at is not None),
            bars=tuple(at for at in bars if at is not None),
            totals=numbers if options.total else (),
        )

    def _heat(self) -> Shape:
        """The darkness is a number, the last one where none is named; across and up are the first two others."""
        options = self._fence.options
        x, y = self._given("x", options.x), self._given("y", options.y[0] if options.y else None)
        color = self._number_named("color", options.color) if options.color else None
        if self._mistakes:
            return self._made()
        if color is None:
            color = self._first(lambda kind: kind == "number", {x, y}, reverse=True)
        x = x if x is not None else self._first(_any, {y, color})
        y = y if y is not None else self._first(_any, {x, color})
        if x is None or y is None or color is None:
            self._note("", f"a heat map needs x, y and a number for its colour; the result has {self._told()}")
            return self._made()
        return self._made(x=x, y=(y,), color=color)

    def _chart(self) -> Shape:
        options = self._fence.options
        x = self._given("x", options.x)
        ys = [self._given("y", name) for name in options.y]
        color = self._given("color", options.color)
        if self._mistakes:
            return self._made()
        if x is None:
            x = self._usual_x({*ys, color})
        if not ys:
            ys = [self._first(lambda kind: kind == "number", {x, color})]
        if color is None and len(ys) == 1:
            color = self._first(NAMES.__contains__, {x, *ys})
        if x is None or None in ys:
            self._note("", f"a chart needs a column for x and a number for y; the result has {self._told()}")
            return self._made()
        return self._checked(x, tuple(at for at in ys if at is not None), color)

    def _usual_x(self, taken: Collection[int | None]) -> int | None:
        """The first time or text; of points, and where there is none of them, the first of several numbers."""
        numbers = [at for at in self._visible if self._kind(at) == "number" and at not in taken]
        needed = 0 if self._fence.options.y else 1
        named = self._first(lambda kind: kind in TIMES | NAMES, taken)
        if self._fence.kind == "scatter" and len(numbers) > needed:
            time = self._first(TIMES.__contains__, taken)
            return numbers[0] if time is None else time
        if named is not None:
            return named
        return numbers[0] if len(numbers) > needed else None

    def _checked(self, x: int, y: tuple[int, ...], color: int | None) -> Shape:
        options = self._fence.options
        if len(y) > 1 and color is not None:
            self._note("color", "color: several y are told apart by their names, so there can be no color")
        is_flat = self._fence.kind == "bar" and self._kind(x) == "number" and self._kind(y[0]) != "number"
        if is_flat and len(y) == 1:
            x, y = y[0], (x,)
        for at in y:
            if self._kind(at) != "number":
                self._note("y", f"y={self._columns[at].name}: must be a number; the result has {self._told()}")
        if options.compare and self._fence.kind != "number" and (color is not None or len(y) > 1):
            self._note("compare", "compare: only a chart of one series can be compared")
        return self._made(x=x, y=y, color=color, is_flat=is_flat)

    # ---- columns ----------------------------------------------------------------------------

    def _made(self, **more: Any) -> Shape:
        shape = Shape(visible=self._visible, order=self._order, mistakes=tuple(self._mistakes), **more)
        over_time = shape.x is not None and self._kind(shape.x) in TIMES
        click = None if self._click_filter is None or self._mistakes else self._clicked(self._click_filter, shape)
        return replace(shape, is_over_time=over_time, click=click)

    def _clicked(self, chosen: Filter, shape: Shape) -> int | None:
        """The column named like the filter, else the one that tells marks apart."""
        named = self._find(chosen.name)
        if named is not None:
            return named
        if chosen.type == "period":
            return self._first(TIMES.__contains__, set())
        candidates = [at for at in (shape.color, shape.x) if at is not None and self._kind(at) in NAMES]
        if candidates:
            return candidates[0]
        return shape.x if shape.x is not None else self._first(NAMES.__contains__, set())

    def _kind(self, at: int) -> str:
        return self._columns[at].kind

    def _first(self, fits: Callable[[str], bool], taken: Collection[int | None], reverse: bool = False) -> int | None:
        found = [at for at in self._visible if at not in taken and fits(self._kind(at))]
        return None if not found else found[-1 if reverse else 0]

    def _given(self, key: str, name: str | None) -> int | None:
        return None if name is None else self._named(key, name)

    def _find(self, name: str) -> int | None:
        """The column of that name, else the only one of that name in other letters' case."""
        exact = [at for at, column in enumerate(self._columns) if column.name == name]
        loose = [at for at, column in enumerate(self._columns) if column.name.lower() == name.lower()]
        return exact[0] if exact else loose[0] if loose else None

    def _named(self, key: str, name: str) -> int | None:
        at = self._find(name)
        if at is None:
            names = [column.name for column in self._columns]
            near = nearest(name, names)
            remedy = f"did you mean {near}?" if near else f"the result has {self._told()}"
            self._note(key, f"{key}: no column '{name}'; {remedy}")
        return at

    def _number_named(self, key: str, name: str) -> int | None:
        at = self._named(key, name)
        if at is not None and self._kind(at) != "number":
            self._note(key, f"{key}: {name} is no number but {_a(self._kind(at))}")
            return None
        return at

    def _told(self) -> str:
        told = [f"{self._columns[at].name} ({self._kind(at)})" for at in self._visible[:MAX_TOLD]]
        return ", ".join(told) + (", …" if len(self._visible) > MAX_TOLD else "")

    def _note(self, key: str, text: str) -> None:
        place = self._fence.place(key or "kind")
        self._mistakes.append(Mistake(self._path, place.line, place.column, text))


def _any(kind: str) -> bool:
    return True


def _a(kind: str) -> str:
    return {"time": "a time", "date": "a day", "text": "a text", "bool": "true or false", "json": "JSON"}.get(
        kind, "something else"
    )
