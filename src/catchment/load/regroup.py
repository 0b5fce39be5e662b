"""Packs of many files, regrouped by table and hour: what lies where, and the bytes of a new file.

What lies where takes about 100 bytes a pack, and packs are read one at a time: memory does not grow with the
bytes. The same old files give the same bytes each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby, islice
from typing import Annotated, BinaryIO

import msgspec

from catchment.archives import Archive
from catchment.errors import Malformed
from catchment.load import files
from catchment.pack import (
    MAX_PLAIN_BYTES,
    MAX_RECORDS,
    Header,
    Pack,
    assemble,
    decompress,
    packs,
    read,
    read_file,
    read_headers,
)
from catchment.record import Line

MERGE_BELOW_RECORDS = 50
"""Packs of fewer records are merged: a reader pays more for a small frame than for its bytes."""


class _Times(msgspec.Struct, gc=False):
    """What a new header needs of a record."""

    received_at: Annotated[datetime, msgspec.Meta(tz=True)]
    not_before: Annotated[datetime, msgspec.Meta(tz=True)]


_decode_times = msgspec.json.Decoder(_Times).decode


class Unusable(Exception):
    """An old file that the new ones must do without. `reason` is empty where somebody else has removed it."""

    def __init__(self, name: str, reason: str = "") -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Part:
    """Where a pack lies. Of a `split` one only the records of the target's hour are meant."""

    file: str
    at: int
    split: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """The records of one hour in one pack."""

    table: str
    hour: datetime
    count: int
    first: datetime
    last: datetime
    part: Part


@dataclass(slots=True)
class Target:
    """A new file: the records of one table and hour."""

    table: str
    hour: datetime
    late: bool
    count: int = 0
    first: datetime = field(init=False)
    last: datetime = field(init=False)
    parts: list[Part] = field(default_factory=list)

    def add(self, piece: Piece) -> None:
        """Pieces are added in the order of their files' names, and of their place within."""
        self.first = min(self.first, piece.first) if self.parts else piece.first
        self.last = max(self.last, piece.last) if self.parts else piece.last
        self.count += piece.count
        self.parts.append(piece.part)

    @property
    def batches(self) -> tuple[str, ...]:
        """The old files it is made of."""
        return tuple(dict.fromkeys(part.file for part in self.parts))

    @property
    def name(self) -> str:
        """Its own name."""
        return files.rewritten(self.table, self.hour, self.batches, late=self.late).name


def pieces(archive: Archive, name: str) -> list[Piece]:
    """What an old file holds, by its headers; only packs that reach into another hour are decompressed.

    Raises `Unusable`.
    """
    found: list[Piece] = []
    with using(archive, name) as file:
        at = 0
        for header in read_headers(file):
            frame_at = file.tell()
            first, last = header.first_received_at, header.last_received_at
            if files.hour_of(first) == files.hour_of(last):
                part = Part(name, at, split=False)
                found.append(Piece(header.table, files.hour_of(first), header.count, first, last, part))
            else:
                found += _split(header, file.read(header.bytes), Part(name, at, split=True))
                file.seek(frame_at)
            at = frame_at + header.bytes
    return found


def _split(header: Header, frame: bytes, part: Part) -> Iterator[Piece]:
    by_hour: dict[datetime, list[datetime]] = {}
    for line in _lines(header, decompress(frame)):
        by_hour.setdefault(files.hour_of(line.received_at), []).append(line.received_at)
    for hour, times in by_hour.items():
        yield Piece(header.table, hour, len(times), min(times), max(times), part)


def contents(archive: Archive, target: Target) -> Iterator[bytes]:
    """The target's packs; the header of the first names its batches.

    Raises `Unusable`.
    """
    for at, raw in enumerate(_contents(archive, target)):
        if at > 0:
            yield raw
            continue
        (pack,) = read(raw)
        yield assemble(msgspec.structs.replace(pack.header, batches=target.batches), bytes(pack.frame))


def _contents(archive: Archive, target: Target) -> Iterator[bytes]:
    """Large packs as they are, and the lines of all others in packs as large as may be."""
    loose: list[Line] = []
    size = 0
    for name, parts in groupby(target.parts, lambda part: part.file):
        with using(archive, name) as file:
            for part in parts:
                pack = _pack_at(file, part.at)
                if not part.split and pack.header.count >= MERGE_BELOW_RECORDS:
                    yield bytes(pack.raw)
                    continue
                lines = list(_lines(pack.header, pack.plain()))
                if part.split:
                    lines = [line for line in lines if files.hour_of(line.received_at) == target.hour]
                more = sum(len(line.text) for line in lines)
                if len(loose) + len(lines) > MAX_RECORDS or size + more > MAX_PLAIN_BYTES:
                    yield from _packed(target.table, loose)
                    loose, size = [], 0
                loose += lines
                size += more
    yield from _packed(target.table, loose)


def _packed(table: str, lines: list[Line]) -> Iterator[bytes]:
    return packs(table, sorted(lines, key=lambda line: line.received_at))


def _pack_at(file: BinaryIO, at: int) -> Pack:
    file.seek(at)
    for pack in read_file(file):
        return pack
    raise Malformed("broken-frame", f"byte {at}: no pack begins here")


def _lines(header: Header, plain: bytes) -> Iterator[Line]:
    """Every line with its times; one that has none, which the loader made a dead letter of, has its pack's."""
    for text in plain.split(b"\n"):
        if not text:
            continue
        try:
            times = _decode_times(text)
            received_at, not_before = times.received_at, times.not_before
        except msgspec.DecodeError:
            received_at, not_before = header.first_received_at, header.not_before
        yield Line(header.table, text + b"\n", received_at, not_before)


def covered(archive: Archive, table: str, hour: datetime) -> frozenset[str]:
    """The old files whose records of a table and hour stand in new ones already."""
    names: set[str] = set()
    for entry in archive.list(files.folder(table, hour)):
        try:
            with archive.open(entry.name) as file:
                names.update(*(header.batches for header in islice(read_headers(file), 1)))
        except (FileNotFoundError, Malformed):
            continue  # what it may hold is written once more: twice is harmless, not at all is not
    return frozenset(names)


@contextmanager
def using(archive: Archive, name: str) -> Iterator[BinaryIO]:
    """An archive file, open. What is wrong with it becomes `Unusable`."""
    try:
        with archive.open(name) as file:
            yield file
    except FileNotFoundError:
        raise Unusable(name) from None
    except Malformed as error:
        raise Unusable(name, str(error)) from None
