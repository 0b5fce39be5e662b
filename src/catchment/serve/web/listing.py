"""The list of dashboards: whose they are, how old their data is, how often they are looked at."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from catchment.serve.accounts import current_user
from catchment.serve.dashboards.board import Prose
from catchment.serve.dashboards.files import FOLDER
from catchment.serve.library import Entry
from catchment.serve.web.site import Site
from catchment.serve.web.words import ago, day, span
from catchment.state import Transaction
from catchment.state.favourites import Favourites
from catchment.state.views import Views

VIEWED_DAYS = 30
_ABOUT_CHARACTERS = 160
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_MARKS = re.compile(r"[*`#>]+|(?<!\w)_|_(?!\w)")
SHOWN = ("all", "favourites", "mine", "stale")


@dataclass(frozen=True, slots=True)
class Row:
    """A dashboard in the list. `stale` is the table that is too old, and what it may be."""

    name: str
    title: str
    about: str
    folder: str
    owner: str
    age: str
    stale: str
    views: int
    changed: str
    mistakes: int
    is_favourite: bool
    is_mine: bool


def of(site: Site) -> list[Route]:
    """The routes; paths are below the base path."""

    async def index(request: Request) -> Response:
        return await page(site, request)

    async def favourite(request: Request) -> Response:
        entry, refusal = site.entry_of(request)
        if entry is None:
            assert refusal is not None, "there is the one or the other"
            return refusal
        user, name = current_user(request), entry.name

        def change(transaction: Transaction) -> None:
            favourites = Favourites(transaction)
            (favourites.mark if request.method == "PUT" else favourites.unmark)(user.id, name)

        await site.in_state(change)
        return Response(status_code=204)

    return [
        Route("/dashboards", index),
        Route("/favourites/{name:path}", favourite, methods=["PUT", "DELETE"]),
    ]


async def page(site: Site, request: Request) -> Response:
    """All that the user may see: favourites first, then by views. The address chooses among them."""
    user = current_user(request)
    words = request.query_params.get("q", "").strip()
    show = request.query_params.get("show", "all")
    today = datetime.now(UTC).date()

    def known(transaction: Transaction) -> tuple[frozenset[str], dict[str, int]]:
        return Favourites(transaction).of_user(user.id), Views(transaction).since(today - timedelta(days=VIEWED_DAYS))

    favourites, views = await site.in_state(known)
    entries = [entry for entry in site.library.entries() if user.sees(entry.board.groups)]
    ages = await site.catalogue.ages()
    reads = await asyncio.to_thread(lambda: {entry.name: site.catalogue.reads(entry) for entry in entries})
    rows = [
        _row(site, entry, {table: ages[table] for table in reads[entry.name] if table in ages}, views, favourites,
             mine={user.name, user.email})
        for entry in entries
        if _says(entry, reads[entry.name], words)
    ]  # fmt: skip
    rows.sort(key=lambda row: (not row.is_favourite, -row.views, row.title.lower()))
    kinds = {
        "all": rows,
        "favourites": [row for row in rows if row.is_favourite],
        "mine": [row for row in rows if row.is_mine],
        "stale": [row for row in rows if row.stale],
    }
    most = max((row.views for row in rows), default=0)
    return site.page(
        request, "list.html", title="Dashboards", here="dashboards", boards=kinds.get(show, rows), q=words,
        folder=FOLDER, counts={kind: len(kinds[kind]) for kind in SHOWN}, show=show if show in kinds else "all",
        most=most, may_write=user.may("analyst"), days=VIEWED_DAYS,
    )  # fmt: skip


def _row(
    site: Site,
    entry: Entry,
    ages: Mapping[str, datetime],
    views: Mapping[str, int],
    favourites: frozenset[str],
    mine: set[str],
) -> Row:
    now = datetime.now(UTC)
    limit = entry.board.stale_after
    oldest = min(ages, key=lambda table: ages[table], default="")
    is_stale = bool(oldest) and limit is not None and now - ages[oldest] > limit
    shown = ages[oldest] if is_stale else max(ages.values(), default=None)
    return Row(
        name=entry.name,
        title=entry.board.title,
        about=_about(entry),
        folder=entry.name.rpartition("/")[0],
        owner=entry.board.owner,
        age="–" if shown is None else span(max(0.0, (now - shown).total_seconds())),
        stale=f"{oldest}, limit {span(limit.total_seconds())}" if is_stale and limit is not None else "",
        views=views.get(entry.name, 0),
        changed=ago(entry.changed_s)
        if now.timestamp() - entry.changed_s < 86_400
        else day(entry.changed_s, site.zone),
        mistakes=len(entry.board.all_mistakes()),
        is_favourite=entry.name in favourites,
        is_mine=entry.board.owner in mine,
    )


def _about(entry: Entry) -> str:
    """The beginning of the prose that leads the dashboard, as plain text."""
    first = next(iter(entry.board.parts), None)
    if not isinstance(first, Prose):
        return ""
    text = " ".join(_MARKS.sub("", _LINK.sub(r"\1", first.text.strip().partition("\n\n")[0])).split())
    return text if len(text) <= _ABOUT_CHARACTERS else text[:_ABOUT_CHARACTERS].rpartition(" ")[0] + " …"


def _says(entry: Entry, tables: frozenset[str], words: str) -> bool:
    """Whether title, prose, owner or a table has all of the words. SQL is not for everybody to search."""
    prose = " ".join(part.text for part in entry.board.parts if isinstance(part, Prose))
    text = f"{entry.board.title} {entry.name} {entry.board.owner} {prose} {' '.join(tables)}".lower()
    return all(word in text for word in words.lower().split())
