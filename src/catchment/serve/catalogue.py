"""What the warehouse has: tables and columns, their state, and which dashboards read them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from catchment.errors import CatchmentError
from catchment.record import OWN_SCHEMA
from catchment.serve.library import Library
from catchment.serve.results import Result, read
from catchment.sql.scope import Column
from catchment.sql.tables import tables_read
from catchment.warehouses import Warehouse
from catchment.warehouses.quoting import name as quoted
from catchment.warehouses.quoting import table_name

KNOWN_FOR_S = 10.0
SAMPLED_ROWS = 20_000
SHOWN_ROWS = 5
FEW_VALUES = 8
MAX_HITS = 8
_TIMEOUT_S = 20.0
_MAX_ROWS = 100_000
_METADATA = "_"

_COLUMNS = f"""
SELECT c.table_schema, c.table_name, c.column_name, c.data_type, t.table_type
FROM information_schema.columns c
JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
WHERE c.table_schema NOT IN ('information_schema', 'pg_catalog', '{OWN_SCHEMA}')
ORDER BY c.table_schema, c.table_name, c.ordinal_position
"""
_CHANGES = """
SELECT changed_at, kind, field, column_name, type_before, type_after FROM catchment.schema_change
WHERE table_name = $1 ORDER BY changed_at DESC LIMIT 12
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view. `name` is `schema.table`."""

    name: str
    columns: tuple[Column, ...]
    is_view: bool

    @property
    def is_loaded(self) -> bool:
        """Whether it is one that the loader keeps."""
        return not self.is_view and any(column.name == "_received_at" for column in self.columns)


@dataclass(frozen=True, slots=True)
class Filled:
    """What the newest rows have in a column."""

    column: Column
    share: float | None
    distinct: int | None
    values: str


@dataclass(frozen=True, slots=True)
class Described:
    """A table in full. `behind` is the time of its latest row; changes are the latest first."""

    table: Table
    rows: int | None
    latest: datetime | None
    sampled: int
    filled: tuple[Filled, ...]
    sample: Result
    changes: tuple[tuple[Any, ...], ...]
    used_by: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """Something found. `where` is its address below the base path."""

    kind: str
    text: str
    about: str
    where: str


class Catalogue:
    """The catalogue of one project."""

    def __init__(self, warehouse: Callable[[], Warehouse], library: Library, dialect: str) -> None:
        self._warehouse = warehouse
        self._library = library
        self._dialect = dialect
        self._known: Mapping[str, Table] = {}
        self._known_at_s = -KNOWN_FOR_S
        self._asking = asyncio.Lock()

    async def tables(self) -> Mapping[str, Table]:
        """All there are by name, as of at most ten seconds ago. Raises what the warehouse raises."""
        async with self._asking:
            if time.monotonic() - self._known_at_s > KNOWN_FOR_S:
                self._known = await asyncio.to_thread(self._read)
                self._known_at_s = time.monotonic()
        return self._known

    async def for_sql(self) -> dict[str, tuple[Column, ...]]:
        """All tables and their columns, as what writes SQL names them; none while the warehouse is down."""
        try:
            return {name: table.columns for name, table in (await self.tables()).items()}
        except CatchmentError:
            return {}

    def _rows(self, sql: str, params: Sequence[Any] = ()) -> Result:
        """Of SQL of our own."""
        return read(self._warehouse().query(sql, list(params), timeout_s=_TIMEOUT_S), _MAX_ROWS)

    def _read(self) -> Mapping[str, Table]:
        found: dict[str, tuple[list[Column], bool]] = {}
        for schema, table, column, type_, kind in self._rows(_COLUMNS).rows:
            columns, _ = found.setdefault(f"{schema}.{table}", ([], kind == "VIEW"))
            columns.append(Column(column, _type(type_)))
        return {name: Table(name, tuple(columns), is_view) for name, (columns, is_view) in found.items()}

    async def describe(self, name: str, allowed: Callable[[Sequence[str]], bool]) -> Described | None:
        """A table in full; None where there is none of that name. `allowed` says which groups' dashboards may be
        named."""
        table = (await self.tables()).get(name)
        if table is None:
            return None
        return await asyncio.to_thread(self._describe, table, allowed)

    def _reads(self, fences: Sequence[Any]) -> set[str]:
        found: set[str] = set()
        for fence in fences:
            found |= tables_read(fence.sql.text, self._dialect) or set()
        return found

    def _describe(self, table: Table, allowed: Callable[[Sequence[str]], bool]) -> Described:
        used_by = tuple(
            (entry.name, entry.board.title)
            for entry in self._library.entries()
            if allowed(entry.board.groups) and table.name in self._reads(entry.board.fences)
        )
        source = table_name(table.name)
        rows = latest = None
        order = ""
        if table.is_loaded:
            rows, latest = self._rows(f"SELECT count(*), max(_received_at) FROM {source}").rows[0]
            order = " ORDER BY _received_at DESC"
        newest = f"(SELECT * FROM {source}{order} LIMIT {SAMPLED_ROWS}) AS newest"
        own = [column for column in table.columns if not column.name.startswith(_METADATA)] or list(table.columns)
        shown = ", ".join(quoted(column.name) for column in own)
        sample = self._rows(f"SELECT {shown} FROM {source}{order} LIMIT {SHOWN_ROWS}")
        sampled, filled = self._filled(newest, table.columns)
        changes = self._rows(_CHANGES, [table.name]).rows if table.is_loaded else ()
        return Described(table, rows, latest, sampled, filled, sample, changes, used_by)

    def _filled(self, newest: str, columns: Sequence[Column]) -> tuple[int, tuple[Filled, ...]]:
        plain = [column for column in columns if _is_plain(column)]
        parts = ["count(*)", *(f"count({quoted(column.name)})" for column in columns)]
        for column in plain:
            at = quoted(column.name)
            parts += [f"count(DISTINCT {at})", f"CAST(min({at}) AS VARCHAR)", f"CAST(max({at}) AS VARCHAR)"]
        row = list(self._rows(f"SELECT {', '.join(parts)} FROM {newest}").rows[0])
        sampled, counts, rest = row[0], row[1 : 1 + len(columns)], row[1 + len(columns) :]
        told = {column.name: rest[at * 3 : at * 3 + 3] for at, column in enumerate(plain)}
        found = []
        for column, count in zip(columns, counts, strict=True):
            distinct, low, high = told.get(column.name, (None, None, None))
            values = "" if low is None or high is None else low if low == high else f"{_short(low)} … {_short(high)}"
            found.append(Filled(column, count / sampled if sampled else None, distinct, values))
        return sampled, tuple(found)

    async def search(self, words: str, allowed: Callable[[Sequence[str]], bool], *, with_tables: bool) -> list[Hit]:
        """Dashboards, tables and columns that say all of the words: those that begin with them first."""
        wanted = words.lower().split()
        if not wanted:
            return []
        hits = [
            Hit("Dashboards", entry.board.title, entry.board.owner, f"/d/{entry.name}")
            for entry in self._library.entries()
            if allowed(entry.board.groups) and _has(f"{entry.board.title} {entry.name}", wanted)
        ][:MAX_HITS]
        if not with_tables:
            return hits
        try:
            tables = await self.tables()
        except CatchmentError:
            return hits  # dashboards are found while the warehouse is down
        found = [table for table in tables.values() if _has(table.name, wanted)]
        found.sort(key=lambda table: (not table.name.partition(".")[2].startswith(wanted[0]), table.name))
        hits += [
            Hit("Tables", table.name, f"{len(table.columns)} columns", f"/catalogue/{table.name}")
            for table in found[:MAX_HITS]
        ]
        columns = [
            (table, column)
            for table in tables.values()
            for column in table.columns
            if _has(column.name, wanted) and not column.name.startswith(_METADATA)
        ]
        hits += [
            Hit("Columns", f"{table.name}.{column.name}", column.type, f"/catalogue/{table.name}")
            for table, column in columns[:MAX_HITS]
        ]
        return hits


def _has(text: str, words: Sequence[str]) -> bool:
    lowered = text.lower()
    return all(word in lowered for word in words)


_SHORT_TYPES = {
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "timestamp with time zone": "timestamptz",
    "double precision": "double",
    "character varying": "text",
    "VARCHAR": "text",
}
_NOT_COMPARED = ("json", "struct", "map", "list", "[]", "blob", "bytea", "array", "user-defined")


def _type(type_: str) -> str:
    return _SHORT_TYPES.get(type_, type_.lower())


def _is_plain(column: Column) -> bool:
    return not any(part in column.type.lower() for part in _NOT_COMPARED)


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:23]}…"
