"""`catchment replay`: rows that a table lacks, from the archive, or values that its rows lack, or all of it anew."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import click
import msgspec

from catchment.archives import Archive
from catchment.cli.moments import moment
from catchment.cli.parts import check_table_name, warehouse_of
from catchment.cli.project import with_project
from catchment.cli.wanted import wanted_of
from catchment.config import Project
from catchment.errors import StorageError, UsageError
from catchment.load.extent import Extent, extent
from catchment.load.fill import FillDone
from catchment.load.fill import fill as fill_table
from catchment.load.fill_columns import FillColumns
from catchment.load.loader import Loader
from catchment.load.rebuild import RebuildDone
from catchment.load.rebuild import check as check_rebuild
from catchment.load.rebuild import rebuild as rebuild_table
from catchment.load.replay import Replayed
from catchment.load.replay import replay as replay_table

REPLAYED_PER_S = 50_000
FILLED_PER_S = 70_000
"""Records a second, about: on two cores, with DuckDB."""


@click.command()
@with_project
@click.argument("table")
@click.option("--since", metavar="TIME", help="Received at this time or later, such as 2026-11-23T10:00:00Z.")
@click.option("--until", metavar="TIME", help="Received before this time.")
@click.option(
    "--fill",
    "columns",
    metavar="COLUMN",
    multiple=True,
    help="Add no rows: fill this column, or that of this field, in rows where it is null. It is added if it is not "
    "there. May be given several times.",
)
@click.option(
    "--rebuild",
    "is_rebuild",
    is_flag=True,
    help="Build the table anew beside the old one, and put its rows in the old ones' place at once. Views, grants and "
    "indexes stay.",
)
@click.option(
    "--drop-others",
    is_flag=True,
    help="With --rebuild: let rows go that the archive does not have. Without it nothing is done where there are any.",
)
@click.option("--dry-run", is_flag=True, help="Say how much would be read, and do nothing.")
@click.option("--json", "is_json", is_flag=True, help="Print what was done as a JSON object.")
def replay(
    project: Project,
    table: str,
    since: str | None,
    until: str | None,
    columns: tuple[str, ...],
    is_rebuild: bool,
    drop_others: bool,
    dry_run: bool,
    is_json: bool,
) -> None:
    """Load what TABLE lacks from the archive: rows, or values.

    Safe to repeat and to stop: what is there already is not added twice, no value is overwritten, and what was
    deleted stays so, by [retention] too.
    """
    check_table_name(table)
    span = (moment(since), moment(until))
    if span[0] is not None and span[1] is not None and span[0] >= span[1]:
        raise UsageError("--until is not later than --since", "the earlier time with --since")
    if is_rebuild and (columns or any(span)):
        raise UsageError("--rebuild is for all of a table", "leave out --fill, --since and --until")
    if drop_others and not is_rebuild:
        raise UsageError("--drop-others goes with --rebuild", f"catchment replay {table} --rebuild --drop-others")
    archive = project.archive.open()
    with warehouse_of(project) as warehouse:
        loader = Loader.of(
            warehouse, archive, project.load, wanted_of(project), project.retention, paced=False, lets_out=True
        )
        if dry_run:
            if columns:
                FillColumns(loader, table, columns).check()
            if is_rebuild:
                check_rebuild(loader, table)
            speed = FILLED_PER_S if columns else REPLAYED_PER_S
            _say_extent(table, extent(archive, table, *span), speed, is_json=is_json)
            return
        if is_rebuild:
            damaged = _rebuild(loader, archive, table, drop_others, is_json)
        else:
            damaged = (_fill if columns else _replay)(loader, archive, table, span, columns, is_json)
    if damaged:
        raise StorageError(
            f"{damaged} files of the archive are damaged and were left out", "catchment doctor --archive"
        )


_Span = tuple[datetime | None, datetime | None]


def _replay(loader: Loader, archive: Archive, table: str, span: _Span, columns: tuple[str, ...], is_json: bool) -> int:
    def progress(done: Replayed) -> None:
        _show(f"{done.records:,} records read, {done.inserted:,} rows added")

    done = replay_table(loader, archive, table, since=span[0], until=span[1], progress=progress)
    found = {"table": table, "rows": done.inserted, "records": done.records, "files": done.files}
    said = f"{table}: {done.inserted:,} rows added, of {done.records:,} records in {done.files:,} files"
    _say({**found, "damaged_files": done.damaged}, said, is_json=is_json)
    return done.damaged


def _fill(loader: Loader, archive: Archive, table: str, span: _Span, columns: tuple[str, ...], is_json: bool) -> int:
    files = extent(archive, table, *span).files if sys.stderr.isatty() else 0

    def progress(done: FillDone) -> None:
        _show(f"{done.files:,} of {files:,} files, {done.records:,} records read")

    done = fill_table(loader, archive, table, columns, since=span[0], until=span[1], progress=progress)
    found = {"table": table, "columns": done.columns, "rows": done.rows, "left": done.left, "records": done.records}
    said = f"{table}: {done.rows:,} rows filled from {done.files:,} files"
    if done.left:
        said += f"; of {done.left:,} the column does not take the value, which stays where it is"
    _say({**found, "files": done.files, "damaged_files": done.damaged}, said, is_json=is_json)
    return done.damaged


def _rebuild(loader: Loader, archive: Archive, table: str, drop_others: bool, is_json: bool) -> int:
    records = extent(archive, table, None, None).records if sys.stderr.isatty() else 0

    def progress(done: RebuildDone) -> None:
        _show(f"{done.records:,} of {records:,} records read")

    done = rebuild_table(loader, archive, table, drops_others=drop_others, progress=progress)
    found = {"table": table, "rows": done.rows, "dropped": done.others, "records": done.records, "files": done.files}
    said = f"{table}: built anew with {done.rows:,} rows, of {done.records:,} records in {done.files:,} files"
    if done.others:
        said += f"; {done.others:,} rows went that the archive does not have"
    _say({**found, "damaged_files": done.damaged}, said, is_json=is_json)
    return done.damaged


def _say_extent(table: str, found: Extent, records_per_s: float, *, is_json: bool) -> None:
    seconds = max(1, round(found.seconds(records_per_s)))
    numbers = {"table": table, "files": found.files, "records": found.records, "bytes": found.bytes}
    said = f"{table}: {found.records:,} records in {found.files:,} files, {found.bytes:,} bytes; about {seconds:,} s"
    _say({**numbers, "seconds": seconds}, said, is_json=is_json)


def _say(found: dict[str, Any], said: str, *, is_json: bool) -> None:
    if sys.stderr.isatty():
        click.echo(err=True)  # behind the progress
    click.echo(msgspec.json.encode(found).decode() if is_json else said)


def _show(progress: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{progress}", nl=False, err=True)
