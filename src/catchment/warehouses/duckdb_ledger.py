"""The ledger within one transaction: read once for all batches of a load, and written once.

With hundreds of small tables in a round, a statement a table for each costs as much as the rows do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import duckdb

from catchment.warehouses.duckdb_sql import LEDGER_OF
from catchment.warehouses.ledger import Ledger


def read_ledger(cursor: duckdb.DuckDBPyConnection, names: Iterable[str]) -> Ledger:
    """What the ledger has of these files."""
    wanted = sorted(set(names))
    if not wanted:
        return Ledger(set())
    known = cursor.execute(LEDGER_OF, {"low": wanted[0], "high": wanted[-1], "names": wanted})
    return Ledger(set(known.fetchall()))


def write_ledger(cursor: duckdb.DuckDBPyConnection, ledger: Ledger) -> None:
    """Insert what was added."""
    if not ledger.entries:
        return
    columns: list[Any] = [list(column) for column in zip(*ledger.entries, strict=True)]
    kinds = ("VARCHAR", "VARCHAR", "VARCHAR", "BIGINT", "BIGINT", "BIGINT", "BIGINT", "TIMESTAMPTZ", "TIMESTAMPTZ")
    values = ", ".join(f"unnest(${place}::{kind}[])" for place, kind in enumerate(kinds, start=1))
    cursor.execute(f"INSERT INTO catchment.ledger SELECT {values}, now()", columns)
