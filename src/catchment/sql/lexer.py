"""The tokens of a SQL text, as DuckDB, PostgreSQL and Redshift see them: where a text, a comment or a name ends.

Everything is some token, so that their texts, joined, are the SQL again. What is not closed runs to the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

Kind = Literal["space", "comment", "string", "dollar", "name", "parameter", "word", "number", "sign"]

_PATTERN = r"""
(?P<space>\s+)
|(?P<comment>--[^\n\r]*|/\*)
|(?P<dollar>\$(?P<tag>[^\W\d]\w*)?\$(?:.*?\$(?(tag)(?P=tag))\$|.*))
|(?P<string>(?:[eE]'(?:\\.|''|[^'\\])*(?:'(?:\s*\n\s*'(?:\\.|''|[^'\\])*')*|\\?\Z))|PLAIN)
|(?P<name>"(?:""|[^"])*(?:"|\Z))
|(?P<parameter>\$\w+)
|(?P<word>[^\W\d][\w$]*)
|(?P<number>\d\w*(?:\.\w*)?)
|(?P<sign>->>|->|::|:=|=>|.)
"""
_STANDARD = re.compile(_PATTERN.replace("PLAIN", r"'(?:''|[^'])*(?:'|\Z)"), re.VERBOSE | re.DOTALL)
_BACKSLASH = re.compile(_PATTERN.replace("PLAIN", r"'(?:\\.|''|[^'\\])*(?:'|\\?\Z)"), re.VERBOSE | re.DOTALL)
_COMMENT_MARK = re.compile(r"/\*|\*/")


class Token(NamedTuple):
    """One token; `text` is as written."""

    kind: Kind
    text: str
    start: int
    end: int

    @property
    def is_silent(self) -> bool:
        """Whether it is space or a comment."""
        return self.kind in {"space", "comment"}

    @property
    def word(self) -> str:
        """A word in lower case, a sign as it is; empty for the rest, such as quoted names and texts."""
        return self.text.lower() if self.kind == "word" else self.text if self.kind == "sign" else ""


def tokens(sql: str, dialect: str = "duckdb") -> Iterator[Token]:
    """The tokens of a text, one after another, without a gap."""
    pattern = _BACKSLASH if dialect == "redshift" else _STANDARD
    at = 0
    while at < len(sql):
        found = pattern.match(sql, at)
        assert found is not None, "every character is some token"
        kind: Kind = found.lastgroup  # type: ignore[assignment]
        end = found.end()
        if found["comment"] == "/*":
            end = _comment_end(sql, end)
        yield Token(kind, sql[at:end], at, end)
        at = end


def _comment_end(sql: str, at: int) -> int:
    """Where a comment ends whose inside begins here: such comments nest."""
    depth = 1
    for mark in _COMMENT_MARK.finditer(sql, at):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(sql)


def place(sql: str, offset: int) -> tuple[int, int]:
    """The line and column of an offset, both from 1."""
    return sql.count("\n", 0, offset) + 1, offset - (sql.rfind("\n", 0, offset) + 1) + 1


def offset(sql: str, line: int, column: int) -> int:
    """The offset of a line and column, both from 1; the nearest one for a place that the text does not have."""
    start = 0
    for _ in range(line - 1):
        found = sql.find("\n", start)
        if found < 0:
            return len(sql)
        start = found + 1
    end = sql.find("\n", start)
    return min(start + max(column - 1, 0), len(sql) if end < 0 else end)
