"""Rewriting: files of rounds become one file per table and hour, which anybody reads with a glob.

It takes files that the ledger has in full, a set at a time, and goes in this order: the new names are entered
in the ledger, the new files are put, the old names are noted for `forget`, the old files are deleted. Stopped
anywhere it leaves every record in one file at least, and the next run finds from the new files' headers what
was done. Several at once are harmless: they write the same bytes under the same names, unless the ledger grew
between their sets; then a record may stand in two files, which the warehouse knows to tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Protocol

from catchment.archives import INCOMING, Archive, Entry
from catchment.load import files
from catchment.load.regroup import Target, Unusable, contents, covered, pieces
from catchment.warehouses import LedgerEntry

_NAMES_AT_ONCE = 1_000


class AsksLedger(Protocol):
    """What it takes to ask whether files are loaded."""

    def ledger(self, names: Sequence[str]) -> Mapping[str, frozenset[str]]:
        """Of these files, the tables whose batch is loaded."""


class Ledger(AsksLedger, Protocol):
    """What rewriting needs of a `Warehouse`."""

    def enter(self, entries: Sequence[LedgerEntry]) -> None:
        """Count these batches as loaded."""

    def forget(self, names: Sequence[str]) -> None:
        """Drop the entries of files that are no more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a set ends, though never before its first file. Each pack takes about 100 bytes of memory."""

    bytes: int = 256 * 1024 * 1024
    packs: int = 200_000


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a set. `refused` says of each file that cannot be read what is wrong with it: it stays
    where it is."""

    removed: tuple[str, ...]
    written: tuple[str, ...]
    refused: Mapping[str, str]


def rewrite(
    archive: Archive,
    ledger: Ledger,
    *,
    now: datetime,
    age: timedelta = files.HOUR,
    limits: Limits | None = None,
) -> Iterator[Done]:
    """Rewrite what is ready, and yield after each set: whoever wants to stop does so there.

    Ready are the files of each clock hour of archiving that ended `age` or longer before `now`. Nothing is
    added to such an hour any more, so that two runs or two rewriters make the same sets of it.
    """
    for ready in _ready(archive, ledger, now - age):
        left = ready
        while left:
            done, left = _rewrite_set(archive, ledger, left, now, limits or Limits())
            yield done


def forget(archive: Archive, ledger: Ledger, *, now: datetime, grace: timedelta = timedelta(days=1)) -> int:
    """Drop the ledger's entries of files that rewriting removed `grace` or longer ago; returns of how many.

    The grace spares a loader that met a file just before it was removed from loading it once more.
    """
    forgotten = 0
    for entry in archive.list(files.REMOVED):
        at = files.removed_at(entry.name)
        if at is None or at > now - grace:
            continue
        try:
            with archive.open(entry.name) as file:
                names = file.read().decode().splitlines()
        except FileNotFoundError:
            continue  # another rewriter was here
        ledger.forget(names)
        archive.delete(entry.name)
        forgotten += len(names)
    return forgotten


def _ready(archive: Archive, ledger: Ledger, before: datetime) -> Iterator[list[Entry]]:
    """Files to be rewritten together: archived in one clock hour, all of them late ones or none.

    Late ones stay by themselves: in a file with others they would make a replay search as far back for all.
    """
    listed = ((entry, files.parse(entry.name)) for entry in archive.list(INCOMING))
    ours = ((entry, file) for entry, file in listed if isinstance(file, files.Incoming))
    for hour, group in groupby(ours, lambda found: files.hour_of(found[1].archived_at)):
        if hour > before - files.HOUR:
            return
        found = list(group)
        loaded = in_full(ledger, [entry.name for entry, _ in found])
        for late in (False, True):
            if ready := [entry for entry, file in found if file.late == late and entry.name in loaded]:
                yield ready


def in_full(ledger: AsksLedger, names: Sequence[str]) -> set[str]:
    """Of these files, those that the ledger has in full."""
    loaded: set[str] = set()
    for start in range(0, len(names), _NAMES_AT_ONCE):
        tables = ledger.ledger(names[start : start + _NAMES_AT_ONCE])
        loaded |= {name for name, has in tables.items() if files.in_full(name, has)}
    return loaded


@dataclass(frozen=True, slots=True)
class _Plan:
    """A set: the old files, what to write for them, what could not be read, and what is left for later sets."""

    old: list[str]
    targets: list[Target]
    unusable: dict[str, str]
    left: list[Entry]


def _rewrite_set(
    archive: Archive, ledger: Ledger, ready: list[Entry], now: datetime, limits: Limits
) -> tuple[Done, list[Entry]]:
    """What was done with the first of the files, and those that are left."""
    unusable: dict[str, str] = {}
    while True:
        plan = _plan(archive, [entry for entry in ready if entry.name not in unusable], limits)
        unusable |= plan.unusable
        try:
            written = _write(archive, ledger, plan)
            break
        except Unusable as error:  # once more without it; what was written of it is found as done
            unusable[error.name] = error.reason
    refused = {name: reason for name, reason in unusable.items() if reason}
    if written is None:
        return Done((), (), refused), plan.left
    if plan.old:
        archive.put(files.removed(now, plan.old), ["\n".join(plan.old).encode()])
    for name in plan.old:
        archive.delete(name)
    return Done(tuple(plan.old), written, refused), plan.left


def _plan(archive: Archive, ready: list[Entry], limits: Limits) -> _Plan:
    """Sort the packs of as many files as the limits allow by table and hour, but for those written already."""
    plan = _Plan([], [], {}, [])
    targets: dict[tuple[str, datetime], Target] = {}
    done: dict[tuple[str, datetime], frozenset[str]] = {}
    size_bytes = pack_count = 0
    for at, entry in enumerate(ready):
        if plan.old and (size_bytes + entry.bytes > limits.bytes or pack_count >= limits.packs):
            plan.left.extend(ready[at:])
            break
        try:
            found = pieces(archive, entry.name)
        except Unusable as error:
            plan.unusable[error.name] = error.reason
            continue
        plan.old.append(entry.name)
        size_bytes += entry.bytes
        pack_count += len(found)
        for piece in found:
            key = piece.table, piece.hour
            if key not in done:
                done[key] = covered(archive, *key)
            if entry.name not in done[key]:
                targets.setdefault(key, Target(*key, late=files.is_late(entry.name))).add(piece)
    plan.targets.extend(targets[key] for key in sorted(targets))
    return plan


def _write(archive: Archive, ledger: Ledger, plan: _Plan) -> tuple[str, ...] | None:
    """The names of the new files; None where the ledger has lost an old one meanwhile (the warehouse was put
    back to a backup): the sweep loads it first.

    Raises `Unusable`.
    """
    if len(in_full(ledger, plan.old)) < len(plan.old):
        return None
    names = {target.name: target for target in plan.targets}
    # Before the files: else a sweep that met one would load it all again.
    ledger.enter([LedgerEntry(name, t.table, t.count, t.first, t.last, t.batches) for name, t in names.items()])
    for name, target in names.items():
        try:
            archive.put(name, contents(archive, target))
        except FileExistsError:
            # Another version of Catchment or of zstd wrote the same records of the same files as other bytes.
            continue
    return tuple(names)
