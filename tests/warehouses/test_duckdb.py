from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from catchment.testing.warehouses import WarehouseConformance
from catchment.warehouses.duckdb import DuckDBWarehouse


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "archive").mkdir()
    return tmp_path / "archive"


class TestDuckDB(WarehouseConformance):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "archive").mkdir(exist_ok=True)
        return tmp_path / "archive"

    @pytest.fixture
    def warehouse(self, tmp_path: Path, folder: Path) -> Iterator[DuckDBWarehouse]:
        opened = DuckDBWarehouse(DuckDBWarehouse.Config(), tmp_path, readable=[folder])
        yield opened
        opened.close()

    def read_backup(self, path: Path, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(path), read_only=True) as backup:
            return backup.execute(sql).fetchall()
