"""`catchment archive`: what the archive holds, and whether it is whole."""

from __future__ import annotations

import sys

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
from catchment.warehouses import Warehouse

_SHOWN = 20
"""So many names of a kind are said in words; `--json` has them all."""


@click.group()
def archive() -> None:
    """See what the archive holds, and check that it is whole."""


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


def _check(prefix: str) -> None:
    try:
        check_prefix(prefix)
    except ValueError as error:
        raise UsageError(str(error), "the beginning of a name, such as table=shop.orders/") from None


def _loaded(warehouse: Warehouse) -> list[str]:
    import nanoarrow

    result = warehouse.query("SELECT DISTINCT batch FROM catchment.ledger")
    return [name for (name,) in nanoarrow.ArrayStream(result).iter_tuples()]


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
