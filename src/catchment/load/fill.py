"""`replay --fill`: columns of rows that are there get what the archive has for them.

First a column that is not there is added, so that rows loaded from then on have it; then the values of the archive are
gathered in a side table, some files at a time, and those that `_rescued` alone has; then all are put in place at once.
Stopped anywhere, it goes on where it was when it is begun again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from catchment.archives import Archive
from catchment.errors import Malformed, SchemaChanged
from catchment.load.election import Election
from catchment.load.fill_columns import FillColumns
from catchment.load.gathering import Gathering, Piece
from catchment.load.loader import Loader
from catchment.load.patience import patiently
from catchment.load.stamped import Stamped
from catchment.load.walk import walk
from catchment.log import get_log
from catchment.pack import read_file
from catchment.warehouses import Fill, Rows
from catchment.warehouses.rows import each_row
from catchment.warehouses.shape import ColumnType, is_nameable

_log = get_log("load")

TOGETHER_ROWS = 250_000
TOGETHER_BYTES = 32 * 1024 * 1024
"""So much of whole files is gathered by one statement, at most: what the warehouse reads by itself counts no bytes."""
RESCUED_ROWS = 10_000
_ATTEMPTS = 20

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(slots=True)
class FillDone:
    """What a fill has done so far."""

    columns: tuple[str, ...] = ()
    files: int = 0
    """Gathered, by this one or by one that it goes on with."""
    records: int = 0
    """Read by this one."""
    rows: int = 0
    """That have a value more."""
    left: int = 0
    """Of which a value stays as it was: its column does not take it."""
    damaged: int = 0
    """Files that could not be read; each has been said."""


def fill(
    loader: Loader,
    archive: Archive,
    table: str,
    names: Sequence[str],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Callable[[FillDone], None] = lambda _: None,
) -> FillDone:
    """Fill columns of `table`, each named by its own name or its field's, in rows where they are null.

    Only with what was received at `since` or later and before `until`, where given; archive files are taken whole.

    Raises `UsageError` for a table that is not there or has halted, and for a column that can't be filled.
    """
    filling = _Filling(loader, archive, table, _in_utc(since), _in_utc(until), progress)
    for _ in range(_ATTEMPTS):
        try:
            return filling.run(FillColumns(loader, table, names))
        except SchemaChanged:
            continue  # its columns are others than a moment ago, such as one that was widened
    raise SchemaChanged(table)


@dataclass(slots=True)
class _Filling:
    loader: Loader
    archive: Archive
    table: str
    since: datetime | None
    until: datetime | None
    progress: Callable[[FillDone], None]
    done: FillDone = field(default_factory=FillDone)
    known: Mapping[str, int] = field(default_factory=dict)
    """Files that were read to find the columns' types, and so are known to fit them; how many records each has."""
    known_of: frozenset[str] = frozenset()
    """The fields that they were read for."""

    def run(self, columns: FillColumns) -> FillDone:
        fill = Fill(self.table, columns.made(self._elected), self.since, self.until)
        self.done = FillDone(tuple(column.name for column in fill.columns))
        known = self.known if self.known_of == {column.field for column in fill.columns} else {}
        gathering = Gathering(self.archive, self.loader.warehouse.reads, fill, columns.contract, known)
        self.known = {}  # should the columns become others meanwhile
        self._gather_archive(gathering)
        self._gather_rescued(gathering)
        filled = patiently(lambda: self.loader.warehouse.fill(fill))
        self.done.rows, self.done.left = filled.rows, filled.left
        return self.done

    def _names(self) -> Iterator[str]:
        for found in walk(self.archive, tables=[self.table], since=self.since, until=self.until):
            yield found.name

    def _elected(self, fields: Sequence[str]) -> Mapping[str, ColumnType | None]:
        election = Election(fields)
        for name in self._names():
            try:
                with self.archive.open(name) as file:
                    for pack in read_file(file, frozenset([self.table])):
                        election.count(name, pack.plain(), pack.header.count)
            except (FileNotFoundError, Malformed):
                continue  # a damaged file is said when it is gathered
        self.known = election.fitting()
        self.known_of = frozenset(fields)
        return election.result()

    # ---- the archive ------------------------------------------------------------------

    def _gather_archive(self, gathering: Gathering) -> None:
        """While some pieces are sent, the next are read."""
        staged = patiently(lambda: self.loader.warehouse.staged(gathering.fill))
        with ThreadPoolExecutor(1, "fill") as sending:
            under_way: Future[None] | None = None
            for pieces in self._pieces(gathering, staged):
                if under_way is not None:
                    under_way.result()
                under_way = sending.submit(self._stage, gathering, pieces)
            if under_way is not None:
                under_way.result()

    def _pieces(self, gathering: Gathering, staged: frozenset[str]) -> Iterator[list[Piece]]:
        """What is gathered by one statement each."""
        whole: list[Piece] = []
        for name in self._names():
            if name in staged:
                self.done.files += 1
                continue
            try:
                for piece in gathering.of(name):
                    if piece.name is None:
                        yield [piece]
                    else:
                        whole.append(piece)
            except FileNotFoundError:
                continue  # rewritten meanwhile: its records come under another name
            except Malformed as error:
                self.done.damaged += 1
                _log.error("an archive file is damaged and was left out", file=name, exc=error)
                continue
            rows, size = sum(piece.records for piece in whole), sum(piece.bytes for piece in whole)
            if rows >= TOGETHER_ROWS or size >= TOGETHER_BYTES:
                yield whole
                whole = []
        if whole:
            yield whole

    def _stage(self, gathering: Gathering, pieces: Sequence[Piece]) -> None:
        """Gather these pieces; where the warehouse refuses them, each by itself and with every row looked at."""
        names = [piece.name for piece in pieces if piece.name is not None]
        try:
            self._send(gathering.fill, names, _together([rows for piece in pieces for rows in piece.rows]))
        except Malformed:
            for piece in pieces:
                for again in gathering.strictly(piece):
                    self._send_prepared(gathering.fill, again)
        self.done.files += len(names)
        self.done.records += sum(piece.records for piece in pieces)
        self.progress(self.done)

    def _send_prepared(self, fill: Fill, piece: Piece) -> None:
        """Rows that were looked at one by one; those that the warehouse refuses even so it can't have in the table."""
        names = [] if piece.name is None else [piece.name]
        try:
            self._send(fill, names, piece.rows)
        except Malformed as error:
            lines = [
                line + b"\n"
                for rows in piece.rows
                if isinstance(rows.data, bytes)
                for line in rows.data.split(b"\n")
                if line
            ]
            if len(lines) <= 1:
                _log.warning("the warehouse refused a record", table=fill.table, file=piece.name, error=error.detail)
                self._send(fill, names, [])
                return
            middle = len(lines) // 2
            for some, name in ((lines[:middle], None), (lines[middle:], piece.name)):
                rows = Rows(b"".join(some), len(some), prepared=True)
                self._send_prepared(fill, Piece([rows], name, len(some)))

    def _send(self, fill: Fill, names: Sequence[str], rows: Sequence[Rows]) -> None:
        patiently(lambda: self.loader.warehouse.stage(fill, names, rows))

    # ---- what rows have in `_rescued` -------------------------------------------------

    def _gather_rescued(self, gathering: Gathering) -> None:
        """Values of records that the archive no longer has."""
        lines: list[bytes] = []
        for record in self._rescued(gathering.fill):
            line = gathering.prepared(record)
            if line is not None:
                lines.append(line + b"\n")
            if len(lines) >= RESCUED_ROWS:
                self._send(gathering.fill, [], [Rows(b"".join(lines), len(lines), prepared=True)])
                lines = []
        self._send(gathering.fill, [], [Rows(b"".join(lines), len(lines), prepared=True)])

    def _rescued(self, fill: Fill) -> Iterator[Stamped]:
        """Rows for which nothing was gathered, and that may have something in `_rescued`, as records."""
        table, side = _quoted(fill.table), _quoted(f"catchment.{fill.side}")
        conditions = ["t._rescued IS NOT NULL"]
        params: list[object] = []
        for moment, compares in ((self.since, ">="), (self.until, "<")):
            if moment is not None:
                params.append(moment)
                conditions.append(f"t._received_at {compares} ${len(params)}")
        if all(is_nameable(column.field) for column in fill.columns):  # else its JSON may be spelled in several ways
            held = []
            for column in fill.columns:
                params.append(f'"{column.field}"')
                held.append(f"strpos(CAST(t._rescued AS VARCHAR), ${len(params)}) > 0")
            conditions.append(f"({' OR '.join(held)})")
        self._send(fill, [], [])  # there may be nothing in the archive, and then no side table
        answer = self.loader.warehouse.query(
            "SELECT t._source, t._id, t._received_at, CAST(t._rescued AS VARCHAR) "
            f"FROM {table} t WHERE {' AND '.join(conditions)} AND NOT EXISTS (SELECT 1 FROM {side} s WHERE "
            "s._id = t._id AND s._source = t._source AND s._received_at = t._received_at)",
            params,
        )
        with contextlib.closing(each_row(answer)) as rows:
            for source, identity, received_at, rescued in rows:
                fields = _decode_fields(rescued.encode())
                yield Stamped(fill.table, identity, received_at, received_at, source, fields)


def _together(rows: Sequence[Rows]) -> list[Rows]:
    """The same rows, with all files in one: a warehouse reads several at a time."""
    in_files = [each for each in rows if not isinstance(each.data, bytes)]
    urls = tuple(url for each in in_files for url in each.data if isinstance(url, str))
    in_memory = [each for each in rows if isinstance(each.data, bytes)]
    return [*([Rows(urls, sum(each.count for each in in_files))] if urls else []), *in_memory]


def _in_utc(moment: datetime | None) -> datetime | None:
    return moment.astimezone(UTC) if moment is not None else None


def _quoted(table: str) -> str:
    return ".".join(f'"{part}"' for part in table.split("."))
