"""A fence's SQL with the `query` fences that it reads in front of it, as common table expressions.

The texts are put together as they stand, so that each place of the whole has its place in the file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from catchment.serve.dashboards.board import Board, Fence, Mistake, Place, Source
from catchment.serve.dashboards.spelling import joined
from catchment.serve.dashboards.sql_text import filters_named
from catchment.serve.dashboards.table_words import tables_named
from catchment.sql.lexer import Token, tokens

TablesRead = Callable[[str], Collection[str] | None]
"""The tables that a statement reads, without its own common table expressions; None where it can't be parsed: then,
and without it, the statement's words tell."""


@dataclass(frozen=True, slots=True)
class Piece:
    """From `start` on the composed text is `source` from `offset` on; what we wrote ourselves has no source."""

    start: int
    source: Source | None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Composed:
    """SQL that stands alone. `queries` are those that it begins with, each behind the ones that it reads."""

    text: str
    pieces: tuple[Piece, ...]
    queries: tuple[str, ...]
    mistakes: tuple[Mistake, ...]
    """Those of the queries that it needs."""

    def at(self, offset: int) -> Place:
        """Where in the file a character of `text` stands; of our own ones, where the next of the file's does."""
        at = bisect_right(self.pieces, max(offset, 0), key=lambda piece: piece.start) - 1
        piece = self.pieces[at]
        if piece.source is not None:
            return piece.source.at(piece.offset + offset - piece.start)
        following = next(piece for piece in self.pieces[at:] if piece.source is not None)
        assert following.source is not None
        return following.source.at(following.offset)


def compose(board: Board, fence: Fence, tables_read: TablesRead | None = None) -> Composed:
    """The fence's SQL behind the queries that it needs. Of queries that need each other each stands there once."""
    needed = needed_queries(board, fence.sql.text, tables_read)
    mistakes = tuple(mistake for name in needed for mistake in board.queries[name].mistakes)
    writing = _Writing()
    body = _without_end(fence.sql.text, board.dialect)
    if not needed:
        writing.copy(fence.sql, 0, len(body))
        return Composed(writing.text, tuple(writing.pieces), (), mistakes)
    own_with = _own_with(body, board.dialect)
    writing.write("with recursive " if own_with and own_with.is_recursive else "with ")
    for at, name in enumerate(needed):
        writing.write(f"{', ' if at else ''}{name} as (\n")
        source = board.queries[name].sql
        writing.copy(source, 0, len(_without_end(source.text, board.dialect)))
        writing.write("\n)")
    writing.write("," if own_with else "\n")
    writing.copy(fence.sql, own_with.end if own_with else 0, len(body))
    return Composed(writing.text, tuple(writing.pieces), tuple(needed), mistakes)


def needed_queries(board: Board, sql: str, tables_read: TablesRead | None = None) -> list[str]:
    """The board's queries that a statement reads, and that these read, each behind what it reads itself."""
    needed: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in needed or name in above:
            return
        for below in queries_read(board, board.queries[name].sql.text, tables_read):
            visit(below, (*above, name))
        needed.append(name)

    for name in queries_read(board, sql, tables_read):
        visit(name, ())
    return needed


def queries_read(board: Board, sql: str, tables_read: TablesRead | None = None) -> list[str]:
    """The board's queries that a statement reads itself, in the order of the file."""
    read = None if tables_read is None else tables_read(sql)
    names = {name.lower() for name in read} if read is not None else tables_named(sql, board.dialect)
    return [name for name in board.queries if name in names]


def filters_read(board: Board, sql: str) -> list[str]:
    """The filters that a statement names, itself or in the queries that it reads, in the order of the file."""
    texts = [sql, *(board.queries[name].sql.text for name in needed_queries(board, sql))]
    named = {name for text in texts for name in filters_named(text, board.filters, board.dialect)}
    return [name for name in board.filters if name in named]


def cycles(needs: Mapping[str, Collection[str]]) -> list[tuple[str, ...]]:
    """The names that need each other, each cycle once, in the order given."""
    found: list[tuple[str, ...]] = []
    state: dict[str, str] = {}

    def visit(name: str, path: list[str]) -> None:
        state[name] = "open"
        for below in needs[name]:
            if below not in needs:
                continue
            if state.get(below) == "open":
                ring = {*path[path.index(below) :]}
                found.append(tuple(each for each in needs if each in ring))
            elif below not in state:
                visit(below, [*path, below])
        state[name] = "done"

    for name in needs:
        if name not in state:
            visit(name, [name])
    return list(dict.fromkeys(found))


def cycle_text(what: str, ring: Sequence[str]) -> str:
    """`filters org and repo each need the other first`."""
    match len(ring):
        case 1:
            return f"{what} {ring[0]} needs itself first"
        case 2:
            return f"{_plural(what)} {joined(ring)} each need the other first"
    return f"{_plural(what)} {joined(ring)} need each other first"


def _plural(what: str) -> str:
    return "queries" if what == "query" else f"{what}s"


def cycle_mistakes(board: Board) -> dict[str, Mistake]:
    """By its id, a mistake for each query that can't be made since it needs itself in the end."""
    needs = {name: queries_read(board, fence.sql.text) for name, fence in board.queries.items()}
    mistakes: dict[str, Mistake] = {}
    for ring in cycles(needs):
        for name in ring:
            place = board.queries[name].place("id")
            mistakes[name] = Mistake(board.path, place.line, place.column, cycle_text("query", ring))
    return mistakes


def table_mistakes(board: Board, tables: Collection[str]) -> dict[str, Mistake]:
    """By its id, a mistake for each query that is named like a table of the warehouse (`schema.table` or `table`)."""
    taken = {table.rpartition(".")[2].lower(): table for table in tables}
    mistakes: dict[str, Mistake] = {}
    for name, fence in board.queries.items():
        if name in taken:
            place = fence.place("id")
            text = f"query {name} is named like the table {taken[name]}: give it another name"
            mistakes[name] = Mistake(board.path, place.line, place.column, text)
    return mistakes


class _Writing:
    """A text put together, with where each piece of it comes from."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self.pieces: list[Piece] = []

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def write(self, text: str) -> None:
        self._add(text, Piece(self._length, None))

    def copy(self, source: Source, start: int, end: int) -> None:
        self._add(source.text[start:end], Piece(self._length, source, start))

    def _add(self, text: str, piece: Piece) -> None:
        self._parts.append(text)
        self._length += len(text)
        self.pieces.append(piece)


@dataclass(frozen=True, slots=True)
class _With:
    end: int
    is_recursive: bool


def _own_with(sql: str, dialect: str) -> _With | None:
    """Where the statement's own `with` ends, if it begins with one."""
    loud = _loud(sql, dialect)
    if not loud or loud[0].word != "with":
        return None
    is_recursive = len(loud) > 1 and loud[1].word == "recursive"
    return _With(loud[1 if is_recursive else 0].end, is_recursive)


def _without_end(sql: str, dialect: str) -> str:
    """The text as far as its last token that says something, a closing semicolon not among them."""
    loud = _loud(sql, dialect)
    while loud and loud[-1].text == ";":
        loud.pop()
    return sql[: loud[-1].end] if loud else ""


def _loud(sql: str, dialect: str) -> list[Token]:
    return [token for token in tokens(sql, dialect) if not token.is_silent]
