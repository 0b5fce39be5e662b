"""Whether a DuckDB file opens, for `catchment doctor`; a process that has it open is not disturbed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

import duckdb

from catchment.finding import Finding

_LOCKED = re.compile(r"lock.*\(PID (?P<pid>\d+)\)", re.IGNORECASE | re.DOTALL)


class HasPath(Protocol):
    """The part of the settings that matters here."""

    @property
    def path(self) -> str:
        """The database file; empty for the default."""


def diagnose(config: HasPath, folder: Path) -> list[Finding]:
    """Open the file for reading only, which leaves it as it is, a WAL included."""
    path = folder.parent / Path(config.path).expanduser() if config.path else folder / "warehouse.duckdb"
    if not path.exists():
        return [Finding("warehouse", True, f"{path} is not made yet; the first load makes it")]
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            found = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE NOT internal").fetchone()
    except duckdb.Error as error:
        return [_unopened(path, str(error).partition("\n")[0])]
    assert found is not None
    return [Finding("warehouse", True, f"{path} opens, with {found[0]} tables; nobody has it open")]


def _unopened(path: Path, words: str) -> Finding:
    locked = _LOCKED.search(words)
    if locked:
        return Finding("warehouse", True, f"{path} is in use by process {locked['pid']}")
    hint = (
        "run with the DuckDB that wrote it; a damaged file is set aside and rebuilt from the archive by catchment up"
    )
    return Finding("warehouse", False, f"{path} does not open: {words}", hint)
