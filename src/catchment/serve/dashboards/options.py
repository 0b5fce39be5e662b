"""What a fence's first line may say: kinds and options, each declared once, with what it is for.

The reference in docs is written from these tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from catchment.serve.dashboards.board import COLUMNS, Kind, Link, Target
from catchment.serve.dashboards.formats import parse_format

VEGA_LITE: Kind = "vega-lite"
CHARTS = frozenset({"line", "area", "bar", "scatter"})
DRAWN = frozenset({*CHARTS, "heat"})
SEEN = frozenset({*DRAWN, "number", "table"})
ALL_SEEN = frozenset({*SEEN, VEGA_LITE})

MAX_PAGE_ROWS = 1000
MAX_UNIT = 20


@dataclass(frozen=True, slots=True)
class KindOf:
    """A kind of fence, the columns that its SQL gives, and the width it has where none is said."""

    result: str
    width: int
    words: str


KINDS: Mapping[str, KindOf] = {
    "number": KindOf("one row, one value", 3, "One large number, with what it was before and a sparkline."),
    "line": KindOf("x, y[, y…], color", 6, "Lines; a missing bucket of time is a gap."),
    "area": KindOf("x, y[, y…], color", 6, "Areas, one on the other; a missing bucket of time is 0."),
    "bar": KindOf("x, y[, y…], color", 6, "Bars; they lie flat if only x is a number."),
    "scatter": KindOf("x, y[, y…], color", 6, "Points."),
    "heat": KindOf("x, y, color", 6, "Cells, the darker the larger their number."),
    "table": KindOf("any", 12, "Rows and columns."),
    "query": KindOf("any", 12, "Not seen: a common table expression for the other fences, under its id."),
}
"""The kinds of ```` ```sql ```` fences."""

VEGA_LITE_WIDTH = 6


@dataclass(frozen=True, slots=True)
class OptionOf:
    """An option: the kinds that have it, how its value is written, how it is read, and what it is for.

    `read` raises ValueError with what is wrong. A `flag` may stand without a value, which is then what `flag` says.
    An option of a column is written `NAME.COL`.
    """

    name: str
    kinds: frozenset[str]
    written: str
    read: Callable[[str], Any]
    words: str
    flag: str | None = None
    of_column: bool = False


def _width(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= COLUMNS:
        raise ValueError(f"a whole number from 1 to {COLUMNS}")
    return int(text)


def _page(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_PAGE_ROWS:
        raise ValueError(f"a whole number from 1 to {MAX_PAGE_ROWS:,}")
    return int(text)


_TARGET = re.compile(r"(?P<comparison><=|>=|<|>)?\s*(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+))(?P<percent>%)?\Z")


def _target(text: str) -> Target:
    found = _TARGET.match(text.strip())
    if found is None:
        raise ValueError("a number, such as 55, <20, >=0.5 or 50%")
    value = Decimal(found["number"])
    comparison: Any = found["comparison"] or ""
    return Target(comparison, value / 100 if found["percent"] else value, text.strip())


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(" or ".join(allowed))
        return text

    return read


def _on_off(text: str) -> bool:
    return _one_of("on", "off")(text) == "on"


def _name(text: str) -> str:
    if not text:
        raise ValueError("a column's name")
    return text


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise ValueError("names with commas between them")
    return names


def _format(text: str) -> str:
    return parse_format(text).text


def _unit(text: str) -> str:
    if not 0 < len(text) <= MAX_UNIT:
        raise ValueError(f"a short text, at most {MAX_UNIT} characters")
    return text


_SAFE_LINK = re.compile(r"https?://[^/{}\s]+|mailto:|/(?![/\\])|\?|#|\{[^{}]+\}\Z", re.IGNORECASE)
_BRACES = re.compile(r"(?:[^{}]|\{[^{}]+\})*\Z")


def _link(text: str) -> str:
    if not _BRACES.match(text):
        raise ValueError("a column's name stands in braces, such as /x/{id}")
    if not _SAFE_LINK.match(text):
        raise ValueError("an address such as /x/{id} or https://example.com/{id}")
    return text


OPTIONS: Mapping[str, OptionOf] = {
    option.name: option
    for option in (
        OptionOf("width", ALL_SEEN, "1…12", _width, "How many of the page's 12 columns it takes."),
        OptionOf(
            "format", SEEN, "d3", _format, "How its numbers are written, as d3-format has it: `.0f`, `,.1%`, `.3s`."
        ),
        OptionOf("unit", SEEN, "TEXT", _unit, "What stands beside its numbers: `min`, `€`."),
        OptionOf("click", ALL_SEEN, "FILTER", _name, "A click on a mark or row chooses its value in this filter."),
        OptionOf("x", DRAWN, "COL", _name, "The column along; else the first time or text column."),
        OptionOf("y", DRAWN, "COL[,COL]", _names, "The column up, or several; else the first number column."),
        OptionOf(
            "color", DRAWN, "COL", _name, "The column whose values are told apart by colour; else the next text."
        ),
        OptionOf(
            "target",
            CHARTS | {"number"},
            "[<|<=|>|>=]N[%]",
            _target,
            "What it should reach, judged as shown. A plain N means at least N, with `good=down` at most N.",
        ),
        OptionOf(
            "good", frozenset({"number"}), "up|down", _one_of("up", "down"), "Which way is good: colours the change."
        ),
        OptionOf(
            "compare",
            CHARTS | {"number"},
            "on|off",
            _on_off,
            "The period before beside this one: on in numbers, off in charts, which must have one series.",
            flag="on",
        ),
        OptionOf("order", CHARTS, "A,B,C", _names, "The series in this order, named or not named ones behind."),
        OptionOf(
            "stack",
            CHARTS,
            "zero|100%|none",
            _one_of("zero", "100%", "none"),
            "Whether series stand on each other: areas and bars do (`zero`), lines and points do not.",
        ),
        OptionOf("page", frozenset({"table"}), "25", _page, "How many rows a page has."),
        OptionOf(
            "link",
            frozenset({"table"}),
            "/x/{COL}",
            _link,
            "Where the cells of a column lead; other columns' values in braces.",
            of_column=True,
        ),
        OptionOf(
            "bar", frozenset({"table"}), "", _on_off, "A bar in the cells of a column.", flag="on", of_column=True
        ),
        OptionOf("total", frozenset({"table"}), "", _on_off, "A last row with the sums of the numbers.", flag="on"),
    )
}


def options_of(kind: str) -> dict[str, OptionOf]:
    """The options that a kind has, by name."""
    return {name: option for name, option in OPTIONS.items() if kind in option.kinds}


def links(read: Mapping[str, str]) -> tuple[Link, ...]:
    """The links of a table, from their templates by column."""
    return tuple(Link(column, template) for column, template in read.items())
