"""Arrow IPC streams that come in pieces, for whoever reads files or Arrow's C stream. Knows no engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nanoarrow._utils import NanoarrowException
from nanoarrow.ipc import InputStream

JSON = {"ARROW:extension:name": "arrow.json", "ARROW:extension:metadata": ""}
"""What marks a column of text as JSON."""


class IpcFile:
    """The pieces of an IPC stream as a file that nanoarrow reads.

    nanoarrow says only that reading failed; `error` keeps why.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")
        self.error: BaseException | None = None

    def readinto(self, target: Any) -> int:
        """Fill `target` from the pieces; less only at their end."""
        view, filled = memoryview(target), 0
        while filled < len(view) and self._next():
            count = min(len(view) - filled, len(self._rest))
            view[filled : filled + count] = self._rest[:count]
            self._rest = self._rest[count:]
            filled += count
        return filled

    def _next(self) -> bool:
        """Whether there is something left to give."""
        try:
            while not self._rest:
                piece = next(self._pieces, None)
                if piece is None:
                    return False
                self._rest = memoryview(piece)
        except BaseException as error:
            self.error = error
            raise
        return True

    def capsule(self) -> object:
        """Arrow's PyCapsule of the stream, to be read once."""
        return InputStream.from_readable(self).__arrow_c_stream__()


@contextmanager
def opened(pieces: Iterator[bytes]) -> Iterator[IpcFile]:
    """An IPC stream as a file; where it breaks, its own error is raised, and not nanoarrow's that it broke."""
    file = IpcFile(pieces)
    try:
        yield file
    except NanoarrowException:
        if file.error is None:
            raise
        raise file.error from None


class IpcBuffer:
    """What a writer has written since it was last taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def taken(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data
