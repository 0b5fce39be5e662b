"""A dashboard's file becomes a `Board`. Mistakes are all gathered, and each spoils only the fence that it is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import PurePath

from catchment.serve.dashboards.board import Board, Fence, Filter, Mistake, Place, Source, sentence
from catchment.serve.dashboards.compose import cycle_mistakes, cycle_text, cycles, filters_read
from catchment.serve.dashboards.fences import read_parts
from catchment.serve.dashboards.front import Front, read_front
from catchment.serve.dashboards.layout import FenceLines, body_parts, front_lines
from catchment.serve.dashboards.sql_text import sql_mistakes

MAX_FENCES = 300

Note = Callable[[Place, str], None]


def read_board(path: str, text: str, dialect: str = "duckdb") -> Board:
    """Read a dashboard. Never raises for what its author wrote: mistakes are in the board and its fences.

    `path` is what mistakes call the file; `dialect` is the warehouse's.
    """
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    mistakes: list[Mistake] = []

    def note(place: Place, words: str) -> None:
        mistakes.append(Mistake(path, place.line, place.column, words))

    front, first = _front(lines, note)
    if front.filters is not None:
        _check_sql(front.filters, front.annotations, dialect, note)
    parts = list(body_parts(lines, first))
    beyond = [part for part in parts if isinstance(part, FenceLines)][MAX_FENCES:]
    if beyond:
        note(Place(beyond[0].start, 1), f"at most {MAX_FENCES} fences: the rest is left out")
        parts = [part for part in parts if part.start < beyond[0].start]
    board = Board(
        path=path,
        title=front.title or sentence(PurePath(path).stem),
        owner=front.owner,
        refresh=front.refresh,
        stale_after=front.stale_after,
        groups=front.groups,
        filters=front.filters or {},
        annotations=front.annotations,
        parts=read_parts(path, lines, parts, front.filters, dialect),
        mistakes=(),
        dialect=dialect,
    )
    board = _without_cycles(_with_parents(board))
    _check_order(board, note)
    return replace(board, mistakes=tuple(sorted(set(mistakes))))


def _front(lines: list[str], note: Note) -> tuple[Front, int]:
    """The front matter, and the first line behind it."""
    found = front_lines(lines)
    if found is None:
        note(Place(1, 1), "the file must begin with --- and a title, such as `title: Chat queue`, and --- again")
        return Front(filters=None), 1
    if not found.is_closed:
        note(Place(1, 1), "the front matter is not closed: --- alone on a line ends it")
    yaml = "\n".join(lines[found.start - 1 : found.end - 1]) + "\n"
    # What an unclosed one swallows is prose: the mistakes in that would only hide the one that matters.
    return read_front(yaml, found.start, note if found.is_closed else _not_noted), found.body


def _not_noted(place: Place, words: str) -> None:
    """Takes a mistake and leaves it."""


def _check_sql(filters: Mapping[str, Filter], annotations: Source | None, dialect: str, note: Note) -> None:
    """The SQL in the front matter: of filters that choose from a query, and of annotations."""
    sources = [each.source for each in filters.values()]
    for source in filter(None, [*sources, annotations]):
        for offset, text in sql_mistakes(source.text, filters, dialect):
            note(source.at(offset), text)


def _with_parents(board: Board) -> Board:
    """The board, its filters knowing which others they need."""
    filters = {
        name: replace(each, parents=tuple(filters_read(board, each.source.text))) if each.source else each
        for name, each in board.filters.items()
    }
    return replace(board, filters=filters)


def _without_cycles(board: Board) -> Board:
    """The board, its queries that need themselves in the end being mistakes."""
    mistakes = cycle_mistakes(board)
    if not mistakes:
        return board
    parts = tuple(
        replace(part, mistakes=(*part.mistakes, mistakes[part.id]))
        if isinstance(part, Fence) and part.kind == "query" and part.id in mistakes
        else part
        for part in board.parts
    )
    return replace(board, parts=parts)


def _check_order(board: Board, note: Note) -> None:
    """Filters whose SQL needs, in the end, themselves; said at the last of them."""
    for ring in cycles({name: each.parents for name, each in board.filters.items()}):
        note(board.filters[ring[-1]].place, cycle_text("filter", ring))
