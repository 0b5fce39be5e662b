"""`catchment backup`: consistent copies while everything goes on."""

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
    """Copy warehouse and accounts while everything goes on.

    The copies lie in DEST, a new folder, each as of one moment.

    To put them back, stop `catchment up` and copy the files to their places: what came since is loaded from the
    archive. Accounts, drafts and the audit are then as they were.
    """
    if dest.exists():
        raise UsageError(f"{dest} exists already", "name a folder that does not")
    file = dest.absolute() / "warehouse.duckdb"
    with warehouse_of(project) as warehouse:
        warehouse.backup(file)
    click.echo(str(file))
    copy = getattr(project.state.adapter, "copy", None)
    state = file.with_name("state.db")
    if copy is not None and copy(project.runtime, state):
        click.echo(str(state))
