"""A fill in a process of its own, a file at a time, so that it can be killed anywhere: `… FOLDER [URL]`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from catchment.archives.disk import DiskArchive
from catchment.load import fill as filling
from catchment.load.config import LoadConfig, TableLoadConfig
from catchment.load.loader import Loader
from catchment.warehouses import Warehouse
from catchment.warehouses.duckdb import DuckDBWarehouse
from catchment.warehouses.postgres import PostgresWarehouse
from tests.load.test_contracts import TABLE


def opened(folder: Path, url: str = "") -> Warehouse:
    """PostgreSQL where there is an address, else DuckDB."""
    if url:
        return PostgresWarehouse(PostgresWarehouse.Config(url), folder)
    return DuckDBWarehouse(DuckDBWarehouse.Config(), folder, [folder / "archive"])


def main() -> None:
    """Fill `b`, saying "." after each file and how many rows have a value more at the end."""
    folder = Path(sys.argv[1])
    filling.TOGETHER_ROWS = 1
    archive = DiskArchive(DiskArchive.Config(), folder)
    with contextlib.closing(opened(folder, *sys.argv[2:])) as warehouse:
        config = LoadConfig(tables={TABLE: TableLoadConfig(contract="freeze")})
        loader = Loader.of(warehouse, archive, config, paced=False)
        done = filling.fill(loader, archive, TABLE, ["b"], progress=lambda _: print(".", flush=True))
    print(done.rows, flush=True)


if __name__ == "__main__":
    main()
