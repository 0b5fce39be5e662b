"""The file to send: opened, hashed, and where it is a stream, put on disk first."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from catchment.errors import Abort, StorageError, UsageError

DIGEST_CHARACTERS = 32
"""128 bits of SHA-256: no two files meet, and each row's id stays short."""

_COMPRESSED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2"}


@dataclass(frozen=True, slots=True)
class Source:
    """A regular file that can be read as often as needed. `name` is what messages call it."""

    path: Path
    name: str
    size_bytes: int
    digest: str
    """The start of the SHA-256 of its bytes, in hex: the same file has the same ids wherever it is sent from."""
    modified_ns: int

    def open(self) -> BinaryIO:
        """The file's bytes from the start."""
        return self.path.open("rb")

    def check_unchanged(self) -> None:
        """Raise `Abort` if somebody wrote to the file since it was opened: its rows may be of two versions."""
        now = self.path.stat()
        if (now.st_size, now.st_mtime_ns) != (self.size_bytes, self.modified_ns):
            raise Abort(
                f"{self.name} changed while it was being sent; rows of both its versions may be queued",
                "send it again once it is complete; with --id FIELD rows that were queued before add nothing",
            )


@contextmanager
def opened(file: str) -> Iterator[Source]:
    """The file, or with `-` standard input. Streams go to a temporary file, since a file is read twice.

    Raises `UsageError` when it cannot be read, `StorageError` when there is no room for the temporary file.
    """
    if file != "-" and stat.S_ISREG(_mode(file)):
        yield _source(Path(file), Path(file).name)
        return
    with tempfile.TemporaryDirectory(prefix="catchment-send-") as folder:
        path = Path(folder) / "stream"
        try:
            with _stream(file) as stream, path.open("wb") as copy:
                shutil.copyfileobj(stream, copy, 1 << 20)
        except OSError as error:
            raise StorageError(
                f"cannot keep a copy of the stream in {folder}: {error.strerror}",
                "make room there, or point TMPDIR to a folder with more",
            ) from None
        yield _source(path, "standard input" if file == "-" else file)


def _mode(file: str) -> int:
    try:
        mode = Path(file).stat().st_mode
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        raise UsageError(f"{file} is a folder", "name a file; of several, send one after the other")
    return mode


def _stream(file: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb")


def _source(path: Path, name: str) -> Source:
    try:
        with path.open("rb") as opened_file:
            before = os.fstat(opened_file.fileno())
            start = opened_file.read(4)
            opened_file.seek(0)
            digest = hashlib.file_digest(opened_file, "sha256").hexdigest()[:DIGEST_CHARACTERS]
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from None
    for magic, kind in _COMPRESSED.items():
        if start.startswith(magic):
            raise UsageError(
                f"{name} is compressed ({kind})", "decompress it into `catchment send TABLE - --format …`"
            )
    return Source(path, name, before.st_size, digest, before.st_mtime_ns)
