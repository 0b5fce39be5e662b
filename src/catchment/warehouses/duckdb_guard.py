"""Users' queries: what `run_query` takes of anybody who may read is judged here once more, by DuckDB's own parser.

Every function must be on a list, and every table one of the database's: `read_csv`, `getenv`, a file's name in place
of a table's, and whatever a later DuckDB brings, are refused before they run.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from difflib import get_close_matches
from typing import NamedTuple

import msgspec
from duckdb import DuckDBPyConnection, StatementType

from catchment.errors import UsageError
from catchment.sql.allowed import Refused, TableName, TreeError, qualified_tables, refused
from catchment.sql.lexer import Token, place, tokens

MAX_SQL_CHARACTERS = 64 * 1024
"""Of a user's query: planning can't be interrupted, and this much takes seconds of it."""

_SERIALIZE = "SELECT json_serialize_sql($1::VARCHAR, skip_null := true, skip_empty := true, skip_default := true)"
_STANDING = (
    "SELECT schema_name, table_name, database_name FROM duckdb_tables() "
    "UNION ALL SELECT schema_name, view_name, database_name FROM duckdb_views()"
)
_AFTER_PIVOT_ON = frozenset({"using", "group", "order", "limit", ")", ";"})


def check_allowed(cursor: DuckDBPyConnection, text: str, kind: StatementType, loaded: Container[str]) -> None:
    """Raise `UsageError` unless one statement calls and reads nothing but what it may.

    `loaded` has tables, as `schema.table`, that are known to be there without asking. The text must have been parsed.
    """
    if len(text) > MAX_SQL_CHARACTERS:
        raise UsageError(
            f"a query of {len(text):,} characters; at most {MAX_SQL_CHARACTERS:,} are taken", "use parameters"
        )
    named = _known.get(text)
    if named is None:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        named = _known[text] = _judge(cursor, text, kind)
    missing = _missing(cursor, named.tables, loaded)
    if missing is not None:
        raise _explained(missing, text, named.shift)


class _Named(NamedTuple):
    """The tables of a statement that may run, with their schemas; `shift` is where in it their offsets begin."""

    tables: list[TableName]
    shift: int | None


_MAX_KNOWN = 512
_known: dict[str, _Named] = {}
"""Statements that may run as far as their text tells: a dashboard sends the same ones again and again."""


def _judge(cursor: DuckDBPyConnection, text: str, kind: StatementType) -> _Named:
    for candidate in _judged(text, kind):
        serialized = cursor.execute(_SERIALIZE, [candidate]).fetchone()
        assert serialized is not None
        shift = text.find(candidate) if kind is not StatementType.MULTI else None
        try:
            tree = msgspec.json.decode(serialized[0])
            if tree.get("error"):
                continue
            found = refused(tree)
            if found is not None:
                raise _explained(found, text, shift)
            return _Named(qualified_tables(tree), shift)
        except RecursionError:
            hint = "fewer joins and subqueries within each other"
            raise UsageError("a query that is nested too deeply", hint) from None
        except TreeError as error:
            raise UsageError(f"this query cannot be judged: {error}", "a plain SELECT") from None
    hint = "PIVOT … ON (expression) IN (values)" if kind is StatementType.MULTI else "SELECT, or EXPLAIN SELECT"
    raise UsageError("this statement cannot be judged before it runs", hint)


def _judged(text: str, kind: StatementType) -> Iterator[str]:
    """The SELECT in a statement of which the parser makes a tree."""
    if kind is StatementType.SELECT:
        yield text
    elif kind is StatementType.EXPLAIN:
        yield from _explained_statements(text)
    else:
        yield _with_values(text, keep_lists=True)
        yield _with_values(text, keep_lists=False)


def _explained_statements(text: str) -> Iterator[str]:
    """What may follow EXPLAIN's own words and options."""
    loud = [token for token in tokens(text) if not token.is_silent]
    rest = loud[1:]
    while rest and rest[0].word in {"analyze", "analyse", "verbose"}:
        rest = rest[1:]
    if rest:
        yield text[rest[0].start :]
    if rest and rest[0].word == "(":
        closing = next((at for at, token in enumerate(rest) if token.word == ")"), None)
        if closing is not None and closing + 1 < len(rest):
            yield text[rest[closing + 1].start :]


def _with_values(text: str, *, keep_lists: bool) -> str:
    """A PIVOT whose values DuckDB would look up first, with `IN (NULL)` in their place: the same functions and tables,
    in a form that the parser has a tree of. `keep_lists` leaves columns that have values as they are."""
    pieces: list[str] = []
    at = 0
    for start, end, has_values in _pivoted([token for token in tokens(text) if not token.is_silent]):
        if not (has_values and keep_lists):
            pieces += [text[at:start], "(", text[start:end], ") IN (NULL)"]
            at = end
    return "".join([*pieces, text[at:]])


def _pivoted(loud: list[Token]) -> Iterator[tuple[int, int, bool]]:
    """Each column behind a PIVOT's ON: where it begins and ends, and whether there is an IN."""
    depth = 0
    waiting: list[int] = []  # at which depths a PIVOT waits for its ON
    column: tuple[int, int, bool] | None = None  # its depth, its first token, and whether there is an IN
    for at, token in enumerate(loud):
        word = token.word
        if column is not None and depth == column[0] and (word in _AFTER_PIVOT_ON or word == ","):
            yield loud[column[1]].start, loud[at - 1].end, column[2]
            column = (depth, at + 1, False) if word == "," else None
        if word in {"(", "["}:
            depth += 1
        elif word in {")", "]"}:
            depth -= 1
        elif word in {"pivot", "pivot_wider"}:
            waiting.append(depth)
        elif word == "on" and waiting and waiting[-1] == depth:
            waiting.pop()
            column = (depth, at + 1, False)
        elif word == "in" and column is not None and column[0] == depth:
            column = (depth, column[1], True)
    if column is not None and column[1] < len(loud):
        yield loud[column[1]].start, loud[-1].end, column[2]


def _missing(cursor: DuckDBPyConnection, named: list[TableName], loaded: Container[str]) -> Refused | None:
    """The first of the tables that is not there: DuckDB would take its name for a file's."""
    unknown = [table for table in named if len(table.path) != 2 or ".".join(table.path) not in loaded]
    if not unknown:
        return None
    own = cursor.execute("SELECT current_database()").fetchone()
    standing = cursor.execute(_STANDING).fetchall()
    there = {f"{schema}.{name}".lower() for schema, name, _ in standing}
    for table in unknown:
        *catalog, schema, name = table.path
        said = f"{schema}.{name}"
        if said.lower() in there and (not catalog or catalog == [own[0] if own else ""]):
            continue
        near = get_close_matches(said.lower(), sorted(there), 1)
        meant = f'\nDid you mean "{near[0]}"?' if near else ""
        return Refused(
            f"Table with name {'.'.join(table.path)} does not exist!{meant}",
            "catchment status lists the tables",
            table.offset,
        )
    return None


def _explained(found: Refused, text: str, shift: int | None) -> UsageError:
    """With the line of the SQL and the mark under it, as DuckDB's own errors have them."""
    message = found.message
    if shift is not None and found.offset is not None:
        at = shift + len(text[shift:].encode()[: found.offset].decode(errors="replace"))
        line, column = place(text, at)
        label = f"LINE {line}: "
        written = text.split("\n")[line - 1]
        message = f"{message}\n{label}{written}\n{' ' * (len(label) + column - 1)}^"
    return UsageError(message, found.hint)
