"""`catchment restore`: the warehouse again from the archive."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import click
import msgspec

from catchment.cli.parts import is_embedded, open_here
from catchment.cli.project import with_project
from catchment.cli.wanted import wanted_of
from catchment.config import Project
from catchment.errors import StorageError, UsageError, WarehouseDown
from catchment.load.in_flight import InFlight
from catchment.load.keeping import EARLY_WINDOWS
from catchment.load.loader import Loader
from catchment.load.sweep import Sweep
from catchment.service import Stop


@click.command()
@with_project
@click.option("--from-archive", is_flag=True, required=True, help="Load everything that the archive has.")
@click.option("--json", "is_json", is_flag=True, help="Print what was done as a JSON object.")
def restore(project: Project, from_archive: bool, is_json: bool) -> None:
    """Bring every table back from the archive.

    Loads what the warehouse's ledger lacks: all of it, where the warehouse is gone or new. Stop `catchment up`
    first if the warehouse is DuckDB; it also does this by itself, in the background, when it starts.
    """
    archive = project.archive.open()
    try:
        warehouse = open_here(project)
    except WarehouseDown as error:
        if not is_embedded(project):
            raise
        raise UsageError(error.message, "stop `catchment up` first: it restores by itself as it runs") from None
    with contextlib.closing(warehouse):
        loader = Loader.of(warehouse, archive, project.load, wanted_of(project), project.retention, paced=False)
        sweep = Sweep(loader, archive, InFlight())
        batches = sweep.everything(Stop())
        warehouse.tidy(early_before=datetime.now(UTC) - EARLY_WINDOWS * project.load.dedupe_window)
    if is_json:
        click.echo(msgspec.json.encode({"batches": batches, "damaged_files": len(sweep.damaged)}).decode())
    else:
        click.echo(f"{batches:,} batches loaded from the archive")
    if sweep.damaged:
        raise StorageError(
            f"{len(sweep.damaged)} files of the archive are damaged and were left out", "catchment doctor --archive"
        )
