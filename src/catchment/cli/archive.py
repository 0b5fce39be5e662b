"""`catchment archive`: what the archive holds, whether it is whole, and what is too old."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click
import msgspec

from catchment.archives import check_prefix
from catchment.cli.exits import ExitCode
from catchment.cli.parts import warehouse_of
from catchment.cli.project import with_project
from catchment.cli.screen import visible
from catchment.config import Project
from catchment.errors import UsageError
from catchment.load.audit import Audit, audit
from catchment.load.retaining import Retaining, summed
from catchment.load.retention import Retention
from catchment.warehouses import Warehouse
from catchment.warehouses.rows import rows_of

_SHOWN = 20
"""So many names of a kind are said in words; `--json` has them all."""


@click.group()
def archive() -> None:
    """See and check the archive's files, and remove old ones."""


@archive.command()
@with_project
@click.argument("prefix", default="")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object a line.")
def ls(project: Project, prefix: str, is_json: bool) -> None:
    """List the archive's files, in order of name.

    Those alone whose names begin with PREFIX, where given, such as incoming/ or table=shop.orders/.
    """
    _check(prefix)
    count = size = 0
    for entry in project.archive.open().list(prefix):
        count, size = count + 1, size + entry.bytes
        if is_json:
            click.echo(msgspec.json.encode(entry).decode())
        else:
            click.echo(f"{entry.bytes:>13,}  {entry.modified_at:%Y-%m-%d %H:%M:%S}  {visible(entry.name)}")
    if not is_json:
        click.echo(f"({count:,} file{'' if count == 1 else 's'}, {_megabytes(size)})", err=True)


@archive.command()
@with_project
@click.argument("prefix", default="")
@click.option("--json", "is_json", is_flag=True, help="Print what was found as a JSON object.")
def verify(project: Project, prefix: str, is_json: bool) -> int:
    """Read every file of the archive, and check it against the ledger.

    Those alone whose names begin with PREFIX, where given. Exits with 3 where a file is damaged, or one that was
    loaded is missing. May run beside everything else; from a bucket it downloads all that it reads.
    """
    _check(prefix)
    opened = project.archive.open()
    with warehouse_of(project) as warehouse:
        found = audit(opened, warehouse, _loaded(warehouse), prefix, _progress)
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    if is_json:
        said = {
            "files": found.files,
            "bytes": found.bytes,
            "damaged": [{"name": name, "problem": problem} for name, problem in found.damaged.items()],
            "missing": found.missing,
            "unloaded": found.unloaded,
        }
        click.echo(msgspec.json.encode(said).decode())
    else:
        _say(found)
    return ExitCode.DONE if found.is_well else ExitCode.NOT_WELL


@archive.command()
@with_project
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object a table.")
def expire(project: Project, dry_run: bool, is_json: bool) -> None:
    """Remove what [retention] keeps no longer.

    Archive files, rows and dead letters, as the loader does each hour by itself. Files that are not loaded yet stay,
    and of a mirrored table the newest version of each key. Safe to stop and to repeat, beside anything else.
    """
    opened = project.archive.open()
    with warehouse_of(project) as warehouse:
        retaining = Retaining(opened, warehouse, Retention(project.retention), project.load)
        now = datetime.now(UTC)
        found = summed(retaining.look(now) if dry_run else retaining.run(now))
    for each in found:
        if is_json:
            click.echo(msgspec.json.encode(each).decode())
        else:
            numbers = f"{each.rows:>13,} rows  {each.dead_letters:>9,} dead letters  {each.files:>9,} files"
            click.echo(visible(f"{numbers}  {_megabytes(each.bytes):>12}  {each.table}"))
    if retaining.retention.keeps_everything:
        click.echo("[retention] keeps everything", err=True)
    elif not found:
        click.echo("nothing is too old", err=True)


def _check(prefix: str) -> None:
    try:
        check_prefix(prefix)
    except ValueError as error:
        raise UsageError(str(error), "the beginning of a name, such as table=shop.orders/") from None


def _loaded(warehouse: Warehouse) -> list[str]:
    return [name for (name,) in rows_of(warehouse, "SELECT DISTINCT batch FROM catchment.ledger")]


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


def _progress(found: Audit) -> None:
    if sys.stderr.isatty() and found.files % 20 == 0:
        click.echo(f"\r{found.files:,} files, {_megabytes(found.bytes)}", nl=False, err=True)


def _say(found: Audit) -> None:
    whole = found.files - len(found.damaged)
    click.echo(f"{whole:,} of {found.files:,} files are whole ({_megabytes(found.bytes)} read)")
    for name, problem in list(found.damaged.items())[:_SHOWN]:
        click.echo(visible(f"damaged  {name}: {problem}"))
    for kind, names in (("missing", found.missing), ("not loaded yet", found.unloaded)):
        if names:
            click.echo(f"{len(names):,} {kind}")
        for name in names[:_SHOWN]:
            click.echo(visible(f"{kind}  {name}"))
    if not found.is_well:
        hint = "put the files back from a copy of the archive; rows that the warehouse has stay in it meanwhile"
        click.echo(f"  Try: {hint}", err=True)
