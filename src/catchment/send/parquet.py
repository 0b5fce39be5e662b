"""Parquet, read by DuckDB: each row becomes one JSON object.

| Parquet (as DuckDB names it) | JSON |
|---|---|
| booleans, integers of any size, DECIMAL | true, false, numbers with all their digits |
| FLOAT, DOUBLE | a number of exactly that value; `"nan"`, `"inf"`, `"-inf"` as text, since JSON has none |
| TIMESTAMP WITH TIME ZONE | text, RFC 3339 in UTC with microseconds: `"2024-01-01T08:00:00.123456Z"` |
| TIMESTAMP without zone, DATE, TIME, INTERVAL, UUID, ENUM | text as DuckDB writes it: `"2024-01-01 10:00:00"` |
| BLOB | base64 |
| JSON | the same JSON |
| LIST, ARRAY; STRUCT, MAP | array; object |
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catchment.errors import UsageError
from catchment.send.formats import Collector, field_text
from catchment.send.rows import Batch
from catchment.send.source import Source

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ROWS_PER_BATCH = 5_000
_MEMORY = "512MB"

# Of a value called {x}, not null, its JSON as text.
_SCALARS = {
    "decimal": "{x}::VARCHAR",
    "float": "CASE WHEN isfinite({x}) THEN to_json({x})::VARCHAR ELSE to_json({x}::VARCHAR)::VARCHAR END",
    "double": "CASE WHEN isfinite({x}) THEN to_json({x})::VARCHAR ELSE to_json({x}::VARCHAR)::VARCHAR END",
    "timestamp with time zone": (
        "CASE WHEN isfinite({x}) THEN strftime({x} AT TIME ZONE 'UTC', '\"%Y-%m-%dT%H:%M:%S.%fZ\"')"
        " ELSE to_json({x}::VARCHAR)::VARCHAR END"
    ),
    "blob": "'\"' || to_base64({x}) || '\"'",
    "json": "CASE WHEN json_valid({x}) THEN {x}::VARCHAR ELSE to_json({x}::VARCHAR)::VARCHAR END",
}


@dataclass(frozen=True, slots=True)
class As:
    """How columns are written: under another name or, where that is None, not at all; as text where they are numbers
    or booleans."""

    names: Mapping[str, str | None] = field(default_factory=dict)
    texts: frozenset[str] = frozenset()


AS_THEY_ARE = As()


def rows(source: Source, id_field: str | None = None, written: As = AS_THEY_ARE) -> Iterator[Batch]:
    """The file's rows in order. Raises `UsageError` when it is no Parquet file, or lacks the field of `--id`."""
    with _opened(source) as (connection, link):
        yield from _batches(connection, link, source, id_field, written)


def columns(source: Source) -> tuple[dict[str, str], int]:
    """The columns with their types as DuckDB names them, and how many rows the file says that it has.

    Raises `UsageError` when it is no Parquet file.
    """
    with _opened(source) as (connection, link):
        relation = connection.read_parquet(str(link))
        found = connection.execute("SELECT num_rows FROM parquet_file_metadata(?)", [str(link)]).fetchall()
        return dict(zip(relation.columns, map(str, relation.types), strict=True)), found[0][0]


@contextmanager
def _opened(source: Source) -> Iterator[tuple[DuckDBPyConnection, Path]]:
    import duckdb

    # DuckDB takes a path for a pattern, or an address; a link of our own name is neither.
    with tempfile.TemporaryDirectory(prefix="catchment-send-") as folder, duckdb.connect() as connection:
        link = Path(folder) / "data.parquet"
        link.symlink_to(source.path.resolve())
        connection.execute(f"SET threads = 1; SET memory_limit = '{_MEMORY}'; SET TimeZone = 'UTC'")
        try:
            yield connection, link
        except duckdb.Error as error:
            words = str(error).replace(str(link), source.name).splitlines()[0]
            raise UsageError(f"{source.name}: {words}", "check that it is a whole Parquet file") from None


def _batches(
    connection: DuckDBPyConnection, link: Path, source: Source, id_field: str | None, written: As
) -> Iterator[Batch]:
    relation = connection.read_parquet(str(link))
    if id_field is not None and id_field not in relation.columns:
        names = ", ".join(relation.columns)
        raise UsageError(f"{source.name} has no field {id_field!r} for --id", f"its fields are {names}")
    fields = [(name, kind, _identifier(name)) for name, kind in zip(relation.columns, relation.types, strict=True)]
    total = connection.execute("SELECT count(*) FROM read_parquet(?)", [str(link)]).fetchall()[0][0]
    pairs = [
        f"{_key(_text(called))} || {_as_text(x) if name in written.texts else _json(kind, x)}"
        for name, kind, x in fields
        if (called := written.names.get(name, name)) is not None
    ]
    result = connection.execute(f"SELECT {_braced(pairs)} FROM read_parquet(?) AS t", [str(link)])
    id_of = None if id_field is None else field_text(id_field)
    done = 0
    while found := result.fetchmany(_ROWS_PER_BATCH):
        batch = Collector(id_of, id_field)
        for number, (text,) in enumerate(found, done + 1):
            batch.add(number, number, text.encode())
        done += len(found)
        yield batch.batch(source.size_bytes * done // total)


def _json(kind: Any, x: str, depth: int = 0) -> str:
    """SQL for the JSON text of the expression `x`, which may be null; `depth` is how many lambdas are around."""
    return f"CASE WHEN {x} IS NULL THEN 'null' ELSE {_not_null(kind, x, depth)} END"


def _not_null(kind: Any, x: str, depth: int) -> str:
    if str(kind) == "JSON":
        return _SCALARS["json"].format(x=x)
    item = f"item{depth}"
    match kind.id:
        case "list" | "array":
            (_, child), *_ = kind.children
            texts = f"list_transform({x}::{child}[], lambda {item}: {_json(child, item, depth + 1)})"
            return f"'[' || array_to_string({texts}, ',') || ']'"
        case "struct":
            return _object(
                [(name, child, f"struct_extract({x}, {_text(name)})") for name, child in kind.children], depth
            )
        case "map":
            _, (_, child) = kind.children
            value = _json(child, f"{item}.value", depth + 1)
            pairs = f"list_transform(map_entries({x}), lambda {item}: {_key(f'{item}.key')} || {value})"
            return f"'{{' || array_to_string({pairs}, ',') || '}}'"
        case scalar:
            return _SCALARS.get(scalar, "to_json({x})::VARCHAR").format(x=x)


def _object(fields: list[tuple[str, Any, str]], depth: int = 0) -> str:
    """SQL for an object of (name, type, expression)."""
    pairs = [f"{_key(_text(name))} || {_json(kind, x, depth)}" for name, kind, x in fields]
    return _braced(pairs)


def _braced(pairs: list[str]) -> str:
    return "'{' || " + " || ',' || ".join(pairs) + " || '}'" if pairs else "'{}'"


def _as_text(x: str) -> str:
    return f"CASE WHEN {x} IS NULL THEN 'null' ELSE to_json({x}::VARCHAR)::VARCHAR END"


def _key(x: str) -> str:
    return f"to_json({x}::VARCHAR)::VARCHAR || ':'"


def _identifier(name: str) -> str:
    return 't."' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
