"""A whole result as a download: written in a thread, sent as it is written, ended when nobody takes it any more."""

from __future__ import annotations

import asyncio
import queue
import re
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from catchment.errors import CatchmentError, UsageError
from catchment.rendering.formats import WRITERS, write_parquet
from catchment.serve.asking import Handle, Question
from catchment.serve.restarts import through_restarts
from catchment.serve.warehouse import Asked
from catchment.warehouses import ArrowStream

TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
_PIECES = 8
_PIECE_BYTES = 1 << 16
_COPY_BYTES = 1 << 18
_WAIT_S = 0.2
T = TypeVar("T")
_THREADS = ThreadPoolExecutor(64, "whole")  # most of them wait, for the warehouse or for a slow reader


class _Gone(Exception):
    """Nobody takes it any more."""


async def in_thread(work: Callable[[], T]) -> T:
    """Its result. Whoever waits may be cancelled at once; the work is then the thread's alone."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work)


class _Pipe:
    """What a writer writes, for a reader in another thread. It waits where the reader is slower."""

    def __init__(self) -> None:
        self._pieces: queue.Queue[bytes | BaseException | None] = queue.Queue(_PIECES)
        self._gathered = bytearray()
        self.is_closed = False
        self.has_begun = False

    def write(self, data: bytes, /) -> int:
        """Gathered, so that an error of the first rows comes before the first piece does."""
        self._gathered += data
        if len(self._gathered) >= _PIECE_BYTES:
            self._flush()
        return len(data)

    def forget(self) -> None:
        """What is gathered: it is written once more. Not after the first piece, which `has_begun` tells."""
        self._gathered.clear()

    def _flush(self) -> None:
        self.has_begun = True
        self._put(bytes(self._gathered))
        self._gathered.clear()

    def _put(self, piece: bytes | BaseException | None) -> None:
        while not self.is_closed:
            with suppress(queue.Full):
                self._pieces.put(piece, timeout=_WAIT_S)
                return
        raise _Gone

    def end(self, error: BaseException | None) -> None:
        """No more comes, or an error does."""
        with suppress(_Gone):
            if error is None:
                self._flush()
            self._put(error)

    def next(self) -> bytes | None:
        """The next piece; None at the end. Raises what the writer did."""
        while not self.is_closed:
            with suppress(queue.Empty):
                piece = self._pieces.get(timeout=_WAIT_S)
                if isinstance(piece, BaseException):
                    raise piece
                return piece
        raise _Gone


class _Download(Response):
    """A body in pieces, which are fetched in a thread; `end` is called however it ends, begun or not."""

    def __init__(self, take: Callable[[], bytes | None], end: Callable[[], None], format_: str, name: str) -> None:
        super().__init__(headers={"Content-Disposition": f'attachment; filename="{_plain(name)}.{format_}"'})
        del self.headers["content-length"]
        self.headers["content-type"] = TYPES[format_]
        self._take = take
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            sending = asyncio.create_task(self._send(send))
            watching = asyncio.create_task(_gone(receive))
            try:
                await asyncio.wait({sending, watching}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    sending.result()
            finally:
                for task in (sending, watching):
                    task.cancel()
                await asyncio.gather(sending, watching, return_exceptions=True)
        finally:
            self._end()

    async def _send(self, send: Send) -> None:
        try:
            while (piece := await in_thread(self._take)) is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except CatchmentError as error:
            # Too late for a status: what is cut off in the middle must not look whole.
            raise ConnectionResetError(str(error)) from error
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _plain(name: str) -> str:
    """A name that a header can hold."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:100]


async def whole(asked: Asked, question: Question, format_: str, name: str) -> Response:
    """The result in a format of `TYPES`, as a file of that name. Raises what the warehouse raises of the SQL.
    Whoever is cancelled meanwhile ends the query."""
    if format_ not in TYPES:
        raise UsageError(f"there is no format {format_!r}", f"one of {', '.join(TYPES)}")
    question = replace(question, max_rows=question.max_rows - 1)  # one more is asked for, to tell what is cut
    handle, pipe = Handle(), _Pipe()

    def end() -> None:
        pipe.is_closed = True
        handle.end()

    try:
        if format_ == "parquet":
            file = await in_thread(
                lambda: through_restarts(
                    lambda: _parquet(asked.run(question, handle)), question.timeout_s, lambda: handle.is_ended
                )
            )
            return _Download(lambda: file.read(_COPY_BYTES) or None, file.close, format_, name)
        threading.Thread(
            target=_write, args=(asked, question, handle, format_, pipe), name="download", daemon=True
        ).start()
        first = [await in_thread(pipe.next)]  # until it is there an error is still an answer of its own
    except BaseException:
        end()
        raise

    def take() -> bytes | None:
        return first.pop() if first else pipe.next()

    return _Download(take, end, format_, name)


def _write(asked: Asked, question: Question, handle: Handle, format_: str, pipe: _Pipe) -> None:
    error: BaseException | None = None

    def write() -> None:
        pipe.forget()
        stream = asked.run(question, handle)
        try:
            WRITERS[format_](stream.ipc(), pipe)
        finally:
            stream.close()

    try:
        through_restarts(write, question.timeout_s, lambda: handle.is_ended or pipe.has_begun)
    except _Gone:
        pass
    except BaseException as raised:
        error = raised
    pipe.end(error)


def _parquet(stream: ArrowStream) -> BinaryIO:
    """Written whole, for a Parquet file begins at its end; it is gone once it is closed."""
    with tempfile.TemporaryDirectory(prefix="catchment-download-") as folder:
        path = Path(folder) / "result.parquet"
        try:
            write_parquet(stream.ipc(), path)
        finally:
            stream.close()
        return path.open("rb")
