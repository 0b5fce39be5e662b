"""A dashboard as its file says it: front matter, prose, and fences of SQL, each with its place in the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal
from urllib.parse import quote

Kind = Literal["number", "line", "area", "bar", "scatter", "heat", "table", "query", "vega-lite"]
FilterType = Literal["period", "one", "many", "range", "text"]
Good = Literal["up", "down"]
Stack = Literal["zero", "100%", "none"]

Scalar = str | int | float | Decimal | bool | date | None
"""A filter's value. None is SQL's null."""

DEFAULT_REFRESH = timedelta(minutes=1)
DEFAULT_PAGE_ROWS = 25
COLUMNS = 12
"""How many columns the page has, for `width`."""


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """What is wrong, where: line and column are from 1."""

    path: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.text}"


@dataclass(frozen=True, slots=True)
class Place:
    """A line and column of the file, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Source:
    """A piece of the file as it stands there, beginning at `place`."""

    text: str
    place: Place

    def at(self, offset: int) -> Place:
        """Where in the file a character of `text` stands; for an offset beyond it, its end."""
        before = self.text[: max(offset, 0)]
        lines = before.count("\n")
        if not lines:
            return Place(self.place.line, self.place.column + len(before))
        return Place(self.place.line + lines, len(before) - before.rfind("\n"))


@dataclass(frozen=True, slots=True)
class Target:
    """What a number should reach: `<20`, `>=0.5`, or `55`, whose direction `good` tells.

    `text` is as written; `value` is that with its percent sign reckoned in.
    """

    comparison: Literal["", "<", "<=", ">", ">="]
    value: Decimal
    text: str


@dataclass(frozen=True, slots=True)
class Link:
    """Where a column's cells lead: `/x/{COL}`, other columns' values in braces."""

    column: str
    template: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Those in braces."""
        return tuple(_BRACES.findall(self.template))

    def address(self, row: Mapping[str, Any]) -> str | None:
        """The link of one row; None where a value is null, or is the whole address and none of the web."""
        values = {name: row.get(name) for name in self.columns}
        if any(value is None for value in values.values()):
            return None
        whole = _BRACES.fullmatch(self.template)
        if whole:
            address = str(values[whole[1]])
            return address if _WEB.match(address) else None
        return _BRACES.sub(lambda found: quote(str(values[found[1]]), safe=""), self.template)


_BRACES = re.compile(r"\{([^{}]+)\}")
_WEB = re.compile(r"https?://|/(?![/\\])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Options:
    """What a fence's first line says beyond kind, id, title and width; what it does not say is None or empty."""

    x: str | None = None
    y: tuple[str, ...] = ()
    color: str | None = None
    target: Target | None = None
    good: Good | None = None
    compare: bool | None = None
    order: tuple[str, ...] = ()
    stack: Stack | None = None
    page: int | None = None
    links: tuple[Link, ...] = ()
    bars: tuple[str, ...] = ()
    total: bool = False
    format: str = ""
    unit: str = ""
    click: str | None = None


@dataclass(frozen=True, slots=True)
class Fence:
    """One fence: a tile, or a `query` for other fences.

    `start` and `end` are the lines of its first and last backticks; `sql` is what stands between them, for a
    `vega-lite` fence its JSON. `places` has where each option stands, by its key as written (`x`, `link.id`), and
    `kind`, `id` and `title`. `kind` is None where the file names none that exists.
    """

    id: str
    kind: Kind | None
    title: str
    width: int
    options: Options
    sql: Source
    start: int
    end: int
    places: Mapping[str, Place] = field(default_factory=dict)
    spec: Mapping[str, Any] | None = None
    """A `vega-lite` fence's JSON."""
    datasets: tuple[str, ...] = ()
    """The queries that a `vega-lite` fence draws."""
    mistakes: tuple[Mistake, ...] = ()

    def place(self, key: str) -> Place:
        """Where an option stands; the fence itself for one that it does not have."""
        return self.places.get(key) or Place(self.start, 1)


@dataclass(frozen=True, slots=True)
class Prose:
    """Markdown between the fences; `start` is its first line, `end` its last."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a filter's options, and what it is called."""

    value: Scalar
    label: str


@dataclass(frozen=True, slots=True)
class Range:
    """From `low` to `high`, both in; None is open."""

    low: int | Decimal | date | None
    high: int | Decimal | date | None


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter. `default` is a period's text, a tuple of values (`one` and `many`), a `Range`, a text, or None."""

    name: str
    type: FilterType
    label: str
    default: str | tuple[Scalar, ...] | Range | None
    required: bool
    options: tuple[Choice, ...]
    source: Source | None
    """The SQL of `from`, which gives value[, label]."""
    place: Place
    parents: tuple[str, ...] = ()
    """The filters that this SQL names, itself or in the queries that it reads."""


@dataclass(frozen=True)
class Board:
    """A dashboard's file, read. `parts` are prose and fences in the order of the file.

    `mistakes` are those of the front matter and of the file as a whole; each fence has its own.
    """

    path: str
    title: str
    owner: str
    refresh: timedelta
    stale_after: timedelta | None
    groups: tuple[str, ...]
    filters: Mapping[str, Filter]
    annotations: Source | None
    parts: tuple[Prose | Fence, ...]
    mistakes: tuple[Mistake, ...]
    dialect: str = "duckdb"

    @cached_property
    def fences(self) -> tuple[Fence, ...]:
        """All of them, queries too."""
        return tuple(part for part in self.parts if isinstance(part, Fence))

    @cached_property
    def tiles(self) -> tuple[Fence, ...]:
        """The fences that are seen."""
        return tuple(fence for fence in self.fences if fence.kind != "query")

    @cached_property
    def queries(self) -> Mapping[str, Fence]:
        """The `query` fences by their names."""
        return {fence.id: fence for fence in self.fences if fence.kind == "query"}

    @cached_property
    def period(self) -> Filter | None:
        """The first filter that is a period."""
        return next((each for each in self.filters.values() if each.type == "period"), None)

    @cached_property
    def names_user(self) -> bool:
        """Whether its SQL may name who looks, so that not everybody sees the same."""
        sources = [fence.sql for fence in self.fences] + [each.source for each in self.filters.values()]
        return any(each is not None and "$user" in each.text.lower() for each in (*sources, self.annotations))

    def fence(self, fence_id: str) -> Fence | None:
        """The fence with this id."""
        return next((fence for fence in self.fences if fence.id == fence_id), None)

    def all_mistakes(self) -> list[Mistake]:
        """Those of the whole and of each fence, in the order of the file."""
        return sorted({*self.mistakes, *self._fences_mistakes()})

    def _fences_mistakes(self) -> Iterator[Mistake]:
        for fence in self.fences:
            yield from fence.mistakes


def sentence(name: str) -> str:
    """A name as people read it: `chat-queue` → `Chat queue`."""
    words = name.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:]
