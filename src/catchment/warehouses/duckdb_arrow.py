"""DuckDB's results as Arrow that every reader of Arrow understands, without pyarrow.

DuckDB's own export has gaps: a hugeint beyond 38 digits comes out as another number, a JSON column as bare text,
an enum as a dictionary, which nanoarrow cannot write to IPC. So columns of such types are cast in SQL to what
Arrow has (`select_list`), and JSON is marked as the extension type `arrow.json` (`marked`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import nanoarrow
from duckdb import DuckDBPyRelation
from duckdb.sqltypes import DuckDBPyType
from nanoarrow.c_array_stream import CArrayStream
from nanoarrow.ipc import StreamWriter

from catchment.warehouses.ipc import JSON, IpcBuffer

BATCH_ROWS = 8_192
"""Rows in memory at a time. DuckDB's default, 131,072, is gigabytes where the rows are wide."""

_CAST = {
    "hugeint": "DECIMAL(38,0)",
    "uhugeint": "DECIMAL(38,0)",
    "bignum": "VARCHAR",
    "enum": "VARCHAR",
    "uuid": "VARCHAR",
    "bit": "VARCHAR",
    "time with time zone": "VARCHAR",
    "variant": "JSON",
}


def quoted(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def select_list(names: Sequence[str], types: Sequence[DuckDBPyType]) -> str | None:
    """The select list that casts what Arrow has no type for; None where nothing needs it.

    Columns are told by position, since two may have the same name.
    """
    texts = [_arrow_type(each) for each in types]
    if all(text is None for text in texts):
        return None
    columns = (f"#{at}" if text is None else f"CAST(#{at} AS {text})" for at, text in enumerate(texts, start=1))
    return ", ".join(f"{column} AS {quoted(name)}" for column, name in zip(columns, names, strict=True))


def _arrow_type(duckdb_type: DuckDBPyType) -> str | None:
    """The SQL type to cast to, with all that it nests; None where the type is fine as it is."""
    kind = duckdb_type.id
    if kind in _CAST:
        return _CAST[kind]
    if kind not in {"list", "array", "struct", "map", "union"}:
        return None
    size = dict(duckdb_type.children).get("size")
    children = dict(_children(duckdb_type))
    texts = {name: _arrow_type(child) for name, child in children.items()}
    if all(text is None for text in texts.values()):
        return None
    inner = {name: text or str(children[name]) for name, text in texts.items()}
    match kind:
        case "list":
            return f"{inner['child']}[]"
        case "array":
            return f"{inner['child']}[{size}]"
        case "map":
            return f"MAP({inner['key']}, {inner['value']})"
        case _:
            return f"{kind.upper()}({', '.join(f'{quoted(name)} {text}' for name, text in inner.items())})"


def _children(duckdb_type: DuckDBPyType) -> list[tuple[str, DuckDBPyType]]:
    """The types that a nested one is made of; neither the size of an array nor the tag of a union is one."""
    return [(name, child) for name, child in duckdb_type.children if name and isinstance(child, DuckDBPyType)]


def marked(schema: Any, types: Sequence[DuckDBPyType]) -> Any:
    """The Arrow schema of a result with JSON columns, nested ones too, named as what they are."""
    children = [schema.child(at) for at in range(schema.n_children)]
    return schema.modify(children=[_marked(child, kind) for child, kind in zip(children, types, strict=True)])


def _marked(schema: Any, duckdb_type: DuckDBPyType) -> Any:
    if str(duckdb_type) == "JSON":
        return schema.modify(metadata=JSON)
    if "JSON" not in str(duckdb_type) or duckdb_type.id not in {"list", "array", "struct"}:
        return schema
    types = [child for _, child in _children(duckdb_type)]
    children = [schema.child(at) for at in range(schema.n_children)]
    return schema.modify(children=[_marked(child, kind) for child, kind in zip(children, types, strict=True)])


class _Exported:
    """A relation's result in small batches. `DuckDBPyRelation.__arrow_c_stream__` has no size to set."""

    def __init__(self, relation: DuckDBPyRelation) -> None:
        self._relation = relation

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._relation._submit("stream", BATCH_ROWS).arrow_capsule()


def pieces(relation: DuckDBPyRelation) -> Generator[bytes, None, None]:
    """Run the relation and give its result as an Arrow IPC stream, a batch at a time.

    Raises duckdb's errors, and nanoarrow's with DuckDB's message inside.
    """
    buffer = IpcBuffer()
    with (
        nanoarrow.c_array_stream(_Exported(relation)) as batches,
        StreamWriter.from_writable(buffer) as writer,
    ):
        schema = marked(batches.get_schema(), relation.types)
        writer.write_stream(CArrayStream.from_c_arrays([], schema, validate=False))
        yield buffer.taken()
        for batch in batches:
            writer.write_stream(CArrayStream.from_c_arrays([batch], schema, validate=False))
            yield buffer.taken()
    yield buffer.taken()
