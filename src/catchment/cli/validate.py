"""`catchment validate`: whether the project's files are right, all mistakes at once."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
import msgspec

from catchment.cli.exits import ExitCode
from catchment.cli.project import with_project_folder
from catchment.config import PROJECT_FILE, ConfigError, Mistake, find_mistakes, load_project


@click.command()
@with_project_folder
@click.option("--json", "is_json", is_flag=True, help='Print {"ok", "mistakes"} as JSON.')
def validate(folder: Path, profile: str | None, is_json: bool) -> ExitCode:
    """Check the project's files.

    Says every mistake at once, with its file, line, key and remedy, and exits with 2 if there is one. Without
    --profile every profile is checked; variables that only another machine has are no mistakes in one.
    """
    mistakes = _mistakes(folder, profile)
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
