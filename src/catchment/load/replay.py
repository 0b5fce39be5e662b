"""Replay and restore: the archive into the warehouse again. Both add only what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from catchment.archives import Archive
from catchment.errors import Malformed, UsageError
from catchment.load.loader import Loader
from catchment.load.round import Part, read_parts
from catchment.load.walk import walk
from catchment.log import get_log
from catchment.pack import read_file

_log = get_log("load")

CHUNK_ROWS = 250_000


@dataclass(slots=True)
class Replayed:
    """What a replay has done so far."""

    files: int = 0
    records: int = 0
    inserted: int = 0
    damaged: int = 0
    """Files that could not be read; each has been said."""


def replay(
    loader: Loader,
    archive: Archive,
    table: str,
    *,
    since: datetime | None,
    until: datetime | None,
    progress: Callable[[Replayed], None] = lambda _: None,
) -> Replayed:
    """Insert the rows of `table`, received at `since` or later and before `until`, that it lacks.

    Past the ledger, tombstones respected. May be stopped anywhere and begun again. Files are taken whole: of one
    that begins before `since` or ends at `until` or later, all rows that are missing are inserted.

    Raises `UsageError` for a table whose loading has halted.
    """
    loader.halts.refresh()
    if loader.halts.holds(table):
        raise UsageError(f"loading of {table} has halted", f"catchment dead-letters resume {table}")
    done = Replayed()
    for parts in _chunks(loader, archive, table, since, until, done):
        for loaded in loader.load(parts, past_ledger=True):
            done.inserted += loaded.inserted
        done.records += sum(part.rows for part in parts)
        progress(done)
    return done


def _chunks(
    loader: Loader,
    archive: Archive,
    table: str,
    since: datetime | None,
    until: datetime | None,
    done: Replayed,
) -> Iterator[list[Part]]:
    chunk: list[Part] = []
    rows = 0
    for found in walk(archive, tables=[table], since=since, until=until):
        try:
            with archive.open(found.name) as file:
                parts = read_parts(found.name, read_file(file), loader.look, tables=frozenset([table]), late=False)
        except FileNotFoundError:
            continue  # rewritten meanwhile: its records come under another name
        except Malformed as error:
            done.damaged += 1
            _log.error("an archive file is damaged and was left out", file=found.name, exc=error)
            continue
        done.files += 1
        chunk += parts
        rows += sum(part.rows for part in parts)
        if rows >= CHUNK_ROWS:
            yield chunk
            chunk, rows = [], 0
    if chunk:
        yield chunk
