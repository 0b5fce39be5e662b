"""Bodies as they come: compressed or not, one JSON value or many."""

from __future__ import annotations

import zlib

from catchment.collect.answers import Refused
from catchment.collect.calls import check_values, read_any

_GZIP_MAGIC = b"\x1f\x8b"
_MAX_GZIP_MEMBERS = 100
"""Compressed files, one behind the other, are one file."""


def unpacked(body: bytes, encoding: bytes, max_bytes: int) -> bytes:
    """The body, decompressed: also where nothing says that it is compressed. Raises `Refused`."""
    encoding = encoding.strip().lower()
    if not (body.startswith(_GZIP_MAGIC) or encoding in {b"gzip", b"x-gzip", b"deflate"}):
        if encoding not in {b"", b"identity"}:
            raise Refused(415, "only gzip and deflate are understood", b"accept-encoding: gzip, deflate\r\n")
        return body
    plain = b""
    for _ in range(_MAX_GZIP_MEMBERS):
        unpacker = zlib.decompressobj(wbits=47)  # gzip or zlib, as its header says
        try:
            plain += unpacker.decompress(body, max_bytes + 1 - len(plain))
        except zlib.error as error:
            raise Refused(400, f"the body cannot be decompressed: {error}") from None
        if len(plain) > max_bytes:
            raise Refused(413, f"the body expands beyond {max_bytes:,} bytes")
        if not unpacker.eof:
            raise Refused(400, "the body cannot be decompressed: it is cut short")
        body = unpacker.unused_data
        if not body.startswith(_GZIP_MAGIC):
            return plain
    raise Refused(413, f"the body is more than {_MAX_GZIP_MEMBERS} compressed files")


def values_of(body: bytes) -> list[object]:
    """The values of a JSON array, of NDJSON, or the one value that the body is."""
    check_values(body)
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) > 1 and lines[0].rstrip().endswith((b"}", b"]")):
        return [read_any(line) for line in lines]
    value = read_any(body)
    return value if isinstance(value, list) else [value]
