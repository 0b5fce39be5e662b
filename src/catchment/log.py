"""Logging: lines for people on a terminal, JSON lines for machines otherwise, and no secret in either.

    log = get_log("load")
    log.info("round archived", records=1000, bytes=81234)
    log.error("loading failed", exc=error, table="website.signup")

The event is a fixed text, what varies goes into fields: so lines can be grouped by event and no data is ever
taken for a format. `exc` adds the error: a `CatchmentError` by its message and hint, which are written for the
reader, anything else with its traceback. A disabled level costs one look-up in stdlib's cache.

    10:00:00.123 info    load: round archived records=1000 bytes=81234
    {"ts":"2026-11-23T10:00:00.123Z","level":"info","service":"load","event":"round archived","records":1000,…}

`setup` is called once a process. It also takes in what would reach stderr past us: the lines of other
libraries (from WARNING up), Python's warnings, and exceptions nobody caught. `hide` registers a secret; from
then on every line shows `***` in its place, also where it was escaped or percent-encoded on its way, in
messages, fields and tracebacks.

Environment: CATCHMENT_LOG is the level (debug, info, warning, error), CATCHMENT_LOG_FORMAT (human, json)
overrides the look, which `up` uses for its children.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Any, Final, Literal, cast

from catchment.errors import CatchmentError, UsageError
from catchment.secret import redact, remember

LEVEL_ENV: Final = "CATCHMENT_LOG"
FORMAT_ENV: Final = "CATCHMENT_LOG_FORMAT"
LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
MAX_TEXT_CHARS: Final = 16_384
"""Of one field or traceback: a record of a megabyte in an error message helps nobody."""

_ROOT = "catchment"
_OURS = frozenset({"ts", "level", "service", "event", "error", "traceback"})
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
"""Control characters, which could move a terminal's cursor or forge a line."""
_CONTROL_BUT_LINES = {code: text for code, text in _CONTROL.items() if chr(code) not in "\n\t"}
_COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m"}


class Log:
    """Writes events of one service, or one part of it."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, /, *, exc: BaseException | None = None, **fields: object) -> None:
        """What only whoever looks for a fault wants to see."""
        if self._logger.isEnabledFor(logging.DEBUG):
            self._write(logging.DEBUG, event, exc, fields)

    def info(self, event: str, /, *, exc: BaseException | None = None, **fields: object) -> None:
        """What happens in good times, a few lines a minute at most."""
        if self._logger.isEnabledFor(logging.INFO):
            self._write(logging.INFO, event, exc, fields)

    def warning(self, event: str, /, *, exc: BaseException | None = None, **fields: object) -> None:
        """Something is not as it should be, and Catchment deals with it."""
        if self._logger.isEnabledFor(logging.WARNING):
            self._write(logging.WARNING, event, exc, fields)

    def error(self, event: str, /, *, exc: BaseException | None = None, **fields: object) -> None:
        """Somebody has to act."""
        if self._logger.isEnabledFor(logging.ERROR):
            self._write(logging.ERROR, event, exc, fields)

    def _write(self, level: int, event: str, exc: BaseException | None, fields: dict[str, object]) -> None:
        self._logger.log(level, event, exc_info=exc, extra={"catchment_fields": fields})


def get_log(service: str = "") -> Log:
    """The log of one service, or of whichever this process runs; cheap, and fine at import time."""
    return Log(logging.getLogger(f"{_ROOT}.{service}" if service else _ROOT))


def setup(service: str, *, level: str | None = None, stream: IO[str] | None = None) -> None:
    """Send this process's lines to `stream` (stderr), under the name `service` where a line has none of its own.

    Raises `UsageError` for a level or format that does not exist. A second call replaces the first.
    """
    stream = sys.stderr if stream is None else stream
    wanted_level = (level or os.environ.get(LEVEL_ENV) or "info").lower()
    if wanted_level not in LEVELS:
        raise UsageError(f"{LEVEL_ENV}={wanted_level} is no level", f"use one of {', '.join(LEVELS)}")
    human = look(stream) == "human"
    colour = human and stream.isatty() and not os.environ.get("NO_COLOR")
    handler = _Handler(stream)
    handler.setFormatter(_Human(service, colour) if human else _Json(service))
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    # Other people's libraries are chatty below WARNING, and some log whole requests there.
    root.setLevel(max(logging.WARNING, LEVELS[wanted_level]))
    logging.getLogger(_ROOT).setLevel(LEVELS[wanted_level])
    logging.captureWarnings(capture=True)
    _catch_uncaught(service)


def is_set_up() -> bool:
    """Whether `setup` has been called in this process."""
    return any(isinstance(handler, _Handler) for handler in logging.getLogger().handlers)


hide = remember
"""Never show this text again, from this moment on and in every thread."""

mask = redact
"""The text with every hidden one replaced."""


def look(stream: IO[str]) -> Literal["human", "json"]:
    """How lines on this stream are to look. Raises `UsageError` for a format that does not exist."""
    wanted = os.environ.get(FORMAT_ENV) or ("human" if stream.isatty() else "json")
    if wanted not in ("human", "json"):
        raise UsageError(f"{FORMAT_ENV}={wanted} is no format", "use human or json")
    return cast(Literal["human", "json"], wanted)


class _Handler(logging.StreamHandler[IO[str]]):
    """Writes lines; what cannot be written is lost in silence, since there is nowhere left to say so."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Stdlib would print the raw record here, secrets included."""


class _Formatter(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def _name(self, record: logging.LogRecord) -> str:
        """The service of our own lines; a library's line says whose it is."""
        if record.name.startswith(f"{_ROOT}."):
            return record.name.removeprefix(f"{_ROOT}.")
        return self._service if record.name in ("root", _ROOT) else f"{self._service} ({record.name})"


class _Json(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "ts": moment.removesuffix("+00:00") + "Z",
            "level": record.levelname.lower(),
            "service": self._name(record),
            "event": _text(_message(record)),
        }
        for name, value in _fields(record).items():
            line[f"{name}_" if name in _OURS else name] = _plain(value)
        if record.exc_info and record.exc_info[1]:
            line |= _error(record.exc_info[1])
        return json.dumps(line, separators=(",", ":"), default=_text)


class _Human(_Formatter):
    def __init__(self, service: str, colour: bool) -> None:
        super().__init__(service)
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone()
        level = record.levelname.lower()
        shown = f"{level:<7}"
        if self._colour and level in _COLOURS:
            shown = f"{_COLOURS[level]}{shown}\x1b[0m"
        line = f"{moment:%H:%M:%S}.{int(record.msecs):03d} {shown} {self._name(record)}: "
        line += _text(_message(record)).translate(_CONTROL)
        line += "".join(f" {name}={_value(value)}" for name, value in _fields(record).items())
        if record.exc_info and record.exc_info[1]:
            error = _error(record.exc_info[1])
            parts = [f": {error['error']}"]
            parts += [f"Try: {error['hint']}"] if "hint" in error else []
            parts += [error["traceback"]] if "traceback" in error else []
            # Indented, so that no text can pass for a line of its own.
            line += "\n".join(parts).translate(_CONTROL_BUT_LINES).replace("\n", "\n  ")
        return line


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # a library's arguments that do not fit its own format
        return str(record.msg)


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields: Mapping[str, object] = getattr(record, "catchment_fields", {})
    return fields


def _error(error: BaseException) -> dict[str, str]:
    """What to show of an error: the words written for the user where there are any, else all we know."""
    if isinstance(error, CatchmentError):
        shown = {"error": _text(error.message)}
        return shown | {"hint": _text(error.hint)} if error.hint else shown
    said = _text(error)
    name = type(error).__name__
    return {
        "error": f"{name}: {said}" if said else name,
        "traceback": _text("".join(traceback.format_exception(error)).rstrip()),
    }


def _text(value: object) -> str:
    """Any value as text that can be written anywhere: masked first, so that no cut leaves half a secret."""
    try:
        text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    except Exception as error:  # an object whose __str__ is broken must not cost the line it stands in
        text = f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"
    text = mask(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    if len(text) > MAX_TEXT_CHARS:
        half = MAX_TEXT_CHARS // 2
        text = f"{text[:half]}… ({len(text) - 2 * half} more characters) …{text[-half:]}"
    return text


def _plain(value: object) -> Any:
    """The value as JSON can hold it. A number may be a secret as well."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        shown = _text(value)
        return value if shown == str(value) and math.isfinite(value) else shown
    if isinstance(value, Mapping):
        return {_text(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    return _text(value)


def _value(value: object) -> str:
    """The value in a line for people: quoted where its end would be in doubt."""
    plain = _plain(value)
    if isinstance(plain, str) and re.fullmatch(r"[^\s\"'=]+", plain):
        return plain.translate(_CONTROL)
    return json.dumps(plain, ensure_ascii=False).translate(_CONTROL)


def _catch_uncaught(service: str) -> None:
    """Exceptions that nobody caught become lines too, else Python would print them as they are."""
    log = get_log(service)

    def in_main(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, KeyboardInterrupt):
            log.error("uncaught exception", exc=error.with_traceback(trace))

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            log.error("uncaught exception", exc=args.exc_value, thread=args.thread and args.thread.name)

    def in_finalizer(args: sys.UnraisableHookArgs) -> None:
        log.error("exception in a finalizer", exc=args.exc_value, where=args.object)

    sys.excepthook = in_main
    threading.excepthook = in_thread
    sys.unraisablehook = in_finalizer
