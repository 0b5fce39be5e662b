"""DuckDB's errors as ours, by what to do about them."""

from __future__ import annotations

from pathlib import Path

import duckdb

from catchment.errors import Abort, Malformed, NoSpace, Retry, StorageError
from catchment.warehouses.duckdb_opening import first_line


def translated(error: duckdb.Error, file: Path) -> Exception:
    """What a statement on this file met."""
    is_fatal = isinstance(error, duckdb.FatalException | duckdb.InternalException)
    match error:
        case _ if is_fatal or "has been invalidated" in str(error):
            # Nothing works on this file any more until the process is another.
            return Abort(f"DuckDB has stopped: {first_line(error)}", "restart the warehouse process, as `up` does")
        case _ if "No space left" in str(error):  # as what kind of error depends on who met it first
            return NoSpace(f"no space left for {file}", "free some space; loading goes on by itself")
        case _ if "Corrupt database file" in str(error):
            hint = "stop, and move the file away: `catchment up` rebuilds it from the archive"
            return StorageError(f"{file} is damaged: {first_line(error)}", hint)
        case duckdb.TransactionException():
            return Retry(f"a conflict in the warehouse: {first_line(error)}")
        case duckdb.OutOfMemoryException():
            return Retry(f"the warehouse ran out of memory: {first_line(error)}", "raise warehouse.memory_limit")
        case duckdb.InvalidInputException() | duckdb.ConversionException() | duckdb.OutOfRangeException():
            return Malformed("not-loadable", first_line(error))
        case _:
            return Retry(f"the warehouse could not: {first_line(error)}")
