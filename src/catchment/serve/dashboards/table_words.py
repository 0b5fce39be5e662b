"""The tables that a statement names, by its words alone: also where no parser knows its dialect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from catchment.sql.lexer import Token, tokens

_OPENS_TABLES = frozenset({"from", "join", "pivot", "unpivot", "summarize", "describe", "table"})
_ENDS_TABLES = {
    "select", "where", "group", "order", "having", "limit", "offset", "fetch", "window", "qualify", "union",
    "intersect", "except", "set", "values", "sample", "tablesample",
}  # fmt: skip
_ENDS_TABLE = frozenset({"on", "using", "as"})
_BEFORE_TABLE = frozenset({"lateral", "only"})
_TAKES_FROM = frozenset({"extract", "substring", "trim", "overlay", "position"})
"""Functions in whose parentheses `from` names no table."""


def tables_named(sql: str, dialect: str) -> set[str]:
    """The names behind `from`, `join` and the commas between tables, in lower case, without those of a schema and
    those that the statement itself defines (`name as (…)`)."""
    loud = [token for token in tokens(sql, dialect) if not token.is_silent]
    return _named(loud) - _defined(loud)


@dataclass(slots=True)
class _Level:
    """Within one pair of parentheses: whether tables stand here, and whether the next name is one."""

    in_tables: bool = False
    expecting: bool = False
    is_function: bool = False


def _named(loud: Sequence[Token]) -> set[str]:
    found: set[str] = set()
    levels = [_Level()]
    for at, token in enumerate(loud):
        level = levels[-1]
        before = loud[at - 1].word if at else ""
        if token.text == "(":
            levels.append(_Level(level.expecting, level.expecting, before in _TAKES_FROM))
            level.expecting = False
        elif token.text == ")":
            if len(levels) > 1:
                levels.pop()
        elif token.text == ",":
            level.expecting = level.in_tables
        elif before == ".":
            continue
        elif token.word in _OPENS_TABLES and not level.is_function:
            level.in_tables = level.expecting = (
                token.word != "from" or before != "distinct" or not _is_compared(loud, at)
            )
        elif token.word in _ENDS_TABLES:
            level.in_tables = level.expecting = False
        elif token.word in _ENDS_TABLE:
            level.expecting = False
        elif level.expecting and token.kind in {"word", "name"} and token.word not in _BEFORE_TABLE:
            level.expecting = False
            if _sign(loud, at + 1) not in {".", "("}:
                found.add(_name(token))
    return found


def _defined(loud: Sequence[Token]) -> set[str]:
    """Names with `as (`, `(columns) as (` or `as materialized (` behind them."""
    found: set[str] = set()
    for at, token in enumerate(loud):
        if token.word != "as" or at == 0:
            continue
        after = at + 1
        while after < len(loud) and loud[after].word in {"not", "materialized"}:
            after += 1
        if _sign(loud, after) != "(":
            continue
        first = at - 1
        if loud[first].text == ")":
            while first > 0 and loud[first].text != "(":
                first -= 1
            first -= 1
        if first >= 0 and loud[first].kind in {"word", "name"}:
            found.add(_name(loud[first]))
    return found


def _is_compared(loud: Sequence[Token], at: int) -> bool:
    """Whether this is the `from` of `is [not] distinct from`."""
    words = [token.word for token in loud[max(0, at - 3) : at]]
    return words[-2:-1] == ["is"] or words[-3:-1] == ["is", "not"]


def _name(token: Token) -> str:
    return token.text.strip('"').replace('""', '"').lower()


def _sign(loud: Sequence[Token], at: int) -> str:
    return loud[at].text if at < len(loud) else ""
