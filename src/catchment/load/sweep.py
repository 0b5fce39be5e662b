"""The sweep: whatever the archive has and the ledger lacks is loaded, whoever left it.

A round's hand-over to the loader is only the fast way. What a crash, an outage, a halted table or another
process left behind is found here, at start and every minute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from catchment.archives import INCOMING, Archive
from catchment.errors import Malformed, Retry, WarehouseDown
from catchment.load.files import Incoming, begins, in_full, parse
from catchment.load.in_flight import InFlight
from catchment.load.loader import Loader
from catchment.load.round import Part, read_parts
from catchment.log import get_log
from catchment.pack import read_file
from catchment.record import CORRECTIONS
from catchment.service import Stop

_log = get_log("load")

CHUNK_ROWS = 250_000
CHUNK_FILES = 2_000


@dataclass(slots=True)
class Sweep:
    """Loads what the ledger lacks. One at a time; other loads may run beside it."""

    loader: Loader
    archive: Archive
    in_flight: InFlight
    unloaded: int | None = None
    """Batches that the ledger lacked at the last look; None before the first."""
    damaged: set[str] = field(default_factory=set)
    """Files that cannot be read; each has been said once."""
    _done: set[str] = field(default_factory=set)
    _waiting: dict[str, frozenset[str]] = field(default_factory=dict)
    """Files of which tables alone are missing that have to wait, with these: not to be read again each minute."""

    def incoming(self, stop: Stop) -> int:
        """Compare `incoming/` with the ledger and load the difference; how many batches that were."""
        names = [entry.name for entry in self.archive.list(INCOMING)]
        self._done.intersection_update(names)
        self._waiting = {name: self._waiting[name] for name in names if name in self._waiting}
        return self._load_missing(names, stop)

    def everything(self, stop: Stop) -> int:
        """The same over the whole archive, corrections first: a warehouse put back to its backup lacks rows whose
        files were rewritten long ago. Lists again until it meets no new name, since files are rewritten
        meanwhile."""
        done: set[str] = set()
        loaded = self._load_missing([e.name for e in self.archive.list(f"table={CORRECTIONS}/")], stop)
        while not stop.draining:
            names = [e.name for e in self.archive.list() if e.name not in done and parse(e.name) is not None]
            if not names:
                break
            loaded += self._load_missing(names, stop)
            done |= set(names)
        return loaded

    def _load_missing(self, names: Sequence[str], stop: Stop) -> int:
        missing = self._missing(names)
        # As they came: where there is no room for all tables, those that had it once are met first.
        missing = dict(sorted(missing.items(), key=lambda each: begins(each[0])))
        self.unloaded = sum(_tables_of(name) - len(has) for name, has in missing.items())
        loaded = 0
        failed: Retry | None = None
        for parts in self._chunks(missing):
            if stop.draining:
                break
            try:
                answers = self.loader.load(parts)
            except WarehouseDown:
                raise
            except Retry as error:  # what is behind it may load
                failed = error
                continue
            loaded += sum(len(each.names) for each in answers if not each.skipped)
            self.unloaded -= sum(len(each.names) for each in answers)
        if failed is not None:
            raise failed
        return loaded

    def _missing(self, names: Sequence[str]) -> dict[str, frozenset[str]]:
        """Files that are not loaded in full, with the tables that are."""
        asked = [name for name in names if name not in self._done and name not in self.in_flight]
        missing: dict[str, frozenset[str]] = {}
        for start in range(0, len(asked), CHUNK_FILES):
            some = asked[start : start + CHUNK_FILES]
            ledger = self.loader.warehouse.ledger(some)
            for name in some:
                has = ledger.get(name, frozenset())
                if in_full(name, has):
                    self._done.add(name)
                elif name not in self.damaged:
                    missing[name] = has
        return missing

    def _chunks(self, missing: dict[str, frozenset[str]]) -> Iterator[list[Part]]:
        """The missing parts, read and looked at, as much at a time as memory allows."""
        chunk: list[Part] = []
        rows = 0
        for name, has in missing.items():
            if self._waits(name):
                continue
            lacking = [part for part in self._read(name) if part.table not in has]
            parts = [part for part in lacking if not self.loader.waits(part)]
            if lacking and not parts:
                self._waiting[name] = frozenset(part.table for part in lacking)
                continue
            rows += sum(part.rows for part in parts)
            chunk += parts
            if rows >= CHUNK_ROWS or len(chunk) >= CHUNK_FILES:
                yield chunk
                chunk, rows = [], 0
        if chunk:
            yield chunk

    def _waits(self, name: str) -> bool:
        """Whether all that is missing of a file has to wait, as far as it is known without reading it."""
        tables = self._waiting.get(name)
        return tables is not None and all(map(self.loader.may_wait, tables))

    def _read(self, name: str) -> list[Part]:
        file = parse(name)
        late = isinstance(file, Incoming) and file.late
        try:
            with self.archive.open(name) as opened:
                return read_parts(name, read_file(opened), self.loader.look, tables=None, late=late)
        except FileNotFoundError:
            return []  # rewritten meanwhile; its records are in the ledger, or under the new name
        except Malformed as error:
            self.damaged.add(name)
            _log.error("an archive file is damaged and cannot be loaded", file=name, exc=error)
            return []


def _tables_of(name: str) -> int:
    file = parse(name)
    return file.batches if file is not None else 0
