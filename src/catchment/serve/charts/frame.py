"""What all charts have around their marks: the axes, the grid, labels at the end of lines, annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from catchment.serve.charts import ticks

Spec = dict[str, Any]

HEIGHT = 220
"""Of a plot with its axes, in pixels; a page may give it another."""
BOTTOM = 22
TOP = 8
NOTE_LANE = 17
LABEL_GAP = 16


@dataclass(frozen=True, slots=True)
class Note:
    """An annotation: something that happened."""

    at_ms: int
    name: str


@dataclass(frozen=True, slots=True)
class End:
    """A label where a line ends, at this y of the scale."""

    text: str
    y: float
    color: str
    is_bold: bool = False


def y_axis(values: Sequence[float], labels: Sequence[str]) -> tuple[Spec, Spec, int]:
    """The scale and the axis of the grid lines, and the room that their labels take on the left."""
    left = ticks.widest(labels) + 10
    quoted = ", ".join("'" + label.replace("\\", "\\\\").replace("'", "\\'") + "'" for label in labels)
    text = f"[{quoted}][round(datum.index * {len(labels) - 1})]"
    scale = {"name": "y", "type": "linear", "domain": [values[0], values[-1]], "range": "height", "zero": False}
    axis = {
        "scale": "y",
        "orient": "left",
        "values": list(values),
        "grid": True,
        "labelAlign": "left",
        "labelPadding": left,
        # Written here, as all numbers are: what the page says and what its charts say must not differ.
        "encode": {"labels": {"update": {"text": {"signal": text}}}},
    }
    return scale, axis, left


def time_axis(low_ms: int, high_ms: int) -> tuple[Spec, Spec]:
    """The scale of time and its axis, with as many labels as the width has room for."""
    scale = {"name": "x", "type": "utc", "domain": [low_ms, high_ms], "range": "width"}
    axis = {
        "scale": "x",
        "orient": "bottom",
        "values": {"signal": "shown"},
        "format": ticks.time_format(low_ms, high_ms),
        "formatType": "utc",
        "labelFlush": True,
        "labelOverlap": "greedy",
    }
    return scale, axis


def shown(choices: Sequence[Sequence[Any]], label_px: int = ticks.LABEL_PX) -> list[Spec]:
    """The signal `shown`: which labels there is room for."""
    return [
        {"name": "choices", "value": [list(choice) for choice in choices]},
        {"name": "shown", "update": f"choices[clamp(floor(width / {label_px}), 0, {len(choices) - 1})]"},
    ]


def chart(
    *,
    left: int,
    right: int,
    top: int = TOP,
    bottom: int = BOTTOM,
    signals: Sequence[Spec] = (),
    data: Sequence[Spec],
    scales: Sequence[Spec],
    axes: Sequence[Spec],
    marks: Sequence[Spec],
) -> Spec:
    """A specification; the page sets its width, and its height if that is another."""
    return {
        "width": 480,
        "height": HEIGHT - top - bottom,
        "padding": {"left": left, "right": right, "top": top, "bottom": bottom},
        "autosize": "none",
        "signals": list(signals),
        "data": list(data),
        "scales": list(scales),
        "axes": list(axes),
        "marks": list(marks),
    }


def target_rule(value: float) -> Spec:
    """A dashed line across the plot."""
    return {
        "type": "rule",
        "encode": {
            "update": {
                "x": {"value": 0},
                "x2": {"signal": "width"},
                "y": {"scale": "y", "value": value},
                "stroke": {"value": "@muted"},
                "strokeDash": {"value": [4, 4]},
            }
        },
    }


def spread(places: Sequence[float], gap: float, bottom: float) -> list[float]:
    """Places along a line, in order, moved as little downwards or up as it takes to stand `gap` apart, down to
    `bottom`."""
    moved = list(places)
    for at in range(1, len(moved)):
        moved[at] = max(moved[at], moved[at - 1] + gap)
    for at in reversed(range(len(moved))):
        moved[at] = min(moved[at], bottom)
        bottom = moved[at] - gap
    return moved


def end_labels(ends: Sequence[End], low: float, high: float, height: int) -> tuple[list[Spec], int]:
    """Marks with the labels at the right, pushed apart and kept inside, and the room that they take."""
    if not ends:
        return [], 6
    span = (high - low) or 1.0
    ordered = sorted(ends, key=lambda end: -end.y)
    places = spread([(1 - (end.y - low) / span) * height for end in ordered], LABEL_GAP, height)
    marks = [_end_label(end, place / height) for end, place in zip(ordered, places, strict=True)]
    return marks, ticks.widest([end.text for end in ends]) + 14


def _end_label(end: End, share: float) -> Spec:
    return {
        "type": "text",
        "encode": {
            "update": {
                "x": {"signal": "width + 10"},
                "y": {"signal": f"height * {share:.4f}"},
                "text": {"value": end.text},
                "baseline": {"value": "middle"},
                "fill": {"value": f"@{end.color}"},
                "fontWeight": {"value": 600 if end.is_bold else 400},
            }
        },
    }


def point_label(x: Any, end: End) -> Spec:
    """A label beside a point within the plot."""
    return {
        "type": "text",
        "encode": {
            "update": {
                "x": {"scale": "x", "value": x, "offset": 9},
                "y": {"scale": "y", "value": end.y},
                "text": {"value": end.text},
                "baseline": {"value": "middle"},
                "fill": {"value": f"@{end.color}"},
                "fontWeight": {"value": 600 if end.is_bold else 400},
            }
        },
    }
