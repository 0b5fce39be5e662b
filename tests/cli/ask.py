"""`catchment query` around a warehouse that is given by its runtime folder; as a script, a command of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from catchment.cli.query import ask
from catchment.errors import CatchmentError
from catchment.warehouses.duckdb_remote import find


def with_warehouse(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the running warehouse of the folder, or one opened here, as its first argument."""

    @click.argument("runtime", type=click.Path(path_type=Path))
    @wraps(command)
    def with_it(runtime: Path, **options: Any) -> None:
        warehouse: Any = find(runtime)
        if warehouse is None:
            sys.path.insert(0, str(Path(__file__).parents[2]))
            from tests.warehouses.tiny import TinyWarehouse

            warehouse = TinyWarehouse(runtime / "warehouse.duckdb")
        try:
            command(warehouse, **options)
        finally:
            warehouse.close()

    return with_it


query = click.command("query")(with_warehouse(ask))

if __name__ == "__main__":
    try:
        query()
    except CatchmentError as error:
        click.echo(error, err=True)
        sys.exit(1)
