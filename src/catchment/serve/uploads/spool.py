"""Uploaded bytes on disk: each file in a folder of its own, within one folder of this process that ends with it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from catchment import presence
from catchment.errors import NoSpace, StorageError, UsageError
from catchment.send.source import DIGEST_CHARACTERS, Source

_LOCK = "lock"
_FILE = "file"
_WRITE_BYTES = 1 << 20
_SPARE_BYTES = 256 << 20
"""What is left on the disk at least: the queue and the warehouse need it more."""


class Spool:
    """The folder of one process within `folder`, made when it is first needed. Those of processes that are gone, how
    ever they ended, are removed then."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: Path | None = None
        self._held = contextlib.ExitStack()

    def open(self) -> None:
        """Remove what other processes left. Raises `StorageError`."""
        if not self._folder.is_dir():
            return
        for left in self._folder.iterdir():
            if presence.holder(left / _LOCK) is None:
                shutil.rmtree(left, ignore_errors=True)

    def close(self) -> None:
        """Remove everything of ours."""
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
        self._held.close()
        self._own = None

    async def receive(self, pieces: AsyncIterator[bytes], name: str, max_bytes: int) -> tuple[Source, Path]:
        """The file, whole, and the folder that is its own. Nothing stays of one that is cut off.

        Raises `UsageError` beyond `max_bytes`, `StorageError` where it cannot be kept.
        """
        folder = await asyncio.to_thread(self._new)
        try:
            path = folder / _FILE
            digest, size = hashlib.sha256(), 0
            with path.open("xb") as file:
                gathered = bytearray()
                async for piece in pieces:
                    size += len(piece)
                    if size > max_bytes:
                        raise too_large(max_bytes)
                    gathered += piece
                    if len(gathered) >= _WRITE_BYTES:
                        await asyncio.to_thread(_write, file, bytes(gathered), digest)
                        gathered.clear()
                await asyncio.to_thread(_write, file, bytes(gathered), digest)
            shown = path.stat()
            return Source(path, name, size, digest.hexdigest()[:DIGEST_CHARACTERS], shown.st_mtime_ns), folder
        except OSError as error:
            remove(folder)
            raise StorageError(f"the file cannot be kept: {error.strerror}", "tell an admin") from None
        except BaseException:
            remove(folder)
            raise

    def _new(self) -> Path:
        if self._own is None:
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                own = Path(tempfile.mkdtemp(prefix="serve-", dir=self._folder))
            except OSError as error:
                raise StorageError(f"{self._folder} cannot be written: {error.strerror}") from None
            self._held.enter_context(presence.hold(own / _LOCK))
            self._own = own
        if shutil.disk_usage(self._own).free < _SPARE_BYTES:
            raise NoSpace("the server's disk is nearly full", "try again once an admin has made room")
        return Path(tempfile.mkdtemp(prefix="upload-", dir=self._own))


def too_large(max_bytes: int) -> UsageError:
    """What is said of more than may be."""
    return UsageError(
        f"the file is larger than {max_bytes / 1e6:,.0f} MB, which is the most that may be uploaded",
        "use the command `catchment send`, which takes any size, or ask an admin for a higher max_bytes",
    )


def remove(folder: Path) -> None:
    """An upload's folder, with all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)


def _write(file: BinaryIO, data: bytes, digest: hashlib._Hash) -> None:
    if shutil.disk_usage(file.name).free < _SPARE_BYTES:
        raise NoSpace("the server's disk is nearly full", "try again once an admin has made room")
    digest.update(data)
    file.write(data)
