"""A walk of the whole archive, for restore and replay: every file that holds records, in no order of time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from catchment import record
from catchment.archives import INCOMING, Archive
from catchment.errors import Malformed
from catchment.load import files
from catchment.pack import Header, read_headers


@dataclass(frozen=True, slots=True)
class Found:
    """A file with records that were asked for, and the tables in it that were asked for.

    `problem` says where its packs can no longer be told apart: tables behind that place are not named.
    """

    name: str
    tables: tuple[str, ...]
    problem: str = ""


def walk(
    archive: Archive,
    *,
    tables: Collection[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    now: datetime | None = None,
) -> Iterator[Found]:
    """Every file that may hold records of `tables` (all: None) received at `since` or later and before `until`.

    Files come and go meanwhile. One that is gone when the caller opens it was rewritten: go on, its records
    are met under another name before the walk ends, since it lists again until it meets no new name. While
    rewriting runs, a record may be met twice. Files archived after the walk began (`now`) are met or not:
    a busy loader must not make it endless. It remembers all names, at about 200 bytes each.
    """
    began = now or record.now()
    filters = _Filters(frozenset(tables) if tables is not None else None, since, until)
    seen: set[str] = set()
    met = True
    while met:
        met = False
        for prefix in filters.prefixes():
            for entry in archive.list(prefix):
                if entry.name in seen:
                    continue
                seen.add(entry.name)
                file = files.parse(entry.name)
                met = met or not (isinstance(file, files.Incoming) and file.archived_at > began)
                if found := filters.look(archive, entry.name):
                    yield found


@dataclass(frozen=True, slots=True)
class _Filters:
    tables: frozenset[str] | None
    since: datetime | None
    until: datetime | None

    def prefixes(self) -> list[str]:
        """Incoming files first: what is rewritten while they are read is then listed behind them."""
        if self.tables is None:
            return [INCOMING, "table="]
        return [INCOMING, *(f"table={table}/" for table in sorted(self.tables))]

    def look(self, archive: Archive, name: str) -> Found | None:
        """None where the file has nothing that is wanted, or is gone."""
        match files.parse(name):
            case files.Incoming() | files.Newest():
                return self._look_inside(archive, name)
            case files.Rewritten(table=table, hour=hour):
                if self.tables is not None and table not in self.tables:
                    return None
                last = hour + (files.HOUR - timedelta.resolution)
                if self._wants_all(hour, last):
                    return Found(name, (table,))
                return self._look_inside(archive, name) if self._wants(hour, last) else None
        return None

    def _look_inside(self, archive: Archive, name: str) -> Found | None:
        wanted: dict[str, None] = {}
        problem = ""
        try:
            with archive.open(name) as file:
                for header in read_headers(file):
                    if self._wants_pack(header):
                        wanted[header.table] = None
        except FileNotFoundError:
            return None
        except Malformed as error:
            problem = str(error)
        return Found(name, tuple(wanted), problem) if wanted or problem else None

    def _wants_pack(self, header: Header) -> bool:
        wants_table = self.tables is None or header.table in self.tables
        return wants_table and self._wants(header.first_received_at, header.last_received_at)

    def _wants(self, first: datetime, last: datetime) -> bool:
        """Whether some of this time is wanted."""
        return (self.since is None or last >= self.since) and (self.until is None or first < self.until)

    def _wants_all(self, first: datetime, last: datetime) -> bool:
        return (self.since is None or first >= self.since) and (self.until is None or last < self.until)
