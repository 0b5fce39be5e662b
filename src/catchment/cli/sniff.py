"""`catchment sniff`: the column types of a CSV file of unknown shape."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from catchment.cli.csv_options import csv_options, read_options
from catchment.send.source import opened
from catchment.send.survey import Survey, survey


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@csv_options
@click.option("--json", "is_json", is_flag=True, help="Print an array with one object a file.")
def sniff(files: tuple[str, ...], is_json: bool, **csv_flags: Any) -> None:
    """Say the column types of CSV files.

    Each is read to its end. A column has a type only where each of its values is written as that type is: 0412,
    1_000 and 7.50 are text.
    """
    options = read_options(**csv_flags)
    found = []
    for file in files:
        with opened(file) as source:
            found.append((source.name, survey(source, options)))
    if is_json:
        click.echo(msgspec.json.encode([_as_json(name, each) for name, each in found]))
    else:
        click.echo("\n\n".join(_as_table(name, each) for name, each in found))


def _as_json(name: str, found: Survey) -> dict[str, Any]:
    columns = [{"name": column, "type": kind} for column, kind in zip(found.columns, found.types, strict=True)]
    return {
        "file": name,
        "delimiter": found.dialect.delimiter,
        "rows": found.rows,
        "wrong_lines": found.bad,
        "columns": columns,
    }


def _as_table(name: str, found: Survey) -> str:
    wrong = f", {found.bad:,} lines with too few or too many fields" if found.bad else ""
    width = max(map(len, found.columns))
    lines = [f"{column:{width}}  {kind}" for column, kind in zip(found.columns, found.types, strict=True)]
    return "\n".join([f"{name}: {found.rows:,} rows{wrong}", *lines])
