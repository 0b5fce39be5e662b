"""Reads files of strangers in a process of its own, which may break without harm: see `worker`."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

import msgspec

from catchment.errors import Abort, UsageError
from catchment.send.look import Choices, Format, Found, Unclear, Written
from catchment.send.rows import Batch
from catchment.send.source import Source

MEMORY_BYTES = 1_500 << 20
PROCESSOR_S = 1_800
_KEPT_OF_ENVIRONMENT = (
    "PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "TZDIR",
)
_LENGTH = struct.Struct(">I")


class Request(msgspec.Struct, frozen=True):
    """What to read. With `found` and `written` its rows, else what it says of itself."""

    source: Source
    format: Format
    choices: Choices
    max_rows: int
    found: Found | None = None
    written: Written | None = None
    memory_bytes: int = MEMORY_BYTES


class At(msgspec.Struct, frozen=True, tag=True):
    """How much of the file has been looked at, from 0 to 1."""

    done: float


class Looked(msgspec.Struct, frozen=True, tag=True):
    """What the file says of itself."""

    found: Found


class Some(msgspec.Struct, frozen=True, tag=True):
    """Some of its rows."""

    batch: Batch


class Done(msgspec.Struct, frozen=True, tag=True):
    """There are no more."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It cannot be read, or not like this."""

    message: str
    hint: str = ""
    asks: str = ""
    trials: tuple[tuple[str, str], ...] = ()


Message = At | Looked | Some | Done | Failed


def _plain(value: object) -> object:
    """What msgspec does not know: ranges of numbers, and paths."""
    return list(value) if isinstance(value, range) else str(value)


_encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode
_decode = msgspec.msgpack.Decoder(Message).decode


def request_of(body: bytes) -> Request:
    """The request, as the worker gets it."""
    return msgspec.msgpack.decode(body, type=Request, dec_hook=lambda kind, value: kind(value))


def frame(message: Message) -> bytes:
    """A message as it goes through the pipe."""
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


class Ended(Abort):
    """Somebody ended the reading."""


class Reading:
    """One reading of a file. `end` may be called from any thread, before, while and after it runs."""

    def __init__(self, request: Request, folder: Path) -> None:
        """`folder` is the worker's own, for what its libraries put on disk."""
        self._request = request
        self._folder = folder
        self._lock = threading.Lock()
        self._is_ended = False
        self._process: subprocess.Popen[bytes] | None = None

    def look(self, progress: Callable[[float], None] = lambda _: None) -> Found:
        """What the file says of itself. Raises `UsageError`, `Unclear` among them, and `Ended`."""
        for message in self._messages():
            match message:
                case At(done):
                    progress(done)
                case Looked(found):
                    return found
        raise AssertionError("the worker's answers end with what it found or why it failed")

    def batches(self) -> Iterator[Batch]:
        """The file's rows. Raises as `look` does."""
        for message in self._messages():
            match message:
                case Some(batch):
                    yield batch
                case Done():
                    return

    def end(self) -> None:
        """End it now."""
        with self._lock:
            self._is_ended = True
            if self._process is not None:
                self._process.kill()

    def _messages(self) -> Iterator[Message]:
        """Until the last one, whatever that is; the process is gone when this ends."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            try:
                process.stdin.write(_encode(self._request))
                process.stdin.close()
            except BrokenPipeError:
                pass  # the end of its answers says why
            while True:
                message = _next(process.stdout)
                if message is None:
                    raise self._broken(process.wait())
                if isinstance(message, Failed):
                    raise _error(message)
                yield message
        finally:
            process.kill()
            process.stdout.close()
            process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._is_ended:
                raise Ended("ended")
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "catchment.send.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=self._folder,
                env=_environment(self._folder),
                start_new_session=True,
            )
            return self._process

    def _broken(self, code: int) -> Abort:
        if self._is_ended:
            return Ended("ended")
        name = self._request.source.name
        if code == -24:  # SIGXCPU
            return UsageError(f"{name} takes more than {PROCESSOR_S // 60} minutes to read", "split it")
        return UsageError(
            f"{name} cannot be read within {self._request.memory_bytes >> 20:,} MB of memory, or breaks what reads it",
            "save the sheet as CSV; a single cell far below or right of the others may be the reason"
            if self._request.format == "excel"
            else "split it, or write it anew",
        )


def _next(pipe: IO[bytes]) -> Message | None:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = pipe.read(length)
    return _decode(body) if len(body) == length else None


def _error(failed: Failed) -> UsageError:
    error = UsageError(failed.message, failed.hint)
    return Unclear(error, failed.asks, failed.trials) if failed.asks else error


def _environment(folder: Path) -> Mapping[str, str]:
    """Nothing that the project keeps secret."""
    kept = {name: os.environ[name] for name in _KEPT_OF_ENVIRONMENT if name in os.environ}
    return {**kept, "TMPDIR": str(folder), "HOME": str(folder), "MALLOC_ARENA_MAX": "1", "RUST_BACKTRACE": "0"}
