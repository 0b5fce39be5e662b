"""Encodings, streams, and files that are not what they seem."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from catchment.errors import Abort, UsageError
from catchment.send import lines
from catchment.send.source import opened
from catchment.send.survey import Options
from tests.send.harness import letter_bytes, send_csv


@pytest.fixture(params=[1, 2, 3, 7, 1 << 18])
def block_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Wherever a character or a line is cut, the same is read."""
    monkeypatch.setattr(lines, "BLOCK_BYTES", request.param)
    return int(request.param)


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize(
    "encoding", ["cp1252", "latin-1", "utf-16", "utf-16-le", "utf-8", "utf-8-sig", "utf-32", "gb18030"]
)
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes('a,b\né,"x\ny"\nü,2\n3\n'.encode(encoding))
    outcome = send_csv(path, Options(encoding=encoding, delimiter=","))
    assert outcome.rows == [{"a": "é", "b": "x\ny"}, {"a": "ü", "b": "2"}]
    assert letter_bytes(outcome.letters[0]) == b"3"


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_byte_that_is_not_utf_8_is_refused_with_its_place(tmp_path: Path, line_end: bytes) -> None:
    path = tmp_path / "t.csv"
    good = line_end.join([b"a,b", "é,1".encode(), b"x"])
    path.write_bytes(good + b"\xe9,2" + line_end + b"y,3" + line_end)
    with pytest.raises(UsageError) as caught:
        send_csv(path)
    assert f"t.csv line 3, byte {len(good) + 1}: 0xE9 is not UTF-8" in caught.value.message
    assert "--encoding cp1252" in caught.value.hint


@pytest.mark.usefixtures("block_bytes")
def test_a_character_cut_at_the_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("a,b\n1,é".encode()[:-1])
    with pytest.raises(UsageError, match="line 2, byte 7: 0xC3 is not UTF-8"):
        send_csv(path)


def test_a_byte_that_is_not_of_the_encoding_given(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n1,\x81\n")
    with pytest.raises(UsageError, match="line 2, byte 7: 0x81 is not CP1252"):
        send_csv(path, Options(encoding="cp1252"))


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "hex", "base64"])
def test_no_such_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(UsageError, match=f"no text encoding '{encoding}'"):
        send_csv(path, Options(encoding=encoding))


def test_codecs_that_make_no_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n1,\\ud800\n")
    with pytest.raises(UsageError, match="not unicode_escape"):
        send_csv(path, Options(encoding="unicode_escape"))


def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LENGTH", 1_000)
    monkeypatch.setattr(lines, "BLOCK_BYTES", 100)
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n" + b"x" * 5_000)
    with pytest.raises(UsageError, match="a line of more than"):
        send_csv(path, Options(delimiter=","))


@pytest.mark.parametrize(("magic", "kind"), [(b"\x1f\x8b\x08", "gzip"), (b"PK\x03\x04", "zip")])
def test_compressed_files_are_refused(tmp_path: Path, magic: bytes, kind: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(magic + b"rest")
    with pytest.raises(UsageError, match=kind), opened(str(path)):
        pass


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"), opened(str(tmp_path / "none.csv")):
        pass
    with pytest.raises(UsageError, match="is a folder"), opened(str(tmp_path)):
        pass


def test_the_same_bytes_have_the_same_digest_wherever_they_come_from(tmp_path: Path) -> None:
    path, pipe = tmp_path / "t.csv", tmp_path / "pipe"
    path.write_bytes(b"a,b\n1,2\n")
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"a,b\n1,2\n",))
    writer.start()
    with opened(str(path)) as file, opened(str(pipe)) as stream:
        assert stream.digest == file.digest
        assert stream.size_bytes == file.size_bytes
        kept = stream.path
        assert kept.read_bytes() == b"a,b\n1,2\n"
    writer.join()
    assert not kept.exists()
    path.write_bytes(b"a,b\n1,3\n")
    with opened(str(path)) as other:
        assert other.digest != file.digest


def test_a_file_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n1,2\n")
    with opened(str(path)) as source:
        source.check_unchanged()
        with path.open("ab") as file:
            file.write(b"3,4\n")
        with pytest.raises(Abort, match="changed while it was being sent"):
            source.check_unchanged()
