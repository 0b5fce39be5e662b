"""A fence's result as a chart: which mark, of what, in which colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

from catchment.serve.charts import bars, heat, lines
from catchment.serve.charts.frame import Note, Spec
from catchment.serve.charts.series import Buckets, Columns, Series, Value, filled, number, series_of, text, wall_ms
from catchment.serve.results import Column, Result

MOST_POINTS = 5_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a fence asks of its chart. `write` writes a y as the page does everywhere, `write_short` one on an
    axis: without a plus or zeros at its end."""

    kind: str
    columns: Columns
    write: Callable[[Any], str]
    write_short: Callable[[Any], str]
    color_of: Callable[[str, str], str]
    zone: ZoneInfo
    is_flat: bool = False
    order: tuple[str, ...] = ()
    stack: str = "zero"
    target: float | None = None
    target_text: str = ""
    notes: tuple[Note, ...] = ()
    buckets: Buckets | None = None
    """The period's, where x is a time."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart for the page. `key` is the legend's HTML, `hover` what the pointer shows."""

    spec: Spec
    key: str
    hover: dict[str, Any]
    label: str


def drawn(wanted: Wanted, result: Result, previous: Result | None, shift: Callable[[Any], Any]) -> Drawn:
    """The chart. `previous` is the result of the period before, whose times `shift` moves into this one."""
    match wanted.kind:
        case "heat":
            return _heat(wanted, result)
        case "scatter":
            return _scatter(wanted, result)
        case "bar" if wanted.is_flat:
            return _lying(wanted, result)
        case "bar":
            return _standing(wanted, result)
    return _lines(wanted, result, previous, shift)


def _is_time(column: Column) -> bool:
    return column.kind in {"time", "date"}


def _x_of(wanted: Wanted, result: Result) -> Callable[[Any], Value]:
    column = result.columns[wanted.columns.x]
    if _is_time(column):
        return lambda value: wall_ms(value, wanted.zone)
    if column.kind == "number" and wanted.kind not in {"bar", "heat"}:
        return lambda value: number(value) or 0.0
    return text


def _series(wanted: Wanted, result: Result, missing: float | None) -> tuple[list[Series], Buckets | None]:
    found = series_of(result, wanted.columns, _x_of(wanted, result), wanted.color_of, wanted.order)
    if not _is_time(result.columns[wanted.columns.x]):
        return found, None
    buckets = wanted.buckets or _own_buckets(found)
    if buckets.starts_ms:
        found = [filled(series, buckets.starts_ms, missing) for series in found]
    elif len(found) > 1 or missing is not None:
        starts = sorted({x for series in found for x, _ in series.points if isinstance(x, int)})
        found = [filled(series, starts, missing) for series in found]
    else:
        found = [replace(series, points=tuple(sorted(series.points, key=lambda at: at[0]))) for series in found]
    return found, buckets


def _own_buckets(series: Sequence[Series]) -> Buckets:
    """Where no period says what there should be: what there is."""
    places = [x for one in series for x, _ in one.points if isinstance(x, int)]
    return Buckets(min(places, default=0), max(places, default=1))


def _lines(wanted: Wanted, result: Result, previous: Result | None, shift: Callable[[Any], Any]) -> Drawn:
    is_area = wanted.kind == "area"
    found, buckets = _series(wanted, result, 0.0 if is_area else None)
    if not is_area:
        found = [_until_running(series, buckets) for series in found]
    before = _previous(wanted, previous, shift, buckets) if previous is not None else None
    it = lines.Lines(
        series=tuple(found),
        buckets=buckets,
        write=wanted.write,
        write_short=wanted.write_short,
        target=wanted.target,
        target_text=f"target {wanted.target_text}" if wanted.target_text else "",
        previous=before,
        notes=wanted.notes if buckets else (),
    )
    spec = lines.area_spec(it, share=wanted.stack == "100%") if is_area else lines.line_spec(it)
    key = _key(found, None) if is_area and len(found) > 1 else ""
    shown = [*found, *([before] if before else [])]
    return Drawn(spec, key, _hover_x(shown, buckets, wanted.write), _label(found, wanted.write))


def _until_running(series: Series, buckets: Buckets | None) -> Series:
    """Without the gaps that lie in the future."""
    points = list(series.points)
    while points and points[-1][1] is None:
        points.pop()
    return replace(series, points=tuple(points)) if buckets else series


def _previous(wanted: Wanted, previous: Result, shift: Callable[[Any], Any], buckets: Buckets | None) -> Series | None:
    moved = replace(
        previous,
        rows=tuple(
            tuple(shift(value) if at == wanted.columns.x else value for at, value in enumerate(row))
            for row in previous.rows
        ),
    )
    found = series_of(moved, replace(wanted.columns, color=None), _x_of(wanted, previous), wanted.color_of)
    if not found or not found[0].points:
        return None
    one = found[0]
    points = sorted(one.points, key=lambda at: at[0])
    if buckets:
        points = [point for point in points if buckets.low_ms <= float(point[0]) <= buckets.high_ms]
        if buckets.starts_ms:
            one = filled(replace(one, points=tuple(points)), buckets.starts_ms, None)
            points = list(one.points)
    return Series("previous", "prev", tuple(points))


def _standing(wanted: Wanted, result: Result) -> Drawn:
    found, buckets = _series(wanted, result, 0.0)
    it = bars.Bars(
        series=tuple(found),
        write=wanted.write,
        write_short=wanted.write_short,
        buckets=buckets,
        stack=wanted.stack,
        target=wanted.target,
        target_text=f"target {wanted.target_text}" if wanted.target_text else "",
    )
    running = buckets.running_ms if buckets else None
    has_part = running is not None and any(x == running and y for series in found for x, y in series.points)
    key = _key(found, "so far" if has_part else None) if len(found) > 1 else ""
    return Drawn(bars.standing_spec(it), key, _hover_x(found, buckets, wanted.write), _label(found, wanted.write))


def _lying(wanted: Wanted, result: Result) -> Drawn:
    x, y = wanted.columns.x, wanted.columns.y[0]
    # Lying, the names are the y of the file and the numbers its x, or the other way round: here names come first.
    points = tuple((text(row[x]), number(row[y])) for row in result.rows)
    series = Series(result.columns[y].name, "s1", points)
    spec = bars.lying_spec(bars.Bars((series,), wanted.write, wanted.write_short))
    said = ", ".join(f"{name} {wanted.write(value)}" for name, value in points[: bars.MOST_LYING] if value is not None)
    return Drawn(spec, "", {"kind": "row"}, said)


def _heat(wanted: Wanted, result: Result) -> Drawn:
    x, y, color = wanted.columns.x, wanted.columns.y[0], wanted.columns.color
    assert color is not None, "a heat map has a colour"
    rows, order = list(result.rows), wanted.columns.order
    if order is not None:
        rows.sort(key=lambda row: (row[order] is None, row[order]))
    columns = _names(result, x, wanted.zone)
    lines_ = dict.fromkeys(_name(row[y], result.columns[y], wanted.zone) for row in rows)
    values = {
        (_name(row[x], result.columns[x], wanted.zone), _name(row[y], result.columns[y], wanted.zone)): number(
            row[color]
        )
        for row in rows
    }
    spec = heat.heat_spec(heat.Heat(tuple(columns), tuple(lines_), values, wanted.write, wanted.write_short))
    known = [value for value in values.values() if value is not None]
    said = f"{len(columns)} by {len(lines_)} cells"
    if known:
        said += f", from {wanted.write(min(known))} to {wanted.write(max(known))}"
    return Drawn(spec, "", {"kind": "cell"}, said)


def _names(result: Result, at: int, zone: ZoneInfo) -> list[str]:
    """The distinct values of a column: numbers and times in their order, texts in that of the rows."""
    values = list(dict.fromkeys(row[at] for row in result.rows))
    if result.columns[at].kind in {"number", "time", "date"}:
        values.sort(key=lambda value: (value is None, value if value is not None else 0))
    return [_name(value, result.columns[at], zone) for value in values]


def _name(value: Any, column: Column, zone: ZoneInfo) -> str:
    if value is not None and column.kind == "time" and value.tzinfo:
        value = value.astimezone(zone)
    if value is not None and _is_time(column):
        return (
            f"{value:%-d %b %H:%M}" if getattr(value, "hour", 0) or getattr(value, "minute", 0) else f"{value:%-d %b}"
        )
    return text(value)


def _scatter(wanted: Wanted, result: Result) -> Drawn:
    x, y, color = wanted.columns.x, wanted.columns.y[0], wanted.columns.color
    points = []
    for row in result.rows[:MOST_POINTS]:
        across, up = number(row[x]), number(row[y])
        if across is None or up is None:
            continue
        name = text(row[color]) if color is not None else ""
        token = wanted.color_of(result.columns[color].name, name) if color is not None else "s1"
        points.append(heat.Point(across, up, token, name))
    spec = heat.scatter_spec(points, lambda value: f"{value:,.12g}", wanted.write_short)
    hover = {"kind": "item", "x": result.columns[x].name, "y": result.columns[y].name}
    names = dict.fromkeys((point.label, point.color) for point in points)
    key = "".join(_swatch(name, token) for name, token in names) if color is not None and len(names) <= 8 else ""
    return Drawn(spec, key, hover, f"{len(points)} points")


def _key(series: Sequence[Series], part: str | None) -> str:
    items = [_swatch(one.name, one.color) for one in series]
    if part:
        items.append(f'<span><i class="swatch part"></i>{escape(part)}</span>')
    return "".join(items)


def _swatch(name: str, token: str) -> str:
    return f'<span><i class="swatch {swatch(token)}"></i>{escape(name)}</span>'


def swatch(token: str) -> str:
    """The class that paints a swatch in a series' colour."""
    return f"c{token[1:]}" if token.startswith("s") else "c0"


def _hover_x(series: Sequence[Series], buckets: Buckets | None, write: Callable[[Any], str]) -> dict[str, Any]:
    places = list(dict.fromkeys(x for one in series for x, _ in one.points))
    if buckets:
        places.sort(key=float)
    shown = []
    for one in series:
        values = dict(one.points)
        texts = [None if values.get(place) is None else write(values[place]) for place in places]
        shown.append({"name": one.name, "color": swatch(one.color), "ys": texts})
    found: dict[str, Any] = {"kind": "x", "xs": places, "time": buckets is not None, "series": shown}
    if buckets and buckets.running_ms is not None:
        found["running"] = buckets.running_ms
    return found


def _label(series: Sequence[Series], write: Callable[[Any], str]) -> str:
    """What a chart says in words: each line's range and where it ends."""
    said = []
    for one in series[:8]:
        known = [y for _, y in one.points if y is not None]
        if known:
            said.append(f"{one.name}: from {write(min(known))} to {write(max(known))}, last {write(known[-1])}")
    return "; ".join(said) or "nothing to draw"
