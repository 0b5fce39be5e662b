"""What may stand at the cursor of the editors: of SQL, and of a dashboard's text."""

from __future__ import annotations

from typing import Any

import msgspec

from catchment.serve.dashboards import completing
from catchment.serve.dashboards.board import Board, Fence
from catchment.serve.dashboards.compose import needed_queries
from catchment.sql.complete import complete
from catchment.sql.scope import Catalogue, Column, outputs


def in_sql(sql: str, offset: int, tables: Catalogue, dialect: str) -> dict[str, Any]:
    """What takes the place of the characters of SQL from `start` to before `end`."""
    found = complete(sql, min(offset, len(sql)), tables, dialect)
    return {"start": found.start, "end": found.end, "suggestions": msgspec.to_builtins(found.suggestions)}


def in_dashboard(board: Board, text: str, offset: int, tables: Catalogue) -> dict[str, Any]:
    """The same of a dashboard's text, which the board was read from; its queries are tables to its SQL."""
    offset = min(offset, len(text))
    line_start = text.rfind("\n", 0, offset) + 1

    def columns_of(fence: Fence) -> list[str]:
        known = {**tables, **_queries(board, needed_queries(board, fence.sql.text), tables)}
        return [each.name for each in outputs(fence.sql.text, known, board.dialect) if each is not None]

    line, column = text.count("\n", 0, offset) + 1, offset - line_start + 1
    found = completing.complete(board, text, line, column, columns_of)
    if found.sql is None:
        suggestions = [
            {"label": each.text, "text": each.text, "kind": "", "detail": each.words} for each in found.suggestions
        ]
        return {"start": line_start + found.start - 1, "end": line_start + found.end - 1, "suggestions": suggestions}
    known = {**tables, **_queries(board, found.queries, tables)}
    answer = in_sql(found.sql.text, found.offset, known, board.dialect)
    begin = offset - found.offset
    return answer | {"start": begin + answer["start"], "end": begin + answer["end"]}


def _queries(board: Board, names: list[str] | tuple[str, ...], tables: Catalogue) -> dict[str, list[Column]]:
    """The columns of some of the board's queries."""
    known: dict[str, list[Column]] = {}
    for name in names:
        for each in [*needed_queries(board, board.queries[name].sql.text), name]:
            if each not in known:
                found = outputs(board.queries[each].sql.text, {**tables, **known}, board.dialect)
                known[each] = [column for column in found if column is not None]
    return known
