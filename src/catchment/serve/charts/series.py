"""The points that a chart draws, from a query's rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from catchment.serve.results import Result

Value = int | float | str
"""A point's place along x: milliseconds of the wall clock, a number, or a text."""


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one colour, in order of x. A y of None is a gap."""

    name: str
    color: str
    points: tuple[tuple[Value, float | None], ...]


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column is what: indexes into a row."""

    x: int
    y: tuple[int, ...]
    color: int | None = None
    order: int | None = None


@dataclass(frozen=True, slots=True)
class Buckets:
    """The steps that an axis of time has. `running_ms` is the start of the one that is not over, None where all are;
    times are milliseconds of the wall clock."""

    low_ms: int
    high_ms: int
    """The last bucket's start."""
    starts_ms: tuple[int, ...] = ()
    """Every bucket of the period; empty where the rows' own are all there is."""
    running_ms: int | None = None


def wall_ms(value: Any, zone: ZoneInfo) -> int:
    """A time's place on the axis: a time without a zone is that zone's own."""
    if isinstance(value, datetime):
        local = value.astimezone(zone).replace(tzinfo=UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        return round(local.timestamp() * 1000)
    if isinstance(value, date):
        return round(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp() * 1000)
    raise TypeError(f"{value!r} is no time")


def number(value: Any) -> float | None:
    """A value as a height: exact enough to draw, never to read."""
    return None if value is None else float(value)


def series_of(
    result: Result,
    columns: Columns,
    x_of: Callable[[Any], Value],
    color_of: Callable[[str, str], str],
    order: Sequence[str] = (),
) -> list[Series]:
    """The rows as series: one for each value of the colour's column, or for each y.

    `color_of` gives the colour of a value of a column. `order` names series that come first.
    """
    if columns.color is None:
        names = result.names
        return [
            Series(names[y], f"s{at + 1 if len(columns.y) > 1 else 1}", _points(result.rows, columns.x, y, x_of))
            for at, y in enumerate(columns.y)
        ]
    column = result.columns[columns.color].name
    groups: dict[str, list[tuple[Any, ...]]] = {}
    for row in result.rows:
        groups.setdefault(text(row[columns.color]), []).append(row)
    ranks = {name: at for at, name in enumerate(order)}
    found = [
        Series(name, color_of(column, name), _points(rows, columns.x, columns.y[0], x_of))
        for name, rows in groups.items()
    ]
    return sorted(found, key=lambda series: ranks.get(series.name, len(ranks)))


def text(value: Any) -> str:
    """A value as a name."""
    return "null" if value is None else str(value)


def _points(
    rows: Sequence[tuple[Any, ...]], x: int, y: int, x_of: Callable[[Any], Value]
) -> tuple[tuple[Value, float | None], ...]:
    return tuple((x_of(row[x]), number(row[y])) for row in rows if row[x] is not None)


def filled(series: Series, starts: Sequence[int], missing: float | None) -> Series:
    """With a point for every bucket, in order; where the rows have none it is `missing`."""
    there, known = dict(series.points), set(starts)
    extra = [point for point in series.points if point[0] not in known]
    points = [*((start, there.get(start, missing)) for start in starts), *extra]
    return replace(series, points=tuple(sorted(points, key=lambda point: point[0])))
