"""Doubles for tests of the load stage: an archive and a ledger in memory, and a way to stop after any step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from typing import BinaryIO

import msgspec

from catchment.archives import Archive, Entry, check_name, check_prefix
from catchment.load import files
from catchment.load.rewrite import Ledger
from catchment.pack import read
from catchment.record import Line, Record, Stamp
from catchment.warehouses import LedgerEntry


class MemoryArchive:
    """An `Archive` of a dictionary."""

    shares_files = True
    round_age_s = 0.05

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def put(self, name: str, data: Iterable[bytes]) -> None:
        check_name(name)
        content = b"".join(data)
        if self.files.setdefault(name, content) != content:
            raise FileExistsError(name)

    def open(self, name: str) -> BinaryIO:
        if name not in self.files:
            raise FileNotFoundError(name)
        return BytesIO(self.files[name])

    def delete(self, name: str) -> None:
        self.files.pop(name, None)

    def url(self, name: str) -> str:
        return f"memory:{name}"

    def list(self, prefix: str = "") -> Iterator[Entry]:
        check_prefix(prefix)
        for name in sorted(name for name in self.files if name.startswith(prefix)):
            if name in self.files:
                yield Entry(name, len(self.files[name]), datetime.now(UTC))


class MemoryLedger:
    """The ledger of a `Warehouse`."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], LedgerEntry | None] = {}

    def load(self, name: str, tables: Iterable[str]) -> None:
        """Count these tables of a file as loaded."""
        self.entries |= {(name, table): None for table in tables}

    def names(self) -> set[str]:
        return {name for name, _ in self.entries}

    def ledger(self, names: Sequence[str]) -> Mapping[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        for name, table in self.entries:
            if name in names:
                found[name] = found.get(name, frozenset()) | {table}
        return found

    def enter(self, entries: Sequence[LedgerEntry]) -> None:
        self.entries |= {(entry.name, entry.table): entry for entry in entries}

    def forget(self, names: Sequence[str]) -> None:
        self.entries = {key: entry for key, entry in self.entries.items() if key[0] not in names}


class Killed(BaseException):
    """What kill -9 is to the process: nothing of ours catches it."""


class Dying:
    """An archive and a ledger that raise `Killed` instead of their write number `at`, and at all later ones."""

    def __init__(self, archive: Archive, ledger: Ledger, at: int) -> None:
        self._archive, self._ledger, self._left = archive, ledger, at
        self.open, self.url, self.list, self.ledger = archive.open, archive.url, archive.list, ledger.ledger
        self.shares_files, self.round_age_s = archive.shares_files, archive.round_age_s

    def _step(self) -> None:
        if self._left <= 0:
            raise Killed
        self._left -= 1

    def put(self, name: str, data: Iterable[bytes]) -> None:
        self._step()
        self._archive.put(name, data)

    def delete(self, name: str) -> None:
        self._step()
        self._archive.delete(name)

    def enter(self, entries: Sequence[LedgerEntry]) -> None:
        self._step()
        self._ledger.enter(entries)

    def forget(self, names: Sequence[str]) -> None:
        self._step()
        self._ledger.forget(names)


def lines_of(content: bytes) -> list[bytes]:
    """The lines of a file's packs, as `zstdcat` would show them."""
    return [line for pack in read(content) for line in pack.plain().splitlines(keepends=True)]


def all_lines(archive: MemoryArchive, prefix: str = "") -> Counter[bytes]:
    """How often each line stands in the archive, in files that hold records."""
    names = [name for name in archive.files if files.parse(name) and name.startswith(prefix)]
    return Counter(line for name in names for line in lines_of(archive.files[name]))


def line(table: str, number: int, received_at: datetime, pad: int = 0) -> Line:
    """A stamped record; its bytes differ by table and number."""
    data = msgspec.Raw(b'{"number":%d,"text":"%s"}' % (number, b"\xc3\xbc" * pad))
    return Stamp(received_at, "test").line(Record(table, data, id=f"{table}-{number}"))


def incoming(
    archived_at: datetime, packed: Iterable[bytes], *, nonce: int = 0, late: bool = False
) -> tuple[str, bytes]:
    """Name and bytes of a round's file."""
    content = b"".join(packed)
    tables = {pack.header.table for pack in read(content)}
    return files.Incoming(archived_at, f"{nonce:012x}", len(tables), late).name, content


def tables_of(content: bytes) -> set[str]:
    """The tables of a file."""
    return {pack.header.table for pack in read(content)}
