"""How the command ends: its exit codes, and what is said when it fails."""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import sys
import threading
from enum import IntEnum
from typing import NoReturn

import click

from catchment import __version__
from catchment.cli.screen import visible_lines
from catchment.errors import CatchmentError, UsageError
from catchment.secret import redact

DEBUG_VARIABLE = "CATCHMENT_DEBUG"


class ExitCode(IntEnum):
    """A promise to scripts; the last two are what a shell reports of a program that its signal ended."""

    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2
    NOT_WELL = 3
    INTERRUPTED = 130
    READER_GONE = 141


def leave(code: int) -> NoReturn:
    """End the process. A thread that a stop could not wait for may be inside DuckDB still, and one that has just ended
    closes its connection after `threading` has forgotten it: taking the interpreter down around them would abort with
    a signal, as if something had failed."""
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join()
    if threading.active_count() > 1 or "duckdb" in sys.modules:
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError, ValueError):  # nobody listens any more
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def code_of(error: CatchmentError) -> ExitCode:
    """The exit code of an error that was foreseen."""
    return ExitCode.WRONG_USAGE if isinstance(error, UsageError) else ExitCode.FAILED


def explain(error: CatchmentError) -> None:
    """Say what went wrong and what to try, on stderr; with CATCHMENT_DEBUG=1 where in the code, too."""
    if os.environ.get(DEBUG_VARIABLE) == "1":
        import traceback

        _say("".join(traceback.format_exception(error)).rstrip())
    _say(f"catchment: {error}")


def explain_unexpected(error: BaseException, arguments: list[str]) -> None:
    """Say in short that Catchment itself has failed, and put the details into a file."""
    import platform
    import shlex
    import traceback

    details = redact("".join(traceback.format_exception(error)))
    if os.environ.get(DEBUG_VARIABLE) == "1":
        _say(details.rstrip())
    about = (
        f"catchment {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"catchment {redact(shlex.join(arguments))}\n\n"
    )
    words = "".join(traceback.format_exception_only(error)).strip()
    _say(f"catchment: unexpected error: {words}\n  Details: {_kept(about + details)}")
    _say("  Try: report it with these details; nothing that was confirmed is lost")


def _kept(details: str) -> str:
    """Write the details to a file only its owner can read; its path, or why there is none."""
    import tempfile

    try:
        descriptor, path = tempfile.mkstemp(prefix="catchment-error-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(details)
    except OSError as error:
        return f"no file for them ({error.strerror}); {DEBUG_VARIABLE}=1 shows them"
    return path


def is_reader_gone() -> bool:
    """Whether nobody reads stdout any more, as after `| head`; a broken pipe may as well be another's."""
    try:
        descriptor = sys.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
    except (OSError, ValueError):  # no file beneath it: nothing that could be gone
        return False


def mute_stdout() -> None:
    """Send what is still buffered nowhere, so that closing stdout does not fail once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _say(text: str) -> None:
    click.echo(visible_lines(redact(text)), err=True)
