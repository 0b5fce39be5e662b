from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest

from catchment.finding import Finding
from catchment.warehouses.duckdb_diagnose import diagnose


def diagnosed(folder: Path, path: str = "") -> Finding:
    (finding,) = diagnose(SimpleNamespace(path=path), folder)
    return finding


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")
    return file


@pytest.fixture
def held(file: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process has the file open, with rows in its WAL."""
    code = (
        f"import duckdb, sys; c = duckdb.connect({str(file)!r}); c.execute('INSERT INTO t VALUES (2)')\n"
        "print('open', flush=True); sys.stdin.read(); print(c.execute('SELECT sum(x) FROM t').fetchone()[0])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        yield holder


def test_a_file_that_opens_stays_as_it_is_with_its_wal(file: Path, tmp_path: Path) -> None:
    code = f"import duckdb, os; c = duckdb.connect({str(file)!r}); c.execute('INSERT INTO t VALUES (2)'); os._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    finding = diagnosed(tmp_path)
    assert finding.is_well
    assert "with 1 tables" in finding.detail
    assert before.keys() == {"warehouse.duckdb", "warehouse.duckdb.wal"}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_no_file_yet_and_none_is_made(tmp_path: Path) -> None:
    finding = diagnosed(tmp_path, str(tmp_path / "elsewhere.db"))
    assert finding.is_well
    assert "not made yet" in finding.detail
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_has_it_open_goes_on(held: subprocess.Popen[str], tmp_path: Path) -> None:
    finding = diagnosed(tmp_path)
    assert finding.is_well
    assert f"in use by process {held.pid}" in finding.detail
    out, _ = held.communicate(timeout=30)
    assert out == "3\n"


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "warehouse.duckdb").write_bytes(b"not a database" * 1000)
    finding = diagnosed(tmp_path)
    assert not finding.is_well
    assert "does not open" in finding.detail
    assert finding.hint
