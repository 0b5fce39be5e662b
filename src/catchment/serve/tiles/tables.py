"""A result as a table: a page of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from catchment.serve.dashboards.board import DEFAULT_PAGE_ROWS, Fence, Link
from catchment.serve.dashboards.formats import Format, parse_format, write
from catchment.serve.dashboards.shape import Shape, in_order
from catchment.serve.results import Column, Result
from catchment.serve.tiles.view import View
from catchment.serve.web.templates import render

BAR_PX = 88
MAX_CELL_CHARACTERS = 500

MOST_PLACES = 3
LEAST_HIGH, MOST_HIGH_BESIDE, MOST_HIGH = 3, 8, 10
"""Rows that a table is high; it is less beside other tiles."""
SHORT = 24
"""Characters."""


@dataclass(frozen=True, slots=True)
class Head:
    """A column's header."""

    label: str
    is_right: bool


@dataclass(frozen=True, slots=True)
class Cell:
    """One value. `bar` is its length in pixels where it has one."""

    text: str
    classes: str = ""
    href: str = ""
    bar: str | None = None

    @property
    def is_outside(self) -> bool:
        return "://" in self.href


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a table."""

    id: str
    label: str
    columns: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    totals: tuple[str, ...]
    page: int
    pages: int
    shown: str
    is_cut: bool
    height: str


def height_of(fence: Fence) -> str:
    """The class of a table's height, which is the file's and not the data's: to further rows one scrolls."""
    rows = fence.options.page or DEFAULT_PAGE_ROWS
    most = MOST_HIGH if fence.width == 12 else MOST_HIGH_BESIDE
    return f"rows-{min(max(rows, LEAST_HIGH), most)}"


def page_of(view: View, fence: Fence, shape: Shape, result: Result, number: int) -> Page:
    """A page of a table, from 1 on."""
    size = fence.options.page or DEFAULT_PAGE_ROWS
    rows = in_order(result.rows, shape)
    pages = max(1, -(-len(rows) // size))
    number = min(max(1, number), pages)
    some = rows[(number - 1) * size : number * size]
    heads = tuple(Head(header(result.columns[at]), result.columns[at].kind == "number") for at in shape.visible)
    writing = _Writing(view, fence, shape, result, rows, some)
    of = f"{len(rows):,}"
    first = (number - 1) * size + 1
    shown = f"First {of} rows" if result.is_cut and pages == 1 else f"{first:,}–{first + len(some) - 1:,} of {of}"
    return Page(
        id=fence.id,
        label=fence.title,
        columns=heads,
        rows=tuple(map(writing.row, some)),
        totals=writing.totals(),
        page=number,
        pages=pages,
        shown=shown + (" and more" if result.is_cut else ""),
        is_cut=result.is_cut,
        height=height_of(fence) if fence.kind == "table" else "plot",
    )


def html(page: Page) -> str:
    """Its HTML."""
    return render("rows.html", **{name: getattr(page, name) for name in Page.__dataclass_fields__})


def header(column: Column) -> str:
    """A column's name in sentence case."""
    words = column.name.replace("_", " ").strip() or column.name
    return words[:1].upper() + words[1:]


class _Writing:
    def __init__(
        self,
        view: View,
        fence: Fence,
        shape: Shape,
        result: Result,
        rows: Sequence[Sequence[Any]],
        some: Sequence[Sequence[Any]],
    ) -> None:
        self._view = view
        self._shape = shape
        self._result = result
        self._rows = rows
        self._how = parse_format(fence.options.format) if fence.options.format else None
        self._links: dict[int, Link] = dict(zip(shape.links, fence.options.links, strict=False))
        self._longest = {at: self._most(at) for at in shape.bars}
        self._places = {} if self._how else {at: places([row[at] for row in some]) for at in shape.visible}

    def _most(self, at: int) -> float:
        return max((abs(float(row[at])) for row in self._rows if row[at] is not None), default=0.0) or 1.0

    def row(self, row: Sequence[Any]) -> tuple[Cell, ...]:
        return tuple(self._cell(row, at) for at in self._shape.visible)

    def _cell(self, row: Sequence[Any], at: int) -> Cell:
        value, column = row[at], self._result.columns[at]
        right = "right" if column.kind == "number" else ""
        if value is None:
            return Cell("null", f"{right} null".strip())
        text = self._text(value, column)
        if self._places.get(at) and isinstance(value, float):
            text = padded(text, self._places[at])
        if at in self._longest:
            share = abs(float(value)) / self._longest[at]
            return Cell(text, right, bar=f"{share * BAR_PX:.1f}")
        href = ""
        if at in self._links:
            texts = {each.name: row[index] for index, each in enumerate(self._result.columns)}
            href = self._links[at].address(texts) or ""
            href = f"{self._view.base}{href}" if href.startswith("/") else href
        # What is short stays in one line; a comment may take several.
        return Cell(text, right or ("nowrap" if len(text) <= SHORT else ""), href)

    def _text(self, value: Any, column: Column) -> str:
        if column.kind == "number":
            return number_text(value, self._how)
        return value_text(value, self._view.zone)[:MAX_CELL_CHARACTERS]

    def totals(self) -> tuple[str, ...]:
        if not self._shape.totals:
            return ()
        found = []
        for place, at in enumerate(self._shape.visible):
            if at in self._shape.totals:
                values = [row[at] for row in self._rows if row[at] is not None]
                found.append(number_text(sum(values), self._how))
            else:
                found.append("Total" if place == 0 else "")
        return tuple(found)


def places(values: Sequence[Any]) -> int:
    """How many digits behind the point the floats of a column should have, for their points to stand below each
    other; 0 where they are no floats, or some have too many."""
    texts = [number_text(value, None) for value in values if isinstance(value, float)]
    found = max((len(text.partition(".")[2]) for text in texts), default=0)
    return found if found <= MOST_PLACES and not any("e" in text or "n" in text for text in texts) else 0


def padded(text: str, digits: int) -> str:
    """A number's text with so many digits behind its point."""
    whole, _, part = text.partition(".")
    return f"{whole}.{part:0<{digits}}"


def number_text(value: Any, how: Format | None) -> str:
    """A number in a cell: with all its digits where nothing else is said."""
    if how is not None:
        return write(value, how)
    if isinstance(value, float):
        return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
    if isinstance(value, Decimal):
        return f"{value:,f}"
    return f"{value:,}"


def value_text(value: Any, zone: Any) -> str:
    """Any other value, times by the clock of the project's zone."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        local = value.astimezone(zone) if value.tzinfo else value
        if (local.hour, local.minute, local.second) == (0, 0, 0):
            return f"{local:%-d %b %Y}"
        return f"{local:%-d %b %Y, %H:%M}"
    if isinstance(value, date):
        return f"{value:%-d %b %Y}"
    return str(value)
