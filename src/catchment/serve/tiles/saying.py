"""What a tile says where it has no marks to show: what, why, and one button."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from catchment.errors import CatchmentError
from catchment.serve.dashboards.board import Filter, Mistake
from catchment.serve.tiles.view import View
from catchment.serve.web.templates import render
from catchment.serve.web.words import span

_PLACE = re.compile(r"\s*LINE \d+:.*", re.DOTALL)


def wrong(view: View, mistakes: Sequence[Mistake]) -> str:
    """SQL or a fence that is wrong: an analyst is told where, a viewer whom to ask."""
    if not view.viewer.may_write:
        return _cannot(view)
    lines = [
        f"{mistake.path.rpartition('/')[2]}, line {mistake.line}, column {mistake.column}" for mistake in mistakes
    ]
    first, *others = [mistake.text for mistake in mistakes]
    return said(
        _sentence(first), lines[0], *(f"{line}: {text}" for line, text in zip(lines[1:], others, strict=True)),
        tone="bad", icon="alert",
    )  # fmt: skip


def failed(view: View, error: CatchmentError) -> str:
    """The warehouse could not, for a reason that is nobody's mistake."""
    if not view.viewer.may_write:
        return _cannot(view)
    return said("This tile cannot be drawn", first_line(error), tone="bad", icon="alert")


def _cannot(view: View) -> str:
    owner = view.board.owner
    ask = f"Ask {owner}, who owns this dashboard." if owner else "Ask whoever made this dashboard."
    return said("This tile cannot be drawn", ask, tone="bad", icon="alert")


def down(error: CatchmentError) -> str:
    """The warehouse is not there, and there is no earlier result."""
    return said("The warehouse cannot be reached", f"{first_line(error)}. It is tried again by itself.", icon="clock")


def waits(filters: Sequence[Filter]) -> str:
    """A required filter has no value."""
    labels = " and ".join(each.label for each in filters)
    return said(f"Choose {labels}", "This tile shows nothing before.")


def empty(view: View) -> str:
    """No rows, and for which choices."""
    words = choices(view)
    cleared = view.chosen.address({name: ("",) for name, at in view.chosen.selections.items()
                                   if not at.is_empty and at.filter.type != "period"})  # fmt: skip
    has_choices = any(
        not at.is_empty and at.filter.type != "period" and not at.filter.required
        for at in view.chosen.selections.values()
    )
    return said(
        "No rows", f"for {words}." if words else "", href=(cleared or "?") if has_choices else "", label="Clear"
    )


def bare(view: View, table: str) -> str:
    """No rows, for the table has none: how to send it some."""
    how = f"catchment send {table} FILE puts some in." if view.viewer.may_write else "Nothing was sent to it."
    return said(f"{table} has no rows yet", how)


def choices(view: View) -> str:
    """What is chosen, in words."""
    said_ = []
    for selection in view.chosen.selections.values():
        if selection.is_empty:
            continue
        if selection.filter.type == "period":
            said_.append(f"the {selection.label[:1].lower()}{selection.label[1:]}")
        else:
            said_.append(f"{selection.filter.label} {selection.label}")
    return ", ".join(said_)


def unforeseen() -> str:
    """A slip of ours."""
    return said("This tile cannot be drawn", "The log of serve says why.", tone="bad", icon="alert")


def old_notice(view: View, at_s: float) -> dict[str, str]:
    """Above marks that could not be refreshed."""
    at = datetime.fromtimestamp(at_s, view.zone)
    return {"tone": "grey", "html": f"As of {at:%H:%M:%S}. The warehouse cannot be reached; it is tried again."}


def stale_notice(table: str, age: timedelta, limit: timedelta) -> dict[str, str]:
    """Above marks whose data is older than it should be."""
    old, most = span(age.total_seconds()), span(limit.total_seconds())
    return {"tone": "amber", "html": f"<span><b>{html.escape(table)}</b> is {old} old; limit {most}</span>"}


def first_line(error: CatchmentError) -> str:
    """What happened, in a sentence, without the place."""
    text = _PLACE.sub("", error.message if hasattr(error, "message") else str(error)).strip()
    return " ".join(text.split())


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def said(what: str, *lines: str, tone: str = "", icon: str = "", href: str = "", label: str = "") -> str:
    """The HTML."""
    return render(
        "said.html",
        what=what,
        lines=[line for line in lines if line],
        tone=tone,
        icon_name=icon,
        href=href,
        label=label,
    )
