"""The foot of a dashboard: as of when its data is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from catchment.serve.tiles.payloads import Told
from catchment.serve.tiles.view import View
from catchment.serve.web.words import span


def as_of(view: View, told: Iterable[Told]) -> str:
    """When the oldest of the results was what the warehouse says, in the project's zone, with its day where that is
    not today; nothing where there is no result."""
    times = [each.true_at_s for each in told if each.true_at_s is not None]
    if not times:
        return ""
    at = datetime.fromtimestamp(min(times), view.zone)
    return f"{at:%H:%M}" if at.date() == datetime.now(view.zone).date() else f"{at:%-d %b, %H:%M}"


def foot(view: View, as_of: str = "") -> str:
    """The state of the data, in a line; without its age while no tile is answered."""
    place = view.zone.key.rpartition("/")[2].replace("_", " ")
    age = f"As of <time>{as_of}</time>, " if as_of else ""
    return f'<span class="dot"></span>{age}{place} · refreshes every {span(view.refresh_s)}'
