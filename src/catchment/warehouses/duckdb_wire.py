"""What goes over the local socket between the warehouse process and everyone else.

HTTP/1.1: `POST /<call>` with its arguments in MessagePack, answered by 200 and the call's value, or by another
status and a `Problem`. `POST /query` is answered by frames, since a query may fail long after its first rows:
one byte of kind and four of length, then a piece of the Arrow IPC stream, a `Problem`, or nothing at the end.
Calls that write carry a token, which is in `.catchment/warehouse.json` together with the socket's path.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import struct
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from catchment import errors
from catchment.errors import Abort, CatchmentError, StorageError
from catchment.warehouses import (
    Asker,
    Batch,
    Fill,
    Filled,
    Halt,
    LatestView,
    LedgerEntry,
    Loaded,
    Rebuild,
    Rebuilt,
    Rows,
    SchemaChange,
    Warehouse,
)
from catchment.warehouses.shape import Shape

PROTOCOL = 2
"""Grows when a process of one version can no longer talk to one of another."""
PROTOCOL_HEADER = "X-Catchment-Protocol"
TOKEN_HEADER = "X-Catchment-Token"  # noqa: S105 (a header's name)
DESCRIPTION_FILE = "warehouse.json"

MAX_CALL_BYTES = 16 * 1024 * 1024
MAX_LOAD_BYTES = 1024 * 1024 * 1024
"""Of a call with the token: a round's rows, uncompressed."""
PIECE_BYTES = 1024 * 1024
"""A frame's length at most, so that neither side holds more."""

FRAME = struct.Struct(">cI")
DATA, PROBLEM, END = b"D", b"P", b"E"


class Description(msgspec.Struct, frozen=True):
    """The running warehouse process, as `.catchment/warehouse.json` tells of it."""

    protocol: int
    version: str
    pid: int
    socket: str
    token: str


class Query(msgspec.Struct, frozen=True):
    """The arguments of `query`; parameters as `packed` makes them."""

    sql: str
    params: Any = None
    timeout_s: float | None = None
    max_rows: int | None = None
    asker: Asker | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the `Warehouse` protocol: the types of its arguments and of its value, and how it is made."""

    arguments: Any
    value: Any
    writes: bool
    make: Callable[[Warehouse, Any], Any]


CALLS: Mapping[str, Call] = {
    "shape": Call(tuple[str], Shape, False, lambda w, a: w.shape(*a)),
    "tables": Call(tuple[str], list[str], False, lambda w, a: w.tables(*a)),
    "ledger": Call(tuple[list[str]], dict[str, frozenset[str]], False, lambda w, a: w.ledger(*a)),
    "versions": Call(tuple[list[str]], dict[str, str], False, lambda w, a: w.versions(*a)),
    "row_count": Call(tuple[str, datetime, int], int, False, lambda w, a: w.row_count(*a)),
    "cancel": Call(tuple[str], bool, False, lambda w, a: w.cancel(*a)),
    "halts": Call(tuple[()], list[Halt], False, lambda w, a: w.halts(*a)),
    "load": Call(tuple[list[Batch], bool], list[Loaded], True, lambda w, a: w.load(a[0], past_ledger=a[1])),
    "latest_view": Call(tuple[LatestView], bool, True, lambda w, a: w.latest_view(*a)),
    "staged": Call(tuple[Fill], frozenset[str], False, lambda w, a: w.staged(*a)),
    "stage": Call(tuple[Fill, list[str], list[Rows]], None, True, lambda w, a: w.stage(*a)),
    "fill": Call(tuple[Fill], Filled, True, lambda w, a: w.fill(*a)),
    "begin_rebuild": Call(tuple[Rebuild], None, True, lambda w, a: w.begin_rebuild(*a)),
    "end_rebuild": Call(
        tuple[Rebuild, list[str], list[SchemaChange], bool, bool],
        Rebuilt,
        True,
        lambda w, a: w.end_rebuild(a[0], without=a[1], noted=a[2], drops_others=a[3], holds_back=a[4]),
    ),
    "enter": Call(tuple[list[LedgerEntry]], None, True, lambda w, a: w.enter(*a)),
    "forget": Call(tuple[list[str]], None, True, lambda w, a: w.forget(*a)),
    "expire": Call(
        tuple[str, datetime, int, str | None], int, True, lambda w, a: w.expire(a[0], a[1], a[2], about=a[3])
    ),
    "halt": Call(tuple[str, str], None, True, lambda w, a: w.halt(*a)),
    "resume": Call(tuple[str], None, True, lambda w, a: w.resume(*a)),
    "tidy": Call(tuple[datetime], None, True, lambda w, a: w.tidy(*a)),
    "backup": Call(tuple[str], None, True, lambda w, a: w.backup(Path(a[0]))),
}
"""Everything but `query`, whose answer is a stream, and `close` and `reads`, which are each side's own."""

encode = msgspec.msgpack.Encoder().encode


class Problem(msgspec.Struct, frozen=True):
    """An error of errors.py on its way: its class, those it falls back on, and what it was made with."""

    kinds: tuple[str, ...]
    fields: dict[str, str]


def problem(error: CatchmentError) -> Problem:
    """An error to be sent."""
    names = [name for name in inspect.signature(type(error).__init__).parameters if name != "self"]
    kinds = tuple(kind.__name__ for kind in type(error).__mro__ if issubclass(kind, CatchmentError))
    return Problem(kinds, {name: str(getattr(error, name)) for name in names})


def raised(problem: Problem) -> CatchmentError:
    """The error that was sent; of a class unknown here, the nearest one known."""
    for kind in problem.kinds:
        known = getattr(errors, kind, None)
        if isinstance(known, type) and issubclass(known, CatchmentError):
            try:
                return known(**problem.fields)
            except TypeError:  # a class above the one it was made as, with fewer arguments
                continue
    return Abort("; ".join(problem.fields.values()))


_FROM_TEXT: Mapping[str, Callable[[str], Any]] = {
    "int": int,
    "decimal": Decimal,
    "uuid": UUID,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time_of_day.fromisoformat,
    "timedelta": lambda text: timedelta(microseconds=int(text)),
}


def packed(value: Any) -> Any:
    """A query's parameter, or a list or mapping of them, in what MessagePack keeps: nothing changes its type.

    Raises `UsageError` for a type that no warehouse takes.
    """
    match value:
        case None | bool() | float() | str() | bytes():
            return value
        case int():
            return value if -(2**63) <= value < 2**64 else ["int", str(value)]
        case datetime():  # before date, which it is a subclass of
            return ["datetime", value.isoformat()]
        case date():
            return ["date", value.isoformat()]
        case time_of_day():
            return ["time", value.isoformat()]
        case timedelta():
            return ["timedelta", str(value // timedelta(microseconds=1))]
        case Decimal():
            return ["decimal", str(value)]
        case UUID():
            return ["uuid", str(value)]
        case Mapping():
            return {str(name): packed(item) for name, item in value.items()}
        case Sequence():
            return ["list", [packed(item) for item in value]]
        case _:
            raise errors.UsageError(f"a query's parameter can't be of the type {type(value).__name__}")


def unpacked(value: Any) -> Any:
    """The parameter that was packed. Raises `ValueError` for what `packed` does not make."""
    match value:
        case dict():
            return {name: unpacked(item) for name, item in value.items()}
        case ["list", [*items]]:
            return [unpacked(item) for item in items]
        case [str(kind), str(text)] if kind in _FROM_TEXT:
            return _FROM_TEXT[kind](text)
        case list():
            raise ValueError("a parameter of no known kind")
        case _:
            return value


def socket_path(runtime: Path) -> Path:
    """Where the warehouse process of the project with this runtime folder listens.

    A socket's path ends at 108 bytes (104 on macOS), which a project's folder may exceed: so it lies in a folder
    that only this user can enter, under a name made of the project's. Raises `StorageError` where that folder is
    somebody else's.
    """
    name = hashlib.sha256(os.fsencode(runtime.resolve())).hexdigest()[:16] + ".sock"
    user = f"catchment-{os.geteuid()}"
    for parent in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108
        if parent and Path(parent).is_dir() and len(os.fsencode(Path(parent) / user / name)) <= 100:
            return private_folder(Path(parent) / user) / name
    raise StorageError("no folder has a path short enough for a socket", "set TMPDIR to a short path")


def private_folder(folder: Path) -> Path:
    """Make a folder that only this user can enter, or see that it is one. Raises `StorageError`."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}", "set TMPDIR to a folder of your own") from None
    if folder.is_symlink() or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise StorageError(f"{folder} is open to others or not yours", f"remove it, or chmod 700 {folder}")
    return folder
