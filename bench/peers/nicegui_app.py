"""The orders' dashboard in NiceGUI, as its documentation has it: an async page that asks in threads, its own ECharts.

`python nicegui_app.py TILES.json DATABASE PORT`; `?over=AMOUNT` is the choice. A cursor for each query lets them run
beside each other, as DuckDB's documentation advises.
"""

import asyncio
import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb
from nicegui import run, ui  # type: ignore[import-not-found]

TILES = json.loads(Path(sys.argv[1]).read_text())
warehouse = duckdb.connect(sys.argv[2], read_only=True)


def ask(sql: str, over: float) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Names of columns, and rows."""
    found = warehouse.cursor().execute(sql, [over])
    return [column[0] for column in found.description], found.fetchall()


async def page(over: float = 0) -> None:
    """All tiles at once: their queries run beside each other."""
    found = await asyncio.gather(*(run.io_bound(ask, tile["sql"], over) for tile in TILES))
    with ui.grid(columns=12).classes("w-full"):
        for tile, (names, rows) in zip(TILES, found, strict=True):
            width = {"number": 4, "table": 12}.get(tile["kind"], 6)
            with ui.card().classes(f"tile col-span-{width}"):
                ui.label(tile["title"])
                show(tile["kind"], names, rows)


def show(kind: str, names: list[str], rows: list[tuple[Any, ...]]) -> None:
    """One tile."""
    if kind == "number":
        ui.label(f"{rows[0][0]:,.2f}").classes("text-3xl value")
    elif kind == "table":
        columns = [{"name": name, "label": name, "field": name} for name in names]
        ui.table(columns=columns, rows=[dict(zip(names, row, strict=True)) for row in rows], row_key="_")
    else:
        ui.echart({"animation": False, "tooltip": {}} | option(kind, rows)).classes("h-80")


def option(kind: str, rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    """Of ECharts."""
    if kind == "bar":
        category = {"type": "category", "data": [row[0] for row in rows], "inverse": True}
        return {"xAxis": {}, "yAxis": category, "series": [{"type": "bar", "data": [row[1] for row in rows]}]}
    if kind == "scatter":
        return {"xAxis": {"scale": True}, "yAxis": {"scale": True}, "series": [{"type": "scatter", "data": rows}]}
    if kind == "heat":
        hours, days = sorted({row[0] for row in rows}), sorted({row[1] for row in rows})
        cells = [[hours.index(row[0]), days.index(row[1]), row[2]] for row in rows]
        return {
            "xAxis": {"type": "category", "data": hours},
            "yAxis": {"type": "category", "data": days},
            "visualMap": {"min": min(row[2] for row in rows), "max": max(row[2] for row in rows)},
            "series": [{"type": "heatmap", "data": cells}],
        }
    more = {"areaStyle": {}, "stack": "all"} if kind == "area" else {}
    series = [
        {"type": "line", "name": name, "showSymbol": False, "data": [[str(row[0]), row[2]] for row in some], **more}
        for name, some in groupby(sorted(rows, key=lambda row: (row[1], row[0])), lambda row: row[1])
    ]
    return {"xAxis": {"type": "time"}, "yAxis": {}, "legend": {}, "series": series}


ui.page("/", response_timeout=60)(page)
ui.run(host="127.0.0.1", port=int(sys.argv[3]), reload=False, show=False)
