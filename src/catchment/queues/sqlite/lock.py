"""Locks between processes, which end with the process that holds them."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FileLock:
    """flock on a file of its own. It ends with the process that holds it, however that ends.

    Never on the db itself: closing any descriptor of a file drops the POSIX locks that SQLite holds on it.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, path: Path, *, wait: bool = False) -> FileLock | None:
        """The lock, or None where somebody else has it and we don't `wait`."""
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            if _is_same_file(descriptor, path):
                return cls(path, descriptor)
            os.close(descriptor)  # whoever had it before us removed it meanwhile

    def release(self) -> None:
        """Let others have it. Twice does nothing."""
        if self._descriptor is not None:
            # In a forked child this closes the copy alone: the parent keeps its lock.
            os.close(self._descriptor)
            self._descriptor = None

    def write(self, text: str) -> None:
        """Say in the file who holds it."""
        assert self._descriptor is not None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
