"""From a fence to the question that is asked: its queries in front, the choices spliced in, places mapped back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from catchment.serve.asking import Question
from catchment.serve.dashboards.board import Board, Fence, Mistake, Options, Source
from catchment.serve.dashboards.compose import Composed, compose
from catchment.sql.choices import Choice
from catchment.sql.lexer import offset
from catchment.sql.splice import Spliced, SpliceError, splice
from catchment.sql.statements import changes_by_itself
from catchment.sql.tables import tables_read

MAX_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A fence's question, and how its text came about."""

    question: Question
    composed: Composed
    spliced: Spliced

    def place(self, line: int, column: int) -> tuple[int, int]:
        """Where in the file a place of the sent SQL comes from; all from 1."""
        place = self.composed.at(self.spliced.written_offset(offset(self.spliced.text, line, column)))
        return place.line, place.column


class Unaskable(Exception):
    """A fence whose SQL cannot be sent; `mistakes` say why, at their places in the file."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


def ask(
    board: Board,
    fence: Fence,
    chosen: Mapping[str, Choice],
    *,
    zone: str,
    timeout_s: float,
    max_rows: int = MAX_ROWS,
) -> Asked:
    """The question of a fence. Raises `Unaskable`."""
    composed = compose(board, fence, lambda sql: tables_read(sql, board.dialect))
    if composed.mistakes:
        raise Unaskable(composed.mistakes)
    return asked(board, composed, chosen, zone=zone, timeout_s=timeout_s, max_rows=max_rows)


def ask_source(
    board: Board, source: Source, chosen: Mapping[str, Choice], *, zone: str, timeout_s: float, max_rows: int
) -> Asked:
    """The question of SQL in the front matter: a filter's `from`, the annotations."""
    fence = Fence("", "table", "", 12, Options(), source, source.place.line, source.place.line)
    composed = compose(board, fence, lambda sql: tables_read(sql, board.dialect))
    return asked(board, composed, chosen, zone=zone, timeout_s=timeout_s, max_rows=max_rows)


def asked(
    board: Board, composed: Composed, chosen: Mapping[str, Choice], *, zone: str, timeout_s: float, max_rows: int
) -> Asked:
    """What is sent of composed SQL. Raises `Unaskable`."""
    try:
        spliced = splice(composed.text, chosen, board.dialect)
    except SpliceError as error:
        found = []
        for mistake in error.mistakes:
            place = composed.at(mistake.offset)
            found.append(Mistake(board.path, place.line, place.column, mistake.message))
        raise Unaskable(tuple(found)) from None
    tables = tables_read(spliced.text, board.dialect)
    known = None if tables is None or changes_by_itself(spliced.text, board.dialect) else frozenset(tables)
    return Asked(Question(spliced.text, _bound(spliced.values), zone, known, timeout_s, max_rows), composed, spliced)


def _bound(values: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(values.items()))


_LINE = re.compile(r"\bLINE (?P<line>\d+): ")
_CARET = re.compile(r"^(?P<before> *)\^", re.MULTILINE)
_NAMED = re.compile(r'"(?P<name>[^"\n]+)"')


def error_place(message: str, sql: str) -> tuple[int, int] | None:
    """The line and column, from 1, that a warehouse's message points at: by `LINE n:` and a caret below, or by the
    first name in quotes that the SQL has."""
    found = _LINE.search(message)
    if found is None:
        return _named_place(message, sql)
    caret = _CARET.search(message, found.end())
    start = message.rfind("\n", 0, found.start()) + 1
    column = len(caret["before"]) - (found.end() - start) + 1 if caret else 1
    return int(found["line"]), max(1, column)


def _named_place(message: str, sql: str) -> tuple[int, int] | None:
    for named in _NAMED.finditer(message):
        at = re.search(rf"\b{re.escape(named['name'])}\b", sql)
        if at:
            return sql.count("\n", 0, at.start()) + 1, at.start() - sql.rfind("\n", 0, at.start())
    return None
