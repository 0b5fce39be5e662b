"""What the tests that kill processes share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.postgres import PostgresServer


@pytest.fixture(params=["duckdb", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """Where `tests.crash.filling.opened` opens a warehouse: a folder, and the address of an empty PostgreSQL, or
    none for DuckDB."""
    if request.param == "duckdb":
        return tmp_path, ""
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return tmp_path, server.emptied_database()
