"""`catchment replay`: rows that a table lacks, from the archive."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click
import msgspec

from catchment.cli.parts import check_table_name, warehouse_of
from catchment.cli.project import with_project
from catchment.cli.wanted import wanted_of
from catchment.config import Project
from catchment.errors import StorageError, UsageError
from catchment.load.loader import Loader
from catchment.load.replay import Replayed
from catchment.load.replay import replay as replay_table


@click.command()
@with_project
@click.argument("table")
@click.option("--since", metavar="TIME", help="Received at this time or later, such as 2026-11-23T10:00:00Z.")
@click.option("--until", metavar="TIME", help="Received before this time.")
@click.option("--json", "is_json", is_flag=True, help="Print what was done as a JSON object.")
def replay(project: Project, table: str, since: str | None, until: str | None, is_json: bool) -> None:
    """Load rows of TABLE that the archive has and the table lacks.

    Safe to repeat and to stop: what is there already is not added twice, and what was deleted stays so.
    """
    check_table_name(table)
    first, last = _moment(since), _moment(until)
    if first is not None and last is not None and first >= last:
        raise UsageError("--until is not later than --since", "the earlier time with --since")
    archive = project.archive.open()
    with warehouse_of(project) as warehouse:
        loader = Loader.of(warehouse, archive, project.load, wanted_of(project), paced=False, lets_out=True)
        done = replay_table(loader, archive, table, since=first, until=last, progress=_progress)
    if sys.stderr.isatty():
        click.echo(err=True)  # behind the progress
    if is_json:
        found = {"table": table, "rows": done.inserted, "records": done.records, "files": done.files}
        click.echo(msgspec.json.encode({**found, "damaged_files": done.damaged}).decode())
    else:
        click.echo(f"{table}: {done.inserted:,} rows added, of {done.records:,} records in {done.files:,} files")
    if done.damaged:
        raise StorageError(
            f"{done.damaged} files of the archive are damaged and were left out", "catchment doctor --archive"
        )


def _progress(done: Replayed) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{done.records:,} records read, {done.inserted:,} rows added", nl=False, err=True)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time", "write it as 2026-11-23T10:00:00Z, or as 2026-11-23") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
