"""The ledger within one transaction of PostgreSQL: read once for all batches of a load, and written once."""

from __future__ import annotations

from collections.abc import Iterable

from catchment.warehouses import postgres_sql as sql
from catchment.warehouses.ledger import Ledger
from catchment.warehouses.postgres_connections import Connection


def read_ledger(connection: Connection, names: Iterable[str]) -> Ledger:
    """What the ledger has of these files."""
    wanted = sorted(set(names))
    return Ledger(set(connection.execute(sql.LEDGER_OF, [wanted]).fetchall()) if wanted else set())


def write_ledger(connection: Connection, ledger: Ledger) -> None:
    """Insert what was added."""
    if ledger.entries:
        with connection.cursor() as cursor:
            cursor.executemany(sql.LEDGER_ADD, ledger.entries)
