"""A whole result as a download: written in a thread, sent as it is written, ended when nobody takes it any more."""

from __future__ import annotations

import asyncio
import queue
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from catchment.errors import CatchmentError, UsageError
from catchment.rendering.formats import WRITERS, write_parquet
from catchment.serve.asking import Handle, Question
from catchment.serve.warehouse import Asked
from catchment.warehouses import ArrowStream

TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
_PIECES = 8
_COPY_BYTES = 1 << 18


class _Gone(Exception):
    """Nobody takes it any more."""


class _Pipe:
    """What a writer writes, for a reader in another thread. It waits where the reader is slower."""

    def __init__(self) -> None:
        self._pieces: queue.Queue[bytes | BaseException | None] = queue.Queue(_PIECES)
        self.is_closed = False

    def write(self, data: bytes, /) -> int:
        while not self.is_closed:
            with suppress(queue.Full):
                self._pieces.put(data, timeout=0.2)
                return len(data)
        raise _Gone

    def end(self, error: BaseException | None) -> None:
        with suppress(_Gone, queue.Full):
            while not self.is_closed:
                with suppress(queue.Full):
                    self._pieces.put(error, timeout=0.2)
                    return

    def next(self) -> bytes | None:
        """The next piece; None at the end. Raises what the writer did."""
        piece = self._pieces.get()
        if isinstance(piece, BaseException):
            raise piece
        return piece


async def whole(asked: Asked, question: Question, format_: str, name: str) -> Response:
    """The result in a format of `TYPES`, as a file of that name. Raises what the warehouse raises of the SQL."""
    if format_ not in TYPES:
        raise UsageError(f"there is no format {format_!r}", f"one of {', '.join(TYPES)}")
    handle = Handle()
    # One row more is asked for, to see whether there are more: here nobody looks.
    stream = await run_in_threadpool(asked.run, replace(question, max_rows=question.max_rows - 1), handle)
    headers = {"Content-Disposition": f'attachment; filename="{name}.{format_}"'}
    if format_ == "parquet":
        path = await run_in_threadpool(_parquet, stream)
        return StreamingResponse(_file(path), headers=headers, media_type=TYPES[format_])
    first, pieces = await _begun(stream, format_, handle)
    return StreamingResponse(_with_first(first, pieces), headers=headers, media_type=TYPES[format_])


async def _begun(stream: ArrowStream, format_: str, handle: Handle) -> tuple[bytes | None, AsyncIterator[bytes]]:
    """The first piece: until then an error is still an answer of its own."""
    pipe = _Pipe()

    def write() -> None:
        error: BaseException | None = None
        try:
            WRITERS[format_](stream.ipc(), pipe)
        except _Gone:
            pass
        except BaseException as raised:
            error = raised
        finally:
            stream.close()
        pipe.end(error)

    threading.Thread(target=write, name="download", daemon=True).start()
    try:
        first = await run_in_threadpool(pipe.next)
    except BaseException:
        pipe.is_closed = True
        handle.end()
        raise
    return first, _rest(pipe, handle, is_over=first is None)


async def _rest(pipe: _Pipe, handle: Handle, *, is_over: bool) -> AsyncIterator[bytes]:
    try:
        while not is_over:
            piece = await run_in_threadpool(pipe.next)
            if piece is None:
                return
            yield piece
    except CatchmentError as error:
        # Too late for a status: what is cut off in the middle must not look whole.
        raise ConnectionResetError(str(error)) from error
    except asyncio.CancelledError:
        handle.end()
        raise
    finally:
        pipe.is_closed = True


async def _with_first(first: bytes | None, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for piece in rest:
        yield piece


def _parquet(stream: ArrowStream) -> Path:
    folder = tempfile.mkdtemp(prefix="catchment-download-")
    path = Path(folder) / "result.parquet"
    try:
        write_parquet(stream.ipc(), path)
    except BaseException:
        path.unlink(missing_ok=True)
        path.parent.rmdir()
        raise
    finally:
        stream.close()
    return path


def _file(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(_COPY_BYTES):
                yield piece
    finally:
        path.unlink(missing_ok=True)
        path.parent.rmdir()
