"""Packs and messages: built within their bounds, read back byte for byte, and refused when they are not whole."""

from __future__ import annotations

import io
import json
import random
import struct
import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from catchment.errors import Malformed
from catchment.pack import (
    FORMAT_VERSION,
    MAX_COMPRESSED_BYTES,
    MAX_FRAME_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_PLAIN_BYTES,
    MAX_RECORDS,
    SKIPPABLE_MAGIC,
    Header,
    Pack,
    assemble,
    build,
    compress,
    decompress,
    is_late,
    is_packed,
    messages,
    packs,
    plain_lines,
    read,
    read_file,
    read_headers,
)
from catchment.record import MAX_RECORD_BYTES, REASONS, Line, Stamp, decode

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
TABLE = "web.signup"


def make_lines(count: int, *, table: str = TABLE, note: str = "") -> list[Line]:
    stamp = Stamp(NOON, "web")
    return [
        stamp.line(decode(json.dumps({"table": table, "id": f"{at}", "data": {"at": at, "note": note}}).encode()))
        for at in range(count)
    ]


def plain_of(lines: Sequence[Line]) -> bytes:
    return b"".join(line.text for line in lines)


def header_of(lines: Sequence[Line], frame: bytes, **other: Any) -> Header:
    """A true header, but for what `other` says."""
    true = next(read(build(TABLE, lines))).header
    return msgspec.structs.replace(true, bytes=len(frame), **other)


def read_all(body: bytes) -> list[tuple[Header, bytes]]:
    """As a message, and the same as a file."""
    try:
        found = [(pack.header, pack.plain()) for pack in read(body)]
    except Malformed as error:
        with pytest.raises(Malformed, match=error.reason):
            list(map(Pack.plain, read_file(io.BytesIO(body))))
        raise
    assert [(pack.header, pack.plain()) for pack in read_file(io.BytesIO(body))] == found
    return found


def refused(body: bytes, reason: str = "broken-frame") -> Malformed:
    """Reading everything in it raises this."""
    assert reason in REASONS
    with pytest.raises(Malformed) as caught:
        read_all(body)
    assert caught.value.reason == reason, caught.value
    return caught.value


# Building and reading back.

moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
lines_of_any_kind = st.builds(
    lambda text, received_at, not_before: Line(TABLE, text.replace(b"\n", b" ") + b"\n", received_at, not_before),
    st.binary(max_size=200) | st.binary(max_size=5).map(lambda x: x * 20_000),
    moments,
    moments,
)


@given(st.lists(lines_of_any_kind, min_size=1, max_size=40))
def test_any_records_are_read_back_byte_for_byte(lines: list[Line]) -> None:
    bodies = list(messages(packs(TABLE, lines)))
    found = [pack for body in bodies for pack in read(body)]
    assert all(is_packed(body) and len(body) <= MAX_MESSAGE_BYTES for body in bodies)
    lines = sorted(lines, key=is_late)  # behind the others, in packs of their own
    at = 0
    for pack in found:
        part = lines[at : at + pack.header.count]
        assert pack.plain() == plain_of(part)
        assert len(set(map(is_late, part))) == 1
        assert pack.header == Header(
            FORMAT_VERSION,
            TABLE,
            len(part),
            len(pack.frame),
            min(line.received_at for line in part),
            max(line.received_at for line in part),
            min(line.not_before for line in part),
        )
        at += len(part)
    assert at == len(lines)


@given(st.lists(st.integers(1, 4), max_size=5), st.booleans())
def test_a_file_is_read_like_a_message(counts: list[int], skip: bool) -> None:
    tables = [f"web.t{at % 2}" for at in range(len(counts))]
    body = b"".join(build(table, make_lines(n, table=table)) for table, n in zip(tables, counts, strict=True))
    wanted = frozenset({"web.t1"}) if skip else None
    expected = [pack for pack in read(body) if not skip or pack.header.table == "web.t1"]
    found = list(read_file(io.BytesIO(body), wanted))
    assert [(x.header, bytes(x.raw), bytes(x.frame)) for x in found] == [
        (x.header, bytes(x.raw), bytes(x.frame)) for x in expected
    ]
    assert list(read_headers(io.BytesIO(body))) == [pack.header for pack in read(body)]
    assert b"".join(bytes(pack.raw) for pack in read(body)) == body


def test_nothing_makes_nothing() -> None:
    assert list(packs(TABLE, [])) == []
    assert list(messages([])) == []
    assert list(read(b"")) == []
    assert list(read_file(io.BytesIO(b""))) == []


def test_a_header_names_the_batches_it_holds() -> None:
    body = build(TABLE, make_lines(2), ("incoming/a", "incoming/b"))
    assert next(read(body)).header.batches == ("incoming/a", "incoming/b")


def test_a_header_is_small_json_in_a_skippable_frame() -> None:
    body = build(TABLE, make_lines(2))
    magic, length = struct.unpack("<II", body[:8])
    header = json.loads(body[8 : 8 + length])
    assert magic == SKIPPABLE_MAGIC == 0x184D2A50
    assert header["v"] == 1
    assert (header["table"], header["count"], header["bytes"]) == (TABLE, 2, len(body) - 8 - length)
    assert header["first_received_at"] == header["last_received_at"] == "2026-11-23T12:00:00.123456Z"
    assert length < 300


# Bounds.


def test_a_pack_has_at_most_a_thousand_records() -> None:
    counts = [next(read(pack)).header.count for pack in packs(TABLE, make_lines(2 * MAX_RECORDS + 1))]
    assert counts == [MAX_RECORDS, MAX_RECORDS, 1]


def test_a_pack_that_compresses_badly_is_halved() -> None:
    noise = random.Random(7)
    lines = [Line(TABLE, noise.randbytes(800).hex().encode() + b"\n", NOON, NOON) for _ in range(900)]
    built = list(packs(TABLE, lines))
    assert len(built) > 4
    assert max(map(len, built)) <= MAX_COMPRESSED_BYTES
    assert b"".join(next(read(pack)).plain() for pack in built) == plain_of(lines)


def test_a_pack_that_compresses_well_expands_to_a_mebibyte_at_most() -> None:
    built = list(packs(TABLE, make_lines(30, note="x" * 100_000)))
    assert len(built) == 3
    assert all(len(next(read(pack)).plain()) <= MAX_PLAIN_BYTES for pack in built)


def test_the_largest_record_stands_alone_and_fits_a_message() -> None:
    noise, empty = random.Random(7), len('{"table":"web.signup","id":"","data":{"a":""}}')
    given_id = "é" * 500
    size = MAX_RECORD_BYTES - empty - len(given_id.encode())
    letters = "".join(noise.choices([chr(x) for x in range(0x20, 0x7F) if chr(x) not in '"\\'], k=size))
    sent = f'{{"table":"web.signup","id":"{given_id}","data":{{"a":"{letters}"}}}}'.encode()
    assert len(sent) == MAX_RECORD_BYTES
    small = make_lines(2)
    lines = [small[0], Stamp(NOON, "s" * 500).line(decode(sent)), small[1]]
    built = list(packs(TABLE, lines))
    assert [next(read(pack)).header.count for pack in built] == [1, 1, 1]
    assert all(len(body) <= MAX_MESSAGE_BYTES for body in messages(built))


def test_messages_are_filled_in_order() -> None:
    built = [b"a" * 700_000, b"b" * 300_000, b"c" * 100_000, b"d" * 2_000_000, b"e"]
    bodies = list(messages(built))
    assert b"".join(bodies) == b"".join(built)
    assert [len(body) for body in bodies] == [1_000_000, 100_000, 2_000_000, 1]


# Others read it, too.


def test_any_reader_of_zstd_finds_plain_lines() -> None:
    lines = make_lines(30)
    body = b"".join(build(TABLE, lines[at : at + 10]) for at in range(0, 30, 10))
    with zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True) as reader:
        assert reader.read() == plain_of(lines)


def test_duckdb_reads_packs_as_they_lie(tmp_path: Path) -> None:
    lines = make_lines(2_500)
    file = tmp_path / "packs.zst"
    file.write_bytes(b"".join(packs(TABLE, lines)) + build(TABLE, lines[:1], ("incoming/a",)))
    with duckdb.connect() as connection:
        got = connection.execute(
            'SELECT count(*), count(DISTINCT id), sum(data."at"), min(received_at)::VARCHAR, max(source)'
            " FROM read_json(?, format = 'newline_delimited', compression = 'zstd', columns = {id: 'VARCHAR',"
            " received_at: 'VARCHAR', source: 'VARCHAR', data: 'STRUCT(\"at\" BIGINT)'})",
            [str(file)],
        ).fetchone()
    assert got == (2_501, 2_500, sum(range(2_500)), "2026-11-23T12:00:00.123456Z", "web")


def test_a_strangers_frame_may_leave_out_its_size() -> None:
    lines = make_lines(50)
    sizeless = zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress(plain_of(lines))
    [pack] = read(assemble(header_of(lines, sizeless), sizeless))
    assert pack.plain() == plain_of(lines)
    for end in range(len(sizeless)):
        with pytest.raises(Malformed, match="broken-frame"):
            decompress(sizeless[:end])


# What is not whole.


def test_cut_short_anywhere() -> None:
    body = build(TABLE, make_lines(3)) + build(TABLE, make_lines(2))
    whole = len(build(TABLE, make_lines(3)))
    for end in range(1, len(body)):
        if end != whole:
            refused(body[:end])


def test_a_flipped_bit_is_noticed() -> None:
    """Wherever it is: refused, or in a part of the header where the pack still is one (a name, a time)."""
    lines = make_lines(3)
    body = build(TABLE, lines)
    frame_at = len(body) - next(read(body)).header.bytes
    for at in range(8 * len(body)):
        flipped = bytearray(body)
        flipped[at // 8] ^= 1 << at % 8
        try:
            found = read_all(bytes(flipped))
        except Malformed:
            continue
        if at // 8 >= frame_at:  # a bit that means nothing to zstd
            assert found == read_all(body)
        assert [plain for _, plain in found] == [plain_of(lines)]


@pytest.mark.parametrize("count", [0, -1, 1, 2, 4, 2**40])
def test_a_header_that_lies_about_the_count(count: int) -> None:
    lines = make_lines(3)
    frame = compress(plain_of(lines))
    refused(assemble(header_of(lines, frame, count=count), frame))


@pytest.mark.parametrize("length", [0, -1, 1, 10_000, 2**40, 2**62])
def test_a_header_that_lies_about_the_length(length: int) -> None:
    lines = make_lines(3)
    header = msgspec.structs.replace(header_of(lines, b""), bytes=length)
    refused(assemble(header, compress(plain_of(lines))) + build(TABLE, lines))


@pytest.mark.parametrize("tables", [None, frozenset({"web.other"})])
def test_a_file_whose_header_lies_beyond_all_bounds(tmp_path: Path, tables: frozenset[str] | None) -> None:
    """Neither the memory nor the position is tried."""
    lines = make_lines(3)
    frame = compress(plain_of(lines))
    path = tmp_path / "packs.zst"
    path.write_bytes(assemble(msgspec.structs.replace(header_of(lines, frame), bytes=2**63), frame))
    with path.open("rb") as file, pytest.raises(Malformed, match="out of range"):
        list(read_file(file, tables))


def test_a_header_whose_frame_is_two() -> None:
    lines = make_lines(4)
    twice = compress(plain_of(lines[:2])) + compress(plain_of(lines[2:]))
    refused(assemble(header_of(lines, twice), twice))
    refused(assemble(header_of(lines[:2], twice), twice))


def test_a_last_line_without_its_end() -> None:
    lines = make_lines(2)
    frame = compress(plain_of(lines)[:-1])
    refused(assemble(header_of(lines, frame), frame))
    refused(assemble(header_of(lines[:1], frame), frame))


@pytest.mark.parametrize("field", ["first_received_at", "last_received_at", "not_before"])
def test_a_header_with_a_time_that_has_no_zone(field: str) -> None:
    lines = make_lines(1)
    frame = compress(plain_of(lines))
    refused(assemble(header_of(lines, frame, **{field: NOON.replace(tzinfo=None)}), frame))


def test_an_empty_frame() -> None:
    frame = compress(b"")
    refused(assemble(header_of(make_lines(1), frame), frame))


@pytest.mark.parametrize("version", [2, 99, 0, -1])
def test_a_version_that_nobody_here_knows(version: int) -> None:
    lines = make_lines(1)
    frame = compress(plain_of(lines))
    error = refused(assemble(header_of(lines, frame, v=version), frame), "unknown-version")
    assert str(FORMAT_VERSION) in error.detail


def test_a_newer_version_may_look_different() -> None:
    text = b'{"v":2,"name":"web.signup","rows":"many"}'
    refused(struct.pack("<II", SKIPPABLE_MAGIC, len(text)) + text, "unknown-version")


@pytest.mark.parametrize("table", ["signup", "web.x; drop", "pg_catalog.pg_class", "../../etc"])
def test_a_table_that_cannot_be(table: str) -> None:
    frame = compress(b"{}\n")
    refused(assemble(header_of(make_lines(1), frame, table=table), frame), "bad-table")


HEADERS = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"{}",
    b'{"v":1}',
    b'{"v":"1"}',
    b'\xff{"v":1}',
    b'{"v":1,"x":' + b"[" * 100_000,
]


@pytest.mark.parametrize("text", HEADERS)
def test_a_header_that_is_none(text: bytes) -> None:
    refused(struct.pack("<II", SKIPPABLE_MAGIC, len(text)) + text + compress(b"{}\n"))


def test_a_header_beyond_all_bounds() -> None:
    refused(struct.pack("<II", SKIPPABLE_MAGIC, 2**32 - 1) + b"{}")


def test_bytes_that_are_no_pack() -> None:
    for body in (b"x", b'{"table":"a.b"}', compress(b"{}\n"), build(TABLE, make_lines(1)) + b"\n"):
        refused(body)


def test_what_came_before_the_broken_one_is_read() -> None:
    body = build(TABLE, make_lines(3))
    reader = read(body + body[:-1])
    assert next(reader).header.count == 3
    with pytest.raises(Malformed, match=f"byte {len(body)}"):
        next(reader)


@pytest.mark.parametrize("with_size", [True, False])
def test_a_decompression_bomb(with_size: bool) -> None:
    size = 4 * MAX_FRAME_BYTES
    compressor = zstandard.ZstdCompressor(write_content_size=with_size).compressobj(size=size if with_size else -1)
    bomb = b"".join(compressor.compress(bytes(1024 * 1024)) for _ in range(size // 1024 // 1024))
    bomb += compressor.flush()
    assert len(bomb) < 50_000
    tracemalloc.start()
    try:
        with pytest.raises(Malformed, match="oversized"):
            decompress(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2 * MAX_FRAME_BYTES
    finally:
        tracemalloc.stop()


def test_a_frame_of_the_largest_size() -> None:
    whole = bytes(MAX_FRAME_BYTES)
    assert decompress(compress(whole)) == whole
    with pytest.raises(Malformed, match="oversized"):
        decompress(compress(whole + b"x"))


def test_times_of_a_header_keep_their_moment() -> None:
    east = timezone(timedelta(hours=5))
    header = next(read(build(TABLE, [Line(TABLE, b"{}\n", NOON.astimezone(east), NOON.astimezone(east))]))).header
    assert header.first_received_at == NOON
    assert header.not_before == NOON


def test_a_pack_from_any_buffer() -> None:
    body = build(TABLE, make_lines(3))
    [pack] = read(memoryview(bytearray(body)))
    assert isinstance(pack, Pack)
    assert pack.plain() == plain_of(make_lines(3))
    assert is_packed(memoryview(body))


# Messages of plain records.

ONE = b'{"table":"a.b","data":{}}'
PRETTY = b'{\n  "table": "a.b",\n  "data": {\n    "list": [\n      1\n    ]\n  }\n}\n'


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (ONE, [ONE]),
        (ONE + b"\n", [ONE]),
        (PRETTY, [PRETTY]),
        (PRETTY.replace(b"\n", b"\r\n"), [PRETTY.replace(b"\n", b"\r\n")]),
        (b"\n\n" + PRETTY, [b"\n\n" + PRETTY]),
        (ONE + b"\n" + ONE, [ONE, ONE]),
        (ONE + b"\r\n" + ONE + b"\r\n", [ONE + b"\r", ONE + b"\r"]),
        (b"\n" + ONE + b"\n \t\r\n\n" + ONE + b"\n\n", [ONE, ONE]),
        (b"\xef\xbb\xbf" + ONE + b"\n" + ONE, [ONE, ONE]),
        (b"\xef\xbb\xbf" + PRETTY, [PRETTY]),
        (ONE + b"\nbroken\n" + ONE, [ONE, b"broken", ONE]),
        (b"broken\n" + ONE, [b"broken", ONE]),
        (b"broken\n" + PRETTY, [b"broken\n" + PRETTY]),
        (PRETTY + PRETTY, [PRETTY + PRETTY]),
        (PRETTY[:-3], [PRETTY[:-3]]),
        (b"two lines\nof words", [b"two lines\nof words"]),
        (b"[" * 5_000 + b"\n" + b"]" * 5_000, [b"[" * 5_000 + b"\n" + b"]" * 5_000]),
        (b"", [b""]),
        (b"\n \r\n", [b"\n \r\n"]),
        (ONE + b"\n\x0c\n", [ONE, b"\x0c"]),
    ],
)
def test_lines_of_a_plain_message(body: bytes, lines: list[bytes]) -> None:
    assert not is_packed(body)
    assert plain_lines(body) == lines


@pytest.mark.parametrize("body", [b"", b"\xef\xbb\xbf", b"\n\n", b"  "])
def test_an_empty_message_is_kept_as_no_record(body: bytes) -> None:
    [line] = plain_lines(body)
    with pytest.raises(Malformed, match="not-json"):
        decode(line)


@given(st.lists(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers()), min_size=1))
def test_any_ndjson_is_its_lines(rows: list[dict[str, int]]) -> None:
    sent = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
    assert plain_lines(b"\n".join(sent)) == sent
    assert plain_lines(b"\r\n".join(sent) + b"\r\n") == [line + b"\r" for line in sent]


@given(st.binary(max_size=60))
def test_no_line_of_any_message_vanishes(body: bytes) -> None:
    kept = b"".join(plain_lines(body)).translate(None, b" \t\r\n")
    assert kept == body.removeprefix(b"\xef\xbb\xbf").translate(None, b" \t\r\n")
