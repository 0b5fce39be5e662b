"""The conformance suite through the socket: a stage can't tell whether its warehouse is near or far."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from catchment.testing.warehouses import WarehouseConformance
from catchment.warehouses import Warehouse
from catchment.warehouses.duckdb import DuckDBWarehouse
from catchment.warehouses.duckdb_remote import RemoteDuckDB, find
from catchment.warehouses.duckdb_server import WarehouseServer


class TestDuckDBFromAfar(WarehouseConformance):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "archive").mkdir(exist_ok=True)
        return tmp_path / "archive"

    @pytest.fixture
    def warehouse(
        self,
        tmp_path: Path,
        folder: Path,
        tmp_path_factory: pytest.TempPathFactory,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Iterator[RemoteDuckDB]:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("s")))
        owned = DuckDBWarehouse(DuckDBWarehouse.Config(), tmp_path, readable=[folder])
        server = WarehouseServer(owned, tmp_path)
        self.owned = owned
        server.start()
        try:
            found = find(tmp_path)
            assert found is not None
            yield found
            found.close()
        finally:
            server.stop(0)
            owned.close()

    def execute(self, warehouse: Warehouse, statement: str) -> None:
        self.owned._new_cursor().execute(statement)

    def read_backup(self, path: Path, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(path), read_only=True) as backup:
            return backup.execute(sql).fetchall()
