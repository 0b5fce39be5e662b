"""The PostgreSQL warehouse: the conformance suite on a real server, and what is its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from catchment.testing.warehouses import WarehouseConformance
from catchment.warehouses.postgres import PostgresWarehouse
from tests.servers.postgres import PostgresServer


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    return postgres_server.emptied_database()


@pytest.fixture
def warehouse(url: str, tmp_path: Path) -> Iterator[PostgresWarehouse]:
    with closing(PostgresWarehouse(PostgresWarehouse.Config(url), tmp_path)) as opened:
        yield opened


class TestPostgres(WarehouseConformance):
    makes_backups = False

    @pytest.fixture
    def warehouse(self, warehouse: PostgresWarehouse) -> PostgresWarehouse:
        return warehouse

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path
