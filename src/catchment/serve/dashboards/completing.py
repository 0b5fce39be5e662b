"""What may stand at the cursor while a dashboard is written, other than tables and columns of its SQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from catchment.serve.dashboards.board import Board, Fence, Filter, Source
from catchment.serve.dashboards.describe import PERIODS
from catchment.serve.dashboards.front import FILTER_KEYS, FILTER_TYPES, KEYS
from catchment.serve.dashboards.layout import FenceLines, body_parts, front_lines
from catchment.serve.dashboards.options import KINDS, OptionOf, options_of
from catchment.serve.dashboards.sql_text import SESSION_NAMES
from catchment.sql.lexer import tokens

_DURATIONS = ("30s", "1m", "15m", "1h", "1d")
_FORMATS = {
    ",d": "1,234", ".1f": "12.3", ",.2f": "1,234.50", ".3s": "1.23M", ".0%": "48%", ".1%": "48.4%", "+.0f": "+57",
}  # fmt: skip
_VALUES: Mapping[str, Iterable[str]] = {
    "good": ("up", "down"),
    "compare": ("on", "off"),
    "stack": ("zero", "100%", "none"),
    "width": map(str, (3, 4, 6, 8, 12)),
    "page": ("10", "25", "50", "100"),
}
_VALUES = {name: tuple(values) for name, values in _VALUES.items()}
_OF_COLUMNS = frozenset({"x", "y", "color"})


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A text to be put in, and what it is."""

    text: str
    words: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """What may stand in place of the columns `start` (from 1) and before `end` of the cursor's line.

    Where the cursor is in SQL, `sql` is that and `offset` the cursor in it: tables and columns are another's to know,
    but for the names of `queries`.
    """

    start: int
    end: int
    suggestions: tuple[Suggestion, ...] = ()
    sql: Source | None = None
    offset: int = 0
    queries: tuple[str, ...] = ()


ColumnsOf = Callable[[Fence], Sequence[str]]
"""The columns of a fence's result, as far as they can be told."""


def complete(board: Board, text: str, line: int, column: int, columns_of: ColumnsOf) -> Completion:
    """At a line and column, from 1, of the text that the board was read from."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    if not 1 <= line <= len(lines):
        return Completion(column, column)
    before = lines[line - 1][: column - 1]
    found = front_lines(lines)
    if found is not None and line < found.body:
        return (
            _in_front(board, before, line, column) if found.start <= line < found.end else Completion(column, column)
        )
    for part in body_parts(lines, found.body if found else 1):
        if isinstance(part, FenceLines) and part.start <= line <= part.end:
            fence = next((each for each in board.fences if each.start == part.start), None)
            if line == part.start:
                own = columns_of(fence) if fence else ()
                return _first_line(board, part, before, column, own)
            if fence is not None and fence.kind != "vega-lite" and not (part.is_closed and line == part.end):
                return _in_sql(board, fence.sql, before, line, column)
    return Completion(column, column)


# ---- front matter ------------------------------------------------------------------------------------

_WORD = re.compile(r"[\w-]*\Z")
_AFTER_KEY = re.compile(r"(?:^|[\s{,])(?P<key>\w+):\s+(?P<value>[^,{}\[\]\"']*)\Z")
_KEY_IN_FILTER = re.compile(r"(?:[{,]\s*|^ {3,})\w*\Z")


def _in_front(board: Board, before: str, line: int, column: int) -> Completion:
    for source in _sources(board):
        if _holds(source, line, column):
            return _in_sql(board, source, before, line, column)
    after = _AFTER_KEY.search(before)
    if after is not None:
        return _matching(_values_of_key(board, after["key"], line), after["value"], column)
    written = _written(before)
    if _KEY_IN_FILTER.search(before) and before.startswith(" "):
        return _matching(
            [Suggestion(f"{key}: ", _plain(words)) for key, words in FILTER_KEYS.items()], written, column
        )
    if written == before:
        return _matching([Suggestion(f"{key}: ", _plain(words)) for key, words in KEYS.items()], written, column)
    return Completion(column, column)


def _values_of_key(board: Board, key: str, line: int) -> list[Suggestion]:
    match key:
        case "type":
            return [Suggestion(kind) for kind in FILTER_TYPES]
        case "refresh" | "stale_after":
            return [Suggestion(duration) for duration in _DURATIONS]
        case "required":
            return [Suggestion("true"), Suggestion("false")]
        case "default":
            around = _filter_at(board, line)
            if around is not None and around.type == "period":
                return [Suggestion(period) for period in PERIODS]
            return [Suggestion(choice.label) for choice in around.options] if around else []
    return []


def _filter_at(board: Board, line: int) -> Filter | None:
    """The filter whose settings a line has."""
    begun = [each for each in board.filters.values() if each.place.line <= line]
    return max(begun, key=lambda each: each.place.line, default=None)


def _sources(board: Board) -> list[Source]:
    sources = [each.source for each in board.filters.values()]
    return [source for source in [*sources, board.annotations] if source is not None]


def _holds(source: Source, line: int, column: int) -> bool:
    last = source.at(len(source.text))
    first = source.place
    return (first.line, first.column) <= (line, column) <= (last.line, last.column)


# ---- a fence's first line ------------------------------------------------------------------------------


def _first_line(board: Board, part: FenceLines, before: str, column: int, columns: Sequence[str]) -> Completion:
    typed = before[part.info :]
    words = typed.split()
    current = "" if not typed or typed[-1].isspace() else words.pop()
    if typed.count('"') % 2:
        return Completion(column, column)
    if part.language == "vega-lite":
        if not words:
            return _matching([Suggestion(name, "query") for name in board.queries], current, column)
        kind = "vega-lite"
    elif not words:
        return _matching([Suggestion(name, kind_of.words) for name, kind_of in KINDS.items()], current, column)
    else:
        kind = words[0]
    key, equals, value = current.partition("=")
    if equals:
        return _matching(_values_of_option(board, key, columns), value.rpartition(",")[2], column)
    used = {word.partition("=")[0] for word in words}
    known = options_of(kind)
    suggestions = [each for name, option in known.items() if name not in used for each in _option(option, columns)]
    return _matching([each for each in suggestions if each.text not in used], current, column)


def _option(option: OptionOf, columns: Sequence[str]) -> list[Suggestion]:
    names = [f"{option.name}.{column}" for column in columns] if option.of_column else [option.name]
    end = "" if option.flag is not None else "="
    return [Suggestion(f"{name}{end}", _plain(option.words)) for name in names]


def _values_of_option(board: Board, key: str, columns: Sequence[str]) -> list[Suggestion]:
    if key == "click":
        return [Suggestion(name, each.label) for name, each in board.filters.items()]
    if key == "format":
        return [Suggestion(how, example) for how, example in _FORMATS.items()]
    if key in _OF_COLUMNS:
        return [Suggestion(name) for name in columns]
    return [Suggestion(value) for value in _VALUES.get(key, ())]


# ---- SQL -----------------------------------------------------------------------------------------------

_PARAMETER = re.compile(r"\$(?P<name>[\w.]*)\Z")


def _in_sql(board: Board, source: Source, before: str, line: int, column: int) -> Completion:
    offset = _offset(source, line, column)
    typed = _PARAMETER.search(before)
    if typed is not None and _begins_token(source.text, offset - len(typed[0]), board.dialect):
        names = [Suggestion(name, each.label) for name, each in board.filters.items()]
        for name, each in board.filters.items():
            if each.type == "period":
                names += [Suggestion(f"{name}.{part}") for part in ("start", "end", "grain")]
        names += [Suggestion(name, "who has signed in") for name in SESSION_NAMES]
        return _matching(names, typed["name"], column)
    written = _written(before)
    own = next((fence.id for fence in board.fences if fence.sql is source and fence.kind == "query"), None)
    queries = tuple(name for name in board.queries if name != own)
    return Completion(column - len(written), column, sql=source, offset=offset, queries=queries)


def _offset(source: Source, line: int, column: int) -> int:
    """Where in the source's text a place of the file is."""
    down = line - source.place.line
    if not down:
        return max(0, min(column - source.place.column, len(source.text)))
    start = 0
    for _ in range(down):
        start = source.text.find("\n", start) + 1 or len(source.text)
    return min(start + column - 1, len(source.text))


def _begins_token(sql: str, offset: int, dialect: str) -> bool:
    """Whether what stands there is SQL, and not within a text or a comment."""
    return any(token.start == offset for token in tokens(sql, dialect))


# ---- words ---------------------------------------------------------------------------------------------


def _written(before: str) -> str:
    found = _WORD.search(before)
    return found[0] if found else ""


def _matching(suggestions: Iterable[Suggestion], written: str, column: int) -> Completion:
    """Those that begin so, then those that have it within."""
    small = written.lower()
    begin = [each for each in suggestions if each.text.lower().startswith(small)]
    within = [each for each in suggestions if each not in begin and small in each.text.lower()]
    return Completion(column - len(written), column, (*begin, *within))


def _plain(words: str) -> str:
    return words.replace("`", "")
