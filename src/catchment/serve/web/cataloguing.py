"""The catalogue's pages, and the search over everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from catchment.serve.accounts import current_user
from catchment.serve.catalogue import Described, Filled, Loads, Table
from catchment.serve.tiles.tables import number_text, value_text
from catchment.serve.web.listing import VIEWED_DAYS
from catchment.serve.web.site import Site
from catchment.serve.web.templates import render
from catchment.serve.web.words import span
from catchment.state.views import Views

LATE_S = 86_400
SHOWN_COLUMNS = 6
BOX_WIDTH, BOX_HEIGHT = 300, 72


def of(site: Site) -> list[Route]:
    """The routes; paths are below the base path."""

    async def index(request: Request) -> Response:
        user = current_user(request)
        tables = (await site.catalogue.tables()).values() if user.may("analyst") else ()
        ages = await site.catalogue.ages() if tables else {}
        used = Counter(
            table
            for entry in site.library.entries()
            if tables and user.sees(entry.board.groups)
            for table in site.catalogue.reads(entry)
        )
        schemas = [(schema, list(group)) for schema, group in groupby(tables, lambda table: table.name.split(".")[0])]
        return site.page(
            request, "catalogue.html", title="Catalogue", here="catalogue", schemas=schemas, may=user.may("analyst"),
            ages={name: span(max(0.0, ago_s(at))) for name, at in ages.items()}, used=used, own=_telling(tables),
            late={name for name, at in ages.items() if ago_s(at) > LATE_S}, uploads=site.takes_files(user),
        )  # fmt: skip

    async def table(request: Request) -> Response:
        user = current_user(request)
        if not user.may("analyst"):
            return site.message(
                request, 403, "Tables are for analysts", "Ask an admin for the role.", back="/catalogue"
            )
        described = await site.catalogue.describe(request.path_params["table"], user.sees)
        if described is None:
            return site.message(request, 404, "There is no such table", back="/catalogue")
        since = datetime.now(UTC).date() - timedelta(days=VIEWED_DAYS)
        views = await site.in_state(lambda transaction: Views(transaction).since(since))
        return site.page(request, "table.html", **_shown(site, described, views))

    async def search(request: Request) -> Response:
        user = current_user(request)
        words = request.query_params.get("q", "")[:200]
        hits = await site.catalogue.search(words, user.sees, with_tables=user.may("analyst"))
        groups = [(kind, list(group)) for kind, group in groupby(hits, lambda hit: hit.kind)]
        return HTMLResponse(render("hits.html", groups=groups, base=site.base, words=words))

    return [Route("/catalogue", index), Route("/catalogue/{table}", table), Route("/search", search)]


def _telling(tables: Collection[Table]) -> dict[str, str]:
    """Some columns of each table, those first that few others have: they tell what it is about."""
    common = Counter(column.name for table in tables for column in table.columns)
    told = {}
    for table in tables:
        names = [column.name for column in table.columns if not column.name.startswith("_")]
        told[table.name] = ", ".join(sorted(names, key=common.__getitem__)[:SHOWN_COLUMNS])
    return told


def _shown(site: Site, it: Described, views: Mapping[str, int]) -> dict[str, Any]:
    latest = it.latest
    behind_s = None if latest is None else max(0.0, ago_s(latest))
    schema, _, name = it.table.name.partition(".")
    return {
        "title": it.table.name,
        "here": "catalogue",
        "schema": schema,
        "name": name,
        "table": it.table,
        "rows": "–" if it.rows is None else f"{it.rows:,}",
        "behind": "–" if behind_s is None else f"{value_text(latest, site.zone)}, {span(behind_s)} ago",
        "is_late": behind_s is not None and behind_s > LATE_S,
        "sampled": f"{it.sampled:,}",
        "filled": [_filled(each) for each in it.filled if not each.column.name.startswith("_")],
        "own": [_filled(each) for each in it.filled if each.column.name.startswith("_")],
        "heads": [(column.name, column.kind == "number") for column in it.sample.columns],
        "sample": [[_cell(site, value) for value in row] for row in it.sample.rows],
        "changes": [(f"{at:%-d %b}", _change(rest)) for at, *rest in it.changes],
        "used_by": sorted(
            ((name, title, views.get(name, 0)) for name, title in it.used_by), key=lambda at: (-at[2], at[1])
        ),
        "loads": _bars(site, it.loads),
    }


def _bars(site: Site, loads: Loads) -> dict[str, Any] | None:
    """The bars of what came into a table, in a box of 300 by 72; None where nothing came of late."""
    most = max((rows for _, rows in loads.rows), default=0)
    if not most:
        return None
    step = BOX_WIDTH / len(loads.rows)
    first = loads.rows[0][0].astimezone(site.zone)
    return {
        "unit": loads.unit,
        "first": f"{first:%H:%M}" if loads.unit == "minute" else f"{first:%-d %b, %H:%M}",
        "most": f"{most:,}",
        "total": f"{sum(rows for _, rows in loads.rows):,}",
        "late": f"{loads.late_s:.1f} s" if loads.late_s < 10 else span(loads.late_s),
        "bars": [
            (round(place * step + 0.5, 2), round(BOX_HEIGHT - height, 2), round(step - 1, 2), round(height, 2))
            for place, (_, rows) in enumerate(loads.rows)
            if (height := max(1.0, BOX_HEIGHT * rows / most) if rows else 0)
        ],
    }


def ago_s(moment: datetime) -> float:
    """Seconds since a time."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (datetime.now(UTC) - aware).total_seconds()


def _filled(each: Filled) -> dict[str, str]:
    return {
        "name": each.column.name,
        "type": each.column.type,
        "share": "–" if each.share is None else f"{each.share:.0%}",
        "distinct": "" if each.distinct is None else f"{each.distinct:,}",
        "range": each.values,
    }


def _cell(site: Site, value: Any) -> tuple[str, str]:
    if value is None:
        return "null", "null"
    if isinstance(value, bool) or (not isinstance(value, int | float) and not hasattr(value, "as_tuple")):
        return value_text(value, site.zone)[:120], ""
    return number_text(value, None), "right"


def _change(change: list[Any]) -> str:
    kind, field, column, before, after = change
    name = column or field
    match kind:
        case "table added":
            return "Table added"
        case "column added":
            return f"{name} added, {after.lower()}"
        case "widened":
            return f"{name} widened, {before.lower()} to {after.lower()}"
        case "rescued":
            return f"{name}: a {after.lower()} found no place in {before.lower() or 'its column'}"
    return f"{name}: {kind}"
