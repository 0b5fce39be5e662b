from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from catchment.testing.warehouses import TABLE, WarehouseConformance, add, load, row
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

    def test_no_thread_that_asked_holds_up_checkpoints(self, warehouse: DuckDBWarehouse) -> None:
        load(warehouse, [row("1", n=5)], add(n="bigint"), name="a")
        with ThreadPoolExecutor(1) as asking:  # it stays, and with it the connection it asked by
            asking.submit(warehouse.row_count, TABLE, datetime(2000, 1, 1, tzinfo=UTC), 10).result()
            asking.submit(warehouse.ledger, ["a"]).result()
            asking.submit(warehouse.halts).result()
            warehouse._cursor().execute("CHECKPOINT")  # raises while a transaction is open, and a backup would wait
