"""The statements of a text, told apart by their semicolons."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from catchment.sql.lexer import Token, tokens

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


@functools.lru_cache(maxsize=256)
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
    return [Statement(running[0].start, running[-1].end)] if running else []
