"""`replay --rebuild`: a table is built anew from the archive beside the one that is there, and takes its place.

The new table is loaded like any other, batch by batch with a ledger of its own, so that it may be stopped anywhere
and gone on with. Meanwhile the old one is read and loaded as ever. What came into it since is caught up with; then,
once the new one has all batches that the old one has, its rows are put in the old ones' place, in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import msgspec

from catchment.archives import INCOMING, Archive
from catchment.errors import CannotWiden, Malformed, Retry, SchemaChanged, UsageError
from catchment.load.changes import Changes
from catchment.load.contracts import Contract
from catchment.load.guard import Memory
from catchment.load.loader import Loader
from catchment.load.others import OTHERS
from catchment.load.patience import patiently
from catchment.load.round import Part, read_parts
from catchment.load.views import Views
from catchment.load.walk import walk
from catchment.log import get_log
from catchment.pack import read_file
from catchment.warehouses import Batch, Loaded, Rebuild, SchemaChange, Warehouse, without_rows
from catchment.warehouses.columns import column_name
from catchment.warehouses.shape import AddColumn, Column, Shape

_log = get_log("load")

CHUNK_ROWS = 250_000
CHUNK_FILES = 1_000
HOLDS_BACK_AFTER = 3
"""So often it is tried to catch up with a table that others load; then they are held back for a moment."""
_ATTEMPTS = 50


@dataclass(slots=True)
class RebuildDone:
    """What a rebuild has done so far."""

    files: int = 0
    records: int = 0
    """Read by this one; what one that was stopped had read is not read again."""
    rows: int = 0
    """That the table has in the end."""
    others: int = 0
    """Rows that went, since the archive does not have them."""
    damaged: int = 0
    """Files that could not be read; each has been said."""


def rebuild(
    loader: Loader,
    archive: Archive,
    table: str,
    *,
    drops_others: bool = False,
    progress: Callable[[RebuildDone], None] = lambda _: None,
) -> RebuildDone:
    """Build `table` anew. It keeps its columns, with the types that the project declares by now and without those that
    it drops, and gets the columns that it declares.

    Raises `UsageError` for a table that is not there, has halted or has no records of its own; where rows would be
    lost which the archive does not have, unless `drops_others`; and where something that uses a column keeps it from
    changing. Then the old table is as it was.
    """
    check(loader, table)
    done = RebuildDone()
    plan = planned(loader.warehouse.shape(table), loader.contracts.of(table))
    patiently(lambda: loader.warehouse.begin_rebuild(plan))
    building = _Building(loader, archive, plan, progress, done)
    building.gather(found.name for found in walk(archive, tables=[table]))
    building.end(drops_others=drops_others)
    loader.views.refresh(table)
    return done


def check(loader: Loader, table: str) -> None:
    """Raise `UsageError` for a table that can't be built anew."""
    loader.halts.refresh()
    if loader.halts.holds(table):
        raise UsageError(f"loading of {table} has halted", f"catchment dead-letters resume {table}")
    if loader.warehouse.shape(table).version == 0:
        raise UsageError(f"there is no table {table}", f"catchment replay {table}, which makes it")
    if table.partition(".")[2] == OTHERS:
        raise UsageError(
            f"{table} has records of other tables, and can't be built anew by itself",
            "catchment restore --from-archive, into an empty warehouse",
        )


def planned(shape: Shape, contract: Contract) -> Rebuild:
    """The columns that a table is to have, as far as they are known before its records are read."""
    columns = [
        Column(column.field, column.name, contract.declared_type(column.field) or column.type)
        for column in shape.columns
        if column.field not in contract.dropped
    ]
    there = {column.field for column in shape.columns}
    taken = {column.name for column in shape.columns}
    for name, declared in contract.columns.items():
        if declared.type is not None and name not in there | contract.dropped:
            columns.append(Column(name, column_name(declared.rename or name, taken), declared.type))
            taken.add(columns[-1].name)
    dropped = tuple(column.field for column in shape.columns if column.field in contract.dropped)
    return Rebuild(shape.table, tuple(columns), dropped)


@dataclass(slots=True)
class _Building:
    loader: Loader
    archive: Archive
    plan: Rebuild
    progress: Callable[[RebuildDone], None]
    done: RebuildDone
    without: set[str] = field(default_factory=set)
    """Files that can't be had: gone, or damaged."""
    _beside: Loader | None = None

    @property
    def warehouse(self) -> Warehouse:
        return self.loader.warehouse

    @property
    def beside(self) -> Loader:
        """Loads into the new table what is of the old one."""
        if self._beside is None:
            self._beside = replace(
                self.loader,
                warehouse=cast(Warehouse, _Beside(self.warehouse, self.plan)),
                memory=Memory(),
                views=Views(self.warehouse),
                changes=Changes(self.warehouse, lambda _: None),
            )
        return self._beside

    # ---- what the archive has ---------------------------------------------------------

    def gather(self, names: Iterable[str]) -> None:
        """Load the batches in these files that the new table does not have yet."""
        chunk: list[Part] = []
        for name in self._lacking(names):
            chunk += self._parts(name)
            if sum(part.rows for part in chunk) >= CHUNK_ROWS or len(chunk) >= CHUNK_FILES:
                self._load(chunk)
                chunk = []
        self._load(chunk)

    def _lacking(self, names: Iterable[str]) -> Iterator[str]:
        for some in _chunks(names, CHUNK_FILES):
            known = self.warehouse.ledger(some)
            yield from (name for name in some if self.plan.side not in known.get(name, ()))

    def _parts(self, name: str) -> list[Part]:
        try:
            with self.archive.open(name) as file:
                wanted = frozenset([self.plan.table])
                return read_parts(name, read_file(file), self.beside.look, tables=wanted, late=False)
        except FileNotFoundError:
            self.without.add(name)  # rewritten meanwhile: its records come under another name
        except Malformed as error:
            self.done.damaged += 1
            self.without.add(name)
            _log.error("an archive file is damaged and was left out", file=name, exc=error)
        return []

    def _load(self, parts: Sequence[Part]) -> None:
        if parts:
            patiently(lambda: self.beside.load(parts, past_ledger=True))
            self.done.files += len(parts)
            self.done.records += sum(part.rows for part in parts)
            self.progress(self.done)

    # ---- in the old one's place -------------------------------------------------------

    def end(self, *, drops_others: bool) -> None:
        """Catch up with what was loaded meanwhile, and take the old table's place."""
        for attempt in range(_ATTEMPTS):
            try:
                noted = self._agree()
                ended = patiently(
                    lambda attempt=attempt, noted=noted: self.warehouse.end_rebuild(  # type: ignore[misc]
                        self.plan,
                        without=sorted(self.without),
                        noted=noted,
                        drops_others=drops_others,
                        holds_back=attempt >= HOLDS_BACK_AFTER,
                    )
                )
            except SchemaChanged:
                continue  # one of the two has got a column a moment ago
            if ended.is_done:
                self.done.rows, self.done.others = ended.rows, ended.others
                self.loader.changes.told(noted)
                return
            if ended.others:
                raise self._lost(ended.others)
            self._catch_up(ended.missing)
        raise Retry(f"{self.plan.table} is loaded faster than it is built anew", "run the same command again")

    def _lost(self, rows: int) -> UsageError:
        table = self.plan.table
        damaged = f" ({self.done.damaged:,} of its files are damaged)" if self.done.damaged else ""
        return UsageError(
            f"{rows:,} rows of {table} are not in the archive{damaged}, and would be lost; nothing was done",
            f"look at them, or let them go: catchment replay {table} --rebuild --drop-others",
        )

    def _catch_up(self, missing: Sequence[str]) -> None:
        there = {
            entry.name for prefix in (INCOMING, f"table={self.plan.table}/") for entry in self.archive.list(prefix)
        }
        self.without |= set(missing) - there  # the ledger remembers for a while what was rewritten
        self.gather(name for name in missing if name in there)

    def _agree(self) -> tuple[SchemaChange, ...]:
        """Give the old table the columns that the new one has got, and say what will change with the swap."""
        old, new = self.warehouse.shape(self.plan.table), self.warehouse.shape(self.plan.side)
        there = {column.field: column for column in old.columns}
        added = [column for column in new.columns if column.field not in there]
        if added:
            changes = [AddColumn(column) for column in added]
            noted = [SchemaChange("column added", old.table, c.field, c.name, "", c.type) for c in added]
            patiently(lambda: self.warehouse.load([without_rows(old, changes, noted)]))
            self.loader.changes.told(noted)
        retyped = [
            SchemaChange("retyped", old.table, column.field, was.name, was.type, column.type)
            for column in new.columns
            if (was := there.get(column.field)) is not None and was.type != column.type
        ]
        fields = {column.field for column in new.columns}
        dropped = [
            SchemaChange("dropped", old.table, column.field, column.name, column.type)
            for column in old.columns
            if column.field in self.plan.dropped and column.field not in fields
        ]
        return (*retyped, *dropped)


class _Beside:
    """The warehouse as the new table's loader sees it: what is of the old table goes into the new one."""

    def __init__(self, warehouse: Warehouse, plan: Rebuild) -> None:
        self._warehouse = warehouse
        self._plan = plan

    def __getattr__(self, name: str) -> Any:
        """Everything else is as it is."""
        return getattr(self._warehouse, name)

    def shape(self, table: str) -> Shape:
        """The new table's shape under the old one's name."""
        if table != self._plan.table:
            return self._warehouse.shape(table)
        return msgspec.structs.replace(self._warehouse.shape(self._plan.side), table=table)

    def load(self, batches: Sequence[Batch], *, past_ledger: bool = False) -> list[Loaded]:
        """Past the old table's ledger, by the new one's. What changes is told once the new one is in place."""
        moved = [msgspec.structs.replace(batch, table=self._plan.side, noted=()) for batch in batches]
        try:
            loaded = self._warehouse.load(moved)
        except CannotWiden as error:
            raise CannotWiden(self._plan.table, error.column) from None
        return [msgspec.structs.replace(each, table=self._plan.table) for each in loaded]


def _chunks(names: Iterable[str], size: int) -> Iterator[list[str]]:
    some: list[str] = []
    for name in names:
        some.append(name)
        if len(some) >= size:
            yield some
            some = []
    if some:
        yield some
