"""The catalogue's pages, and the search over everything."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from catchment.serve.accounts import current_user
from catchment.serve.catalogue import Described, Filled
from catchment.serve.tiles.tables import number_text, value_text
from catchment.serve.web.site import Site
from catchment.serve.web.templates import render
from catchment.serve.web.words import span

LATE_S = 86_400


def of(site: Site) -> list[Route]:
    """The routes; paths are below the base path."""

    async def index(request: Request) -> Response:
        user = current_user(request)
        tables = (await site.catalogue.tables()).values() if user.may("analyst") else ()
        schemas = [(schema, list(group)) for schema, group in groupby(tables, lambda table: table.name.split(".")[0])]
        return site.page(
            request, "catalogue.html", title="Catalogue", here="catalogue", schemas=schemas, may=user.may("analyst")
        )

    async def table(request: Request) -> Response:
        user = current_user(request)
        if not user.may("analyst"):
            return site.message(
                request, 403, "Tables are for analysts", "Ask an admin for the role.", back="/catalogue"
            )
        described = await site.catalogue.describe(request.path_params["table"], user.sees)
        if described is None:
            return site.message(request, 404, "There is no such table", back="/catalogue")
        return site.page(request, "table.html", **_shown(site, described))

    async def search(request: Request) -> Response:
        user = current_user(request)
        words = request.query_params.get("q", "")[:200]
        hits = await site.catalogue.search(words, user.sees, with_tables=user.may("analyst"))
        groups = [(kind, list(group)) for kind, group in groupby(hits, lambda hit: hit.kind)]
        return HTMLResponse(render("hits.html", groups=groups, base=site.base, words=words))

    return [Route("/catalogue", index), Route("/catalogue/{table}", table), Route("/search", search)]


def _shown(site: Site, it: Described) -> dict[str, Any]:
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
        "filled": [_filled(each) for each in sorted(it.filled, key=lambda at: at.column.name.startswith("_"))],
        "heads": [(column.name, column.kind == "number") for column in it.sample.columns],
        "sample": [[_cell(site, value) for value in row] for row in it.sample.rows],
        "changes": [(f"{at:%-d %b}", _change(rest)) for at, *rest in it.changes],
        "used_by": it.used_by,
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
