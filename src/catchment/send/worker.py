"""Reads one file, in a process of its own: `python -m catchment.send.worker`.

A file may be made to break its reader: what unpacks to a thousand times its size, or takes a library's memory or
senses, ends this process and no other. The request comes on stdin, answers go to stdout as frames: four bytes of
length, then one message of `apart`. It has no secrets, ends when nobody takes its answers, and cannot take more
memory or processor than its limits.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from typing import BinaryIO

from catchment.errors import CatchmentError
from catchment.send import look
from catchment.send.apart import (
    PROCESSOR_S,
    At,
    Done,
    Failed,
    Looked,
    Message,
    Request,
    Some,
    frame,
    request_of,
)

_PROGRESS_EVERY_S = 0.2


def main() -> None:
    """Answer the one request."""
    # What libraries print is no answer.
    with os.fdopen(os.dup(1), "wb", 0) as out:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        request = request_of(sys.stdin.buffer.read())
        _limit(request.memory_bytes)
        try:
            _answer(request, out)
        except BrokenPipeError:
            os._exit(1)
        except look.Unclear as error:
            _say(out, Failed(error.message, error.hint, error.asks, error.trials))
        except CatchmentError as error:
            _say(out, Failed(error.message, error.hint))
        except MemoryError:
            os._exit(1)
        except BaseException as error:  # also what a library panics with
            _say(out, Failed(f"{request.source.name} cannot be read: {type(error).__name__}: {str(error)[:300]}"))


def _answer(request: Request, out: BinaryIO) -> None:
    said_s = 0.0

    def progress(done: float) -> None:
        nonlocal said_s
        if time.monotonic() - said_s > _PROGRESS_EVERY_S:
            said_s = time.monotonic()
            _say(out, At(done))

    if request.found is None or request.written is None:
        _say(out, Looked(look.look(request.source, request.format, request.choices, request.max_rows, progress)))
        return
    for batch in look.rows(request.source, request.format, request.found, request.written):
        _say(out, Some(batch))
    request.source.check_unchanged()
    _say(out, Done())


def _say(out: BinaryIO, message: Message) -> None:
    out.write(frame(message))


def _limit(memory_bytes: int) -> None:
    """As far as the system knows such limits."""
    for what, most in (
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_CPU, PROCESSOR_S),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (allowed, allowed))


if __name__ == "__main__":
    main()
