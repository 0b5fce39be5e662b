"""A heat map in six steps, with its legend; and points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from catchment.serve.charts import frame, ticks
from catchment.serve.charts.frame import Spec

STEPS = 6
LEGEND_PX = 40
_SWATCH_PX = 26


@dataclass(frozen=True, slots=True)
class Heat:
    """Cells by the names of their column and row; a cell without a value stays blank. `running` is the cell that is
    not over."""

    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: dict[tuple[str, str], float | None]
    write: Callable[[float], str]
    write_short: Callable[[float], str]
    running: tuple[str, str] | None = None


def heat_spec(it: Heat) -> Spec:
    """The map. Steps are even between round values."""
    known = [value for value in it.values.values() if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    if low > 0 and low < (high - low) / 2:
        low = 0.0
    span = (high - low) or 1.0
    left = min(ticks.widest(it.rows) + 12, 140)
    cells = [
        {"x": x, "y": y, "k": min(STEPS - 1, int((value - low) / span * STEPS)), "t": it.write(value)}
        for (x, y), value in it.values.items()
        if value is not None
    ]
    label_px = max(ticks.widest(it.columns) + 6, 16)
    choices = [[it.columns[at] for at in some] for some in ticks.thinned(len(it.columns))]
    running = f"datum.x === {_text(it.running[0])} && datum.y === {_text(it.running[1])}" if it.running else "false"
    marks = [
        {
            "type": "rect",
            "from": {"data": "cells"},
            "encode": {
                "update": {
                    "x": {"scale": "x", "field": "x"},
                    "y": {"scale": "y", "field": "y"},
                    "width": {"scale": "x", "band": 1, "offset": -2},
                    "height": {"scale": "y", "band": 1, "offset": -2},
                    "cornerRadius": {"value": 2},
                    "fill": {"signal": f"[{_steps()}][datum.k]"},
                    "stroke": {"signal": f"{running} ? '@ink' : null"},
                    "strokeDash": {"value": [3, 2]},
                }
            },
        },
        *_legend(it.write_short(low), it.write_short(high)),
    ]
    return frame.chart(
        left=left,
        right=0,
        top=0,
        bottom=frame.BOTTOM + LEGEND_PX,
        signals=frame.shown(choices, label_px),
        data=[{"name": "cells", "values": cells}],
        scales=[
            {"name": "x", "type": "band", "domain": list(it.columns), "range": "width"},
            {"name": "y", "type": "band", "domain": list(it.rows), "range": "height"},
        ],
        axes=[
            {
                "scale": "y",
                "orient": "left",
                "labelAlign": "left",
                "labelPadding": left,
                "labelColor": "@ink2",
                "labelLimit": left - 8,
            },
            {"scale": "x", "orient": "bottom", "values": {"signal": "shown"}, "labelOverlap": "greedy"},
        ],
        marks=marks,
    )


def _steps() -> str:
    return ", ".join(f"'@h{step}'" for step in range(STEPS))


def _legend(low: str, high: str) -> list[Spec]:
    start = ticks.widest([low]) + 6
    y = f"height + {frame.BOTTOM + LEGEND_PX - 16}"
    swatches = [
        {
            "type": "rect",
            "encode": {
                "update": {
                    "x": {"value": start + step * _SWATCH_PX + 1},
                    "y": {"signal": y},
                    "width": {"value": _SWATCH_PX - 2},
                    "height": {"value": 10},
                    "cornerRadius": {"value": 2},
                    "fill": {"value": f"@h{step}"},
                }
            },
        }
        for step in range(STEPS)
    ]
    ends = [(0, low), (start + STEPS * _SWATCH_PX + 6, high)]
    texts = [
        {
            "type": "text",
            "encode": {
                "update": {
                    "x": {"value": x},
                    "y": {"signal": f"{y} + 5"},
                    "text": {"value": text},
                    "baseline": {"value": "middle"},
                    "fill": {"value": "@muted"},
                }
            },
        }
        for x, text in ends
    ]
    return [*swatches, *texts]


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a scatter plot."""

    x: float
    y: float
    color: str
    label: str = ""


def scatter_spec(points: Sequence[Point], write_x: Callable[[float], str], write_y: Callable[[float], str]) -> Spec:
    """Points by two numbers."""
    xs, ys = [point.x for point in points], [point.y for point in points]
    x_ticks = ticks.four(min(xs, default=0), max(xs, default=1))
    y_ticks = ticks.four(min(ys, default=0), max(ys, default=1))
    y_scale, y_axis, left = frame.y_axis(y_ticks, [write_y(value) for value in y_ticks])
    labels = ", ".join(_text(write_x(value)) for value in x_ticks)
    return frame.chart(
        left=left,
        right=8,
        data=[
            {
                "name": "points",
                "values": [{"x": point.x, "y": point.y, "c": f"@{point.color}", "n": point.label} for point in points],
            }
        ],
        scales=[
            {"name": "x", "type": "linear", "domain": [x_ticks[0], x_ticks[-1]], "range": "width", "zero": False},
            y_scale,
        ],
        axes=[
            y_axis,
            {
                "scale": "x",
                "orient": "bottom",
                "values": x_ticks,
                "grid": True,
                "labelFlush": True,
                "encode": {
                    "labels": {"update": {"text": {"signal": f"[{labels}][round(datum.index * {len(x_ticks) - 1})]"}}}
                },
            },
        ],
        marks=[
            {
                "type": "symbol",
                "from": {"data": "points"},
                "encode": {
                    "update": {
                        "x": {"scale": "x", "field": "x"},
                        "y": {"scale": "y", "field": "y"},
                        "size": {"value": 36},
                        "fill": {"field": "c"},
                        "fillOpacity": {"value": 0.7},
                    }
                },
            }
        ],
    )
