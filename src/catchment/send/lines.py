"""A file in blocks of whole lines, with bounded memory: as bytes, or decoded."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import AnyStr, Generic

from catchment.errors import UsageError
from catchment.send.source import Source

UTF_8 = "utf-8"
BLOCK_BYTES = 1 << 18
MAX_LENGTH = 16 << 20
"""Of one line or record, in bytes or characters. Above 1 MB it is a dead letter anyway; above this, the file
is not what it is taken for, and what seems one record might be gigabytes."""


@dataclass(frozen=True, slots=True)
class Block(Generic[AnyStr]):
    """Whole lines; only the file's last may lack its end. `at_bytes` is how much of the file has been read."""

    lines: AnyStr
    at_bytes: int


def byte_blocks(source: Source) -> Iterator[Block[bytes]]:
    """The file as it is, without a UTF-8 byte order mark."""
    blocks = _whole_lines(_chunks(source), b"\n", source.name)
    for at, block in enumerate(blocks):
        yield Block(block.lines.removeprefix(codecs.BOM_UTF8), block.at_bytes) if at == 0 else block


def text_blocks(source: Source, encoding: str = UTF_8) -> Iterator[Block[str]]:
    """The file decoded, without a byte order mark.

    Raises `UsageError` with line and byte at what is not of this encoding, or when there is no such encoding.
    """
    blocks = _whole_lines(_decoded(source, encoding), "\n", source.name)
    for at, block in enumerate(blocks):
        yield Block(block.lines.removeprefix("\ufeff"), block.at_bytes) if at == 0 else block


def _chunks(source: Source) -> Iterator[Block[bytes]]:
    at = 0
    with source.open() as file:
        while chunk := file.read(BLOCK_BYTES):
            at += len(chunk)
            yield Block(chunk, at)


def _decoded(source: Source, encoding: str) -> Iterator[Block[str]]:
    decoder = _decoder(encoding)
    line, at = 1, 0
    for chunk in _chunks(source):
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk.lines, final=chunk.at_bytes == source.size_bytes)
            if encoding != UTF_8:
                text.encode()  # there are codecs that make lone surrogates, which are no text
        except UnicodeDecodeError as error:
            raise _undecodable(source.name, encoding, error, line, at - pending) from None
        except UnicodeError as error:
            raise UsageError(f"{source.name}, after line {line:,}: not {encoding} ({error})") from None
        line += text.count("\n")
        at = chunk.at_bytes
        yield Block(text, at)


def _decoder(encoding: str) -> codecs.IncrementalDecoder:
    try:
        # Codecs such as rot13 exist as well, but do not turn bytes into text.
        b"x".decode(encoding, "ignore")
        return codecs.getincrementaldecoder(encoding)("strict")
    except (LookupError, UnicodeError):
        hint = "use a name such as cp1252, latin-1, utf-16 or shift_jis"
        raise UsageError(f"there is no text encoding {encoding!r}", hint) from None


def _undecodable(name: str, encoding: str, error: UnicodeDecodeError, line: int, at: int) -> UsageError:
    """`line` and `at` are where the decoder's input begins."""
    good = error.object[: error.start]
    line += good.decode(encoding, "ignore").count("\n")
    return UsageError(
        f"{name} line {line:,}, byte {at + error.start + 1:,}: "
        f"0x{error.object[error.start]:02X} is not {encoding.upper()} there ({error.reason})",
        "name the file's encoding, such as --encoding cp1252 or --encoding utf-16",
    )


def _whole_lines(chunks: Iterable[Block[AnyStr]], end: AnyStr, name: str) -> Iterator[Block[AnyStr]]:
    """The same cut at line ends."""
    rest = end[:0]
    for chunk in chunks:
        whole = rest + chunk.lines
        cut = whole.rfind(end) + 1
        rest = whole[cut:]
        if len(rest) > MAX_LENGTH:
            raise UsageError(
                f"{name} has a line of more than {MAX_LENGTH >> 20} MB, near byte {chunk.at_bytes:,}",
                "check that its lines end with LF or CRLF, and that it is of the format given",
            )
        if cut:
            yield Block(whole[:cut], chunk.at_bytes)
    if rest:
        yield Block(rest, chunk.at_bytes)
