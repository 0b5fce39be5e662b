"""A round: what the loader takes in until age, rows or bytes are reached, archives, and acknowledges together.

Messages become packs of one table, looked at by the guard on the way; what is no record becomes a dead letter.
Closing writes the archive's files, whole or absent; the caller acknowledges after that, never before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from operator import attrgetter

from catchment.archives import Archive
from catchment.errors import Malformed
from catchment.load.files import new_incoming
from catchment.load.fitting import FitsOf
from catchment.load.guard import Sight, joined_sight
from catchment.load.packing import Key, Packing
from catchment.load.plain import stamped
from catchment.pack import (
    FORMAT_VERSION,
    MAX_PLAIN_BYTES,
    Header,
    Pack,
    any_packed,
    assemble,
    check_lines,
    compress,
    decompress,
    is_late,
    is_packed,
    plain_size,
    read,
)
from catchment.queues import Delivery, Message
from catchment.queues.foreign import dead_message, stamp_of
from catchment.record import DEFAULT_WINDOW, Line, check_table

_body = attrgetter("body")

OWN_FILE_ROWS = 1_000
SMALL_PACK_RECORDS = 50

WRITERS = 8
"""So many files are written at a time where each waits for a distant store."""

Look = Callable[[str, bytes], Sight | None]
"""The guard: table and plain lines → what they hold, if all fit."""


@dataclass(frozen=True, slots=True)
class Held:
    """One pack in a round, and what the guard saw of it."""

    pack: Pack
    sight: Sight | None


@dataclass(frozen=True, slots=True)
class Part:
    """The records of one table in one archive file: what the ledger will know as a batch."""

    name: str
    table: str
    held: Sequence[Held]
    alone: bool
    """The file holds nothing else, so a warehouse may read it by itself."""
    late: bool = False

    @property
    def rows(self) -> int:
        return sum(each.pack.header.count for each in self.held)


@dataclass(frozen=True, slots=True)
class _File:
    """What a round writes as one file."""

    name: str
    tables: Sequence[tuple[str, list[Held]]]
    late: bool

    def pieces(self) -> Iterator[bytes]:
        return (bytes(each.pack.raw) for _, held in self.tables for each in held)


@dataclass(slots=True)
class Round:
    """One round, open until it is closed."""

    look: Look
    source: str
    window: timedelta = DEFAULT_WINDOW
    fits_of: FitsOf = lambda _: None
    rows: int = 0
    received_bytes: int = 0
    deliveries: list[Delivery] = field(default_factory=list)
    _packs: dict[Key, list[Held]] = field(default_factory=dict)
    _packing: Packing = field(default_factory=Packing)
    _parts: list[Part] = field(default_factory=list)

    def add(self, delivery: Delivery) -> int:
        """Take in all messages of a delivery; how many bytes they were. What is kept of it for its acknowledgement
        has them no more."""
        received_bytes = delivery.bytes
        self.received_bytes += received_bytes
        self.deliveries.append(replace(delivery, messages=()))
        plain: Sequence[Message] = delivery.messages
        if any_packed(map(_body, plain)):
            plain = [message for message in delivery.messages if not is_packed(message.body)]
            for message in delivery.messages:
                if is_packed(message.body):
                    self._add_packs(message)
        for line in stamped(plain, self.source, self.window, self.fits_of):
            self._file(line)
        return received_bytes

    def _add_packs(self, message: Message) -> None:
        at = ordinal = 0
        try:
            for pack in read(message.body):
                at += len(pack.raw)
                try:
                    self._hold(pack)
                except Malformed as error:
                    self._bury(message, error, bytes(pack.raw), ordinal, pack.header.table)
                ordinal += 1
        except Malformed as error:
            self._bury(message, error, message.body[at:], ordinal)

    def _hold(self, pack: Pack) -> None:
        check_table(pack.header.table)
        plain = decompress(pack.frame)
        late = is_late(pack.header)
        sight = self.look(pack.header.table, plain)
        if sight is None or sight.count != pack.header.count or not plain.endswith(b"\n"):
            check_lines(plain, pack.header)  # else counted already
        held = Held(pack, sight)
        self._packs.setdefault((pack.header.table, late), []).append(held)
        self.rows += pack.header.count

    def _file(self, line: Line) -> None:
        self._packing.add((line.table, is_late(line)), line)
        self.rows += line.count

    def _bury(self, message: Message, error: Malformed, body: bytes, ordinal: int, table: str = "") -> None:
        stamp = stamp_of(message, self.source, self.window)
        self._file(dead_message(message, error, stamp, body, ordinal, table))

    def close(self, archive: Archive, now: datetime, begin: Callable[[str], object] = lambda name: None) -> list[Part]:
        """Write everything to `incoming/`, durably; what can be loaded of it, by file and table.

        `begin` is told of each file before it is written. Called again after an error (a full disk) it goes on with
        the file that failed.
        """
        self._build()
        files = [
            _File(new_incoming(now, len(tables), late=late).name, tables, late)
            for tables, late in self._files(archive.shares_files)
        ]
        for file in files:
            begin(file.name)
        if archive.shares_files:
            for file in files:
                archive.put(file.name, file.pieces())
                self._filed(file)
        else:
            self._write_at_once(archive, files)
        return self._parts

    def _files(self, shares: bool) -> Iterator[tuple[list[tuple[str, list[Held]]], bool]]:
        """What goes into a file each: tables with their packs, and whether these are late."""
        shared: dict[bool, list[tuple[str, list[Held]]]] = {False: [], True: []}
        for (table, late), held in self._packs.items():
            merged = merge(table, held)
            if not shares or sum(each.pack.header.count for each in merged) > OWN_FILE_ROWS:
                yield [(table, merged)], late
            else:
                shared[late].append((table, merged))
        yield from ((tables, late) for late, tables in shared.items() if tables)

    def _write_at_once(self, archive: Archive, files: Sequence[_File]) -> None:
        """Several at a time, for each waits for a distant store; what fails is left for the next call."""
        with ThreadPoolExecutor(WRITERS, "archive") as pool:
            writing = [pool.submit(archive.put, file.name, file.pieces()) for file in files]
        for file, written in zip(files, writing, strict=True):
            if written.exception() is None:
                self._filed(file)
        for written in writing:
            written.result()

    def _build(self) -> None:
        """Make packs of the lines, with a look at those of which nothing was seen yet."""
        for key, packs in self._packing.packs():
            held = self._packs.setdefault(key, [])
            held += [Held(pack, sight or self.look(pack.header.table, plain)) for pack, plain, sight in packs]

    def _filed(self, file: _File) -> None:
        alone = len(file.tables) == 1
        for table, held in file.tables:
            self._parts.append(Part(file.name, table, tuple(held), alone, file.late))
            del self._packs[table, file.late]


def merge(table: str, held: Sequence[Held]) -> list[Held]:
    """The same records with small packs joined: a frame of a few rows costs as much to open as one of many. Not of a
    few large ones: no frame may become larger than a builder makes it, or nobody could read it."""
    merged: list[Held] = []
    small: list[Held] = []
    rows = size = 0
    for each in held:
        its_size = plain_size(each.pack.frame)
        if each.pack.header.count >= SMALL_PACK_RECORDS or its_size > MAX_PLAIN_BYTES:
            merged.append(each)
            continue
        if small and size + its_size > MAX_PLAIN_BYTES:
            merged.append(_join(table, small))
            small, rows, size = [], 0, 0
        small.append(each)
        rows += each.pack.header.count
        size += its_size
        if rows >= OWN_FILE_ROWS:
            merged.append(_join(table, small))
            small, rows, size = [], 0, 0
    if small:
        merged.append(_join(table, small))
    return merged


def _join(table: str, small: Sequence[Held]) -> Held:
    if len(small) == 1:
        return small[0]
    headers = [each.pack.header for each in small]
    frame = compress(b"".join(each.pack.plain() for each in small))
    header = Header(
        v=FORMAT_VERSION,
        table=table,
        count=sum(h.count for h in headers),
        bytes=len(frame),
        first_received_at=min(h.first_received_at for h in headers),
        last_received_at=max(h.last_received_at for h in headers),
        not_before=min(h.not_before for h in headers),
    )
    return Held(Pack(header, assemble(header, frame), frame), joined_sight([each.sight for each in small]))


def read_parts(
    name: str, packs_of_file: Iterable[Pack], look: Look, *, tables: frozenset[str] | None, late: bool
) -> list[Part]:
    """An archive file's packs as parts, one a table, looked at again: what the sweep and replay load.

    A pack that does not open raises `Malformed`: archived data is damaged, which nothing here can mend.
    """
    found: dict[str, list[Held]] = {}
    alone = True
    for pack in packs_of_file:
        table = pack.header.table
        if tables is None or table in tables:
            found.setdefault(table, []).append(Held(pack, look(table, pack.plain())))
        else:
            alone = False
    alone = alone and len(found) == 1
    return [Part(name, table, tuple(held), alone, late) for table, held in found.items()]
