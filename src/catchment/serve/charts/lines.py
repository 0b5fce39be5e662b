"""Lines and areas over time, or over a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from catchment.serve.charts import frame, ticks
from catchment.serve.charts.frame import End, Note, Spec
from catchment.serve.charts.series import Buckets, Series, Value

DASH = [3, 3.5]
EARLY = 0.86
"""Of the width: a line that ends before carries its name where it ends."""


@dataclass(frozen=True, slots=True)
class Lines:
    """What is drawn. `write` writes a y, `write_short` one on an axis; `buckets` is None where x is a number."""

    series: tuple[Series, ...]
    buckets: Buckets | None
    write: Callable[[float], str]
    write_short: Callable[[float], str]
    target: float | None = None
    target_text: str = ""
    previous: Series | None = None
    notes: tuple[Note, ...] = ()


def line_spec(it: Lines) -> Spec:
    """Straight lines from point to point; the running bucket is dashed and hollow, names stand where lines end."""
    all_series = [*it.series, *([it.previous] if it.previous else [])]
    heights = [y for series in all_series for _, y in series.points if y is not None]
    if it.target is not None:
        heights.append(it.target)
    low, high = min(heights, default=0), max(heights, default=1)
    y_ticks = ticks.four(low, high, from_zero=low >= 0 and low < (high - low) / 2)
    notes = _seen(it)
    lanes = min(2, len(notes))
    top = frame.TOP + lanes * frame.NOTE_LANE
    inner = frame.HEIGHT - top - frame.BOTTOM
    ends, early = _ends(it)
    end_marks, right = frame.end_labels(ends, y_ticks[0], y_ticks[-1], inner)
    end_marks += [frame.point_label(*each) for each in early]
    y_scale, y_axis, left = frame.y_axis(y_ticks, [it.write_short(value) for value in y_ticks])
    x_scale, x_axis, signals = _x(it)
    data: list[Spec] = []
    marks: list[Spec] = [frame.target_rule(it.target)] if it.target is not None else []
    running_ms = it.buckets.running_ms if it.buckets else None
    for at, series in enumerate(reversed(all_series)):
        is_previous = series is it.previous
        whole, part = _split(series, running_ms)
        data.append({"name": f"l{at}", "values": [{"x": x, "y": y} for x, y in whole]})
        marks.append(_line(f"l{at}", series.color, 1.5 if is_previous else 2))
        if len(whole) == 1 or _lonely(whole):
            marks.append(_dots(f"l{at}", series.color))
        if part and not is_previous:
            data.append({"name": f"p{at}", "values": [{"x": x, "y": y} for x, y in part]})
            marks += [_line(f"p{at}", series.color, 2, dashed=True), _hollow(part[-1], series.color)]
    if notes:
        data.append({"name": "notes", "values": [{"x": note.at_ms, "name": note.name} for note in notes]})
        marks += _notes(lanes)
    return frame.chart(
        left=left,
        right=right,
        top=top,
        signals=signals,
        data=data,
        scales=[x_scale, y_scale],
        axes=[y_axis, x_axis],
        marks=[*marks, *end_marks],
    )


def area_spec(it: Lines, *, share: bool) -> Spec:
    """Areas on top of each other; with `share` as parts of one."""
    stacked = stack(it.series, share=share)
    high = max((top for series in stacked for _, _, top in series), default=1.0)
    y_ticks = [0.0, 0.25, 0.5, 0.75, 1.0] if share else ticks.four(0, high, from_zero=True)
    labels = [f"{value:.0%}" for value in y_ticks] if share else [it.write_short(value) for value in y_ticks]
    y_scale, y_axis, left = frame.y_axis(y_ticks, labels)
    x_scale, x_axis, signals = _x(it)
    data: list[Spec] = []
    marks: list[Spec] = []
    for at, (series, points) in enumerate(zip(it.series, stacked, strict=True)):
        data.append({"name": f"a{at}", "values": [{"x": x, "y0": bottom, "y1": top} for x, bottom, top in points]})
        marks.append(_area(f"a{at}", series.color))
    return frame.chart(
        left=left, right=6, signals=signals, data=data, scales=[x_scale, y_scale], axes=[y_axis, x_axis], marks=marks
    )


def stack(series: Sequence[Series], *, share: bool) -> list[list[tuple[Value, float, float]]]:
    """For each series its (x, bottom, top) on top of those before it; with `share` as parts of the whole at x."""
    totals: dict[Value, float] = {}
    if share:
        for one in series:
            for x, y in one.points:
                totals[x] = totals.get(x, 0.0) + (y or 0.0)
    bottoms: dict[Value, float] = {}
    found = []
    for one in series:
        points: list[tuple[Value, float, float]] = []
        for x, y in one.points:
            height = (y or 0.0) / (totals[x] or 1.0) if share else (y or 0.0)
            bottom = bottoms.get(x, 0.0)
            bottoms[x] = bottom + height
            points.append((x, bottom, bottom + height))
        found.append(points)
    return found


def _x(it: Lines) -> tuple[Spec, Spec, list[Spec]]:
    if it.buckets:
        low, high = it.buckets.low_ms, max(it.buckets.high_ms, it.buckets.low_ms + 1)
        scale, axis = frame.time_axis(low, high)
        return scale, axis, frame.shown(ticks.by_width(low, high))
    if any(isinstance(x, str) for series in it.series for x, _ in series.points):
        return _names(it)
    xs = [float(x) for series in it.series for x, _ in series.points if not isinstance(x, str)]
    low_x, high_x = min(xs, default=0.0), max(xs, default=1.0)
    scale = {
        "name": "x",
        "type": "linear",
        "domain": [low_x, max(high_x, low_x + 1e-9)],
        "range": "width",
        "zero": False,
    }
    axis = {"scale": "x", "orient": "bottom", "tickCount": {"signal": "max(2, floor(width / 76))"}, "labelFlush": True}
    return scale, axis, []


def _names(it: Lines) -> tuple[Spec, Spec, list[Spec]]:
    """Names in the order in which they come, such as hours of a day."""
    names = list(dict.fromkeys(str(x) for series in it.series for x, _ in series.points))
    scale = {"name": "x", "type": "point", "domain": names, "range": "width"}
    axis = {"scale": "x", "orient": "bottom", "values": {"signal": "shown"}, "labelOverlap": "greedy"}
    choices = [[names[at] for at in some] for some in ticks.thinned(len(names))]
    return scale, axis, frame.shown(choices, max(ticks.widest(names) + 14, 24))


def _seen(it: Lines) -> list[Note]:
    """The annotations within the axis."""
    if it.buckets is None:
        return list(it.notes)
    return [note for note in it.notes if it.buckets.low_ms <= note.at_ms <= it.buckets.high_ms]


def _ends(it: Lines) -> tuple[list[End], list[tuple[Value, End]]]:
    """The names at the lines' ends, a single line's last value; and those of lines that end early, at their points."""
    at_edge: list[End] = []
    early: list[tuple[Value, End]] = []
    share = _shares(it)
    for series in it.series:
        x, last = _last(series)
        if last is not None:
            text = it.write(last) if len(it.series) == 1 else series.name
            end = End(text, last, series.color, is_bold=True)
            if share(x) < EARLY:
                early.append((x, end))
            else:
                at_edge.append(end)
    if it.previous:
        _, last = _last(it.previous)
        if last is not None:
            at_edge.append(End(it.previous.name, last, "muted"))
    if it.target is not None:
        at_edge.append(End(it.target_text, it.target, "muted"))
    return at_edge, early


def _last(series: Series) -> tuple[Value, float | None]:
    return next(((x, y) for x, y in reversed(series.points) if y is not None), (0, None))


def _shares(it: Lines) -> Callable[[Value], float]:
    """How far along the axis an x lies, from 0 to 1."""
    xs = list(dict.fromkeys(x for series in it.series for x, _ in series.points))
    if any(isinstance(x, str) for x in xs):
        places = {x: at / max(1, len(xs) - 1) for at, x in enumerate(map(str, xs))}
        return lambda x: places.get(str(x), 1.0)
    numbers = [float(x) for x in xs]
    low = float(it.buckets.low_ms) if it.buckets else min(numbers, default=0.0)
    high = float(it.buckets.high_ms) if it.buckets else max(numbers, default=1.0)
    return lambda x: (float(x) - low) / ((high - low) or 1.0)


Points = list[tuple[object, float | None]]


def _split(series: Series, running_ms: int | None) -> tuple[Points, Points]:
    """What is over, and the step from there to the running bucket."""
    points: Points = list(series.points)
    if running_ms is None or not points or points[-1][0] != running_ms or len(points) < 2:
        return points, []
    return points[:-1], points[-2:]


def _lonely(points: Points) -> bool:
    """Whether a point has no neighbour that a line would lead to."""
    known = [y is not None for _, y in points]
    around = [False, *known, False]
    return any(here and not around[at] and not around[at + 2] for at, here in enumerate(known))


def _line(data: str, color: str, width: float, *, dashed: bool = False) -> Spec:
    update: Spec = {
        "x": {"scale": "x", "field": "x"},
        "y": {"scale": "y", "field": "y"},
        "defined": {"signal": "isValid(datum.y)"},
        "stroke": {"value": f"@{color}"},
        "strokeWidth": {"value": width},
        "strokeJoin": {"value": "round"},
        "strokeCap": {"value": "butt" if dashed else "round"},
    }
    if dashed:
        update["strokeDash"] = {"value": DASH}
    return {"type": "line", "from": {"data": data}, "encode": {"update": update}}


def _dots(data: str, color: str) -> Spec:
    return {
        "type": "symbol",
        "from": {"data": data},
        "encode": {
            "update": {
                "x": {"scale": "x", "field": "x"},
                "y": {"scale": "y", "field": "y"},
                "size": {"signal": "isValid(datum.y) ? 16 : 0"},
                "fill": {"value": f"@{color}"},
            }
        },
    }


def _hollow(point: tuple[object, float | None], color: str) -> Spec:
    x, y = point
    return {
        "type": "symbol",
        "encode": {
            "update": {
                "x": {"scale": "x", "value": x},
                "y": {"scale": "y", "value": y},
                "size": {"value": 28 if y is not None else 0},
                "fill": {"value": "@card"},
                "stroke": {"value": f"@{color}"},
                "strokeWidth": {"value": 1.5},
            }
        },
    }


def _area(data: str, color: str) -> Spec:
    return {
        "type": "area",
        "from": {"data": data},
        "encode": {
            "update": {
                "x": {"scale": "x", "field": "x"},
                "y": {"scale": "y", "field": "y1"},
                "y2": {"scale": "y", "field": "y0"},
                "fill": {"value": f"@{color}"},
                "stroke": {"value": "@card"},
                "strokeWidth": {"value": 0.75},
            }
        },
    }


def _notes(lanes: int) -> list[Spec]:
    """Dotted lines with a name above the plot; the page has put each into a lane, or hidden its name."""
    x = {"scale": "x", "field": "x"}
    lane = f"-{lanes * frame.NOTE_LANE} + (datum.lane || 0) * {frame.NOTE_LANE}"
    return [
        {
            "type": "rule",
            "from": {"data": "notes"},
            "encode": {
                "update": {
                    "x": x,
                    "y": {"signal": lane},
                    "y2": {"signal": "height"},
                    "stroke": {"value": "@prev"},
                    "strokeDash": {"value": [1, 3]},
                }
            },
        },
        {
            "type": "text",
            "from": {"data": "notes"},
            "encode": {
                "update": {
                    "x": x,
                    "dx": {"signal": "datum.flip ? -6 : 6"},
                    "y": {"signal": f"{lane} + 6"},
                    "align": {"signal": "datum.flip ? 'right' : 'left'"},
                    "baseline": {"value": "middle"},
                    "text": {"signal": "datum.hidden ? '' : datum.name"},
                    "fill": {"value": "@muted"},
                }
            },
        },
    ]
