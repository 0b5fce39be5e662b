"""The orders' dashboard in Dash, as its documentation has it: a callback for each tile, behind gunicorn.

`gunicorn dash_app:server` with `TILES` and `DATABASE` in the environment; `?over=AMOUNT` is the choice. A cursor for
each query lets them run beside each other, as DuckDB's documentation advises.
"""

import json
import os
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import duckdb
from dash import Dash, Input, Output, dash_table, dcc, html  # type: ignore[import-not-found]

TILES = json.loads(Path(os.environ["TILES"]).read_text())
warehouse = duckdb.connect(os.environ["DATABASE"], read_only=True)
app = Dash()
server = app.server


def body(tile: dict[str, str]) -> Any:
    """What a callback fills."""
    if tile["kind"] == "number":
        return html.Div(id=tile["id"], className="value")
    if tile["kind"] == "table":
        return dash_table.DataTable(id=tile["id"], page_size=25)
    return dcc.Graph(id=tile["id"])


app.layout = html.Div(
    [
        dcc.Location(id="address"),
        html.Div(
            [html.Div([html.H3(tile["title"]), body(tile)], className="tile") for tile in TILES],
            style={"display": "grid", "gridTemplateColumns": "repeat(3, 1fr)"},
        ),
    ]
)


def ask(sql: str, search: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Names of columns, and rows."""
    found = warehouse.cursor().execute(sql, [float(parse_qs(search[1:]).get("over", ["0"])[0])])
    return [column[0] for column in found.description], found.fetchall()


def answers(tile: dict[str, str]) -> None:
    """Make the tile's callback."""

    def answer(search: str) -> Any:
        names, rows = ask(tile["sql"], search)
        if tile["kind"] == "number":
            return f"{rows[0][0]:,.2f}"
        if tile["kind"] == "table":
            return [dict(zip(names, row, strict=True)) for row in rows]
        return {"data": traces(tile["kind"], rows), "layout": {}}

    part = {"number": "children", "table": "data"}.get(tile["kind"], "figure")
    app.callback(Output(tile["id"], part), Input("address", "search"))(answer)


def traces(kind: str, rows: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Of Plotly."""
    columns = list(zip(*rows, strict=True))
    if kind == "bar":
        return [{"type": "bar", "orientation": "h", "x": columns[1], "y": columns[0]}]
    if kind == "scatter":
        return [{"type": "scatter", "mode": "markers", "x": columns[0], "y": columns[1]}]
    if kind == "heat":
        return [{"type": "heatmap", "x": columns[0], "y": columns[1], "z": columns[2]}]
    more = {"stackgroup": "all"} if kind == "area" else {}
    found = []
    for name, some in groupby(sorted(rows, key=lambda row: (row[1], row[0])), lambda row: row[1]):
        days, _, values = zip(*some, strict=True)
        found.append({"type": "scatter", "mode": "lines", "name": name, "x": days, "y": values, **more})
    return found


for each in TILES:
    answers(each)
