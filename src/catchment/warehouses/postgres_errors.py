"""PostgreSQL's errors as ours: grouped by what to do about them, shortened, with no secret and no row of data."""

from __future__ import annotations

import psycopg

from catchment.errors import CatchmentError, Malformed, NoSpace, Retry, StorageError, WarehouseDown

_AWAY = ("08", "57P01", "57P02", "57P03", "57P05", "53300", "25P03", "25006")
"""SQLSTATEs of a server that is not there for us: connection lost, shutting down, starting, too many connections,
a transaction ended for idleness, a standby that does not write."""
_AGAIN = ("40", "55P03", "57014", "53200", "23505")
"""Serialization and deadlock, a lock not had in time, cancelled, out of memory, two that made the same at once."""
_REFUSED = ("22", "54")
"""The data itself: a value out of range or not of its type; a row or a value larger than there is room for."""


def translated(error: psycopg.Error) -> CatchmentError:
    """What the error asks for."""
    state = error.sqlstate or ""
    said = first_line(error)
    if not state and isinstance(error, psycopg.DataError):
        return Malformed("not-loadable", said)
    if not state and not isinstance(error, psycopg.ProgrammingError | psycopg.NotSupportedError):
        # Nothing that the server has said: the connection is gone, or never came about.
        return WarehouseDown(f"PostgreSQL cannot be reached: {said}", "catchment doctor")
    if state.startswith(("28", "3D")):
        return WarehouseDown(f"PostgreSQL refuses the connection: {said}", "see `url` of [warehouse]")
    if state.startswith(_AWAY):
        return WarehouseDown(f"PostgreSQL cannot be reached: {said}", "catchment doctor")
    if state.startswith(_AGAIN):
        return Retry(f"PostgreSQL could not just now: {said}")
    if state.startswith(_REFUSED):
        return Malformed("not-loadable", said)
    if state == "53100":
        return NoSpace(f"PostgreSQL's disk is full: {said}", "make room there; loading goes on by itself")
    if state == "42501":
        return StorageError(
            f"PostgreSQL forbids it: {said}",
            "GRANT CREATE ON DATABASE … TO the role of `url`, and let it own the tables that it loads",
        )
    return Retry(f"PostgreSQL could not: {said}")


def first_line(error: psycopg.Error) -> str:
    """What an error says, without details, which may quote a row."""
    return error.diag.message_primary or (str(error).splitlines() or [type(error).__name__])[0]
