"""`catchment validate`: whether the project's files are right, all mistakes at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
import msgspec

from catchment.cli.exits import ExitCode
from catchment.cli.project import with_project_folder
from catchment.config import PROJECT_FILE, ConfigError, Mistake, find_mistakes, load_project
from catchment.config.mistakes import in_order
from catchment.config.sections import ADAPTER_SECTIONS

DASHBOARDS = "dashboards"


@click.command()
@with_project_folder
@click.option("--json", "is_json", is_flag=True, help='Print {"ok", "mistakes"} as JSON.')
def validate(folder: Path, profile: str | None, is_json: bool) -> ExitCode:
    """Check the project's files.

    Says every mistake at once, with its file, line, key and remedy, and exits with 2 if there is one. Without
    --profile every profile is checked; variables that only another machine has are no mistakes in one. Dashboards are
    checked as far as that can be done without the warehouse.
    """
    mistakes = in_order([*_mistakes(folder, profile), *_dashboards(folder, profile)])
    if is_json:
        found = {"ok": not mistakes, "mistakes": [asdict(mistake) for mistake in mistakes]}
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
        return ExitCode.WRONG_USAGE if mistakes else ExitCode.DONE
    if mistakes:
        raise ConfigError(mistakes)
    click.echo(f"{folder / PROJECT_FILE}: no mistakes")
    return ExitCode.DONE


def _mistakes(folder: Path, profile: str | None) -> list[Mistake]:
    if profile is None:
        return find_mistakes(folder)
    try:
        load_project(folder, profile)
    except ConfigError as error:
        return list(error.mistakes)
    return []


def _dashboards(folder: Path, profile: str | None) -> Iterator[Mistake]:
    """The mistakes in the project's dashboards; on stderr, that they are not looked at where that can't be done."""
    if not (folder / DASHBOARDS).is_dir():
        return
    try:
        from catchment.serve.dashboards.check import check_dashboards
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("catchment"):
            raise
        click.echo(f"{DASHBOARDS}/ is not checked: that needs {error.name}", err=True)
        click.echo("  Try: pip install 'catchment[serve]'", err=True)
        return
    for found in check_dashboards(folder, _dialect(folder, profile)):
        yield Mistake(found.path, found.line, "", found.text, column=found.column)


def _dialect(folder: Path, profile: str | None) -> str:
    """The warehouse's; where the project file itself has mistakes, that of the default one."""
    try:
        return load_project(folder, profile).warehouse.type
    except ConfigError:
        return ADAPTER_SECTIONS["warehouse"][0]
