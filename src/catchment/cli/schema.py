"""`catchment schema`: what tables look like and how they have changed, and the JSON Schemas."""

from __future__ import annotations

import json
from typing import Any

import click
import msgspec

from catchment.cli import snapshots
from catchment.cli.exits import ExitCode
from catchment.cli.parts import check_table_name, warehouse_of
from catchment.cli.project import with_project
from catchment.cli.screen import visible
from catchment.config import Project
from catchment.config.schema import project_schema
from catchment.errors import UsageError
from catchment.record import json_schema
from catchment.warehouses.rows import rows_of


@click.group()
def schema() -> None:
    """See tables' columns and their changes; JSON Schemas."""


@schema.command()
def record() -> None:
    """Print the schema of a record.

    For whoever sends one to a queue.
    """
    _print(json_schema())


@schema.command()
def project() -> None:
    """Print the schema of catchment.toml.

    Editors complete and check the file by it.
    """
    _print(project_schema())


@schema.command()
@with_project
@click.argument("table")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
def show(project: Project, table: str, is_json: bool) -> None:
    """Show the columns of TABLE, with what the project says of them."""
    check_table_name(table)
    with warehouse_of(project) as warehouse:
        shape = warehouse.shape(table)
    if shape.version == 0:
        raise UsageError(f"there is no table {table}", "catchment status lists the tables")
    settings = project.load.for_table(table)
    described = [
        {
            "name": column.name,
            "type": column.type,
            "field": column.field,
            "not_null": column.field in settings.columns and settings.columns[column.field].not_null,
            "description": settings.columns[column.field].description if column.field in settings.columns else "",
        }
        for column in shape.columns
    ]
    if is_json:
        found = {"table": table, "contract": settings.contract, "key": shape.key, "drop": settings.drop}
        click.echo(msgspec.json.encode({**found, "columns": described}).decode())
        return
    click.echo(visible(f"{table}  ({settings.contract})" + (f"  key: {', '.join(shape.key)}" if shape.key else "")))
    width = max((len(column.name) for column in shape.columns), default=0)
    for column, told in zip(shape.columns, described, strict=True):
        more = [f"from {column.field!r}"] if column.field != column.name else []
        more += ["not null"] if told["not_null"] else []
        more += [str(told["description"])] if told["description"] else []
        click.echo(visible(f"  {column.name:<{width}}  {column.type:<11}  {', '.join(more)}".rstrip()))


@schema.command()
@with_project
@click.argument("table", required=False)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", default=100, show_default=True, help="At most so many."
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object a line.")
def changes(project: Project, table: str | None, limit: int, is_json: bool) -> None:
    """List how tables have changed, the latest first.

    Of TABLE alone, where given. Columns added and widened; values kept in _rescued, since a column does not take them
    or the table is frozen; fields that no longer come.
    """
    if table is not None:
        check_table_name(table)
    with warehouse_of(project) as warehouse:
        found = rows_of(warehouse, _CHANGES, [table, limit])
    for row in found:
        change = dict(zip(_CHANGE, row, strict=True))
        if is_json:
            click.echo(msgspec.json.encode(change).decode())
        else:
            what = f"{change['table']}.{change['field']}" if change["field"] else change["table"]
            types = " -> ".join(filter(None, [change["before"], change["after"]]))
            first = f"  record {change['record_id']}" if change["record_id"] else ""
            click.echo(
                visible(f"{change['at']:%Y-%m-%d %H:%M:%S}  {change['kind']:<12}  {what}  {types}{first}".rstrip())
            )
    if not is_json:
        click.echo(f"({len(found):,} change{'' if len(found) == 1 else 's'})", err=True)


@schema.command()
@with_project
def snapshot(project: Project) -> None:
    """Write every table's columns into schema/.

    The files of this folder of the project are to be committed, and `schema diff` compares with them.
    """
    with warehouse_of(project) as warehouse:
        tables = snapshots.of_warehouse(warehouse)
    snapshots.write(project.root / snapshots.FOLDER, tables)
    click.echo(f"{len(tables):,} tables in {project.root / snapshots.FOLDER}")


@schema.command()
@with_project
@click.option("--json", "is_json", is_flag=True, help="Print the lines as a JSON array.")
def diff(project: Project, is_json: bool) -> ExitCode:
    """Compare the tables with the snapshot in schema/.

    A line for each difference: + for what the warehouse has more, - for what it lacks, ~ for what it has otherwise.
    Exits with 3 if there are any: for continuous integration.
    """
    folder = project.root / snapshots.FOLDER
    before = snapshots.of_folder(folder)
    if not before:
        raise UsageError(f"{folder} holds no snapshot", "catchment schema snapshot")
    with warehouse_of(project) as warehouse:
        found = list(snapshots.differences(before, snapshots.of_warehouse(warehouse)))
    if is_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        for line in found:
            click.echo(visible(line))
        click.echo(f"({len(found):,} difference{'' if len(found) == 1 else 's'})", err=True)
    return ExitCode.NOT_WELL if found else ExitCode.DONE


_CHANGE = ("at", "kind", "table", "field", "column", "before", "after", "source", "record_id", "batch")
_CHANGES = """
SELECT changed_at, kind, table_name, field, column_name, type_before, type_after, record_source, record_id, batch
FROM catchment.schema_change WHERE ($1::VARCHAR IS NULL OR table_name = $1)
ORDER BY changed_at DESC, table_name, field LIMIT $2
"""


def _print(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
