"""How a few lines of a file would read in one way and another, where it does not say which is meant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from catchment.errors import UsageError
from catchment.send.csv import Dialect
from catchment.send.lines import byte_blocks
from catchment.send.source import Source
from catchment.send.survey import CANDIDATES, Options, open_csv

SHOWN_CHARACTERS = 200
"""Of one value, or one line."""
ENCODINGS = ("cp1252", "cp1250", "cp1251", "iso8859-15", "mac-roman", "shift_jis", "gb18030", "euc-kr")
"""What is offered for a file that is neither UTF-8 nor UTF-16, the most common first."""
WIDE = (b"\xff\xfe", b"\xfe\xff")
_MOST_TELLING = 3
"""Lines of which it is shown how each encoding reads them."""


def in_encodings(source: Source, but: str) -> Iterator[tuple[str, str]]:
    """How a few lines would read in each encoding that can read all the file's beginning: lines that the encodings
    read differently, the one that most of them do first. Of encodings that read all of it alike there is the first."""
    with source.open() as file:
        start = file.read(1 << 16)
    is_wide = start.startswith(WIDE) or b"\0" in start
    if is_wide:
        with suppress(UnicodeError):
            text = start[: len(start) & ~1].decode("utf-16").strip()
            if but != "utf-16" and text:
                yield "utf-16", cut(text.partition("\n")[0].strip()) or ""
        return
    lines = [_telling_part(line) for line in start.split(b"\n")[:-1] or [start] if not line.isascii()]
    if not lines:  # they come later
        with suppress(UsageError):
            found = (line for block in byte_blocks(source) for line in block.lines.split(b"\n"))
            lines = list(islice((_telling_part(line) for line in found if not line.isascii()), 1))
    readings: dict[str, list[str]] = {}
    for encoding in ENCODINGS:
        with suppress(UnicodeError):
            texts = [line.decode(encoding).strip() for line in lines]
            if encoding != but and any(texts) and texts not in readings.values():
                readings[encoding] = texts
    shown = _telling(list(readings.values()))
    for encoding, texts in readings.items():
        yield encoding, cut(" … ".join(texts[at] for at in shown)) or ""


def _telling_part(line: bytes) -> bytes:
    """Without the most of what all encodings read alike before the first other letter."""
    before = next(at for at, byte in enumerate(line) if byte > 127)
    return line[max(0, before - SHOWN_CHARACTERS // 4) :]


def _telling(readings: list[list[str]]) -> list[int]:
    """Which lines tell all these readings apart, few of them, in their order."""
    if not readings:
        return []
    lines = list(zip(*readings, strict=True))
    chosen: list[int] = []
    apart = 0
    while apart < len(readings) and len(chosen) < _MOST_TELLING:
        said = [tuple(texts[at] for at in chosen) for texts in readings]
        best = max(range(len(lines)), key=lambda at: (len(set(zip(said, lines[at], strict=True))), -len(lines[at][0])))
        now_apart = len(set(zip(said, lines[best], strict=True)))
        if now_apart == apart:
            break
        chosen, apart = sorted([*chosen, best]), now_apart
    return chosen


def by_delimiters(source: Source, options: Options) -> Iterator[tuple[str, str]]:
    """What each delimiter makes of the first line."""
    for delimiter in CANDIDATES:
        with suppress(UsageError):
            reader = open_csv(source, options, Dialect(delimiter, options.quote))
            fields = reader.header() or []
            if len(fields) > 1:
                yield delimiter, cut(" · ".join(field or "" for field in fields)) or ""


def cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
