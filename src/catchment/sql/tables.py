"""Which tables a statement reads."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from catchment.sql.trees import query_tree

if TYPE_CHECKING:
    from sqlglot import exp


@functools.lru_cache(maxsize=256)
def tables_read(sql: str, dialect: str = "duckdb") -> frozenset[str] | None:
    """The tables and views that one query names, as `schema.table` or `table`, in lower case but for what PostgreSQL
    has quoted; its own WITH parts are none, and neither are table functions. None where it cannot be told."""
    tree = query_tree(sql, dialect)
    if tree is None:
        return None
    return frozenset(_name(table, dialect) for table in _tables(tree))


def _tables(tree: exp.Expr) -> Iterator[exp.Table]:
    from sqlglot import exp

    for table in tree.find_all(exp.Table):
        if isinstance(table.this, exp.Identifier) and not (table.args.get("db") is None and _is_part(table)):
            yield table


def _name(table: exp.Table, dialect: str) -> str:
    from sqlglot import exp

    parts = [part for part in (table.args.get("db"), table.this) if isinstance(part, exp.Identifier)]
    keeps_case = dialect == "postgres"
    return ".".join(part.name if part.quoted and keeps_case else part.name.lower() for part in parts)


def _is_part(table: exp.Table) -> bool:
    """Whether a name is that of a WITH part in sight: any of an outer query, and of one's own list those before, and
    oneself where it is recursive."""
    from sqlglot import exp

    name = table.name.lower()
    inside: exp.Expr | None = None  # the WITH part that we are in, of the list just passed
    node: exp.Expr = table
    while (parent := node.parent) is not None:
        if isinstance(parent, exp.With):
            inside = node
        elif isinstance(listed := parent.args.get("with_"), exp.With):
            if name in _in_sight(listed, inside):
                return True
            inside = None
        node = parent
    return False


def _in_sight(listed: exp.With, inside: exp.Expr | None) -> Iterator[str]:
    for part in listed.expressions:
        if part is inside and not listed.args.get("recursive"):
            return
        yield part.alias.lower()
        if part is inside:
            return
