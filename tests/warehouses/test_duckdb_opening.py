"""What happens to a DuckDB file that does not open: only a damaged one is set aside."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from catchment.errors import StorageError, UsageError
from catchment.warehouses.duckdb import DuckDBWarehouse

Config = DuckDBWarehouse.Config


def put(folder: Path) -> Path:
    """A sound warehouse file with a row in it."""
    made = DuckDBWarehouse(Config(), folder)
    made.close()
    with duckdb.connect(str(made.path)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    return made.path


def test_a_setting_that_is_wrong_is_not_the_files_fault(tmp_path: Path) -> None:
    path = put(tmp_path)
    with pytest.raises(UsageError, match="Parser Error: Memory must have a number"):
        DuckDBWarehouse(Config(memory_limit="much"), tmp_path)
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("FROM kept").fetchall() == [(1,)]


def test_a_full_disk_is_not_the_files_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise duckdb.IOException("IO Error: Could not write file: No space left on device")

    monkeypatch.setattr(duckdb, "connect", full)
    with pytest.raises(StorageError, match="No space left"):
        DuckDBWarehouse(Config(), tmp_path)
    assert [path.name for path in tmp_path.glob("warehouse*")] == ["warehouse.duckdb"]


def test_a_damaged_file_is_set_aside_whole(tmp_path: Path) -> None:
    path = put(tmp_path)
    damaged = b"no database" * 1_000
    path.write_bytes(damaged)
    opened = DuckDBWarehouse(Config(), tmp_path)
    opened.close()
    assert opened.set_aside is not None
    assert opened.set_aside.read_bytes() == damaged
    assert opened.set_aside.name.startswith("warehouse.duckdb.damaged-")
