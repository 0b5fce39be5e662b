"""Retention: what a project keeps no longer goes, rows and dead letters first, then the archive they came from.

In small steps, each a transaction or a set of files, so that whoever wants to stop does so between two of them, and
loading waits for none of them long. Any number of loaders may do it at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from catchment import metrics
from catchment.archives import Archive
from catchment.load.config import LoadConfig
from catchment.load.contracts import Contracts
from catchment.load.expire import Due, due, expire, forget_expired
from catchment.load.retention import Retention
from catchment.load.rewrite import in_full
from catchment.load.tables import table_names
from catchment.log import get_log
from catchment.record import DEAD_LETTERS
from catchment.warehouses import Warehouse
from catchment.warehouses.rows import rows_of

_log = get_log("load")

ROWS_AT_ONCE = 50_000
"""Of one transaction, which holds the table's lock."""
_NOTHING_BEFORE = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Removed:
    """What went of one table, or would; nothing, on the way to that."""

    table: str
    rows: int = 0
    dead_letters: int = 0
    files: int = 0
    bytes: int = 0
    """Of the files."""


@dataclass(frozen=True, slots=True)
class Retaining:
    """Applies a project's retention."""

    archive: Archive
    warehouse: Warehouse
    retention: Retention
    config: LoadConfig

    def run(self, now: datetime, *, rows_at_once: int = ROWS_AT_ONCE) -> Iterator[Removed]:
        """Remove what is too old, and yield after each step."""
        if not self.retention.keeps_everything:
            yield from self._rows(now, rows_at_once)
            yield from self._letters(now, rows_at_once)
            yield from self._files(now)
        forget_expired(self.archive, self.warehouse, self.retention, now=now)

    def look(self, now: datetime) -> Iterator[Removed]:
        """What would go, table by table; nothing is removed."""
        if self.retention.keeps_everything:
            return
        for table, before in self._tables(now):
            [(rows,)] = rows_of(
                self.warehouse, f"SELECT count(*) FROM {_quoted(table)} WHERE _received_at < $1", [before]
            )
            if rows:
                yield Removed(table, rows=rows)
        for table, _, count in self._old_letters(now):
            yield Removed(table, dead_letters=count)
        for each in due(self.archive, self.warehouse, self.retention, now):
            yield self._would_go(each)

    def _would_go(self, each: Due) -> Removed:
        loaded = in_full(self.warehouse, [entry.name for entry in each.entries])
        going = [entry for entry in each.entries if entry.name in loaded]
        return Removed(each.table, files=len(going), bytes=sum(entry.bytes for entry in going))

    # ---- rows -------------------------------------------------------------------------

    def _rows(self, now: datetime, at_once: int) -> Iterator[Removed]:
        for table, before in self._tables(now):
            for count in self._all_of(table, before, at_once):
                metrics.rows_removed.add(count, table=table)
                yield Removed(table, rows=count)

    def _tables(self, now: datetime) -> Iterator[tuple[str, datetime]]:
        """Each loaded table whose rows do not stay for good, and from when on they do."""
        for table in table_names(self.warehouse):
            is_keyed = bool(self.warehouse.shape(table).key)
            before = self.retention.rows_from(table, now, is_keyed=is_keyed)
            if before > _NOTHING_BEFORE:
                yield table, before

    def _all_of(self, table: str, before: datetime, at_once: int, about: str | None = None) -> Iterator[int]:
        total = 0
        while count := self.warehouse.expire(table, before, at_once, about=about):
            total += count
            yield count
            if count < at_once:
                break
        if total:
            what = "rows" if about is None else "dead letters"
            _log.info(f"retention removed {what}", table=about or table, count=total, received_before=before)

    # ---- dead letters -----------------------------------------------------------------

    def _letters(self, now: datetime, at_once: int) -> Iterator[Removed]:
        for table, before, _ in self._old_letters(now):
            for count in self._all_of(DEAD_LETTERS, before, at_once, about=table):
                metrics.rows_removed.add(count, table=DEAD_LETTERS)
                yield Removed(table, dead_letters=count)

    def _old_letters(self, now: datetime) -> Iterator[tuple[str, datetime, int]]:
        """The tables that letters which are too old are about, from when on they stay, and how many go."""
        latest = self.retention.latest_letters_from(now)
        if latest == _NOTHING_BEFORE:
            return
        found = rows_of(
            self.warehouse,
            f"SELECT DISTINCT coalesce(table_name, '') FROM {DEAD_LETTERS} WHERE _received_at < $1 ORDER BY 1",
            [latest],
        )
        for (table,) in found:
            before = self.retention.letters_from(table, now)
            [(count,)] = rows_of(
                self.warehouse,
                f"SELECT count(*) FROM {DEAD_LETTERS} WHERE _received_at < $1 AND coalesce(table_name, '') = $2",
                [before, table],
            )
            if count:
                yield table, before, count

    # ---- the archive ------------------------------------------------------------------

    def _files(self, now: datetime) -> Iterator[Removed]:
        contracts = Contracts(self.config)
        for done in expire(self.archive, self.warehouse, self.retention, contracts, now=now):
            if done is None:
                yield Removed("")
                continue
            for file, problem in done.refused.items():
                _log.error("an archive file is damaged and stays as it is", file=file, problem=problem)
            if done.removed:
                metrics.archive_removed.add(max(0, done.bytes), table=done.table)
                _log.info(
                    "retention removed archive files",
                    table=done.table,
                    files=len(done.removed),
                    bytes=done.bytes,
                    newest_kept_in=len(done.written),
                )
            yield Removed(done.table, files=len(done.removed), bytes=done.bytes)


def summed(removed: Iterable[Removed]) -> list[Removed]:
    """One for each table, by name."""
    tables: dict[str, Removed] = {}
    for each in removed:
        so_far = tables.get(each.table, Removed(each.table))
        tables[each.table] = Removed(
            each.table,
            so_far.rows + each.rows,
            so_far.dead_letters + each.dead_letters,
            so_far.files + each.files,
            so_far.bytes + each.bytes,
        )
    something = [each for each in tables.values() if each.rows or each.dead_letters or each.files]
    return sorted(something, key=lambda each: each.table)


def _quoted(table: str) -> str:
    return ".".join(f'"{part}"' for part in table.split("."))
