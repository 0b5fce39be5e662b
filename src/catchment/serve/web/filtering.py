"""The bar of filters: what is chosen, and links to everything else that may be."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from catchment.serve.dashboards.board import Range
from catchment.serve.dashboards.choices import GRAIN, Selection, address_text
from catchment.serve.dashboards.periods import Period, parse_period
from catchment.serve.dashboards.values import same_value
from catchment.serve.tiles.view import View
from catchment.serve.web.templates import render

PERIODS = (
    "today",
    "last 7 days",
    "last 30 days",
    "last 90 days",
    "last 12 months",
    "this week",
    "this month",
    "this year",
    "previous month",
    "all",
)


def bar(view: View) -> str:
    """All filters as buttons that open."""
    return render("filter.html", filters=[_filter(view, at) for at in view.chosen.selections.values()])


def says(selection: Selection) -> str:
    """What a filter's button says."""
    return selection.label or "All"


def _filter(view: View, selection: Selection) -> dict[str, Any]:
    each = selection.filter
    shared: dict[str, Any] = {"name": each.name, "label": each.label, "type": each.type, "says": says(selection)}
    match each.type:
        case "period":
            return shared | _period(view, selection)
        case "text":
            return shared | {"value": selection.text}
        case "range":
            chosen = selection.range or Range(None, None)
            return shared | {"first": _end(chosen.low), "last": _end(chosen.high)}
    return shared


def _end(value: object) -> str:
    return "" if value is None else str(value)


def _period(view: View, selection: Selection) -> dict[str, Any]:
    name, period = selection.filter.name, selection.period
    usual = selection.filter.default if isinstance(selection.filter.default, str) else ""
    texts = list(dict.fromkeys([*([usual] if usual else []), *PERIODS]))
    options = [
        {
            "label": parse_period(text).label,
            "href": _href(view, {name: (text,)}),
            "is_chosen": (period.text if period else "all") == text,
        }
        for text in texts
        if text != "all" or not selection.filter.required
    ]
    return {
        "options": options,
        "grains": _grains(view, name, period),
        "first": _day(period, last=False),
        "last": _day(period, last=True),
    }


def _grains(view: View, name: str, period: Period | None) -> list[dict[str, Any]]:
    if period is None:
        return []
    return [
        {
            "label": grain[0].upper() + grain[1:],
            "href": _with(view, name + GRAIN, grain),
            "is_chosen": grain == period.grain,
        }
        for grain in period.grains
    ]


def _day(period: Period | None, *, last: bool) -> str:
    if period is None or period.start is None or period.end is None:
        return ""
    at = period.end - timedelta(seconds=1) if last else period.start
    return f"{at:%Y-%m-%d}"


def _href(view: View, change: dict[str, tuple[str, ...]]) -> str:
    return view.chosen.address(change) or "?"


def _with(view: View, name: str, value: str) -> str:
    pairs = [pair for pair in view.chosen.pairs() if pair[0] != name]
    return "?" + urlencode([*pairs, (name, value)], safe=":,~/")


def options(view: View, selection: Selection) -> str:
    """What there is to choose in a list: for one a link each, for many a box each."""
    each = selection.filter
    many = each.type == "many"
    shown = []
    for choice in selection.listed.choices:
        is_chosen = any(same_value(choice.value, value) for value in selection.values)
        shown.append(
            {
                "label": choice.label,
                "is_chosen": is_chosen,
                "href": _href(view, {each.name: _toggled(selection, choice.value, is_chosen)}),
            }
        )
    return render(
        "options.html",
        options=shown,
        many=many,
        required=each.required,
        none_href=_href(view, {each.name: ("",)}),
        is_none=selection.is_empty,
        is_cut=not selection.listed.is_complete,
    )


def _toggled(selection: Selection, value: Any, is_chosen: bool) -> tuple[str, ...]:
    """The texts of the filter once the value is taken in, or out."""
    if selection.filter.type == "one":
        return ("",) if is_chosen else (address_text(value),)
    if is_chosen:
        left = tuple(address_text(at) for at in selection.values if not same_value(at, value))
        return left or ("",)
    return (*map(address_text, selection.values), address_text(value))
