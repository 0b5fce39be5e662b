"""The warehouse: where loaded tables, their ledger and their dead letters live and are asked in SQL."""

from __future__ import annotations

import builtins
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from catchment.warehouses.shape import Change, Column, Shape


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that could not be loaded, as the loader met it in a batch."""

    id: str
    """The same whenever the record is met again, so that a crash or a replay doubles none."""
    table: str
    reason: str
    detail: str
    origin: str
    """The archive file and line, or the message, that it came from."""
    received_at: datetime
    bytes: builtins.bytes  # spelled out, since within the class `bytes` is this field
    """The record as it was received."""
    source: str = ""
    record_id: str = ""


ChangeKind = Literal[
    "table added", "column added", "widened", "rescued", "frozen out", "no room", "vanished", "retyped", "dropped"
]


class SchemaChange(msgspec.Struct, frozen=True):
    """Something that changed in what a table gets, as `catchment.schema_change` has it.

    A column was added or widened; a value was rescued, since its column does not take it, its table is frozen, or has
    no room for another column; a field has not come for a while; a table that was built anew gave a column another
    type, or dropped it.
    """

    kind: ChangeKind
    table: str
    field: str = ""
    """Empty for a whole table."""
    column: str = ""
    """Empty where there is none."""
    before: str = ""
    """The column's type until then."""
    after: str = ""
    """Its type from then on, or the JSON type of what was rescued."""
    source: str = ""
    record_id: str = ""
    """The first record's."""
    batch: str = ""
    """The archive file that it came in."""


class Rows(msgspec.Struct, frozen=True):
    """Some of a batch's rows, as NDJSON: `data` is the lines themselves or the urls of archive files (lists of
    zstd frames) that the warehouse `reads`, each holding nothing but these rows.

    As they lie, the lines are stamped records. Of `prepared` ones `data` goes by column name and holds what
    fits its columns alone, `rescued` holds the rest, and keyed rows carry `key`, their key's values as
    canonical JSON text.
    """

    data: bytes | tuple[str, ...]
    count: int
    prepared: bool = False


class Ids(msgspec.Struct, frozen=True):
    """The ids of records that have one source, none of them twice."""

    source: str
    ids: tuple[str, ...]


class LedgerEntry(msgspec.Struct, frozen=True):
    """A batch that counts as loaded because the batches of `same_as`, which hold its records, are."""

    name: str
    table: str
    record_count: int
    first_received_at: datetime
    last_received_at: datetime
    same_as: tuple[str, ...] = ()


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """The records of one table in one archive file, or in several loaded together, guarded and ready to load.

    Every row fits the table's columns once `changes` have been made.
    """

    names: tuple[str, ...]
    """The archive files: with `table` what the ledger knows it by. None for rows that a later batch of the
    same files will account for."""
    table: str
    rows: tuple[Rows, ...]
    record_count: int
    """Rows and dead letters."""
    first_received_at: datetime
    last_received_at: datetime
    search_from: datetime
    """The lowest min(not_before, received_at): no copy of one of its records was received earlier."""
    shape_version: int
    """Of the shape that the guard saw; `load` raises `SchemaChanged` if the table has another by now."""
    changes: tuple[Change, ...] = ()
    key: tuple[str, ...] = ()
    """The key fields of a mirrored table; its rows are then prepared, with `op`, `key` and `version`."""
    distinct: bool = False
    """No (`source`, `id`) is in it twice; False where nobody looked."""
    ids: Ids | None = None
    """Of a distinct batch whose records have one source, where they are known."""
    early: bool = True
    """It may have rows whose not_before lies after their received_at; False where that is sure not to be."""
    dead: tuple[DeadLetter, ...] = ()
    noted: tuple[SchemaChange, ...] = ()
    """Written to `catchment.schema_change` with the rows, unless it has the same (kind, table, field, after)."""
    entries: tuple[LedgerEntry, ...] = ()
    """Batches of other tables, which need not exist, whose records these are: the ledger has them once this is
    loaded, and skips this where it has all of them."""

    @property
    def files(self) -> tuple[str, ...]:
        """Of each batch that counts as loaded with this, the file."""
        return (*self.names, *(entry.name for entry in self.entries))


def without_rows(shape: Shape, changes: Sequence[Change] = (), noted: Sequence[SchemaChange] = ()) -> Batch:
    """A batch that changes a table, or tells of it, and of which the ledger knows nothing."""
    now = datetime.now(UTC)
    return Batch(
        names=(),
        table=shape.table,
        rows=(),
        record_count=0,
        first_received_at=now,
        last_received_at=now,
        search_from=now,
        shape_version=shape.version,
        changes=tuple(changes),
        key=shape.key,
        noted=tuple(noted),
    )


class Loaded(msgspec.Struct, frozen=True):
    """What became of a batch."""

    names: tuple[str, ...]
    """The batch's `files`."""
    table: str
    inserted: int
    duplicates: int
    """Records that were there already, or twice in the batch, or older than what the key held."""
    dead: int
    skipped: bool
    """The ledger had it: nothing was done."""


class LatestView(msgspec.Struct, frozen=True):
    """A view of a loaded table: one row for each value of a field, with the latest value of every other.

    `view` and `table` are `schema.name`, `key`, `order` and `without` are fields of the table. A field's latest
    value is that of the row with the highest `order` (else `_received_at`; ties by `_received_at`, then `_id`)
    among those where it is not null. Rows without a key are left out, and so are metadata and `without`.
    """

    view: str
    table: str
    key: str
    key_column: str
    """What the view calls the key."""
    order: str
    """A field of times."""
    without: tuple[str, ...] = ()


class Halt(msgspec.Struct, frozen=True):
    """A table whose loading has stopped because too much of it was rejected, or did until it was resumed."""

    table: str
    since: datetime
    reason: str
    resumed_at: datetime | None = None


class Fill(msgspec.Struct, frozen=True):
    """Columns of a loaded table that are to get, in rows that are there, the values that the records have."""

    table: str
    columns: tuple[Column, ...]
    """As the table has them."""
    since: datetime | None = None
    until: datetime | None = None
    """Of which records, by the time they were received."""

    @property
    def side(self) -> str:
        """The table that gathers the values, in the schema `catchment`: the same for a fill that is begun again, and
        another for any other. It has `_source`, `_id` and `_received_at`."""
        said = repr((self.table, self.columns, self.since, self.until))
        return f"fill_{hashlib.sha256(said.encode()).hexdigest()[:24]}"


class Filled(msgspec.Struct, frozen=True):
    """What became of a fill."""

    rows: int
    """That have a value more."""
    left: int
    """Of which a value is as it was: no column takes it, or the archive has two that differ."""


class Asker(msgspec.Struct, frozen=True):
    """A person who asks, in SQL of their own or through a dashboard, rather than a part of Catchment."""

    query_id: str = ""
    """What `cancel` knows the query by; no other that runs may have it. Empty where it is never cancelled so."""
    zone: str = "UTC"
    """The session's time zone, by its IANA name."""


class Rebuild(msgspec.Struct, frozen=True):
    """A loaded table that is to be built anew beside the one that is there."""

    table: str
    columns: tuple[Column, ...]
    """Those that it begins with; it gets further ones as any table does."""
    dropped: tuple[str, ...] = ()
    """Fields whose columns go."""

    @property
    def side(self) -> str:
        """The new table: the same for a rebuild that is begun again, and another for any other. `load` fills it, and
        the ledger knows its batches under this name until it takes the old one's place."""
        said = repr((self.table, self.columns, self.dropped))
        return f"catchment.rebuild_{hashlib.sha256(said.encode()).hexdigest()[:24]}"


class Rebuilt(msgspec.Struct, frozen=True):
    """Whether a new table has taken the old one's place, or what it still lacks."""

    rows: int = 0
    """That the table has now."""
    missing: tuple[str, ...] = ()
    """Archive files whose batch the old table has and the new one does not."""
    others: int = 0
    """Rows of the old table that the new one does not have."""
    is_done: bool = False


class ArrowStream(Protocol):
    """A query's result: columns and types at once, rows as they come. Read it once, then or before close it."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Arrow's PyCapsule interface."""

    def ipc(self) -> Iterator[bytes]:
        """The result as an Arrow IPC stream."""

    def close(self) -> None:
        """Give up the rest; the query ends. Twice does nothing."""


class Warehouse(Protocol):
    """Loaded tables with a ledger: one implementation a file in this folder.

    Every table has the data's fields as typed columns and the metadata columns of `shape.METADATA`.

    Exactly once: `load` does everything for its batches in one transaction a table (how many tables share one
    is the adapter's business): take the table's lock before reading anything; skip what the ledger has; make
    the batch's changes; insert the rows that are new; write `early`, tombstones, dead letters and ledger;
    commit. A row is new when it is the first of its (`source`, `id`) within the batch (the earliest wins) and
    stands neither in the target at `_received_at >= search_from` nor in `catchment.early`. Of a keyed batch,
    each key keeps the highest (version, id), tombstones included.

    Locks hold against every other `load` of the same table, in other threads and processes too, and of a batch of
    the same `entries`: of two that would enter one, the second skips or fails.

    Errors: `SchemaChanged` and `CannotWiden` (guard again), `WarehouseDown` and other `Retry` (nothing was
    committed of the tables not in the answer: load them again, the ledger skips what was), `Malformed` with
    "not-loadable" when the warehouse refuses the rows themselves, `StorageError`.
    Calls may come from several threads.
    """

    def shape(self, table: str) -> Shape:
        """The table's columns as of now; an empty shape of version 0 for one that does not exist."""

    def reads(self, url: str) -> bool:
        """Whether `load` can read rows from an archive's file there itself."""

    def tables(self, schema: str) -> Sequence[str]:
        """The loaded tables of a schema, each as `schema.table`; views are none."""

    def latest_view(self, view: LatestView) -> bool:
        """Make the view, or make it again with the columns that its table has now. Whoever has changed them calls
        this; until then the view may lack columns, or not be there. Where the table or its key's column is not
        there yet, nothing is made.

        False, and nothing done, where a loaded table has its name. A batch for a table of that name takes the
        view's place: `load` drops the view.
        """

    def load(self, batches: Sequence[Batch], *, past_ledger: bool = False) -> list[Loaded]:
        """Load the batches, in order within a table. `past_ledger` (replay) looks at the rows alone: a batch
        that the ledger has is searched for rows missing from the table, and `early` is believed only where
        the row it points at is there."""

    def staged(self, fill: Fill) -> frozenset[str]:
        """Of which archive files the side table has the values; none where there is no side table."""

    def stage(self, fill: Fill, names: Sequence[str], rows: Sequence[Rows]) -> None:
        """Gather the values of some records in the side table, in one transaction with the names of the archive files
        that are gathered whole by that. Nothing is done where all of `names` are there.

        Rows go as in a batch: of those as they lie the fill's columns are read, and other fields are passed over; in
        prepared ones `rescued` holds what the columns do not take. Rows without a value are left out. A record may
        be gathered twice. Raises `SchemaChanged` where the table has other columns by now, and as `load` does.
        """

    def fill(self, fill: Fill) -> Filled:
        """Put what was gathered into the table, under its lock and in one transaction that also drops the side table.

        A value goes into the row of its (`source`, `id`, `received_at`), where the column is null; the field goes out
        of that row's `_rescued`, which becomes null with the last one. A row that is not there stays so, and one of
        which the side table has two different values stays as it is. Raises `SchemaChanged`, and drops the side table,
        where the table has other columns by now. `tidy` drops side tables that nothing was added to for a week.
        """

    def begin_rebuild(self, rebuild: Rebuild) -> None:
        """Make the table `rebuild.side`, with the old one's key, or go on with it: `load` fills it. It knows what was
        deleted from the old one. `tidy` drops one that nothing was added to for a week.
        """

    def end_rebuild(
        self,
        rebuild: Rebuild,
        *,
        without: Sequence[str] = (),
        noted: Sequence[SchemaChange] = (),
        drops_others: bool = False,
        holds_back: bool = False,
    ) -> Rebuilt:
        """Put the new table's rows, types, tombstones and entries of `early` in the place of the old one's, under the
        locks of both and in one transaction that also writes `noted` and drops the new table. What hangs on the table
        stays: views, grants, indexes.

        Nothing is done while the old table has batches that the new one lacks, but for files of `without`: `missing`
        names them. With `holds_back` others' loads of the table then raise `Retry` for some seconds, so that it comes
        to an end. Nor is anything done, unless `drops_others`, while the old one has rows (by `source` and `id`, of a
        keyed table by key) that the new one lacks and that were not deleted.

        Raises `SchemaChanged` where the old table has no column for a field of the new one, `UsageError` where
        something that uses a column keeps it from changing, or where no rebuild was begun.
        """

    def ledger(self, names: Sequence[str]) -> Mapping[str, frozenset[str]]:
        """Of these archive files, the tables whose batch is loaded; a file with none is left out."""

    def enter(self, entries: Sequence[LedgerEntry]) -> None:
        """Count these batches as loaded: rewritten files, whose rows came in by others.

        Raises `Retry`, and counts none, unless the ledger has the batch of this table of every file of each
        entry's `same_as`, as of the same transaction: a warehouse put back to a backup may have lost them.
        """

    def forget(self, names: Sequence[str]) -> None:
        """Drop the ledger's entries of archive files that are no more."""

    def expire(self, table: str, before: datetime, limit: int, *, about: str | None = None) -> int:
        """Remove rows of a loaded table that were received before that time, `limit` of them at most, under its lock
        and in one transaction; how many. Of a keyed table each leaves its tombstone.

        Of `catchment.dead_letters` the letters `about` one table alone, where given; about none in particular: "".
        """

    def versions(self, tables: Sequence[str]) -> Mapping[str, str]:
        """For each table a text that changes whenever its content does."""

    def query(
        self,
        sql: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        max_rows: int | None = None,
        asker: Asker | None = None,
    ) -> ArrowStream:
        """Run one reading statement. Raises `UsageError` for SQL that is wrong or would write, `Retry` on a
        timeout.

        Parameters are `$1`, `$2` of a sequence or `$name` of a mapping; they are bound, and never enter the text.
        What an `asker` asks is not trusted: it reads tables and calls functions that are on a list, or not volatile,
        and nothing else: no files, settings, secrets, no functions that act or wait.
        """

    def cancel(self, query_id: str) -> bool:
        """End the query of this id, wherever it stands; its reader gets a `Retry`. Returns at once.

        False where none runs: it has ended, or has not come yet. DuckDB plans a query to its end, and looks up for
        an interruption between two chunks of rows alone.
        """

    def row_count(self, table: str, since: datetime, enough: int) -> int:
        """How many rows of the table were received since, counted up to `enough`; 0 for no table."""

    def halts(self) -> Sequence[Halt]:
        """Tables halted now, and those resumed, with the time of it."""

    def halt(self, table: str, reason: str) -> None:
        """Remember that loading of the table has stopped."""

    def resume(self, table: str) -> None:
        """Let the table load again, whatever the share rejected of what was archived until now."""

    def tidy(self, early_before: datetime) -> None:
        """What wants doing now and then: checkpoints; forget entries of `early` received before that time."""

    def backup(self, destination: Path) -> None:
        """A consistent copy for `destination`, a file that does not exist, while loading goes on."""

    def close(self) -> None:
        """Finish what is committing and let go. Twice does nothing."""
