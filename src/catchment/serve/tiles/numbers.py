"""A number tile: the value, how it moved, its target, and its course."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

from catchment.serve.charts.series import wall_ms
from catchment.serve.dashboards.board import Fence
from catchment.serve.dashboards.clock import as_moment
from catchment.serve.dashboards.numbers import NOTHING, Judged, began_late, judge
from catchment.serve.dashboards.periods import Period
from catchment.serve.results import Result
from catchment.serve.web.templates import render
from catchment.sql import scan

SPARK_HEIGHT = 36
_SPARK_MARGIN = 4
_ARROWS = {"up": "▲", "down": "▼", "flat": ""}


@dataclass(frozen=True, slots=True)
class Shown:
    """What the tile shows. `course` are its values by bucket, None where a bucket has none; `is_running` tells that
    the last one is not over. `why` says why there is nothing to compare with."""

    judged: Judged
    course: tuple[float | None, ...] = ()
    is_running: bool = False
    why: str = ""

    @property
    def is_nothing(self) -> bool:
        return self.judged.text == NOTHING


@dataclass(frozen=True, slots=True)
class Scan:
    """What came of the one scan that answers for both periods."""

    found: scan.Scanned

    @classmethod
    def of(cls, result: Result) -> Scan:
        """Read its rows."""
        return cls(scan.scanned(result.rows))

    @property
    def is_empty(self) -> bool:
        return self.found.is_empty

    def with_value(self, plain: Result) -> Scan:
        """With the value of the plain query: of no rows a count is 0 and a sum null."""
        return Scan(replace(self.found, value=_value(plain)))


def _value(result: Result) -> Any:
    return result.rows[0][0] if result.rows else None


def plain(fence: Fence, result: Result, before: Result | None, period: Period | None) -> Shown:
    """Of a query that stands alone, and of the same for the period before."""
    del period
    previous = None if before is None else _value(before)
    return Shown(judge(_value(result), previous, fence.options, has_previous=previous is not None))


def scanned(fence: Fence, it: Scan, period: Period | None, zone: ZoneInfo) -> Shown:
    """Of one scan, with the course."""
    assert period is not None, "only a period is scanned so"
    assert period.previous is not None, "and one that has another before it"
    found = it.found
    first = None if found.previous_first is None else as_moment(found.previous_first, zone)
    late = began_late(period.previous, first)
    judged = judge(found.value, found.previous, fence.options, has_previous=not late)
    why = ""
    if late and fence.options.compare is not False and not judged.before and first is not None:
        why = f"no comparison: data begins on {first:%-d %b %Y}"
    course, running = _course(found.points, period, zone)
    return Shown(judged, course, running, why)


def _course(
    points: Sequence[tuple[Any, Any]], period: Period, zone: ZoneInfo
) -> tuple[tuple[float | None, ...], bool]:
    values = {wall_ms(at, zone): None if value is None else float(value) for at, value in points}
    buckets = [bucket for bucket in period.buckets() if not bucket.is_future]
    course = [values.get(wall_ms(bucket.start.replace(tzinfo=None), zone)) for bucket in buckets]
    return tuple(course), bool(buckets) and buckets[-1].is_running


def html(it: Shown, choices: str) -> str:
    """The tile's body. `choices` are named where there is no value for them."""
    judged = it.judged
    number = {
        "value": judged.text,
        "unit": judged.unit,
        "delta": "",
        "tone": "",
        "before": judged.before,
        "target": "",
        "is_reached": False,
        "why": it.why or (f"no rows for {choices}" if choices else ""),
        "spark": None,
        "meter": None,
    }
    if judged.change is not None:
        number["delta"] = f"{_ARROWS[judged.change.direction]} {judged.change.text}".strip()
        number["tone"] = {True: "good", False: "bad", None: ""}[judged.change.is_good]
    if judged.target is not None:
        number["target"] = judged.target.words if not it.course else f"target {judged.target.text}"
        number["is_reached"] = judged.target.is_reached
    if sum(value is not None for value in it.course) > 1:
        number["spark"] = spark(it, None if judged.target is None else float(judged.target.value))
    elif judged.meter is not None and judged.target is not None:
        tick = judged.meter.tick * 100
        number["meter"] = {
            "value": f"{judged.meter.filled * 100:.1f}",
            "target": f"{tick:.1f}",
            "anchor": "start" if tick < 12 else "end" if tick > 88 else "middle",
            "label": judged.target.text,
        }
    return render("number.html", number=number)


def _is_near(target: float, low: float, high: float) -> bool:
    """Whether the course can be seen beside the target: that of a sum is for all buckets together, and each of them
    would lie flat."""
    around = max(high - low, abs(high) / 2)
    return low - around <= target <= high + around


def spark(it: Shown, target: float | None) -> dict[str, Any]:
    """The course as paths in a box of 100 by 36."""
    known = [value for value in it.course if value is not None]
    low, high = min(known), max(known)
    if target is not None and not _is_near(target, low, high):
        target = None
    if target is not None:
        low, high = min(low, target), max(high, target)
    span = (high - low) or 1.0

    def y(value: float) -> str:
        share = (value - low) / span
        return f"{SPARK_HEIGHT - _SPARK_MARGIN - share * (SPARK_HEIGHT - 2 * _SPARK_MARGIN):.1f}"

    places = [(at / max(1, len(it.course) - 1) * 100, value) for at, value in enumerate(it.course)]
    points = [(x, value) for x, value in places if value is not None]
    running = it.is_running and it.course[-1] is not None and len(points) > 2
    whole = points[:-1] if running else points
    return {
        "path": "M" + "L".join(f"{x:.1f} {y(value)}" for x, value in whole),
        "part": f"M{whole[-1][0]:.1f} {y(whole[-1][1])}L{points[-1][0]:.1f} {y(points[-1][1])}" if running else "",
        "end": y(points[-1][1]),
        "target": None if target is None else y(target),
    }
