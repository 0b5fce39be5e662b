"""CSV without guessing: a text and its dialect in, records out, none lost.

A field that begins with the quote ends with it, may hold delimiters and line ends, and doubles a quote inside
it (or escapes it, where the dialect has an escape). In any other field a quote is a character like others.
`""` is an empty text, an empty field without quotes is a null. Lines end with LF or CRLF. An empty line holds
no record, except in a file of one column, where it is a null.

There are three readings, the faster the simpler the text, and the tests compare them: by whole columns where a
block has no quotes, by lines where each is a record, and field by field for anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat

from catchment.errors import UsageError
from catchment.send.lines import MAX_LENGTH, Block
from catchment.send.rows import Bad

Value = str | None
"""A field's text, or None for a null."""

_OWN_MARKS = "mend the line, or name the file's own marks: --quote, --escape; --quote none if it has no quotes"
WRONG_FIELDS = "wrong-fields"
_LONGEST_WHOLE = 64 << 10  # a pattern takes memory for each doubled quote that it passes
_empty_lines = re.compile(r"(?:\r?\n)+")


class Unreadable(UsageError):
    """The file's quotes make no sense in this dialect."""


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written. Each mark is one character, or None where the file has none."""

    delimiter: str | None
    quote: str | None = '"'
    escape: str | None = None
    """Goes before a quote or itself inside a quoted field; None: a quote is doubled."""
    nulls: frozenset[str] = frozenset()
    """Texts that without quotes mean null, beside the empty one."""

    @cached_property
    def field_end(self) -> re.Pattern[str]:
        """Where a field without quotes ends."""
        return re.compile(f"[{re.escape(self.delimiter or '')}\n]")

    @cached_property
    def whole_field(self) -> re.Pattern[str]:
        """A field, quoted or not, with the delimiter behind it."""
        quote, delimiter = re.escape(self.quote or ""), re.escape(self.delimiter or "")
        quoted = f"{quote}[^{quote}]*(?:{quote}{quote}[^{quote}]*)*{quote}"
        return re.compile(f"({quoted}|[^{quote}{delimiter}][^{delimiter}]*|){delimiter}")

    @cached_property
    def quote_or_escape(self) -> re.Pattern[str]:
        """What matters inside a quoted field."""
        return re.compile(f"[{re.escape((self.quote or '') + (self.escape or ''))}]")

    def value(self, text: str) -> Value:
        """What an unquoted field means."""
        return None if not text or text in self.nulls else text


@dataclass(frozen=True, slots=True)
class Found:
    """One record as it stands: its values, or why it has none."""

    values: list[Value]
    fault: str
    raw: str
    line: int
    """Where it begins, counted from the beginning of the text."""
    end: int
    """The offset in the text at which the next one begins."""

    @property
    def height(self) -> int:
        """How many lines it takes."""
        return self.raw.count("\n") + 1


@dataclass(frozen=True, slots=True)
class Chunk:
    """The records of one block: the good ones as columns, and for each its number, line and text."""

    columns: list[list[Value]]
    numbers: Sequence[int]
    lines: Sequence[int]
    raw: Sequence[str]
    bad: list[Bad]
    at_bytes: int


class Reader:
    """Reads one file from its first line to its last, once. `skip` lines at its start hold no records.

    Its methods raise `Unreadable` where a quote is never closed, and what its blocks raise.
    """

    def __init__(self, blocks: Iterator[Block[str]], dialect: Dialect, name: str, skip: int = 0) -> None:
        self._blocks = blocks
        self._dialect = dialect
        self._name = name
        self._skip = skip
        self._text = ""  # read of the file, not yet understood; begins with a record
        self._line = 1  # that `_text` begins with
        self._number = 1  # of the next record
        self._at_bytes = 0

    def header(self) -> list[Value] | None:
        """The first record; None in a file without any. Raises `Unreadable` also for text behind its quotes."""
        while True:
            found = next(scan(self._text, self._dialect), None)
            if found is not None:
                line = self._line + found.line
                if found.fault:
                    raise Unreadable(f"{self._name} line {line:,}: {found.fault}", _OWN_MARKS)
                self._text = self._text[found.end :]
                self._line = line + found.height
                return found.values
            if not self._read_on():
                return None

    def chunks(self, width: int) -> Iterator[Chunk]:
        """All further records; those that don't have `width` fields are bad."""
        while self._text or self._read_on():
            whole = by_column(self._text, self._dialect, width)
            if whole is None:
                yield self._by_field(width)
            else:
                columns, raw = whole
                count = len(raw)
                numbers = range(self._number, self._number + count)
                yield Chunk(columns, numbers, range(self._line, self._line + count), raw, [], self._at_bytes)
                self._number += count
                self._line += count
                self._text = ""
            if self._text:
                self._read_on()

    def _by_field(self, width: int) -> Chunk:
        rows: list[list[Value]] = []
        numbers, lines, raw, bad, end, next_line = [], [], [], [], 0, self._line
        for found in scan(self._text, self._dialect, blank_lines=width == 1):
            line, end = self._line + found.line, found.end
            next_line = line + found.height
            fault = found.fault or _miscount(len(found.values), width)
            if fault:
                bad.append(Bad(self._number, line, WRONG_FIELDS, fault, found.raw.encode()))
            else:
                rows.append(found.values)
                numbers.append(self._number)
                lines.append(line)
                raw.append(found.raw)
            self._number += 1
        rest = self._text[end:]
        if not rest.strip("\r\n"):  # nothing but empty lines: they are no records, and done with
            next_line += rest.count("\n")
            rest = ""
        self._text, self._line = rest, next_line
        columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
        return Chunk(columns, numbers, lines, raw, bad, self._at_bytes)

    def _read_on(self) -> bool:
        """Add at least one block to the text. False at the end of the file, which no record may lie across."""
        block = next(self._blocks, None)
        if block is None and not self._text.strip("\r\n"):
            return False
        if block is None or len(self._text) > MAX_LENGTH:
            empty_lines = _empty_lines.match(self._text)
            line = self._line + (empty_lines.group().count("\n") if empty_lines else 0)
            quote = self._dialect.quote
            raise Unreadable(
                f"{self._name} line {line:,}: a quote ({quote}) opens in this record and none closes it",
                _OWN_MARKS,
            )
        pieces = [self._text]
        wanted = 2 * len(self._text)  # a record over many blocks is looked at anew a few times, not once a block
        while block is not None:
            pieces.append(self._behind_skipped(block.lines))
            wanted -= len(pieces[-1])
            self._at_bytes = block.at_bytes
            block = next(self._blocks, None) if wanted > 0 else None
        self._text = "".join(pieces)
        return True

    def _behind_skipped(self, text: str) -> str:
        while self._skip and text:
            _, _, text = text.partition("\n")
            self._skip -= 1
            self._line += 1
        return text


def _miscount(count: int, width: int) -> str:
    return "" if count == width else f"{count} field{'s' * (count != 1)} instead of {width}"


def by_column(text: str, dialect: Dialect, width: int) -> tuple[list[list[Value]], list[str]] | None:
    """The columns and the lines of a block in which each line is a record of `width` fields.

    None where a glance can't tell: then `scan` must read it.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").removesuffix("\r")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    delimiter, quote = dialect.delimiter, dialect.quote
    if quote is not None and quote in text:
        rows = [_whole_line(line, dialect) for line in lines]
        if set(map(len, rows)) != {width}:
            return None
        columns = [list(column) for column in zip(*rows, strict=True)]
    elif width == 1:
        if delimiter is not None and delimiter in text:
            return None
        columns = [list(lines)]
    else:
        if delimiter is None or set(map(str.count, lines, repeat(delimiter))) != {width - 1}:
            return None
        flat = text.replace("\n", delimiter).split(delimiter)
        columns = [flat[at : len(lines) * width : width] for at in range(width)]
    return [_values(column, dialect) for column in columns], lines


def _whole_line(line: str, dialect: Dialect) -> list[str]:
    """The fields of a line, with their quotes, if it is a whole record with its quotes where they belong; else [].

    What the pattern finds must make up the whole line: where it skips anything, a quote is open, or stands
    before more text, and only `scan` can tell.
    """
    if dialect.delimiter is None or dialect.escape is not None or len(line) > _LONGEST_WHOLE:
        return []
    fields: list[str] = dialect.whole_field.findall(line + dialect.delimiter)
    return fields if sum(map(len, fields)) + len(fields) == len(line) + 1 else []


def _values(fields: list[str], dialect: Dialect) -> list[Value]:
    """What these fields mean, which may have quotes, doubled inside."""
    quote, nulls = dialect.quote, {"", *dialect.nulls}
    if quote is not None and quote in "".join(fields):
        double = quote * 2
        return [
            None if text in nulls else text[1:-1].replace(double, quote) if text[0] == quote else text
            for text in fields
        ]
    if not dialect.nulls and all(fields):
        return fields  # type: ignore[return-value]  # a list of values that happens to hold no null
    return [None if text in nulls else text for text in fields]


def scan(text: str, dialect: Dialect, blank_lines: bool = False) -> Iterator[Found]:
    """Each whole record of the text, field by field. Stops before one whose quotes are not closed in it.

    Empty lines are records of one null with `blank_lines`, else passed over.
    """
    at = line = 0
    while at < len(text):
        end = _line_end(text, at)
        raw = text[at:end].removesuffix("\r")
        if dialect.quote is not None and dialect.quote in raw:
            fields = _whole_line(raw, dialect)
        else:
            fields = raw.split(dialect.delimiter) if dialect.delimiter else [raw]
        whole = Found(_values(fields, dialect), "", raw, line, end + 1) if fields else None
        found = whole or _quoted(text, at, line, dialect)
        if found is None:
            return
        if found.raw or blank_lines:
            yield found
        line += found.height
        at = found.end


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _quoted(text: str, start: int, line: int, dialect: Dialect) -> Found | None:
    """The record at `start`, some field of which may be quoted. None if a quote isn't closed in the text."""
    assert dialect.quote is not None
    values: list[Value] = []
    fault, at = "", start
    while True:
        quoted = text.startswith(dialect.quote, at)
        behind = at
        if quoted:
            close = _closing_quote(text, at + 1, dialect)
            if close is None:
                return None
            values.append(_unescaped(text[at + 1 : close], dialect))
            behind = close + 1
        match = dialect.field_end.search(text, behind)
        end = match.start() if match else len(text)
        last = match is None or match.group() == "\n"
        plain = text[behind:end].removesuffix("\r") if last else text[behind:end]
        if not quoted:
            values.append(dialect.value(plain))
        elif plain and not fault:
            fault = f"text behind the closing quote of field {len(values)}"
        if last:
            return Found(values, fault, text[start:end].removesuffix("\r"), line, end + 1)
        at = end + 1


def _closing_quote(text: str, at: int, dialect: Dialect) -> int | None:
    """Where the quoted field closes whose text begins at `at`."""
    quote, escape = dialect.quote, dialect.escape
    while match := dialect.quote_or_escape.search(text, at):
        mark = match.start()
        following = text[mark + 1 : mark + 2]
        if escape is None or escape == quote:
            if following != quote:
                return mark
            at = mark + 2
        elif text[mark] == quote:
            return mark
        else:
            at = mark + 2  # what follows an escape closes nothing
    return None


def _unescaped(text: str, dialect: Dialect) -> str:
    quote, escape = dialect.quote or "", dialect.escape
    if escape is None or escape == quote:
        return text.replace(quote * 2, quote)
    return re.sub(f"{re.escape(escape)}([{re.escape(quote + escape)}])", r"\1", text)
