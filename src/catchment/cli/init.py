"""`catchment init`: an empty project, its file commented with every setting and its default."""

from __future__ import annotations

import os
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import click

from catchment.config import PROJECT_FILE, RUNTIME_FOLDER
from catchment.config.describe import Section, Setting, sections, toml
from catchment.config.sections import MAX_PROJECT_NAME
from catchment.errors import StorageError, UsageError

_HEAD = """\
# Every setting is here with its default: remove a # to change one.
# ${NAME} stands for a variable of the environment or .env, ${file:PATH} for what a file holds.
# catchment validate says what is wrong; catchment up starts everything.
"""
_ENV = """\
# NAME=value, for ${NAME} in catchment.toml. Git ignores this file: secrets belong here.
"""
_GITIGNORE = f"""\
.env
{RUNTIME_FOLDER}/
"""


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def init(directory: Path) -> None:
    """Make an empty project.

    DIR must be new or empty. Writes catchment.toml with every setting commented, .env for secrets, .gitignore.
    """
    make_project(directory)
    click.echo(f"Made a project in {directory}. Try: catchment up -p {shlex.quote(str(directory))}", err=True)


def make_project(directory: Path) -> None:
    """Write the files of an empty project. Raises `UsageError` unless the folder is new or empty."""
    name = directory.absolute().name[:MAX_PROJECT_NAME]
    files = ((PROJECT_FILE, project_file(name), 0o666), (".env", _ENV, 0o600))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        there = sorted(path.name for path in directory.iterdir())
        if there:
            some = ", ".join(there[:3]) + (", …" if len(there) > 3 else "")
            raise UsageError(f"{directory} is not empty: {some}", "a new or an empty folder")
        for name, text, mode in (*files, (".gitignore", _GITIGNORE, 0o666)):
            with os.fdopen(os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
                file.write(text)
    except OSError as error:
        raise StorageError(f"cannot write {error.filename}: {error.strerror}", "another folder") from error


def project_file(name: str) -> str:
    """The text of a new catchment.toml."""
    return "\n".join([_HEAD, *(_section_text(section, name) for section in sections())])


def _section_text(section: Section, project_name: str) -> str:
    settings = (*section.settings, *section.by_type.get(section.default_type, ()))
    name = f'{section.name}."NAME"' if section.is_named else section.name
    lines = [f"# {section.summary}", f"# [{name}]" if section.is_named else f"[{name}]"]
    tables: dict[str, list[Setting]] = {}
    for setting in settings:
        table, _, key = setting.key.rpartition(".")
        if table:
            tables.setdefault(table, []).append(replace(setting, key=key))
        elif (section.name, key) == ("project", "name"):
            lines.append(f"name = {toml(project_name)}")
        else:
            lines.extend(_setting_lines(setting))
    if not section.default_type:
        for kind, of_kind in section.by_type.items():
            lines += ["#", f'## With type = "{kind}":', *chain.from_iterable(map(_setting_lines, of_kind))]
    above = {setting.key: setting.default for setting in section.settings}
    for table, inner in tables.items():
        lines.extend(
            [
                "",
                f"# [{name}.{table}]",
            ]
        )
        for setting in inner:
            lines.extend(_setting_lines(replace(setting, default=setting.default or above.get(setting.key))))
    return "\n".join(lines) + "\n"


def _setting_lines(setting: Setting) -> Iterator[str]:
    """The description as a comment of its own (`##`), then the setting as a line to uncomment (`#`)."""
    yield from textwrap.wrap(
        f"{setting.description} ({setting.type})", 100, initial_indent="## ", subsequent_indent="## "
    )
    yield f"# {setting.key} = {setting.default or '…'}"
