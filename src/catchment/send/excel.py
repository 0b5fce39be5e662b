"""Excel and OpenDocument sheets (.xlsx, .xlsm, .xlsb, .xls, .ods): each row below the header becomes a row.

A column has one type, which all of its cells have: true and false are booleans, numbers are integers where all are
whole, else doubles. Anything else, and a column that mixes them, is text:

| cell | text |
|---|---|
| date and time | `2026-01-02 03:04:05`, as the sheet has it: it knows no time zone |
| date, in a column without times | `2026-01-02` |
| time, duration | `03:04:00`, `26:00:00` |
| number among texts | `7`, `7.5` |

An empty cell, an empty text and an error such as `#N/A` are nulls; of a formula the value is taken that was saved with
it. A row without any value is no record. The library holds a sheet in memory as a rectangle up to its last cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import TYPE_CHECKING
from zipfile import BadZipFile, ZipFile, is_zipfile

from catchment import sniff
from catchment.errors import UsageError
from catchment.send.render import objects
from catchment.send.rows import Batch
from catchment.send.source import Source
from catchment.send.survey import own_names

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook

Cell = int | float | str | bool | time | date | datetime | timedelta
Text = str | None

MAX_UNPACKED_BYTES = 4 << 30
"""What a workbook may say that it unpacks to: a file of a few kilobytes may hold gigabytes of nothing."""
_ROWS_PER_BATCH = 2_000
_EXACT = float(sniff.MAX_EXACT_INTEGER)


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a whole sheet says of itself. `columns`, `types` and `places` are parallel; `has_times` tells of which
    columns the dates are written with their time."""

    columns: tuple[str, ...]
    types: tuple[sniff.Type, ...]
    places: tuple[int, ...]
    """Where in the sheet the columns are, from 0: one without name and values is none."""
    has_times: tuple[bool, ...]
    is_empty: tuple[bool, ...]
    nulls: tuple[int, ...]
    """How many rows have no value there."""
    rows: int


@contextmanager
def workbook(source: Source) -> Iterator[CalamineWorkbook]:
    """The workbook, open. Raises `UsageError` for what is none, is encrypted, or would unpack to too much."""
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    _check_unpacked(source)
    try:
        with CalamineWorkbook.from_path(source.path) as opened:
            yield opened
    except PasswordError:
        raise UsageError(f"{source.name} is protected with a password", "save it without one") from None
    except CalamineError as error:
        raise UsageError(
            f"{source.name} is no workbook that can be read: {error}", "save it again as .xlsx, or as CSV"
        ) from None


def sheet_names(opened: CalamineWorkbook) -> tuple[str, ...]:
    """The sheets that hold cells, those that are hidden last."""
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    sheets = [each for each in opened.sheets_metadata if each.typ == SheetTypeEnum.WorkSheet]
    return tuple(each.name for each in sorted(sheets, key=lambda each: each.visible != SheetVisibleEnum.Visible))


def look(source: Source, sheet: CalamineSheet, header_row: int) -> Sheet:
    """Read all of it once. The header is in row `header_row`, counted from 1; with 0 there is none.

    Raises `UsageError` where nothing is there.
    """
    cells: Iterator[Sequence[Cell]] = sheet.iter_rows()
    header = next(islice(cells, header_row - 1, None), ()) if header_row else ()
    columns: list[_Column] = [_Column() for _ in header]
    rows = 0
    for row in cells:
        is_row = False
        while len(columns) < len(row):
            columns.append(_Column())
        for column, cell in zip(columns, row, strict=False):
            if cell != "":
                is_row = True
                column.add(cell)
        rows += is_row
    names = [_name(cell) for cell in header] + [""] * (len(columns) - len(header))
    places = tuple(at for at, column in enumerate(columns) if names[at] or column.is_used)
    if not places:
        where = f"row {header_row}" if header_row else "it"
        raise UsageError(f"{source.name}, sheet {sheet.name!r}: {where} holds nothing", "choose another sheet or row")
    named = own_names(names)
    return Sheet(
        tuple(named[at] for at in places),
        tuple(columns[at].type for at in places),
        places,
        tuple(columns[at].has_times for at in places),
        tuple(not columns[at].is_used for at in places),
        tuple(rows - columns[at].values for at in places),
        rows,
    )


def batches(
    sheet: CalamineSheet,
    found: Sheet,
    header_row: int,
    names: Sequence[str | None],
    types: Sequence[sniff.Type],
    size_bytes: int,
) -> Iterator[Batch]:
    """The sheet's rows in order, under these names and types, which may be text where `found` has another type; a
    column without a name is left out.
    Their numbers are those that the sheet shows; `size_bytes` is the file's."""
    rows = enumerate(sheet.iter_rows(), 1)
    total = sheet.total_height or 1
    for _ in range(header_row):
        next(rows, None)
    while some := list(islice(rows, _ROWS_PER_BATCH)):
        kept = [(number, row) for number, row in some if any(cell != "" for cell in row)]
        numbers = [number for number, _ in kept]
        columns = [
            [text(row[place] if place < len(row) else "", kind, has_times=has_times) for _, row in kept]
            for place, kind, has_times in zip(found.places, found.types, found.has_times, strict=True)
        ]
        data = objects(names, types, columns, len(kept))
        yield Batch(data, numbers, numbers, data, None, [], min(size_bytes, size_bytes * some[-1][0] // total))


def text(cell: Cell, kind: sniff.Type, *, has_times: bool) -> Text:
    """A cell of a column of this type as text; canonical where the type is not text."""
    match cell:
        case "":
            return None
        case bool():
            return "true" if cell else "false"
        case int() | float():
            return _number(cell) if kind != "double" else repr(float(cell))
        case datetime():
            return str(cell)
        case date():
            return f"{cell} 00:00:00" if has_times else str(cell)
        case time():
            return str(cell)
        case timedelta():
            return _duration(cell)
    return cell


def _number(cell: float) -> str:
    return str(int(cell)) if abs(cell) <= _EXACT and cell == int(cell) else repr(cell)


def _duration(cell: timedelta) -> str:
    seconds, microseconds = divmod(abs(cell) // timedelta(microseconds=1), 1_000_000)
    sign = "-" if cell < timedelta() else ""
    fraction = f".{microseconds:06}".rstrip("0") if microseconds else ""
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{fraction}"


def _name(cell: Cell) -> str:
    return (text(cell, "varchar", has_times=False) or "").strip()


class _Column:
    """What one column can still be."""

    __slots__ = ("_kinds", "_texts", "has_times", "values")

    def __init__(self) -> None:
        self._kinds: set[str] = set()
        self._texts = sniff.Column()
        self.has_times = False
        self.values = 0

    def add(self, cell: Cell) -> None:
        self.values += 1
        match cell:
            case bool():
                self._kinds.add("boolean")
            case int() | float():
                self._kinds.add("bigint" if abs(cell) <= _EXACT and cell == int(cell) else "double")
            case str():
                self._kinds.add("text")
                self._texts.add([cell])
            case _:
                self._kinds.add("other")
                self.has_times = self.has_times or isinstance(cell, datetime)

    @property
    def is_used(self) -> bool:
        return bool(self._kinds)

    @property
    def type(self) -> sniff.Type:
        if self._kinds == {"boolean"}:
            return "boolean"
        if self._kinds == {"bigint"}:
            return "bigint"
        if self._kinds and self._kinds <= {"bigint", "double"}:
            return "double"
        if self._kinds == {"text"} and self._texts.type == "timestamptz":
            return "timestamptz"
        return "varchar"


def _check_unpacked(source: Source) -> None:
    """A workbook is a zip file, but for .xls. Its own word is taken only to refuse it."""
    if not is_zipfile(source.path):
        return
    try:
        with ZipFile(source.path) as packed:
            unpacked = sum(entry.file_size for entry in packed.infolist())
    except (BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"{source.name} is a damaged zip file: {error}", "save it again") from None
    if unpacked > MAX_UNPACKED_BYTES:
        raise UsageError(
            f"{source.name} unpacks to {unpacked / 1e9:,.1f} GB; a workbook may have {MAX_UNPACKED_BYTES >> 30} GB",
            "save the sheet as CSV",
        )
