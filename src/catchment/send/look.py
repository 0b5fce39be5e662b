"""What a file of a known format says of itself as a whole, with its first rows to be shown; and its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from catchment import sniff
from catchment.errors import UsageError
from catchment.send import excel, parquet, render
from catchment.send.csv import Dialect
from catchment.send.rows import Bad, Batch
from catchment.send.source import Source
from catchment.send.survey import Options, Survey, open_csv, own_names, survey_as_named
from catchment.send.trials import SHOWN_CHARACTERS, WIDE, by_delimiters, cut, in_encodings
from catchment.warehouses.shape import MOST_COLUMNS

Format = Literal["csv", "excel", "parquet"]
Type = sniff.Type | Literal["json"]

SHOWN_ROWS = 50
SHOWN_BAD = 20

Mark = Annotated[str, Meta(min_length=1, max_length=1, pattern="^[^\r\n]$")]
Name = Annotated[str, Meta(max_length=10_000)]


class Choices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to read a file, as far as the file does not say: marks and encoding of CSV, the sheet of a workbook."""

    delimiter: Mark | None = None
    one_column: bool = False
    quote: Mark | None = '"'
    nulls: Annotated[list[Annotated[str, Meta(max_length=100)]], Meta(max_length=20)] = []
    encoding: Annotated[str, Meta(max_length=40)] = "utf-8"
    sheet: Name | None = None
    header_row: Annotated[int, Meta(ge=0, le=1_000)] = 1
    """The line or row that names the columns, from 1; 0 where none does."""


class Shown(msgspec.Struct, frozen=True):
    """A record that is no row, to be shown."""

    line: int
    detail: str
    text: str


class Found(msgspec.Struct, frozen=True):
    """What a file holds. `columns` and `types` are parallel."""

    columns: tuple[str, ...]
    types: tuple[Type, ...]
    is_empty: tuple[bool, ...]
    """Of each column, whether it has no value at all, as far as that is known."""
    nulls: tuple[int, ...]
    """Of each column, how many rows have no value there, as far as that is known."""
    rows: int
    bad: int
    first: tuple[tuple[str | None, ...], ...]
    """The first rows, as text; None for a null."""
    first_bad: tuple[Shown, ...]
    choices: Choices
    """Those given, with what the file itself says."""
    sheets: tuple[str, ...] = ()


class Written(msgspec.Struct, frozen=True):
    """How the columns go out: each under its name, or not at all; those of `texts` (by their place) as text."""

    names: tuple[str | None, ...]
    texts: tuple[int, ...] = ()


class Unclear(UsageError):
    """The file does not say how it is to be read. `asks` names the choice; `trials` are readings of one line."""

    def __init__(self, error: UsageError, asks: str, trials: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(error.message, error.hint)
        self.asks = asks
        self.trials = trials


def look(
    source: Source, kind: Format, choices: Choices, max_rows: int, progress: Callable[[float], None] = lambda _: None
) -> Found:
    """Read the whole file. Raises `UsageError`, `Unclear` among them; also for more than `max_rows` rows."""
    match kind:
        case "csv":
            found = _look_at_csv(source, choices, progress)
        case "excel":
            found = _look_at_excel(source, choices)
        case _:
            found = _look_at_parquet(source, choices, max_rows, progress)
    if len(found.columns) > MOST_COLUMNS:
        raise UsageError(
            f"{source.name} has {len(found.columns):,} columns; a table may have {MOST_COLUMNS:,}",
            "keep those that are needed",
        )
    if found.rows + found.bad > max_rows:
        raise _too_many(source, "has", found.rows + found.bad, max_rows)
    return found


def _too_many(source: Source, has: str, rows: int, most: int) -> UsageError:
    return UsageError(
        f"{source.name} {has} {rows:,} rows; an upload may have {most:,}",
        "split it, or use the command `catchment send`, which takes any number",
    )


def rows(source: Source, kind: Format, found: Found, written: Written) -> Iterator[Batch]:
    """The rows of a file that was looked at."""
    types = tuple("varchar" if at in written.texts else kind for at, kind in enumerate(found.types))
    choices = found.choices
    match kind:
        case "csv":
            dialect = Dialect(choices.delimiter, choices.quote, None, frozenset(choices.nulls))
            as_found = Survey(dialect, found.columns, types, found.rows, found.bad)  # type: ignore[arg-type]  # CSV has no JSON
            yield from render.batches(source, as_found, _options(choices, found.columns), names=written.names)
        case "excel":
            with excel.workbook(source) as opened:
                sheet = opened.get_sheet_by_name(choices.sheet or "")
                as_seen = excel.look(source, sheet, choices.header_row)
                yield from excel.batches(sheet, as_seen, choices.header_row, written.names, types, source.size_bytes)  # type: ignore[arg-type]
        case _:
            texts = frozenset(found.columns[at] for at in written.texts)
            names = dict(zip(found.columns, written.names, strict=True))
            yield from parquet.rows(source, None, parquet.As(names, texts))


def _options(choices: Choices, columns: tuple[str, ...] = ()) -> Options:
    return Options(
        delimiter=choices.delimiter,
        one_column=choices.one_column,
        quote=choices.quote,
        nulls=frozenset(choices.nulls),
        columns=columns if not choices.header_row else (),
        skip=max(0, choices.header_row - 1),
        encoding=choices.encoding,
    )


def _look_at_csv(source: Source, choices: Choices, progress: Callable[[float], None]) -> Found:
    if choices.quote is not None and choices.quote == choices.delimiter:
        raise UsageError("the delimiter must differ from the quote")
    if source.size_bytes == 0:
        raise UsageError(f"{source.name} is empty")
    _check_is_text(source, choices.encoding)
    progress(0.0)
    try:
        found = survey_as_named(source, _options(choices))
        if not choices.header_row:  # its first line, taken for a header, told how many columns there are
            choices = _as_found(choices, found.dialect)
            names = tuple(f"column_{at}" for at in range(1, len(found.columns) + 1))
            found = survey_as_named(source, _options(choices, names))
    except UsageError as error:
        asks = next((each for each in ("encoding", "delimiter", "quote") if f"--{each}" in error.hint), "")
        if not asks:
            raise
        trials = {
            "encoding": in_encodings(source, choices.encoding),
            "delimiter": by_delimiters(source, _options(choices)),
        }
        raise Unclear(error, asks, tuple(trials.get(asks, ()))) from None
    choices = _as_found(choices, found.dialect)
    columns = own_names(found.columns)
    shown, bad = _first_of_csv(source, found, choices, columns)
    return Found(
        columns=columns,
        types=found.types,
        is_empty=found.is_empty,
        nulls=found.nulls,
        rows=found.rows,
        bad=found.bad,
        first=shown,
        first_bad=bad,
        choices=choices,
    )


def _as_found(choices: Choices, dialect: Dialect) -> Choices:
    return msgspec.structs.replace(choices, delimiter=dialect.delimiter, one_column=dialect.delimiter is None)


def _first_of_csv(
    source: Source, found: Survey, choices: Choices, columns: tuple[str, ...]
) -> tuple[tuple[tuple[str | None, ...], ...], tuple[Shown, ...]]:
    reader = open_csv(source, _options(choices, columns), found.dialect)
    if choices.header_row:
        reader.header()
    shown: list[tuple[str | None, ...]] = []
    bad: list[Bad] = []
    wanted_bad = min(found.bad, SHOWN_BAD)
    for chunk in reader.chunks(len(columns)):
        few = [column[: SHOWN_ROWS - len(shown)] for column in chunk.columns]
        shown += [tuple(map(cut, row)) for row in zip(*few, strict=True)]
        bad += chunk.bad[: wanted_bad - len(bad)]
        if len(shown) >= min(found.rows, SHOWN_ROWS) and len(bad) >= wanted_bad:
            break
    return tuple(shown), _shown(bad)


def _check_is_text(source: Source, encoding: str) -> None:
    """A file of another format that is read as CSV would be one long mistake."""
    with source.open() as file:
        start = file.read(1 << 16)
    if b"\0" in start and not encoding.lower().startswith(("utf-16", "utf-32")):
        if start.startswith(WIDE):
            raise Unclear(
                UsageError(f"{source.name} is UTF-16, by its first bytes"),
                "encoding",
                tuple(in_encodings(source, encoding)),
            )
        at = start.index(b"\0")
        raise UsageError(
            f"{source.name} is no table that can be read: neither Excel, OpenDocument nor Parquet, and no text either",
            f"its byte {at + 1:,} is NUL, which CSV has none of",
        )


def _look_at_excel(source: Source, choices: Choices) -> Found:
    with excel.workbook(source) as opened:
        sheets = excel.sheet_names(opened)
        if not sheets:
            raise UsageError(f"{source.name} has no sheet with cells")
        name = sheets[0] if choices.sheet is None else choices.sheet
        if name not in sheets:
            raise UsageError(f"{source.name} has no sheet {name!r}")
        sheet = opened.get_sheet_by_name(name)
        try:
            found = excel.look(source, sheet, choices.header_row)
        except UsageError as error:
            others = tuple((each, "") for each in sheets if each != name)
            raise Unclear(error, "sheet", others) from None
        batches = excel.batches(sheet, found, choices.header_row, found.columns, found.types, source.size_bytes)
        return Found(
            columns=found.columns,
            types=found.types,
            is_empty=found.is_empty,
            nulls=found.nulls,
            rows=found.rows,
            bad=0,
            first=_first(batches, found.columns),
            first_bad=(),
            choices=msgspec.structs.replace(choices, sheet=name),
            sheets=sheets,
        )


def _look_at_parquet(source: Source, choices: Choices, max_rows: int, progress: Callable[[float], None]) -> Found:
    columns, claimed = parquet.columns(source)
    if claimed > max_rows:
        raise _too_many(source, "says that it has", claimed, max_rows)
    if not columns:
        raise UsageError(f"{source.name} has no columns")
    votes = _Votes(tuple(columns))
    count, bad = 0, list[Bad]()
    total_bad = 0
    first: list[Batch] = []
    for batch in parquet.rows(source):
        votes.add(batch.data)
        count += len(batch.data)
        total_bad += len(batch.bad)
        bad += batch.bad[: SHOWN_BAD - len(bad)]
        if sum(len(each.data) for each in first) < SHOWN_ROWS:
            first.append(batch)
        if count + total_bad > max_rows:
            raise _too_many(source, "has at least", count + total_bad, max_rows)
        progress(batch.at_bytes / max(source.size_bytes, 1))
    return Found(
        columns=tuple(columns),
        types=votes.types,
        is_empty=votes.is_empty,
        nulls=tuple(votes.nulls.values()),
        rows=count,
        bad=total_bad,
        first=_first(iter(first), tuple(columns)),
        first_bad=_shown(bad),
        choices=choices,
    )


def _first(batches: Iterator[Batch], columns: tuple[str, ...]) -> tuple[tuple[str | None, ...], ...]:
    """The first rows of JSON objects as text."""
    texts = chain.from_iterable(batch.data for batch in batches)
    shown = []
    for _, text in zip(range(SHOWN_ROWS), texts, strict=False):
        row = _decode_raws(text)
        shown.append(tuple(_plain(bytes(row[name])) for name in columns))
    return tuple(shown)


_decode_raws = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_string = msgspec.json.Decoder(str).decode
_decode_rows = msgspec.json.Decoder(list[dict[str, Any]]).decode


def _plain(raw: bytes) -> str | None:
    if raw == b"null":
        return None
    return cut(_decode_string(raw) if raw.startswith(b'"') else raw.decode())


def _shown(bad: list[Bad]) -> tuple[Shown, ...]:
    return tuple(
        Shown(each.line, each.detail, cut(each.raw[: 4 * SHOWN_CHARACTERS].decode(errors="replace")) or "")
        for each in bad[:SHOWN_BAD]
    )


class _Votes:
    """Which types the values of each column want, as the loader will count them."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._kinds: dict[str, Counter[Type]] = {name: Counter() for name in columns}
        self.nulls = dict.fromkeys(columns, 0)

    def add(self, objects: Any) -> None:
        """Some rows as JSON objects."""
        try:
            found = _decode_rows(f"[{','.join(objects)}]")
        except msgspec.DecodeError:  # such as a number beyond a double, which no column takes
            return
        for name, votes in self._kinds.items():
            values = [row[name] for row in found]
            self.nulls[name] += values.count(None)
            for kind, number in Counter(map(type, values)).items():
                if kind is str and not votes["varchar"]:
                    texts = {value for value in values if type(value) is str}
                    votes["timestamptz" if all(map(sniff.is_timestamptz, texts)) else "varchar"] += number
                elif kind is int:
                    votes["bigint"] += sum(-(2**63) <= value < 2**63 for value in values if type(value) is int)
                elif kind in _KINDS:
                    votes[_KINDS[kind]] += number

    @property
    def types(self) -> tuple[Type, ...]:
        return tuple(map(_elected, self._kinds.values()))

    @property
    def is_empty(self) -> tuple[bool, ...]:
        return tuple(not +votes for votes in self._kinds.values())


_KINDS: dict[type, Type] = {bool: "boolean", float: "double", dict: "json", list: "json", str: "varchar"}


def _elected(votes: Counter[Type]) -> Type:
    votes = +Counter(votes)
    if votes["double"] and votes["bigint"]:
        votes["double"] += votes.pop("bigint")
    if votes["varchar"] and votes["timestamptz"]:
        votes["varchar"] += votes.pop("timestamptz")
    return votes.most_common(1)[0][0] if +votes else "varchar"
