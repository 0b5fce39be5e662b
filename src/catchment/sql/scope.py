"""Names in sight of a place in a text, which may be half written: tables, their aliases, WITH parts, subqueries.

It reads tokens, not a tree: there is none of `select c. from chats c where`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from catchment.sql.lexer import Token, tokens


@dataclass(frozen=True, slots=True)
class Column:
    """A column; its type is empty where it is not known."""

    name: str
    type: str = ""


Catalogue = Mapping[str, Sequence[Column]]
"""Of each table its columns, by `schema.table`."""


@dataclass(slots=True)
class Group:
    """What stands between two parentheses or brackets, or in the whole text."""

    items: list[Token | Group]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Source:
    """Something that columns come from, under the name that it goes by."""

    name: str
    columns: tuple[Column, ...]
    table: str = ""
    """`schema.table`, where it is one of the catalogue."""


@dataclass(slots=True)
class Sight:
    """What can be named at a place."""

    sources: list[Source] = field(default_factory=list)
    """Innermost first."""
    parts: dict[str, tuple[Column, ...]] = field(default_factory=dict)
    """The WITH parts, by name in lower case."""
    outputs: tuple[Column, ...] = ()
    """What the query around the place has given names to."""
    expects_table: bool = False


_DEPTH = 12
_SETS = frozenset({"union", "intersect", "except"})
_AFTER_FROM = frozenset(
    {
        "where",
        "group",
        "having",
        "order",
        "limit",
        "offset",
        "fetch",
        "qualify",
        "window",
        "select",
        "set",
        "returning",
    }
)
_NO_ALIAS = _AFTER_FROM | _SETS | frozenset({
    "on", "using", "join", "left", "right", "full", "inner", "cross", "outer", "natural", "semi", "anti", "asof",
    "positional", "lateral", "tablesample", "pivot", "unpivot", "for", "as", "and", "or", "not", "when", "then", "end",
    "in", "is", "asc", "desc", "from", "with", "only", "sample",
})  # fmt: skip


def grouped(sql: str, dialect: str = "duckdb", without: int | None = None) -> Group:
    """The tokens of a text by their parentheses, closed or not. The word at the offset `without` is left out."""
    top = Group([], 0, len(sql) + 1)
    open_groups = [top]
    for token in tokens(sql, dialect):
        if token.is_silent or (without is not None and token.kind == "word" and token.start < without <= token.end):
            continue
        if token.kind == "sign" and token.text in "([{":
            inner = Group([], token.start, len(sql) + 1)
            open_groups[-1].items.append(inner)
            open_groups.append(inner)
        elif token.kind == "sign" and token.text in ")]}":
            if len(open_groups) > 1:
                open_groups.pop().end = token.end
        else:
            open_groups[-1].items.append(token)
    return top


def sight(sql: str, offset: int, catalogue: Catalogue, dialect: str = "duckdb") -> Sight:
    """What can be named at an offset of one statement."""
    reader = _Reader(catalogue)
    found = Sight()
    _look(reader, grouped(sql, dialect, offset), offset, found, sees_outside=True)
    return found


def outputs(sql: str, catalogue: Catalogue, dialect: str = "duckdb") -> list[Column | None]:
    """The columns of a query's result as far as the text tells them; None for one without a name of its own."""
    return _Reader(catalogue).outputs(grouped(sql, dialect).items, {}, _DEPTH)


def _look(reader: _Reader, group: Group, offset: int, found: Sight, *, sees_outside: bool) -> None:
    """From the outside in: each query on the way adds its names before those of the ones around it."""
    items = group.items
    if _is_query(items) or group.start == 0:
        parts = reader.with_parts(items, found.parts, offset)
        found.parts = parts
        segment = _segment(items, offset)
        own = reader.sources(segment, parts, _DEPTH)
        found.sources = own + (found.sources if sees_outside else [])
        found.outputs = tuple(each for each in reader.outputs(segment, parts, _DEPTH) if each is not None)
        found.expects_table = _expects_table(segment, offset)
    else:
        found.expects_table = False
    inner = next((item for item in items if isinstance(item, Group) and item.start < offset < item.end), None)
    if inner is not None:
        before = [item for item in items if (item.start) < inner.start]
        _look(reader, inner, offset, found, sees_outside=not _stands_for_table(before, inner))


def _stands_for_table(before: Sequence[Token | Group], inner: Group) -> bool:
    """Whether a subquery stands in FROM, or is a WITH part: it does not see the query around it."""
    if not _is_query(inner.items) or not before:
        return False
    last = _word(before[-1])
    if last in {"as", "materialized"} and _word(before[0]) == "with":
        return True
    return last in {"from", "join"} or (last == "," and _expects_table(before, inner.start))


def _segment(items: Sequence[Token | Group], offset: int) -> list[Token | Group]:
    """Of SELECTs put together by UNION and the like, the one around the offset."""
    start = 0
    for at, item in enumerate(items):
        if _word(item) in _SETS:
            if item.start >= offset:
                return list(items[start:at])
            start = at + 1
    return list(items[start:])


def _expects_table(items: Sequence[Token | Group], offset: int) -> bool:
    before = [item for item in items if item.start < offset and not (isinstance(item, Group) and item.end > offset)]
    if not before:
        return False
    last = _word(before[-1])
    if last in {"from", "join", "describe", "summarize", "pivot", "unpivot", "table"}:
        return True
    if last == "lateral":
        return True
    clause = next((_word(item) for item in reversed(before) if _word(item) in _AFTER_FROM | {"from", "by"}), "")
    return last == "," and clause == "from"


def _is_query(items: Sequence[Token | Group]) -> bool:
    return bool(items) and _word(items[0]) in {"select", "with", "from", "values", "table", "pivot", "unpivot"}


def _word(item: Token | Group) -> str:
    return item.word if isinstance(item, Token) else ""


def plain(token: Token) -> str:
    """A name without its quotes."""
    return token.text[1:-1].replace('""', '"') if token.kind == "name" else token.text


def _is_name(item: Token | Group) -> bool:
    return isinstance(item, Token) and item.kind in {"word", "name"}


class _Reader:
    """Reads queries by their tokens, against a catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def table(self, path: str) -> tuple[str, tuple[Column, ...]]:
        """A table of the catalogue, by `schema.table` or `table`; an empty one where there is none."""
        wanted = path.lower()
        if wanted in self._catalogue:
            return wanted, tuple(self._catalogue[wanted])
        for name, columns in self._catalogue.items():
            lowered = name.lower()
            if lowered == wanted or ("." not in wanted and lowered.endswith(f".{wanted}")):
                return name, tuple(columns)
        return "", ()

    def with_parts(
        self, items: Sequence[Token | Group], around: Mapping[str, tuple[Column, ...]], until: int | None
    ) -> dict[str, tuple[Column, ...]]:
        """Those of around and of a WITH at the beginning, up to the one that the offset is in."""
        parts = dict(around)
        if not items or _word(items[0]) != "with":
            return parts
        for at, item in enumerate(items):
            if not isinstance(item, Group) or at < 2 or _word(items[at - 1]) not in {"as", "materialized"}:
                continue
            is_recursive = len(items) > 1 and _word(items[1]) == "recursive"
            if until is not None and item.start < until < item.end and not is_recursive:
                break
            name, renamed = self._part_name(items, at)
            columns = tuple(each for each in self.outputs(item.items, parts, _DEPTH) if each is not None)
            if name:
                parts[name.lower()] = _renamed(columns, renamed)
        return parts

    def _part_name(self, items: Sequence[Token | Group], body: int) -> tuple[str, Group | None]:
        at = body - 1
        while at > 0 and _word(items[at]) in {"as", "materialized", "not"}:
            at -= 1
        listed = items[at] if isinstance(items[at], Group) else None
        named = items[at - 1] if listed is not None and at > 0 else items[at]
        return (
            (plain(named), listed if isinstance(listed, Group) else None) if isinstance(named, Token) else ("", None)
        )

    def sources(
        self, items: Sequence[Token | Group], parts: Mapping[str, tuple[Column, ...]], depth: int
    ) -> list[Source]:
        """What a query's FROM names, in its order."""
        found: list[Source] = []
        in_from = expects = False
        at = 0
        while at < len(items):
            word = _word(items[at])
            if word in {"from", "join"} and not (at and _word(items[at - 1]) == "distinct"):
                in_from = expects = True
            elif word in _AFTER_FROM:
                in_from = expects = False
            elif word == "," and in_from:
                expects = True
            elif expects and word not in {"lateral", "only"}:
                source, at = self._source(items, at, parts, depth)
                found += source
                expects = False
                continue
            at += 1
        return found

    def _source(
        self, items: Sequence[Token | Group], at: int, parts: Mapping[str, tuple[Column, ...]], depth: int
    ) -> tuple[list[Source], int]:
        """One table, subquery or function with its alias, and the index behind it."""
        first = items[at]
        name = table = ""
        columns: tuple[Column, ...] = ()
        at += 1
        if isinstance(first, Group):
            if not _is_query(first.items) and depth > 0:
                return self.sources([_FROM, *first.items], parts, depth - 1), at
            if depth > 0:
                columns = tuple(each for each in self.outputs(first.items, parts, depth - 1) if each is not None)
        elif _is_name(first):
            path = [plain(first)]
            while at + 1 < len(items) and _word(items[at]) == "." and _is_name(items[at + 1]):
                path.append(plain(items[at + 1]))  # type: ignore[arg-type]
                at += 2
            name = path[-1]
            if at < len(items) and isinstance(items[at], Group):
                at += 1  # a function's arguments
                columns = (Column(name),)
            elif len(path) == 1 and name.lower() in parts:
                columns = parts[name.lower()]
            else:
                table, columns = self.table(".".join(path[-2:]))
        if at < len(items) and _word(items[at]) == "as":
            at += 1
        if at < len(items) and _is_name(items[at]) and _word(items[at]) not in _NO_ALIAS:
            name = plain(items[at])  # type: ignore[arg-type]
            at += 1
            listed = items[at] if at < len(items) else None
            if isinstance(listed, Group):
                columns = _renamed(columns, listed)
                at += 1
        return [Source(name, columns, table)], at

    def outputs(
        self, items: Sequence[Token | Group], around: Mapping[str, tuple[Column, ...]], depth: int
    ) -> list[Column | None]:
        """The columns that a query gives; of a UNION those of its first SELECT."""
        if depth <= 0 or not items:
            return []
        parts = self.with_parts(items, around, None)
        end = next((at for at, item in enumerate(items) if _word(item) in _SETS), len(items))
        items = items[:end]
        if not items:
            return []
        first = items[0]
        if len(items) == 1 and isinstance(first, Group):
            return self.outputs(first.items, parts, depth - 1)
        sources = self.sources(items, parts, depth - 1)
        begin = next((at for at, item in enumerate(items) if _word(item) == "select"), None)
        if begin is None:
            if _word(first) == "table" and len(items) > 1:
                sources = self.sources([_FROM, *items[1:]], parts, depth - 1)
            return [column for source in sources for column in source.columns]
        listed = items[begin + 1 :]
        stop = next((at for at, item in enumerate(listed) if _word(item) in _AFTER_FROM | {"from"}), len(listed))
        found: list[Column | None] = []
        for expression in _split(listed[:stop]):
            found += self._output(expression, sources)
        return found

    def _output(self, items: list[Token | Group], sources: Sequence[Source]) -> list[Column | None]:
        while items and _word(items[0]) in {"distinct", "all"}:
            items = items[1:]
        if not items:
            return []
        star = next((at for at, item in enumerate(items[:3]) if _word(item) == "*"), None)
        if star == 0 or (star == 2 and _word(items[1]) == "."):
            of = plain(items[0]).lower() if star and isinstance(items[0], Token) else None
            columns = [each for source in sources if of in {None, source.name.lower()} for each in source.columns]
            return list(_without(columns, items[star + 1 :]))
        last = items[-1]
        if len(items) > 2 and _word(items[1]) == ":" and isinstance(items[0], Token):
            return [Column(plain(items[0]))]
        if not isinstance(last, Token) or last.kind not in {"word", "name"} or last.word == "end":
            return [Column(items[0].text.lower()) if _is_call(items) and isinstance(items[0], Token) else None]
        is_column = len(items) == 1 or _word(items[-2]) == "."
        if is_column or _word(items[-2]) == "as" or _ends_operand(items[-2]):
            value = items if is_column else items[: -2 if _word(items[-2]) == "as" else -1]
            return [Column(plain(last), _type(value, sources))]
        return [None]


_FROM = Token("word", "from", 0, 0)


def _is_call(items: Sequence[Token | Group]) -> bool:
    return len(items) == 2 and _is_name(items[0]) and isinstance(items[1], Group)


def _ends_operand(item: Token | Group) -> bool:
    if isinstance(item, Group):
        return True
    return (
        item.kind in {"number", "string", "name", "parameter"}
        or (item.kind == "word" and item.word not in _NO_ALIAS)
        or (item.word == "end")
    )


def _split(items: Sequence[Token | Group]) -> Iterator[list[Token | Group]]:
    running: list[Token | Group] = []
    for item in items:
        if _word(item) == ",":
            yield running
            running = []
        else:
            running.append(item)
    yield running


def _without(columns: Sequence[Column], behind: Sequence[Token | Group]) -> Iterator[Column]:
    """Less those of EXCLUDE."""
    gone: set[str] = set()
    for word, listed in pairwise(behind):
        if _word(word) in {"exclude", "except"}:
            names = listed.items if isinstance(listed, Group) else [listed]
            gone |= {plain(item).lower() for item in names if isinstance(item, Token)}
    return (column for column in columns if column.name.lower() not in gone)


def _type(value: Sequence[Token | Group], sources: Sequence[Source]) -> str:
    """The type of a plain column, of a cast, of a count."""
    if len(value) >= 3 and _word(value[-2]) == "::" and isinstance(value[-1], Token):
        return value[-1].text.lower()
    if _is_call(value) and _word(value[0]) == "count":
        return "bigint"
    if len(value) not in {1, 3} or not _is_name(value[-1]):
        return ""
    name = plain(value[-1]).lower()  # type: ignore[arg-type]
    of = plain(value[0]).lower() if len(value) == 3 and isinstance(value[0], Token) else None
    for source in sources:
        if of in {None, source.name.lower()}:
            for column in source.columns:
                if column.name.lower() == name:
                    return column.type
    return ""


def _renamed(columns: tuple[Column, ...], listed: Group | None) -> tuple[Column, ...]:
    """Under the names of a column list, as in `x(a, b)`."""
    names = [plain(item) for item in listed.items if _is_name(item)] if listed is not None else []  # type: ignore[arg-type]
    types = [column.type for column in columns] + [""] * len(names)
    return tuple(Column(name, kind) for name, kind in zip(names, types, strict=False)) + columns[len(names) :]
