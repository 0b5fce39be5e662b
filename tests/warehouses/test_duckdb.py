from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from catchment.testing.warehouses import WarehouseConformance, add, load, row
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

    def test_no_thread_that_asked_holds_up_a_checkpoint(self, warehouse: DuckDBWarehouse) -> None:
        questions: list[Callable[[], object]] = [
            lambda: warehouse.row_count("catchment.dead_letters", datetime(2000, 1, 1, tzinfo=UTC), 10),
            lambda: warehouse.ledger(["a"]),
            warehouse.halts,
        ]
        for number, question in enumerate(questions):
            with ThreadPoolExecutor(1) as asking:  # it stays, and with it the connection it asked by
                asking.submit(question).result()
                changes = add(n="bigint") if number == 0 else []
                load(warehouse, [row(str(number), n=number)], changes, name=str(number))
                # Raises while a transaction is open; a backup would wait for its end.
                warehouse._cursor().execute("CHECKPOINT")
