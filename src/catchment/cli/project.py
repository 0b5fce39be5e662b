"""What gives a command its project: the options -p/--project and --profile, the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from catchment.config import PROJECT_FILE, Project, find_project, load_project
from catchment.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")


def with_project(command: Callable[Concatenate[Project, P], R]) -> Callable[..., R]:
    """Give a command its `Project` as first argument, loaded and right."""

    @with_project_folder
    @wraps(command)
    def with_it(folder: Path, profile: str | None, /, *args: Any, **kwargs: Any) -> R:
        return command(load_project(folder, profile), *args, **kwargs)

    return with_it


def with_project_folder(command: Callable[Concatenate[Path, str | None, P], R]) -> Callable[..., R]:
    """Give a command the project's folder and the profile's name, for one that checks what is in them."""

    @click.option(
        "-p",
        "--project",
        "project_folder",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="CATCHMENT_PROJECT",
        show_envvar=True,
        help=f"The project's folder.  [default: the nearest parent folder with {PROJECT_FILE}]",
    )
    @click.option(
        "--profile",
        "project_profile",
        metavar="NAME",
        envvar="CATCHMENT_PROFILE",
        show_envvar=True,
        help="Lay the settings of [profiles.NAME] over the others.",
    )
    @wraps(command)
    def with_it(*args: Any, project_folder: Path | None, project_profile: str | None, **kwargs: Any) -> R:
        return command(_located(project_folder), project_profile, *args, **kwargs)

    return with_it


def _located(folder: Path | None) -> Path:
    if folder is None:
        return find_project(Path.cwd())
    if not (folder / PROJECT_FILE).is_file():
        raise UsageError(f"there is no {PROJECT_FILE} in {folder}", f"catchment init {folder}")
    return folder.absolute()
