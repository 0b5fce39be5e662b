"""`catchment backup`: a consistent copy while loading goes on."""

from __future__ import annotations

from pathlib import Path

import click

from catchment.cli.parts import warehouse_of
from catchment.cli.project import with_project
from catchment.config import Project
from catchment.errors import UsageError


@click.command()
@with_project
@click.argument("dest", type=click.Path(path_type=Path))
def backup(project: Project, dest: Path) -> None:
    """Copy the warehouse, as of one moment, while loading goes on.

    The copy lies in DEST, a new folder.

    To put it back, stop `catchment up` and copy the file to its place: what came since is loaded from the archive.
    """
    if dest.exists():
        raise UsageError(f"{dest} exists already", "name a folder that does not")
    file = dest.absolute() / "warehouse.duckdb"
    with warehouse_of(project) as warehouse:
        warehouse.backup(file)
    click.echo(str(file))
