"""The parts of a dashboard's page before any tile is answered."""

from __future__ import annotations

from typing import Any

from catchment.serve.dashboards.board import Board, Fence, Prose
from catchment.serve.tiles.payloads import CHARTS
from catchment.serve.tiles.tables import height_of
from catchment.serve.web.prose import html_of


def parts_of(board: Board, base: str) -> tuple[str, list[dict[str, Any]]]:
    """The HTML of the prose that leads the page, and what follows in its order; addresses begin with `base`."""
    parts = list(board.parts)
    lede = ""
    if parts and isinstance(parts[0], Prose):
        lede = html_of(parts[0].text, base)
        parts = parts[1:]
    shown = []
    for part in parts:
        if isinstance(part, Prose):
            shown.append({"html": html_of(part.text, base)})
        elif part.kind != "query":
            shown.append(_tile(part))
    return lede, shown


def _tile(fence: Fence) -> dict[str, Any]:
    return {
        "id": fence.id,
        "kind": fence.kind,
        "title": fence.title,
        "width": fence.width,
        "sub": fence.options.unit if fence.kind in CHARTS else "",
        "is_chart": fence.kind in CHARTS,
        "height": f"{height_of(fence)}-body" if fence.kind == "table" else "",
        "start": fence.start,
        "end": fence.end,
    }
