"""Segment API calls laid out as the tables of Segment's warehouse schema, in DuckDB, all in a few lines of Python.

It stands in for what collects and loads them, so that the demo's SQL is tested on its own.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from catchment.demo.company import Call

Row = dict[str, Any]
_OWN = {"page": "pages", "screen": "screens", "identify": "identifies", "track": "tracks"}
_TIMES = ("timestamp", "created_at")
_TYPES = {bool: "BOOLEAN", int: "BIGINT", float: "DOUBLE", str: "VARCHAR", list: "JSON"}


@cache
def snake(name: str) -> str:
    """`NPS Answered` as `nps_answered`, `userId` as `user_id`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|\W+", "_", name).lower()


def flat(fields: Row, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested objects as `outer_inner`; nulls left out."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{snake(name)}_")
        elif value is not None:
            yield prefix + snake(name), value


def rows(call: Call) -> Iterator[tuple[str, Row]]:
    """The rows that a call becomes, each with its table."""
    body = call.body
    common = {
        "id": body["messageId"],
        "anonymous_id": body["anonymousId"],
        "user_id": body.get("userId"),
        "timestamp": body["timestamp"],
        **dict(flat(body["context"], "context_")),
    }
    own = dict(flat(body["traits" if body["type"] == "identify" else "properties"]))
    if body["type"] == "track":
        event = snake(body["event"])
        common |= {"event": event, "event_text": body["event"]}
        yield f"{call.source}.tracks", common
        yield f"{call.source}.{event}", own | common
    else:
        yield f"{call.source}.{_OWN[body['type']]}", own | common | {"name": body.get("name")}


def load(calls: Iterable[Call], folder: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory with all tables. `folder` is for files on the way."""
    tables: dict[str, list[Row]] = defaultdict(list)
    for call in calls:
        for table, row in rows(call):
            tables[table].append(row)
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    for table, content in tables.items():
        columns = dict.fromkeys(_TIMES, "TIMESTAMPTZ")
        for row in content:
            for name, value in row.items():
                if value is not None and name not in _TIMES:
                    kind = _TYPES[type(value)]
                    assert columns.setdefault(name, kind) == kind, f"{table}.{name} is of two types"
        file = folder / f"{table}.json"
        file.write_bytes(msgspec.json.Encoder().encode_lines(content))
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {table.split('.')[0]}")
        connection.execute(
            f"CREATE TABLE {table} AS FROM read_json($file, format = 'newline_delimited', columns = $columns)",
            {"file": str(file), "columns": columns},
        )
    return connection
