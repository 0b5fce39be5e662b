"""What the warehouse has: tables and columns, their state, and which dashboards read them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from catchment.errors import CatchmentError
from catchment.record import OWN_SCHEMA
from catchment.serve.library import Entry, Library
from catchment.serve.results import Result, read
from catchment.sql.scope import Column
from catchment.sql.tables import tables_read
from catchment.warehouses import Warehouse
from catchment.warehouses.quoting import name as quoted
from catchment.warehouses.quoting import table_name
from catchment.warehouses.shape import Shape

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
_AGES = """
SELECT table_name, max(last_received_at) FROM catchment.ledger WHERE inserted > 0 GROUP BY table_name
"""
_LOADS = """
SELECT date_trunc($2, loaded_at AT TIME ZONE 'UTC') AS at, CAST(sum(inserted) AS BIGINT),
    CAST(max(extract(epoch FROM loaded_at - first_received_at)) AS DOUBLE PRECISION)
FROM catchment.ledger WHERE table_name = $1 AND inserted > 0 AND loaded_at > $3 GROUP BY 1 ORDER BY 1
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
class Loads:
    """How many rows came into a table in each of the last minutes or hours, the oldest first; and by how much
    the slowest of them was later in the table than it was received."""

    unit: str
    rows: tuple[tuple[datetime, int], ...] = ()
    late_s: float = 0.0


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
    loads: Loads
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
        self._ages: Mapping[str, datetime] = {}
        self._ages_at_s = -KNOWN_FOR_S
        self._reads: dict[str, tuple[Entry, frozenset[str]]] = {}
        self._asking = asyncio.Lock()

    async def tables(self) -> Mapping[str, Table]:
        """All there are by name, as of at most ten seconds ago. Raises what the warehouse raises."""
        async with self._asking:
            if time.monotonic() - self._known_at_s > KNOWN_FOR_S:
                self._known = await asyncio.to_thread(self._read)
                self._known_at_s = time.monotonic()
        return self._known

    def forget(self) -> None:
        """Read the tables anew when they are next wanted: there is another."""
        self._known_at_s = -KNOWN_FOR_S

    async def shape(self, name: str) -> Shape:
        """A loaded table's columns as of this moment; of version 0 where there is none."""
        return await asyncio.to_thread(lambda: self._warehouse().shape(name))

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

    async def ages(self) -> Mapping[str, datetime]:
        """When the latest row of each loaded table came, as of at most ten seconds ago; none while the warehouse is
        down."""
        async with self._asking:
            if time.monotonic() - self._ages_at_s > KNOWN_FOR_S:
                try:
                    self._ages = dict((await asyncio.to_thread(self._rows, _AGES)).rows)
                except CatchmentError:
                    return {}
                self._ages_at_s = time.monotonic()
        return self._ages

    def reads(self, entry: Entry) -> frozenset[str]:
        """The tables that a dashboard reads, as far as its SQL can be parsed; its own queries may be among them."""
        known = self._reads.get(entry.name)
        if known is None or known[0] is not entry:
            found: set[str] = set()
            for fence in entry.board.fences:
                found |= tables_read(fence.sql.text, self._dialect) or set()
            known = self._reads[entry.name] = entry, frozenset(found)
        return known[1]

    def _describe(self, table: Table, allowed: Callable[[Sequence[str]], bool]) -> Described:
        used_by = tuple(
            (entry.name, entry.board.title)
            for entry in self._library.entries()
            if allowed(entry.board.groups) and table.name in self.reads(entry)
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
        loads = self._loads(table.name) if table.is_loaded else Loads("hour")
        return Described(table, rows, latest, sampled, filled, sample, changes, loads, used_by)

    def _loads(self, table: str) -> Loads:
        """By hour, unless all came within a few of them: then by minute."""
        now = datetime.now(UTC)
        for unit, step, most in (("hour", timedelta(hours=1), 48), ("minute", timedelta(minutes=1), 60)):
            since = now - step * most
            found = self._rows(_LOADS, [table, unit, since]).rows
            if unit == "minute" or not found or now - _aware(found[0][0]) > timedelta(hours=3):
                break
        counts = {_aware(at): count for at, count, _ in found}
        last = now.replace(second=0, microsecond=0, minute=now.minute if unit == "minute" else 0)
        rows = tuple((at, counts.get(at, 0)) for at in (last - step * (most - 1 - place) for place in range(most)))
        return Loads(unit, rows, max((late for _, _, late in found), default=0.0))

    def _filled(self, newest: str, columns: Sequence[Column]) -> tuple[int, tuple[Filled, ...]]:
        plain = [column for column in columns if _is_plain(column)]
        parts = ["count(*)", *(f"count({quoted(column.name)})" for column in columns)]
        for column in plain:
            at = quoted(column.name)
            text = f"CAST({at} AS VARCHAR)"
            few = f"CASE WHEN count(DISTINCT {at}) <= {FEW_VALUES} THEN string_agg(DISTINCT {text}, ', ') END"
            parts += [f"count(DISTINCT {at})", f"CAST(min({at}) AS VARCHAR)", f"CAST(max({at}) AS VARCHAR)", few]
        row = list(self._rows(f"SELECT {', '.join(parts)} FROM {newest}").rows[0])
        sampled, counts, rest = row[0], row[1 : 1 + len(columns)], row[1 + len(columns) :]
        told = {column.name: rest[at * 4 : at * 4 + 4] for at, column in enumerate(plain)}
        found = []
        for column, count in zip(columns, counts, strict=True):
            distinct, low, high, some = told.get(column.name, (None, None, None, None))
            share = count / sampled if sampled else None
            found.append(Filled(column, share, distinct, _values(column, low, high, some)))
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


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


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


def _values(column: Column, low: str | None, high: str | None, few: str | None) -> str:
    """What a column holds: its values where they are few, else from where to where; of texts, whose order tells
    nothing, one of them."""
    if low is None or high is None:
        return ""
    if few is not None and (low == high or column.type in _UNORDERED):
        return ", ".join(sorted(few.split(", ")))
    if column.type in _UNORDERED:
        return f"such as {_short(low)}"
    cut = _MINUTES if column.type.startswith("timestamp") else len(low) + len(high)
    return f"{_short(low[:cut])} … {_short(high[:cut])}"


_UNORDERED = {"text", "varchar", "boolean", "uuid"}
_MINUTES = len("2026-11-30 12:40")


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"
