"""The first pass over a CSV file: its dialect, its columns and their types, all from the whole of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from catchment import sniff
from catchment.errors import UsageError
from catchment.send.csv import Dialect, Reader, Unreadable
from catchment.send.lines import UTF_8, text_blocks
from catchment.send.source import Source

CANDIDATES = (",", ";", "\t", "|")
_NAMES = {"\t": "tab", None: "none"}


@dataclass(frozen=True, slots=True)
class Options:
    """What the user said of a CSV file."""

    delimiter: str | None = None
    one_column: bool = False
    """There is no delimiter: each record is one field."""
    quote: str | None = '"'
    escape: str | None = None
    nulls: frozenset[str] = frozenset()
    columns: tuple[str, ...] = ()
    """Names, for a file without a header."""
    skip: int = 0
    encoding: str = UTF_8


@dataclass(frozen=True, slots=True)
class Survey:
    """What the whole file says of itself. `columns` and `types` are parallel."""

    dialect: Dialect
    columns: tuple[str, ...]
    types: tuple[sniff.Type, ...]
    rows: int
    bad: int
    is_empty: tuple[bool, ...] = ()
    """Of each column, whether it has nothing but nulls."""
    nulls: tuple[int, ...] = ()
    """Of each column, how many."""


@dataclass(frozen=True, slots=True)
class _Misfit:
    """Why a delimiter is not the file's, though it occurs. `delimiter` is what to give to insist on it."""

    delimiter: str | None
    why: str


def survey(source: Source, options: Options) -> Survey:
    """Read the whole file once; again for each other delimiter that might be meant.

    Raises `UsageError` when the file does not say how it is to be read, with what fits and the flags to give.
    """
    found = survey_as_named(source, options)
    _check_names(source, found.columns)
    return found


def survey_as_named(source: Source, options: Options) -> Survey:
    """The same, where columns may have no name, or one name several columns: see `own_names`."""
    if options.delimiter is None and not options.one_column:
        found = _only_fit(source, options)
    else:
        found = _given(source, options)
    if any("\r" in name for name in found.columns):
        raise UsageError(f"the lines of {source.name} end with CR alone", "convert it: tr '\\r' '\\n' < FILE")
    return found


def own_names(names: Sequence[str]) -> tuple[str, ...]:
    """A name of its own for each column: `column_3` for one without, `name_2` for the second of that name."""
    taken, found = set(names), list[str]()
    for at, name in enumerate(names, 1):
        if name and name not in found:
            found.append(name)
            continue
        tries = (f"{name}_{count}" for count in range(2, len(names) + 3)) if name else (f"column_{at}",)
        own = next((each for each in tries if each not in taken), f"{name or 'column'}_{at}_{len(names)}")
        taken.add(own)
        found.append(own)
    return tuple(found)


def _given(source: Source, options: Options) -> Survey:
    """As the user says: lines that do not fit are bad, unless nothing fits."""
    found = _measure(source, options, options.delimiter)
    if found.bad and not found.rows:
        width = len(found.columns)
        raise UsageError(
            f"{source.name}: none of its {found.bad:,} records has {width} field{'s' * (width != 1)}",
            "check --delimiter, --quote, --escape and --columns",
        )
    return found


def _only_fit(source: Source, options: Options) -> Survey:
    """The one delimiter that gives every record of the file the same two or more fields; else one column."""
    tried = [_try(source, options, delimiter) for delimiter in CANDIDATES]
    fits = [result for result in tried if isinstance(result, Survey)]
    misfits = [result for result in tried if isinstance(result, _Misfit)]
    if not fits and not misfits:
        single = _one_column(source, options)
        if isinstance(single, Survey):
            return single
        misfits = [single, _Misfit(None, "")]
    if len(fits) == 1:
        return fits[0]
    if fits:
        ways = ", ".join(f"{_shown(fit.dialect.delimiter)} gives {len(fit.columns)} fields" for fit in fits)
        raise UsageError(
            f"{source.name} can be read in {len(fits)} ways: on every line {ways}",
            "say which: " + " or ".join(_flag(fit.dialect.delimiter) for fit in fits),
        )
    raise UsageError(
        f"{source.name}: no delimiter splits all of its lines alike: "
        + "; ".join(each.why for each in misfits if each.why),
        "mend the file, or say how it is written; lines that do not fit become dead letters: "
        + " or ".join(_flag(each.delimiter) for each in misfits),
    )


def _try(source: Source, options: Options, delimiter: str) -> Survey | _Misfit | None:
    """None where the file's first record has no such delimiter."""
    try:
        first = _reader(source, options, delimiter).header()
        if first is not None and len(first) < 2:
            return None
        return _measure(source, options, delimiter, strict=True)
    except _Uneven as error:
        return _Misfit(delimiter, f"{_shown(delimiter)}, line {error.line:,}: {error.detail}")
    except Unreadable as error:
        return _Misfit(delimiter, f"{_shown(delimiter)}: {error.message}")


def _one_column(source: Source, options: Options) -> Survey | _Misfit:
    """A file of one column, if no delimiter occurs in it outside of quotes."""
    width = len(options.columns)
    if width > 1:
        raise UsageError(
            f"{source.name}: no delimiter splits its first line into the {width} fields that --columns names",
            f"name the delimiter: --delimiter {_shown(CANDIDATES[1])}",
        )
    reader = _reader(source, options, None)
    if not options.columns:
        reader.header()
    for chunk in reader.chunks(1):
        for line, raw in zip(chunk.lines, chunk.raw, strict=True):
            if options.quote is not None and raw.startswith(options.quote):
                continue
            for delimiter in CANDIDATES:
                if delimiter in raw:
                    return _Misfit(delimiter, f"one column, yet {_shown(delimiter)} in line {line:,}")
    return _measure(source, options, None)


class _Uneven(Exception):
    """A record with another number of fields than the first."""

    def __init__(self, line: int, detail: str) -> None:
        super().__init__(detail)
        self.line = line
        self.detail = detail


def _measure(source: Source, options: Options, delimiter: str | None, *, strict: bool = False) -> Survey:
    """Read the whole file with this delimiter; `strict` raises `_Uneven` at the first record that does not fit."""
    reader = _reader(source, options, delimiter)
    header = list(options.columns) or reader.header()
    if header is None:
        lacks = f"has no line {options.skip + 1:,}, which would be its header" if options.skip else "is empty"
        raise UsageError(f"{source.name} {lacks}", "name its columns: --columns id,name,…")
    columns = [sniff.Column() for _ in header]
    nulls = [0] * len(columns)
    rows = bad = 0
    for chunk in reader.chunks(len(header)):
        if strict and chunk.bad:
            raise _Uneven(chunk.bad[0].line, chunk.bad[0].detail)
        for at, (column, values) in enumerate(zip(columns, chunk.columns, strict=True)):
            column.add(values)
            nulls[at] += values.count(None)
        rows += len(chunk.raw)
        bad += len(chunk.bad)
    names = tuple(name or "" for name in header)
    types = tuple(column.type for column in columns)
    is_empty = tuple(column.is_empty for column in columns)
    return Survey(_dialect(options, delimiter), names, types, rows, bad, is_empty, tuple(nulls))


def open_csv(source: Source, options: Options, dialect: Dialect) -> Reader:
    """A reader at the file's start."""
    return Reader(text_blocks(source, options.encoding), dialect, source.name, options.skip)


def _reader(source: Source, options: Options, delimiter: str | None) -> Reader:
    return open_csv(source, options, _dialect(options, delimiter))


def _dialect(options: Options, delimiter: str | None) -> Dialect:
    return Dialect(delimiter, options.quote, options.escape, options.nulls)


def _check_names(source: Source, columns: tuple[str, ...]) -> None:
    """Raise `UsageError` unless every column has a name of its own."""
    seen = Counter(columns)
    empty = [at for at, name in enumerate(columns, 1) if not name]
    twice = [name for name, count in seen.items() if name and count > 1]
    if empty:
        problem = f"column {empty[0]} has no name"
    elif twice:
        problem = f"{seen[twice[0]]} columns are named {twice[0]!r}"
    else:
        return
    raise UsageError(
        f"{source.name}: {problem}",
        f"give names instead of the header: --skip 1 --columns {','.join(own_names(columns))}",
    )


def _flag(delimiter: str | None) -> str:
    return f"--delimiter {_shown(delimiter)}"


def _shown(delimiter: str | None) -> str:
    return _NAMES.get(delimiter) or f"'{delimiter}'"
