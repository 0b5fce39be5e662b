"""Expiry of the archive: files whose hour ended longer ago than their table's retention are removed.

Only files that the ledger has in full, and of a mirrored table not before each key's newest version stands in a file
that is kept for good. The order: the new files are put, and entered in the ledger if that still has the old ones; the
old names are noted for `forget_expired`; the old files are deleted. Stopped anywhere it leaves all that a rebuild
needs, and the next run does the rest. Several at once are harmless: what one has removed stands in what it has put. So
is a sweep that meets a new file before its entry: it loads versions that the table has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from math import ceil
from typing import Protocol

from catchment.archives import Archive, Entry
from catchment.errors import Malformed
from catchment.load import files
from catchment.load.contracts import Contracts
from catchment.load.newest import Shares, Takes
from catchment.load.prepare import prepared_line
from catchment.load.regroup import Unusable
from catchment.load.retention import Retention
from catchment.load.rewrite import Ledger, in_full
from catchment.load.stamped import Stamped
from catchment.pack import packs
from catchment.record import Line
from catchment.warehouses import LedgerEntry
from catchment.warehouses.shape import Shape


class Knows(Ledger, Protocol):
    """What expiry needs of a `Warehouse`."""

    def shape(self, table: str) -> Shape:
        """The table's columns and key as of now."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a set ends, though never before its first file, and how much of it is in memory at a time, compressed."""

    files: int = 500
    bytes: int = 64 * 1024 * 1024
    share_bytes: int = 16 * 1024 * 1024
    shares: int = 200
    """At most: each is a temporary file."""


@dataclass(frozen=True, slots=True)
class Due:
    """Files of one table that are too old, in order of time; whether the newest version of each key has to stay."""

    table: str
    entries: Sequence[Entry]
    keeps_newest: bool


@dataclass(frozen=True, slots=True)
class Expired:
    """What became of a set. `refused` says of each file that cannot be read what is wrong with it: it stays."""

    table: str
    removed: tuple[str, ...]
    written: tuple[str, ...] = ()
    bytes: int = 0
    """By which the archive is smaller."""
    refused: Mapping[str, str] = field(default_factory=dict)


def due(archive: Archive, warehouse: Knows, retention: Retention, now: datetime) -> Iterator[Due]:
    """What is too old, table by table, whether or not the ledger has it. Files of rounds are not: once they are
    loaded they are rewritten."""
    listed = ((entry, files.parse(entry.name)) for entry in archive.list("table="))
    ours = ((entry, file) for entry, file in listed if isinstance(file, files.Rewritten))
    for table, group in groupby(ours, lambda found: found[1].table):
        shape = warehouse.shape(table)
        before = retention.archive_from(table, now, is_keyed=bool(shape.key))
        entries = [entry for entry, file in group if file.hour < before and before - file.hour >= files.HOUR]
        if entries:
            # A table that the warehouse does not know may be any: then what has a key stays.
            yield Due(table, entries, keeps_newest=bool(shape.key) or shape.version == 0)


def expire(
    archive: Archive,
    warehouse: Knows,
    retention: Retention,
    contracts: Contracts,
    *,
    now: datetime,
    limits: Limits | None = None,
) -> Iterator[Expired | None]:
    """Remove what is too old. Yields after each set, and None on the way: whoever wants to stop does so there."""
    limits = limits or Limits()
    if retention.keeps_everything:
        return
    for each in due(archive, warehouse, retention, now):
        takes = _takes(warehouse.shape(each.table), contracts) if each.keeps_newest else None
        for entries in _sets(each.entries, limits):
            loaded = in_full(warehouse, [entry.name for entry in entries])
            old = [entry for entry in entries if entry.name in loaded]
            if not old:
                continue
            if each.keeps_newest:
                yield from _Compaction(archive, warehouse, each.table, takes, limits).run(old, now)
            else:
                _remove(archive, [entry.name for entry in old], now)
                size = sum(entry.bytes for entry in old)
                yield Expired(each.table, tuple(entry.name for entry in old), bytes=size)


def forget_expired(archive: Archive, ledger: Ledger, retention: Retention, *, now: datetime) -> int:
    """Drop the ledger's entries of files that were removed as long ago as their table's retention says; of how many.
    An entry of a file that is there stays, whatever the lists say."""
    forgotten = 0
    for entry in archive.list(files.REMOVED):
        at = files.expired_at(entry.name)
        if at is None:
            continue
        try:
            with archive.open(entry.name) as file:
                names = file.read().decode().splitlines()
        except FileNotFoundError:
            continue  # another loader was here
        table = names[0].partition("/")[0]
        if at > retention.ledger_until(table.removeprefix("table="), now):
            continue
        there = {each.name for each in archive.list(f"{table}/")}
        gone = [name for name in names if name not in there]
        ledger.forget(gone)
        archive.delete(entry.name)
        forgotten += len(gone)
    return forgotten


def _sets(entries: Sequence[Entry], limits: Limits) -> Iterator[list[Entry]]:
    some: list[Entry] = []
    size = 0
    for entry in entries:
        if some and (len(some) >= limits.files or size + entry.bytes > limits.bytes):
            yield some
            some, size = [], 0
        some.append(entry)
        size += entry.bytes
    if some:
        yield some


def _takes(shape: Shape, contracts: Contracts) -> Takes | None:
    """Whether the table takes a record; None where it takes them all."""
    contract = contracts.of(shape.table)
    if contract.mode != "reject" and not contract.required:
        return None

    def takes(record: Stamped) -> bool:
        try:
            prepared_line(record, shape, contract)
        except Malformed:
            return False
        return True

    return takes


@dataclass(frozen=True, slots=True)
class _Compaction:
    """Puts the newest versions of a mirrored table's keys in the place of old files."""

    archive: Archive
    warehouse: Knows
    table: str
    takes: Takes | None
    limits: Limits

    def run(self, due: Sequence[Entry], now: datetime) -> Iterator[Expired | None]:
        unusable: dict[str, str] = {}
        while True:
            old = [entry for entry in (*due, *self._kept(due)) if entry.name not in unusable]
            names = sorted(entry.name for entry in old)
            if len(in_full(self.warehouse, names)) < len(names):
                yield Expired(self.table, ())  # the warehouse was put back to a backup: the sweep loads it first
                return
            written: dict[str, int] = {}
            try:
                yield from self._write(names, sum(entry.bytes for entry in old), written)
                break
            except Unusable as error:  # once more without it; what was written of it is true as well
                unusable[error.name] = error.reason
        _remove(self.archive, names, now)
        refused = {name: reason for name, reason in unusable.items() if reason}
        smaller = sum(entry.bytes for entry in old) - sum(written.values())
        yield Expired(self.table, tuple(names), tuple(written), smaller, refused)

    def _kept(self, due: Sequence[Entry]) -> Iterator[Entry]:
        """What was kept before and is small beside what comes in: so that a large one is seldom written again."""
        size = sum(entry.bytes for entry in due)
        listed = self.archive.list(f"table={self.table}/newest/")
        ours = [entry for entry in listed if files.parse(entry.name) is not None]
        loaded = in_full(self.warehouse, [entry.name for entry in ours])
        for entry in sorted(ours, key=lambda entry: (entry.bytes, entry.name)):
            if entry.bytes > 2 * size:
                return
            if entry.name in loaded:
                size += entry.bytes
                yield entry

    def _write(self, names: Sequence[str], size_bytes: int, written: dict[str, int]) -> Iterator[None]:
        """Make the new files; `written` gets their sizes. Raises `Unusable`."""
        parts = min(self.limits.shares, max(1, ceil(size_bytes / self.limits.share_bytes)))
        with Shares(self.table, self.warehouse.shape(self.table).key, parts) as shares:
            for name in sorted(names, key=lambda name: (files.begins(name), name), reverse=True):
                shares.add(self.archive, name)
                yield None
            for part in range(parts):
                if lines := shares.newest(part, self.takes):
                    name = files.newest(self.table, names, part, parts).name
                    written[name] = self._put(name, lines, names)
                yield None

    def _put(self, name: str, lines: Sequence[Line], old: Sequence[str]) -> int:
        """One new file; how large it is."""
        data = list(packs(self.table, lines))
        with contextlib.suppress(FileExistsError):  # another version of zstd wrote the same records
            self.archive.put(name, data)
        # After the file: the next run may make another one, and an entry of none would be a file that is missing.
        first, last = lines[0].received_at, lines[-1].received_at
        self.warehouse.enter([LedgerEntry(name, self.table, len(lines), first, last, tuple(old))])
        return sum(map(len, data))


def _remove(archive: Archive, names: Sequence[str], now: datetime) -> None:
    if names:
        archive.put(files.expired(now, names), ["\n".join(names).encode()])
    for name in names:
        archive.delete(name)
