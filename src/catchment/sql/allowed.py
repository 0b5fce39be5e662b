"""What a user's query may do on DuckDB, judged by the tree that DuckDB's own parser makes of it.

The tree is `json_serialize_sql`'s. It is searched whole, wherever a function or a table may stand, so that a part of
it unknown here can hide neither. What is not on a list is refused.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_QUERIES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_SHOWN = frozenset({"tables", "databases", "schemas", "__show_tables_expanded"})
_SHOW_KINDS = frozenset({"DESCRIBE", "SUMMARY", "SHOW", "SHOW_FROM", "SHOW_UNQUALIFIED"})
CLOSED_VIEWS = frozenset(
    {"duckdb_databases", "duckdb_logs", "pg_prepared_statements", "pg_settings", "pragma_database_list"}
)
"""Views of DuckDB's that tell of paths, settings and others' statements."""
_OF_PATHS = frozenset("./\\:*?[]'\"")
"""In no table's name, and in every file's."""


class TreeError(ValueError):
    """A tree that cannot be judged, and so is refused."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a query may not run; `offset` is where in it, where that is known."""

    message: str
    hint: str
    offset: int | None


@dataclass(frozen=True, slots=True)
class TableName:
    """A table as a query names it: catalog and schema where it has them, then the name."""

    path: tuple[str, ...]
    offset: int | None


def refused(tree: Any) -> Refused | None:
    """Why a query may not run, or None where every function and table of it is allowed by its name.

    Whether a table of `qualified_tables` is there is left to the caller: DuckDB takes `a.csv` for a file where it
    is none. Raises `TreeError` for a tree of another form.
    """
    if not isinstance(tree, dict) or len(tree.get("statements") or ()) != 1:
        raise TreeError("one statement was expected")
    for node in _nodes(tree):
        found = _refused_function(node) or _refused_table(node) or _refused_kind(node)
        if found is not None:
            return found
    return None


def qualified_tables(tree: Any) -> list[TableName]:
    """The tables that are named with their schema."""
    tables = (_table(node) for node in _nodes(tree) if node.get("type") == "BASE_TABLE")
    return [table for table in tables if len(table.path) > 1]


@functools.cache
def allowed_functions() -> frozenset[str]:
    """The names of functions, in lower case, that a query may call; operators are none of them."""
    text = importlib.resources.files("catchment.sql").joinpath("duckdb_functions.txt").read_text()
    return frozenset(word for line in text.splitlines() if not line.startswith("#") for word in line.split())


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of the tree; not by recursion, since it may be deep."""
    left = [tree]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            yield node
            left.extend(node.values())
        elif isinstance(node, list):
            left.extend(node)


def _refused_function(node: dict[str, Any]) -> Refused | None:
    names = [node["function_name"]] if "function_name" in node else []
    if node.get("class") in {"FUNCTION", "WINDOW"} or names:
        names.append(_path(node)[-1])
    for name in names:
        if _is_operator(name) or name.lower() in allowed_functions():
            continue
        return Refused(
            f"{name}() is not among the functions that a query may call",
            "one of DuckDB's own that neither acts nor waits, nor reads files, settings or secrets",
            _offset(node),
        )
    return None


def _is_operator(name: str) -> bool:
    return name == "!__postfix" or (name != "" and not any(each.isalnum() or each == "_" for each in name))


def _refused_table(node: dict[str, Any]) -> Refused | None:
    if node.get("type") != "BASE_TABLE":
        return None
    table = _table(node)
    name = table.path[-1].lower()
    if any(_OF_PATHS & set(part) for part in table.path):
        return Refused(f"{'.'.join(table.path)} is no table", "a query reads tables, and no files", table.offset)
    if name in CLOSED_VIEWS:
        return Refused(f"{name} is not for queries: it tells of settings and files", "", table.offset)
    return None


def _refused_kind(node: dict[str, Any]) -> Refused | None:
    kind = node.get("type")
    if not isinstance(kind, str):
        return None
    if kind.endswith("_NODE") and kind not in _QUERIES:
        what = kind.removesuffix("_NODE").removesuffix("_QUERY")
        return Refused(f"a query only reads, and {what} does more", "a SELECT", _offset(node))
    if kind == "SHOW_REF":
        shown = str(node.get("table_name", "")).strip('"').lower()
        show = node.get("show_type")
        if (show == "SHOW_SPECIAL" and shown in _SHOWN) or (show in _SHOW_KINDS and not _OF_PATHS & set(shown)):
            return None
        return Refused(f"SHOW {shown} is not for queries", "SHOW TABLES, DESCRIBE or SUMMARIZE", _offset(node))
    return None


def _table(node: dict[str, Any]) -> TableName:
    return TableName(_path(node), _offset(node))


def _path(node: dict[str, Any]) -> tuple[str, ...]:
    qualified = node.get("qualified_name")
    path = qualified.get("path") if isinstance(qualified, dict) else None
    if not path or not all(isinstance(part, str) for part in path):
        raise TreeError("a name is missing")
    return tuple(path)


def _offset(node: dict[str, Any]) -> int | None:
    found = node.get("query_location")
    return found if isinstance(found, int) else None
