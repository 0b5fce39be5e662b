"""A statement as a tree of sqlglot's, for what tokens do not tell. Nothing is ever written back from it."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot import exp

MAX_CHARACTERS = 20_000
"""sqlglot takes up to 40 µs for each, and holds up all threads meanwhile."""


@functools.lru_cache(maxsize=256)
def query_tree(sql: str, dialect: str = "duckdb") -> exp.Query | None:
    """The tree of one SELECT, WITH, FROM, VALUES or the like; None where it is none, or sqlglot cannot tell.

    It is shared: whoever would change it copies it.
    """
    if len(sql) > MAX_CHARACTERS:
        return None
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of what it takes for a command
    try:
        trees = [tree for tree in sqlglot.parse(sql, read=dialect) if tree is not None]
    except (SqlglotError, RecursionError, ValueError, KeyError, AttributeError, TypeError):  # its own slips, too
        return None
    trees = [tree for tree in trees if not isinstance(tree, exp.Semicolon)]
    return trees[0] if len(trees) == 1 and isinstance(trees[0], exp.Query) else None
