"""What archive files hold for some columns of a table, ready to be gathered: as it lies where all values fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import msgspec

from catchment.archives import Archive
from catchment.errors import Malformed
from catchment.load import files
from catchment.load.contracts import Contract
from catchment.load.guard import UNREADABLE, has_nul, is_plainly_sound, is_utf8, strictly
from catchment.load.prepare import prepared_line
from catchment.load.stamped import Stamped, read
from catchment.pack import Pack, read_file
from catchment.warehouses import Fill, Rows
from catchment.warehouses.shape import Column, Shape, lies_well, part_type

PIECE_BYTES = 16 * 1024 * 1024
"""So much is gathered at a time, of a file that is not taken whole."""


@dataclass(slots=True)
class Piece:
    """Rows to be gathered, and the file that is gathered whole by them; none where more of it comes."""

    rows: list[Rows]
    name: str | None
    records: int

    @property
    def bytes(self) -> int:
        """In memory."""
        return sum(len(rows.data) for rows in self.rows if isinstance(rows.data, bytes))


@dataclass(frozen=True)
class Gathering:
    """Reads archive files for one fill. Needs no more memory than a piece, however large a file is."""

    archive: Archive
    reads: Callable[[str], bool]
    """Whether the warehouse reads a file of this address by itself."""
    fill: Fill
    contract: Contract
    known: Mapping[str, int] = field(default_factory=dict)
    """Files of which it is known that all values fit, and how many records they have."""

    def of(self, name: str, *, every_row: bool = False) -> Iterator[Piece]:
        """A file's rows. `every_row` looks at each line strictly: for files that the warehouse refused.

        Raises `FileNotFoundError` for a file that is gone, `Malformed` for one that is damaged.
        """
        file, url = files.parse(name), self.archive.url(name)
        is_alone = file is not None and file.batches == 1
        if is_alone and not every_row and self.reads(url) and (count := self._fitting(name)):
            yield Piece([Rows((url,), count)], name, count)
            return
        bundle = _Bundle()
        for pack in self._packs(name):
            plain = pack.plain()
            if not every_row and self._fits(plain):
                bundle.as_they_lie(plain, pack.header.count)
            else:
                bundle.prepared(self._prepared(plain), pack.header.count)
            if bundle.size > PIECE_BYTES:
                yield Piece(bundle.rows(), None, bundle.records)
                bundle = _Bundle()
        yield Piece(bundle.rows(), name, bundle.records)

    def strictly(self, piece: Piece) -> Iterator[Piece]:
        """A piece's rows once more, each looked at: for what the warehouse refused."""
        if piece.name is not None:
            yield from self.of(piece.name, every_row=True)
            return
        bundle = _Bundle()
        for rows in piece.rows:
            if isinstance(rows.data, bytes):
                bundle.prepared(
                    list(filter(None, rows.data.split(b"\n"))) if rows.prepared else self._prepared(rows.data),
                    rows.count,
                )
        yield Piece(bundle.rows(), None, piece.records)

    def prepared(self, record: Stamped) -> bytes | None:
        """A record's values for the fill's columns, as a prepared line; None where it has none."""
        given = {column.field: value for column in self.fill.columns if (value := _given(record, column.field))}
        if not given:
            return None
        part = Stamped(record.table, record.id, record.received_at, record.not_before, record.source, given)
        return prepared_line(part, self._shape, self._keeping)

    @property
    def _shape(self) -> Shape:
        return Shape(self.fill.table, 1, self.fill.columns)

    @property
    def _keeping(self) -> Contract:
        """What does not fit is no reason to refuse a record that the table has."""
        return replace(self.contract, mode="freeze", required=frozenset())

    def _packs(self, name: str) -> Iterator[Pack]:
        with self.archive.open(name) as file:
            yield from read_file(file, frozenset([self.fill.table]))

    def _fitting(self, name: str) -> int:
        """How many records a file has whose values all fit; 0 where not all do."""
        if name in self.known and lies_well(self._shape):
            return self.known[name]
        count = 0
        for pack in self._packs(name):
            if not self._fits(pack.plain()):
                return 0
            count += pack.header.count
        return count

    def _fits(self, plain: bytes) -> bool:
        if not lies_well(self._shape) or not is_utf8(plain) or has_nul(plain):
            return False
        try:
            _decoder(self.fill.columns)(plain)
        except UNREADABLE:
            return False
        return True

    def _prepared(self, plain: bytes) -> list[bytes]:
        found = []
        for line in plain.split(b"\n"):
            try:
                record = read(line)
                if not is_plainly_sound(line, record):
                    strictly(line)
            except Malformed:
                continue  # a dead letter: the table has no row of it
            prepared = self.prepared(record)
            if prepared is not None:
                found.append(prepared)
        return found


@dataclass(slots=True)
class _Bundle:
    size: int = 0
    records: int = 0
    _lying: list[bytes] = field(default_factory=list)
    _lying_count: int = 0
    _prepared: list[bytes] = field(default_factory=list)

    def as_they_lie(self, plain: bytes, count: int) -> None:
        self._lying.append(plain)
        self._lying_count += count
        self.size += len(plain)
        self.records += count

    def prepared(self, lines: list[bytes], count: int) -> None:
        self._prepared += lines
        self.size += sum(map(len, lines))
        self.records += count

    def rows(self) -> list[Rows]:
        lying = Rows(b"".join(self._lying), self._lying_count)
        prepared = Rows(b"".join(line + b"\n" for line in self._prepared), len(self._prepared), prepared=True)
        return [rows for rows in (lying, prepared) if rows.count]


def _given(record: Stamped, name: str) -> msgspec.Raw | None:
    """A field's value, in `rescued` where it is not in `data`; None for null."""
    for fields in (record.data, record.rescued or {}):
        value = fields.get(name)
        if value is not None and bytes(value) != b"null":
            return value
    return None


@lru_cache(maxsize=100)
def _decoder(columns: tuple[Column, ...]) -> Any:
    return msgspec.json.Decoder(part_type(columns)).decode_lines
