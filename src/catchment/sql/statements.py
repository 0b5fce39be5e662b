"""The statements of a text, told apart by their semicolons."""

from __future__ import annotations

from dataclasses import dataclass

from catchment.sql.lexer import Token, place, tokens

_READING = frozenset({
    "select", "with", "from", "values", "table", "(", "pivot", "unpivot", "describe", "desc", "summarize",
    "show", "explain",
})  # fmt: skip
_QUERYING = frozenset({"select", "with", "from", "values", "table", "(", "pivot", "unpivot"})
_UNSTEADY_WORDS = frozenset({
    "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "sysdate", "getdate",
    "tablesample",
})  # fmt: skip
_UNSTEADY_CALLS = frozenset({
    "ago", "age", "clock_timestamp", "gen_random_uuid", "get_current_time", "get_current_timestamp", "getdate",
    "now", "random", "statement_timestamp", "timeofday", "today", "transaction_timestamp", "uuid", "uuidv4",
    "uuidv7",
})  # fmt: skip
"""`age` with one argument reckons from today."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, from its first token to its last; space, comments and its semicolon are not in it."""

    start: int
    end: int
    first_word: str
    """In lower case, or `(`."""


@dataclass(frozen=True, slots=True)
class NotOne:
    """Why a text is not one query, and where; line and column are from 1."""

    offset: int
    line: int
    column: int
    message: str


def statements(sql: str, dialect: str = "duckdb") -> list[Statement]:
    """Those that are not empty, in their order."""
    found: list[Statement] = []
    running: list[Token] = []
    for token in tokens(sql, dialect):
        if token.kind == "sign" and token.text == ";":
            found += _statement(running)
            running = []
        elif not token.is_silent:
            running.append(token)
    return found + _statement(running)


def statement_at(sql: str, offset: int, dialect: str = "duckdb") -> Statement | None:
    """The one that the offset is in, or else the last before it, or else the first."""
    found = statements(sql, dialect)
    before = [statement for statement in found if statement.start <= offset]
    return before[-1] if before else found[0] if found else None


def not_one_query(sql: str, dialect: str = "duckdb") -> NotOne | None:
    """What is wrong with the text of a tile, which holds one SELECT; None where nothing is."""
    found = statements(sql, dialect)
    if not found:
        return NotOne(0, 1, 1, "one SELECT stands here; there is none")
    if len(found) > 1:
        at = found[1].start
        return NotOne(at, *place(sql, at), f"one SELECT stands here; there are {len(found)} statements")
    if found[0].first_word not in _QUERYING:
        at = found[0].start
        return NotOne(at, *place(sql, at), f"one SELECT stands here, and {found[0].first_word.upper()} is none")
    return None


def is_reading(statement: Statement) -> bool:
    """Whether it may only read, by its first word; the warehouse has the last one."""
    return statement.first_word in _READING


def changes_by_itself(sql: str, dialect: str = "duckdb") -> bool:
    """Whether its result may be another although no table has changed: it asks for the time, or for chance."""
    loud = [token for token in tokens(sql, dialect) if not token.is_silent]
    for at, token in enumerate(loud):
        if token.word in _UNSTEADY_WORDS:
            return True
        if token.word in _UNSTEADY_CALLS and at + 1 < len(loud) and loud[at + 1].text == "(":
            return True
    return any(token.word == "using" and loud[at + 1].word == "sample" for at, token in enumerate(loud[:-1]))


def _statement(running: list[Token]) -> list[Statement]:
    if not running:
        return []
    return [Statement(running[0].start, running[-1].end, running[0].text.lower())]
