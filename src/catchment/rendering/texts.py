"""Result rows as JSON or CSV text, exactly: DuckDB writes the values, from one expression made of their types.

Its own JSON and CSV writers won't do: they print NaN, the digits of a float's double, times in no standard form.
Here numbers keep all their digits, NaN and infinities are null in JSON, times are RFC 3339, a timestamp without a
zone has none, bytes are base64, JSON columns are JSON, and in CSV null is empty while an empty text is quoted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from duckdb import DuckDBPyRelation
from duckdb.sqltypes import DuckDBPyType

_NUMBERS = {
    "tinyint", "smallint", "integer", "bigint", "hugeint", "decimal",
    "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint", "bignum",
}  # fmt: skip
_ZONED = {"timestamp with time zone", "timestamptz_ns"}
_MOMENTS = {"timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns"}
_PLAIN = {"date", "time", "time_ns", "uuid"}
_NESTED = {"list", "array", "struct", "map", "union"}
_BARE = _NUMBERS | _ZONED | _MOMENTS | _PLAIN | {"boolean", "float", "double", "blob"}
"""Types whose text never needs quotes in CSV."""


def json_objects(relation: DuckDBPyRelation) -> str:
    """An expression for each row's JSON object; columns are by position."""
    members = [
        f"{_text(_json_text(name))}, ':', coalesce({_json(f'#{at}', kind, 0)}, 'null')"
        for at, (name, kind) in enumerate(zip(relation.columns, relation.types, strict=True), start=1)
    ]
    return "concat('{', " + ", ',', ".join(members) + ", '}')"


def csv_lines(relation: DuckDBPyRelation) -> str:
    """An expression for each row's line of CSV, without its end."""
    cells = [f"coalesce({_csv(f'#{at}', kind)}, '')" for at, kind in enumerate(relation.types, start=1)]
    return "concat(" + ", ',', ".join(cells) + ")"


def csv_header(names: Sequence[str]) -> str:
    """The first line, without its end."""
    return ",".join('"' + name.replace('"', '""') + '"' if _needs_quotes(name) else name for name in names)


def _needs_quotes(name: str) -> bool:
    return not name or name != name.strip() or any(character in name for character in '",\r\n')


def cell_texts(relation: DuckDBPyRelation) -> list[str]:
    """An expression for each column's text, unquoted and null where it is null."""
    return [_cell(f"#{at}", kind) for at, kind in enumerate(relation.types, start=1)]


def _cell(value: str, kind: DuckDBPyType) -> str:
    if kind.id == "blob":
        return f"to_base64({value})"
    if kind.id in _MOMENTS or kind.id in _ZONED:
        return _moment(value, kind)
    if kind.id in _NESTED:
        return _json(value, kind, 0)
    return f"CAST({value} AS VARCHAR)"


def _csv(value: str, kind: DuckDBPyType) -> str:
    """An expression for a value's cell; null where it is null."""
    text = _cell(value, kind)
    if kind.id in _BARE:
        return text
    quoted = f"""concat('"', replace({text}, '"', '""'), '"')"""
    return f"""CASE WHEN {value} IS NOT NULL THEN
        CASE WHEN regexp_matches({text}, '^$|^\\s|\\s$|[",\\r\\n]') THEN {quoted} ELSE {text} END END"""


def _json(value: str, kind: DuckDBPyType, depth: int) -> str:
    """An expression for a value's JSON; null where it is null."""
    children: Any = dict(kind.children) if kind.id in _NESTED else {}
    match kind.id:
        case "boolean":
            return f"CAST({value} AS VARCHAR)"
        case "float" | "double":
            return f"CASE WHEN isfinite({value}) THEN CAST({value} AS VARCHAR) END"
        case "varchar" if str(kind) == "JSON":
            return f"CAST({value} AS VARCHAR)"
        case "blob":
            return f"""'"' || to_base64({value}) || '"'"""
        case "list" | "array":
            return _json_list(f"CAST({value} AS {children['child']}[])", children["child"], depth)
        case "map":
            return _json_map(value, children["key"], children["value"], depth)
        case "struct":
            return _json_struct(value, children, depth)
        case "union":
            return _json_union(value, children, depth)
        case number if number in _NUMBERS:
            return f"CAST({value} AS VARCHAR)"
        case plain if plain in _PLAIN:
            return f"""'"' || CAST({value} AS VARCHAR) || '"'"""
        case moment if moment in _MOMENTS or moment in _ZONED:
            return f"""'"' || {_moment(value, kind)} || '"'"""
        case _:
            return f"CAST(to_json(CAST({value} AS VARCHAR)) AS VARCHAR)"


def _moment(value: str, kind: DuckDBPyType) -> str:
    """2026-01-01T10:00:00.5Z, or without a zone where the type has none. DuckDB's text has a space, and +00."""
    text = f"replace(CAST({value} AS VARCHAR), ' ', 'T')"
    return f"replace({text}, '+00', 'Z')" if kind.id in _ZONED else text


def _json_list(value: str, kind: DuckDBPyType, depth: int) -> str:
    item = f"i{depth}"
    items = f"list_transform({value}, lambda {item}: coalesce({_json(item, kind, depth + 1)}, 'null'))"
    return f"'[' || array_to_string({items}, ',') || ']'"


def _json_map(value: str, key: DuckDBPyType, kind: DuckDBPyType, depth: int) -> str:
    entry = f"i{depth}"
    name = f"CAST(to_json(CAST({entry}.key AS VARCHAR)) AS VARCHAR)"
    member = f"{name} || ':' || coalesce({_json(f'{entry}.value', kind, depth + 1)}, 'null')"
    return f"'{{' || array_to_string(list_transform(map_entries({value}), lambda {entry}: {member}), ',') || '}}'"


def _json_struct(value: str, children: dict[str, DuckDBPyType], depth: int) -> str:
    members = [
        f"{_text(_json_text(name))} || ':' || "
        f"coalesce({_json(f'struct_extract({value}, {_text(name)})', kind, depth)}, 'null')"
        for name, kind in children.items()
    ]
    joined = " || ',' || ".join(members) or "''"
    return f"CASE WHEN {value} IS NOT NULL THEN '{{' || {joined} || '}}' END"


def _json_union(value: str, children: dict[str, Any], depth: int) -> str:
    cases = [
        f"WHEN {_text(name)} THEN {_json(f'union_extract({value}, {_text(name)})', kind, depth)}"
        for name, kind in children.items()
        if name  # the tag itself has none
    ]
    return f"CASE CAST(union_tag({value}) AS VARCHAR) {' '.join(cases)} END"


def _json_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
