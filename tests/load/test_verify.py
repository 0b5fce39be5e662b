"""What is wrong with an archive file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from catchment.load import files
from catchment.load.verify import problems
from catchment.pack import assemble, build, compress, read

from .archives import MemoryArchive, line

TEN = datetime(2026, 11, 23, 10, tzinfo=UTC)
PACK = build("a.a", [line("a.a", number, TEN, pad=20) for number in range(3)])
OTHER = build("b.b", [line("b.b", 1, TEN)])
NAME = files.Incoming(TEN, "0" * 12, 1).name
OF_TWO = files.Incoming(TEN, "0" * 12, 2).name


def changed(frame: bytes | None = None, **header: object) -> bytes:
    (pack,) = read(PACK)
    frame = bytes(pack.frame) if frame is None else frame
    return assemble(msgspec.structs.replace(pack.header, bytes=len(frame), **header), frame)


def wrong(name: str, content: bytes) -> str:
    archive = MemoryArchive()
    archive.files[name] = content
    return " | ".join(problems(archive, name))


def test_a_sound_file_has_none() -> None:
    assert wrong(NAME, PACK + PACK) == ""
    assert wrong(OF_TWO, PACK + OTHER) == ""
    assert wrong(files.rewritten("a.a", TEN, ["x"]).name, PACK) == ""


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        problems(MemoryArchive(), NAME)


def test_a_cut_is_found_wherever_it_is() -> None:
    for cut in range(1, len(PACK)):
        assert wrong(NAME, PACK[:-cut]).startswith("cannot be read on: "), f"{cut} bytes cut off"
        assert wrong(NAME, PACK + PACK[:-cut]).startswith("cannot be read on: "), f"{cut} bytes cut off"


def test_an_empty_file_is_one_cut_at_its_start() -> None:
    assert wrong(NAME, b"") == "it holds 0 tables, and its name says 1"


def test_a_flipped_bit_in_a_frame_is_found() -> None:
    (pack,) = read(PACK)
    start = len(PACK) - len(pack.frame)
    for at in range(start + 20, len(PACK)):
        broken = bytearray(PACK)
        broken[at] ^= 1
        assert wrong(NAME, bytes(broken) + PACK).startswith("pack 1, a.a: broken-frame"), f"byte {at}"


def test_every_broken_pack_is_told_of() -> None:
    broken = PACK[:-1] + bytes([PACK[-1] ^ 1])
    found = wrong(NAME, broken + PACK + broken)
    assert "pack 1, a.a: broken-frame" in found
    assert "pack 2" not in found
    assert "pack 3, a.a: broken-frame" in found


def test_counts_are_compared() -> None:
    broken = [changed(count=4), *map(changed, map(compress, (b"{}\n{}\n", b"{}\n{}\n{}", b"")))]
    for pack in broken:
        assert wrong(NAME, pack).startswith("pack 1, a.a: broken-frame: ")


def test_the_name_tells_the_truth() -> None:
    assert wrong(OF_TWO, PACK) == "it holds 1 tables, and its name says 2"
    assert wrong(NAME, PACK + OTHER) == "it holds 2 tables, and its name says 1"
    assert wrong("incoming/x.zst", PACK) == "its name is none of Catchment's"


def test_a_rewritten_file_lies_in_its_folder() -> None:
    name = files.rewritten("a.a", TEN + timedelta(hours=1), ["x"]).name
    assert "another folder" in wrong(name, PACK)
    assert "another folder" in wrong(files.rewritten("b.b", TEN, ["x"]).name, PACK)
    assert "another folder" in wrong(
        files.rewritten("a.a", TEN, ["x"]).name, changed(last_received_at=TEN + timedelta(hours=1))
    )
