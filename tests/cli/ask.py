"""`catchment query` around a warehouse that is given by its runtime folder; as a script, a command of its own."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from catchment.errors import CatchmentError
from catchment.warehouses.duckdb_remote import find

module: Any = importlib.import_module("catchment.cli.query")


@contextmanager
def warehouse_of(runtime: Path) -> Iterator[Any]:
    """The running warehouse of the folder, or one opened here."""
    warehouse: Any = find(runtime)
    if warehouse is None:
        sys.path.insert(0, str(Path(__file__).parents[2]))
        from tests.warehouses.tiny import TinyWarehouse

        warehouse = TinyWarehouse(runtime / "warehouse.duckdb")
    try:
        yield warehouse
    finally:
        warehouse.close()


def _answer(runtime: Path, **options: Any) -> None:
    found, module.warehouse_of = module.warehouse_of, warehouse_of
    try:
        inspect.unwrap(module.query.callback)(runtime, **options)
    finally:
        module.warehouse_of = found


_options = [each for each in module.query.params if each.name not in {"project_folder", "project_profile"}]
query = click.Command(
    "query",
    params=[click.Argument(["runtime"], type=click.Path(path_type=Path)), *_options],
    callback=_answer,
)

if __name__ == "__main__":
    try:
        query()
    except CatchmentError as error:
        click.echo(error, err=True)
        sys.exit(1)
