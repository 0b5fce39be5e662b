"""Bars: standing, in time or by name, on top of each other; and lying, one below the other."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from catchment.serve.charts import frame, ticks
from catchment.serve.charts.frame import Spec
from catchment.serve.charts.lines import stack
from catchment.serve.charts.series import Buckets, Series, Value

MOST_LYING = 12
PITCH_PX = 56
BAR_PX = 22


@dataclass(frozen=True, slots=True)
class Bars:
    """What is drawn. `write` writes a height; `buckets` is None where x is a name or a number."""

    series: tuple[Series, ...]
    write: Callable[[float], str]
    write_short: Callable[[float], str]
    buckets: Buckets | None = None
    stack: str = "zero"
    """Or `100%`, or `none`: beside each other."""
    target: float | None = None
    target_text: str = ""


def standing_spec(it: Bars) -> Spec:
    """Bars from zero. The running bucket is pale with a dashed edge."""
    share = it.stack == "100%"
    xs = list(dict.fromkeys(x for series in it.series for x, _ in series.points))
    if it.buckets:
        xs.sort(key=lambda x: x if isinstance(x, int | float) else 0)
    if it.stack == "none":
        tops = [y for series in it.series for _, y in series.points if y is not None]
        stacked = [[(x, 0.0, y or 0.0) for x, y in series.points] for series in it.series]
    else:
        stacked = [list(points) for points in stack(it.series, share=share)]
        tops = [top for points in stacked for _, _, top in points]
    low, high = min([0.0, *tops]), max([0.0, *tops])
    if it.target is not None:
        high = max(high, it.target)
    y_ticks = [0.0, 0.25, 0.5, 0.75, 1.0] if share else ticks.four(low, high, from_zero=True)
    labels = [f"{value:.0%}" for value in y_ticks] if share else [it.write_short(value) for value in y_ticks]
    y_scale, y_axis, left = frame.y_axis(y_ticks, labels)
    x_scale: Spec = {"name": "x", "type": "band", "domain": xs, "range": "width", "paddingInner": 0.22}
    scales, marks, data = [x_scale, y_scale], [], []
    running = it.buckets.running_ms if it.buckets else None
    if it.stack == "none" and len(it.series) > 1:
        names = [series.name for series in it.series]
        scales.append(
            {
                "name": "in",
                "type": "band",
                "domain": names,
                "range": {"signal": "[0, bandwidth('x')]"},
                "padding": 0.05,
            }
        )
    for at, (series, points) in enumerate(zip(it.series, stacked, strict=True)):
        values = [{"x": x, "y0": bottom, "y1": top} for x, bottom, top in points if top != bottom]
        data.append({"name": f"b{at}", "values": values})
        marks.append(_bar(f"b{at}", series, running, beside=it.stack == "none" and len(it.series) > 1))
    # Half of the last label, which stands under the last bar.
    right = 16 if it.buckets else 2
    if it.target is not None:
        ends = [frame.End(it.target_text, it.target, "muted")]
        inner = frame.HEIGHT - frame.TOP - frame.BOTTOM
        end_marks, right = frame.end_labels(ends, y_ticks[0], y_ticks[-1], inner)
        marks += [frame.target_rule(it.target), *end_marks]
    axis, signals = _band_axis(it, xs)
    return frame.chart(
        left=left, right=right, signals=signals, data=data, scales=scales, axes=[y_axis, axis], marks=marks
    )


def lying_spec(it: Bars) -> Spec:
    """Bars of one series, with the name on the left and the value on the right; the first twelve rows."""
    series = it.series[0]
    points = series.points[:MOST_LYING]
    names = [str(x) for x, _ in points]
    heights = [y or 0.0 for _, y in points]
    low, high = min([0.0, *heights]), max([0.0, *heights]) or 1.0
    left = min(ticks.widest(names) + 12, 150)
    right = ticks.widest([it.write(y) for y in heights]) + 10
    values = [
        {"n": name, "y": y, "t": it.write(y) if written is not None else "–", "i": at}
        for at, (name, y, (_, written)) in enumerate(zip(names, heights, points, strict=True))
    ]
    # A tile beside a higher one is as high: bars take the room there is.
    signals = [
        {"name": "pitch", "update": f"min({PITCH_PX}, height / {max(1, len(names))})"},
        {"name": "thick", "update": f"min({BAR_PX}, pitch * 0.54)"},
    ]
    middle = {"signal": "(datum.i + 0.5) * pitch"}
    start, end = "scale('x', min(0, datum.y))", "scale('x', max(0, datum.y))"
    marks: list[Spec] = [
        {
            "type": "rect",
            "from": {"data": "rows"},
            "encode": {
                "update": {
                    "x": {"signal": start},
                    "x2": {"signal": f"max({start} + 2, {end})"},
                    "y": {"signal": "(datum.i + 0.5) * pitch - thick / 2"},
                    "height": {"signal": "thick"},
                    "cornerRadius": {"value": 2},
                    "fill": {"value": f"@{series.color}"},
                }
            },
        },
        {
            "type": "text",
            "from": {"data": "rows"},
            "encode": {
                "update": {
                    "x": {"value": -left},
                    "y": middle,
                    "text": {"field": "n"},
                    "limit": {"value": left - 8},
                    "baseline": {"value": "middle"},
                    "fill": {"value": "@ink2"},
                }
            },
        },
        {
            "type": "text",
            "from": {"data": "rows"},
            "encode": {
                "update": {
                    "x": {"signal": f"{end} + 8"},
                    "y": middle,
                    "text": {"field": "t"},
                    "baseline": {"value": "middle"},
                    "fill": {"value": "@ink2"},
                }
            },
        },
    ]
    return frame.chart(
        left=left,
        right=right,
        top=0,
        bottom=0,
        signals=signals,
        data=[{"name": "rows", "values": values}],
        scales=[{"name": "x", "type": "linear", "domain": [low, high], "range": "width"}],
        axes=[],
        marks=marks,
    )


def _bar(data: str, series: Series, running: int | None, *, beside: bool) -> Spec:
    x: Spec = {"scale": "x", "field": "x"}
    width: Spec = {"scale": "x", "band": 1}
    if beside:
        x["offset"] = {"scale": "in", "value": series.name}
        width = {"scale": "in", "band": 1}
    is_running = f"datum.x === {running}" if running is not None else "false"
    return {
        "type": "rect",
        "from": {"data": data},
        "encode": {
            "update": {
                "x": x,
                "width": width,
                "y": {"scale": "y", "field": "y1"},
                "y2": {"scale": "y", "field": "y0"},
                "fill": {"value": f"@{series.color}"},
                "fillOpacity": {"signal": f"{is_running} ? 0.28 : 1"},
                "stroke": {"signal": f"{is_running} ? '@{series.color}' : '@card'"},
                "strokeWidth": {"signal": f"{is_running} ? 1 : 0.75"},
                "strokeDash": {"signal": f"{is_running} ? [3, 2] : []"},
            }
        },
    }


def _standing_at(labels: list[int], places: list[int]) -> list[Value]:
    """The first bar from each label on: months, say, begin within weeks."""
    found = [bisect_left(places, label) for label in labels]
    return list(dict.fromkeys(places[at] for at in found if at < len(places)))


def _band_axis(it: Bars, xs: list[Value]) -> tuple[Spec, list[Spec]]:
    if it.buckets and xs:
        low, high = it.buckets.low_ms, it.buckets.high_ms
        places = [x for x in xs if isinstance(x, int)]
        choices: list[list[Value]] = [_standing_at(some, places) for some in ticks.by_width(low, high)]
        text = f"utcFormat(datum.value, '{ticks.time_format(low, high)}')"
        label_px = ticks.LABEL_PX
    else:
        names = [str(x) for x in xs]
        label_px = max(ticks.widest(names) + 14, 24)
        choices = [[xs[at] for at in some] for some in ticks.thinned(len(xs))]
        text = "datum.value"
    axis: Spec = {
        "scale": "x",
        "orient": "bottom",
        "values": {"signal": "shown"},
        "labelOverlap": "greedy",
        "encode": {"labels": {"update": {"text": {"signal": text}}}},
    }
    return axis, frame.shown(choices, label_px)
