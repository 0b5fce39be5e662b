"""Dashboards: the list, one of them, its tiles as they come."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from catchment.serve.accounts import current_user
from catchment.serve.library import FOLDER, Entry
from catchment.serve.web.site import Site


def of(site: Site) -> list[Route]:
    """The routes; paths are below the base path."""

    async def home(request: Request) -> Response:
        return await dashboards(request)

    async def dashboards(request: Request) -> Response:
        user = current_user(request)
        words = request.query_params.get("q", "").strip()
        found = [entry for entry in site.library.entries() if user.sees(entry.board.groups)]
        shown = [_row(entry) for entry in found if _says(entry, words)]
        return site.page(
            request, "list.html", title="Dashboards", here="dashboards", boards=shown, q=words, folder=FOLDER
        )

    return [Route("/", home), Route("/dashboards", dashboards)]


def _says(entry: Entry, words: str) -> bool:
    text = f"{entry.board.title} {entry.name} {entry.board.owner}".lower()
    return all(word in text for word in words.lower().split())


def _row(entry: Entry) -> dict[str, object]:
    return {
        "name": entry.name,
        "title": entry.board.title,
        "folder": entry.name.rpartition("/")[0],
        "owner": entry.board.owner,
        "refresh": span(entry.board.refresh.total_seconds()),
        "changed": ago(entry.changed_s),
        "mistakes": len(entry.board.all_mistakes()),
        "is_favourite": False,
    }


def span(seconds: float) -> str:
    """A length of time in one unit."""
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def ago(at_s: float) -> str:
    """How long ago a Unix time was."""
    passed_s = max(0.0, datetime.now(UTC).timestamp() - at_s)
    return "just now" if passed_s < 60 else f"{span(passed_s)} ago"
