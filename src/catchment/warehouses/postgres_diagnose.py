"""Whether PostgreSQL can be reached and used, for `catchment doctor`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psycopg

from catchment.errors import CatchmentError
from catchment.finding import Finding
from catchment.warehouses.postgres_config import PostgresConfig
from catchment.warehouses.postgres_connections import Connection, Connections
from catchment.warehouses.postgres_errors import translated

_GRANT = "GRANT CREATE ON DATABASE … TO the role of `url`"


def diagnose(config: PostgresConfig, folder: Path) -> list[Finding]:
    """Connect and look; nothing is made."""
    try:
        with contextlib.closing(Connections(config).open()) as connection:
            try:
                return list(_look(connection, config))
            except psycopg.Error as error:
                raise translated(error) from None
    except CatchmentError as error:
        return [Finding("warehouse", False, error.message, error.hint)]


def _look(connection: Connection, config: PostgresConfig) -> Iterator[Finding]:
    info = connection.info
    [(tables, writes, creates)] = connection.execute(
        "SELECT CASE WHEN to_regclass('catchment.tables') IS NOT NULL THEN (SELECT reltuples FROM pg_class "
        "WHERE oid = to_regclass('catchment.tables')) END, NOT pg_is_in_recovery(), "
        "has_database_privilege(current_database(), 'CREATE')"
    ).fetchall()
    version = f"{info.server_version // 10_000}.{info.server_version % 10_000}"
    said = f"PostgreSQL {version} answers, database {info.dbname} as {info.user}"
    if not writes:
        yield Finding("warehouse", False, f"{said}: a standby, which does not write", "see `url` of [warehouse]")
    elif not creates:
        yield Finding("warehouse", False, f"{said}, who may not make schemas in it", _GRANT)
    else:
        made = "" if tables is not None else "; its tables are not made yet, the first load makes them"
        yield Finding("warehouse", True, said + made)
    known = {role for (role,) in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
    for role in config.grant_select_to:
        if role not in known:
            yield Finding("warehouse", False, f"grant_select_to: there is no role {role}", f'CREATE ROLE "{role}"')
