"""Packs and messages: build, recognise, read.

A pack is records of one table: a zstd skippable frame with a small JSON header, then one zstd frame (with
checksum) of stamped records as NDJSON, every line ended. It is compressed once, by the publisher; queue and
archive carry the same bytes, and `zstdcat` or DuckDB read them as plain lines. A message is one or more packs,
one behind the other, or plain records: one JSON object, or NDJSON.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import repeat
from typing import Annotated, BinaryIO

import msgspec
import zstandard

from catchment.errors import Malformed
from catchment.record import Line, check_table

FORMAT_VERSION = 1
MAX_RECORDS = 1_000
MAX_COMPRESSED_BYTES = 128 * 1024
MAX_PLAIN_BYTES = 1024 * 1024
"""A builder closes its pack here. A reader takes a larger frame, up to `MAX_FRAME_BYTES`, and no more: a few
kilobytes of zstd can expand to gigabytes."""
MAX_FRAME_BYTES = 64 * 1024 * 1024
MAX_MESSAGE_BYTES = 1_000_000
"""A MiB is what Kafka and SQS take, with whatever else they count."""

SKIPPABLE_MAGIC = 0x184D2A50
FRAME_MAGIC = b"\x28\xb5\x2f\xfd"
_PREFIX = struct.Struct("<II")
_MAGIC = SKIPPABLE_MAGIC.to_bytes(4, "little")
_MAX_HEADER_BYTES = 16 * 1024 * 1024
_MAX_COMPRESSED_FRAME_BYTES = MAX_FRAME_BYTES + MAX_FRAME_BYTES // 128
"""What cannot be compressed grows a little."""

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Header(msgspec.Struct, frozen=True, gc=False):
    """What a reader learns of a pack without decompressing it."""

    v: int
    table: str
    count: int
    bytes: int
    """Length of the zstd frame that follows."""
    first_received_at: Moment
    last_received_at: Moment
    not_before: Moment
    """The lowest of its records."""
    batches: tuple[str, ...] = ()
    """In a rewritten file: the archive files whose records of this table it holds."""


_encode_header = msgspec.json.Encoder().encode
_decode_header = msgspec.json.Decoder(Header).decode


class _AnyHeader(msgspec.Struct, gc=False):
    """What every version of the header has."""

    v: int


_decode_any_header = msgspec.json.Decoder(_AnyHeader).decode


@dataclass(frozen=True, slots=True)
class Pack:
    """A header with its bytes: `raw` is the whole pack, `frame` its zstd frame."""

    header: Header
    raw: bytes | memoryview
    frame: bytes | memoryview

    def plain(self) -> bytes:
        """The NDJSON lines, as many as the header says. Raises `Malformed` (broken-frame, oversized)."""
        plain = decompress(self.frame)
        check_lines(plain, self.header)
        return plain


def check_lines(plain: bytes, header: Header) -> None:
    """Raise `Malformed` (broken-frame) unless there are as many lines as the header says, each of them whole."""
    lines = plain.count(b"\n")
    if lines != header.count or not plain.endswith(b"\n"):
        raise Malformed("broken-frame", f"{lines} whole lines where the header says {header.count}")


class _Codecs(threading.local):
    """zstd contexts are not for sharing between threads, and making one costs more than a small frame."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=1, write_checksum=True).compress
        self.decompressor = zstandard.ZstdDecompressor()


_codecs = _Codecs()


def compress(plain: bytes) -> bytes:
    """One zstd frame with its size and checksum."""
    return _codecs.compress(plain)


def plain_size(frame: bytes | memoryview) -> int:
    """How many bytes a frame says it expands to; more than any may where it does not say. Raises as `decompress`."""
    try:
        size = zstandard.get_frame_parameters(frame).content_size
    except zstandard.ZstdError as error:
        raise Malformed("broken-frame", str(error)) from None
    return MAX_FRAME_BYTES + 1 if size == zstandard.CONTENTSIZE_UNKNOWN else size


def decompress(frame: bytes | memoryview) -> bytes:
    """The bytes of exactly one zstd frame, whole. Raises `Malformed` (broken-frame, oversized)."""
    try:
        size = zstandard.get_frame_parameters(frame).content_size
        if size == zstandard.CONTENTSIZE_UNKNOWN:
            with _codecs.decompressor.stream_reader(frame) as reader:
                size = len(reader.read(MAX_FRAME_BYTES + 1))
        if size > MAX_FRAME_BYTES:
            raise Malformed("oversized", f"a pack may expand to {MAX_FRAME_BYTES:,} bytes")
        # A reader of streams takes a frame that is cut short for one that goes on later; this one doesn't.
        return _codecs.decompressor.decompress(frame, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Malformed("broken-frame", str(error)) from None


def build(table: str, lines: Sequence[Line], batches: tuple[str, ...] = ()) -> bytes:
    """One pack of these lines, all of `table`, whatever its size; `packs` keeps the bounds."""
    return bytes(_built(table, lines, batches)[0].raw)


def _built(table: str, lines: Sequence[Line], batches: tuple[str, ...] = ()) -> tuple[Pack, bytes]:
    plain = b"".join([line.text for line in lines])
    frame = compress(plain)
    received = [line.received_at for line in lines]
    header = Header(
        FORMAT_VERSION,
        table,
        sum([line.count for line in lines]),
        len(frame),
        min(received),
        max(received),
        min([line.not_before for line in lines]),
        batches,
    )
    return Pack(header, assemble(header, frame), frame), plain


def assemble(header: Header, frame: bytes) -> bytes:
    """A pack of a header and the frame it describes."""
    text = _encode_header(header)
    return b"".join((_PREFIX.pack(SKIPPABLE_MAGIC, len(text)), text, frame))


LATE = timedelta(hours=1)
"""A record whose not_before lies so far before its received_at needs a wide search: it goes into other packs."""


def packs(table: str, lines: Sequence[Line]) -> Iterator[bytes]:
    """As many packs as these lines, all of `table`, need, within the bounds; one larger record stands alone.

    Late ones go into packs of their own, behind the others: a wide search for a few is not one for all.
    """
    if not lines:
        return
    if max([line.received_at for line in lines]) - min([line.not_before for line in lines]) <= LATE:
        yield from _bounded(table, lines)  # as nearly always: none is
        return
    late = [line for line in lines if is_late(line)]
    if 0 < len(late) < len(lines):
        yield from _bounded(table, [line for line in lines if not is_late(line)])
        yield from _bounded(table, late)
    else:
        yield from _bounded(table, lines)


def is_late(line: Line | Header) -> bool:
    """Whether it may have copies received over an hour before it; of a pack, whether one of its records may."""
    received_at = line.received_at if isinstance(line, Line) else line.first_received_at
    return received_at - line.not_before > LATE


def _bounded(table: str, lines: Sequence[Line]) -> Iterator[bytes]:
    for some in cut(lines):
        for pack, _ in build_bounded(table, some):
            yield bytes(pack.raw)


def cut(lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
    """The lines in pieces of as many as a pack may have."""
    start = count = size = 0
    for end, line in enumerate(lines):
        if not has_room(count, size, line):
            yield lines[start:end]
            start, count, size = end, 0, 0
        count += line.count
        size += len(line.text)
    if start < len(lines):
        yield lines[start:]


def has_room(count: int, size: int, line: Line) -> bool:
    """Whether a pack of so many records, of so many bytes as text, takes this line as well. An empty one does."""
    return not count or (count + line.count <= MAX_RECORDS and size + len(line.text) <= MAX_PLAIN_BYTES)


def build_bounded(table: str, lines: Sequence[Line]) -> Iterator[tuple[Pack, bytes]]:
    """One pack, or where it compresses badly, its halves."""
    pack, plain = _built(table, lines)
    if len(pack.raw) <= MAX_COMPRESSED_BYTES or len(lines) == 1:
        yield pack, plain
    else:
        middle = len(lines) // 2
        yield from build_bounded(table, lines[:middle])
        yield from build_bounded(table, lines[middle:])


def messages(packed: Iterable[bytes]) -> Iterator[bytes]:
    """Packs one behind the other, in messages of at most a megabyte, unless one pack alone is larger."""
    open_message: list[bytes] = []
    size = 0
    for pack in packed:
        if open_message and size + len(pack) > MAX_MESSAGE_BYTES:
            yield b"".join(open_message)
            open_message, size = [], 0
        open_message.append(pack)
        size += len(pack)
    if open_message:
        yield b"".join(open_message)


def messages_of(lines: Iterable[Line]) -> list[bytes]:
    """Lines of any tables as messages."""
    tables: dict[str, list[Line]] = {}
    for line in lines:
        tables.setdefault(line.table, []).append(line)
    return list(messages(pack for table, some in tables.items() for pack in packs(table, some)))


def is_packed(body: bytes | memoryview) -> bool:
    """Whether a message is packs; anything else is plain records, or nothing we know."""
    first = body[:4]
    return first == _MAGIC or first == FRAME_MAGIC  # noqa: PLR1714 - a set would copy a memoryview


def any_packed(bodies: Iterable[bytes]) -> bool:
    """Whether a message among these `is_packed`."""
    return any(map(bytes.startswith, bodies, repeat((_MAGIC, FRAME_MAGIC))))


def read(body: bytes | memoryview) -> Iterator[Pack]:
    """The packs of a message or a file's bytes, in order.

    Raises `Malformed` at the first that is not whole: where the next one starts is then unknown.
    """
    view, at = memoryview(body), 0
    while at < len(view):
        header, start = _header(view, at)
        end = start + header.bytes
        if end > len(view):
            raise Malformed("broken-frame", f"byte {at}: {end - len(view)} bytes of the pack are missing")
        yield Pack(header, view[at:end], view[start:end])
        at = end


def read_file(file: BinaryIO, tables: frozenset[str] | None = None) -> Iterator[Pack]:
    """The packs of an archive file, one in memory at a time; of `tables` alone, where given.

    Raises `Malformed` at the first that is not whole; frames of other tables are passed over unseen.
    """
    while prefix := file.read(_PREFIX.size):
        at = file.tell() - len(prefix)
        text = file.read(_header_length(prefix, at))
        header = _parse(text, at)
        if tables is not None and header.table not in tables:
            file.seek(header.bytes, 1)
            continue
        frame = file.read(header.bytes)
        if len(frame) < header.bytes:
            raise Malformed("broken-frame", f"byte {at}: {header.bytes - len(frame)} bytes are missing")
        yield Pack(header, b"".join((prefix, text, frame)), frame)


def read_headers(file: BinaryIO) -> Iterator[Header]:
    """The headers alone: seeks over the frames. A file cut short inside its last frame is not noticed here."""
    while prefix := file.read(_PREFIX.size):
        at = file.tell() - len(prefix)
        header = _parse(file.read(_header_length(prefix, at)), at)
        yield header
        file.seek(header.bytes, 1)


def _header(view: memoryview, at: int) -> tuple[Header, int]:
    prefix = bytes(view[at : at + _PREFIX.size])
    start = at + _PREFIX.size + _header_length(prefix, at)
    return _parse(bytes(view[at + _PREFIX.size : start]), at), start


def _header_length(prefix: bytes, at: int) -> int:
    if prefix[:4] != _MAGIC:
        raise Malformed("broken-frame", f"byte {at}: no pack begins here")
    if len(prefix) < _PREFIX.size:
        raise Malformed("broken-frame", f"byte {at}: the file ends inside a header")
    _, length = _PREFIX.unpack(prefix)
    if length > _MAX_HEADER_BYTES:
        raise Malformed("broken-frame", f"byte {at}: a header of {length} bytes")
    return int(length)


def _parse(text: bytes, at: int) -> Header:
    try:
        version = _decode_any_header(text).v
        if version != FORMAT_VERSION:
            raise Malformed("unknown-version", f"pack format {version}; this Catchment knows {FORMAT_VERSION}")
        header = _decode_header(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed("broken-frame", f"byte {at}: its header is unreadable: {error}") from None
    check_table(header.table)
    if header.count < 1 or not 0 < header.bytes <= _MAX_COMPRESSED_FRAME_BYTES:
        raise Malformed("broken-frame", f"byte {at}: its header is out of range")
    return header


def plain_lines(body: bytes) -> list[bytes]:
    """The lines of a message of plain records: one JSON object, over however many lines, or NDJSON.

    NDJSON is a message whose first line is whole JSON by itself, or that is no JSON as a whole and has an
    object in at least one line. Blank lines of NDJSON and a byte order mark are left out. An empty message is
    one empty line, which `decode` refuses: it is kept as a dead letter like any other that is no record.
    """
    body = body.removeprefix(_BYTE_ORDER_MARK)
    lines = [line for line in body.split(b"\n") if line.strip(b" \t\r")]
    if len(lines) > 1 and not _is_json(lines[0]) and (_is_json(body) or not any(map(_is_object, lines))):
        return [body]
    return lines or [body]


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _is_object(line: bytes) -> bool:
    return line.lstrip(b" \t\r").startswith(b"{") and _is_json(line)
