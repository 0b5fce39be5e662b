"""Of some archive files of a mirrored table, the records that a rebuild of it needs: each key's newest version.

A table may have more keys than memory holds: so the records are shared out by their keys' hash first, into temporary
files, and of one share at a time the newest versions are found.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from catchment.archives import Archive
from catchment.errors import Malformed
from catchment.load.guard import is_plainly_sound, strictly
from catchment.load.prepare import key_text
from catchment.load.regroup import using
from catchment.load.stamped import Stamped, read
from catchment.pack import build, read_file
from catchment.record import Line

IN_MEMORY_BYTES = 256 * 1024
"""Of a share, before it goes to a file; compressed."""
PACK_RECORDS = 500

Takes = Callable[[Stamped], bool]
"""Whether the table, as it is, takes a record."""


class Shares:
    """The records of some files, by the hash of their keys. To be closed, as by `with`."""

    def __init__(self, table: str, key: tuple[str, ...], parts: int) -> None:
        """`key` are the table's key fields, empty where they are not known."""
        self._table = table
        self._key = key
        self._spools = [SpooledTemporaryFile(IN_MEMORY_BYTES) for _ in range(parts)]  # noqa: SIM115 - see __exit__
        self._lines: list[list[Line]] = [[] for _ in range(parts)]

    def __enter__(self) -> Shares:
        return self

    def __exit__(self, *_: object) -> None:
        for spool in self._spools:
            spool.close()

    def add(self, archive: Archive, name: str) -> None:
        """The records of one file; the latest file first, since most of what follows is beaten then and needs no
        closer look. Raises `Unusable` for a file that is gone or damaged."""
        with using(archive, name) as file:
            for record, line in _records(file, self._table):
                key = self._key_of(record)
                if key is None:
                    continue
                part = zlib.crc32(key.encode()) % len(self._spools)
                self._lines[part].append(line)
                if len(self._lines[part]) >= PACK_RECORDS:
                    self._spool(part)

    def newest(self, part: int, takes: Takes | None = None) -> list[Line]:
        """Of one share the lines with the highest (version, id) of each key, deletions included, in order of time.

        Lines that were no record of the table are dead letters and stay out. Where the table may refuse a record by
        its contract (`takes`), the newest one that it takes stays as well: the contract may be another one day.
        """
        self._spool(part)
        best, taken = _Best(), _Best()
        spool = cast(BinaryIO, self._spools[part])
        spool.seek(0)
        for record, line in _records(spool, self._table):
            key = self._key_of(record)
            if key is None or not (best.wants(key, record) or (takes is not None and taken.wants(key, record))):
                continue
            if not _is_sound(line.text[:-1], record):
                continue
            best.add(key, record, line)
            if takes is not None and takes(record):
                taken.add(key, record, line)
        kept = {line.text: line for each in (best, taken) for line in each.lines()}
        return sorted(kept.values(), key=lambda line: (line.received_at, line.text))

    def _spool(self, part: int) -> None:
        if self._lines[part]:
            self._spools[part].write(build(self._table, self._lines[part]))
            self._lines[part] = []

    def _key_of(self, record: Stamped) -> str | None:
        """None where it is none of the table's."""
        if not record.key or (self._key and record.key != self._key):
            return None
        try:
            return f"{record.key} {key_text(record)}"
        except Malformed:
            return None


@dataclass(slots=True)
class _Best:
    _found: dict[str, tuple[tuple[str, str], list[Line]]] = field(default_factory=dict)

    def wants(self, key: str, record: Stamped) -> bool:
        found = self._found.get(key)
        return found is None or (record.version, record.id) >= found[0]

    def add(self, key: str, record: Stamped, line: Line) -> None:
        rank = record.version, record.id
        found = self._found.get(key)
        if found is None or rank > found[0]:
            self._found[key] = rank, [line]
        elif rank == found[0] and all(line.text != other.text for other in found[1]):
            found[1].append(line)  # such as a dead letter and what it was mended to

    def lines(self) -> Iterator[Line]:
        for _, lines in self._found.values():
            yield from lines


def _is_sound(text: bytes, record: Stamped) -> bool:
    if is_plainly_sound(text, record):
        return True
    try:
        strictly(text)
    except Malformed:
        return False
    return True


def _records(file: BinaryIO, table: str) -> Iterator[tuple[Stamped, Line]]:
    for pack in read_file(file):
        for text in pack.plain().split(b"\n"):
            if not text:
                continue
            try:
                record = read(text)
            except Malformed:
                continue
            if record.table == table and record.op != "insert":
                yield record, Line(table, text + b"\n", record.received_at, record.not_before)
