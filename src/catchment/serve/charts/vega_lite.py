"""A chart that its author specified in Vega-Lite, over the board's own queries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from catchment.serve.charts.frame import HEIGHT, Spec
from catchment.serve.charts.series import wall_ms
from catchment.serve.results import Result

VERSION = "6.4"
CONFIG: Mapping[str, Any] = {
    "background": None,
    "view": {"stroke": None},
    "axis": {
        "domain": False, "ticks": False, "labelColor": "@muted", "labelFontSize": 12, "gridColor": "@grid",
        "title": None, "labelPadding": 8,
    },
    "axisX": {"grid": False},
    "axisBand": {"labelAngle": 0},
    "axisY": {"tickCount": 4},
    "legend": {"orient": "top", "labelColor": "@muted", "labelFontSize": 12, "title": None, "symbolType": "square"},
    "range": {"category": [f"@s{at}" for at in range(1, 9)], "ramp": [f"@h{at}" for at in range(6)],
              "heatmap": [f"@h{at}" for at in range(6)]},
    "mark": {"color": "@s1"},
    "text": {"color": "@ink2", "fontSize": 12},
    "title": {"color": "@ink"},
}  # fmt: skip


def vega_lite_spec(spec: Mapping[str, Any], results: Mapping[str, Result], zone: ZoneInfo) -> Spec:
    """The specification in Vega, with its queries' rows. Raises ValueError for one that Vega-Lite does not take."""
    given = {**spec, "$schema": f"https://vega.github.io/schema/vega-lite/v{VERSION[0]}.json"}
    given |= {"width": 480, "height": HEIGHT, "autosize": {"type": "fit", "contains": "padding"}, "padding": 0}
    given["config"] = {**CONFIG, **_mapping(spec.get("config"))}
    compiled = json.loads(_compiled(json.dumps(given, sort_keys=True)))
    for data in compiled.get("data", []):
        result = results.get(data.get("name", ""))
        if result is not None:
            data.pop("url", None)
            data["values"] = rows(result, zone)
    compiled["fit"] = True
    return dict(compiled)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


@lru_cache(256)
def _compiled(spec: str) -> str:
    # Loaded for those boards alone that have such a chart: it is an engine of JavaScript of some 100 MB.
    import vl_convert

    return json.dumps(vl_convert.vegalite_to_vega(spec, vl_version=VERSION))


def rows(result: Result, zone: ZoneInfo) -> list[dict[str, Any]]:
    """The rows as Vega takes them: times as milliseconds of the wall clock, numbers as floats."""
    names = result.names
    return [{name: _plain(value, zone) for name, value in zip(names, row, strict=True)} for row in result.rows]


def _plain(value: Any, zone: ZoneInfo) -> Any:
    if isinstance(value, datetime | date):
        return wall_ms(value, zone)
    if isinstance(value, Decimal):
        return float(value)
    return value
