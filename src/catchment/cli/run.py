"""`catchment run`: one or more services in this process."""

from __future__ import annotations

import re
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from typing import cast

import click
from click.shell_completion import CompletionItem
from msgspec import structs

from catchment import log
from catchment.cli.project import with_project
from catchment.config import Project
from catchment.errors import UsageError
from catchment.service import Service

SERVICES: dict[str, str] = {
    "collect": "catchment.cli.collect:collect",
    "listen": "catchment.cli.listen:listen",
    "serve": "catchment.cli.serve:serve",
    "load": "catchment.cli.load:load",
}
"""Name → "module:function", the function taking the `Project` and returning the `Service`; imported when it is to
run. In the order in which `up` stops them: who publishes before who consumes."""


_WORKER = re.compile(r"collect-([2-9]|[1-9]\d)")
"""Further workers of `collect`: services of their own, as far as processes go."""

collect_port = click.option(
    "--collect-port",
    metavar="N",
    type=click.IntRange(0, 65_535),
    help="Collect on this port rather than the project file's; 0 takes a free one.",
)

serve_port = click.option(
    "--serve-port",
    metavar="N",
    type=click.IntRange(0, 65_535),
    help="Serve pages on this port rather than the project file's; 0 takes a free one.",
)


def with_ports(project: Project, collect: int | None, serve: int | None) -> Project:
    """The project with other ports to listen on, where they are given."""
    project = with_collect_port(project, collect)
    if serve is None:
        return project
    host = project.serve.listen.rpartition(":")[0]
    return replace(project, serve=structs.replace(project.serve, listen=f"{host}:{serve}"))


def with_collect_port(project: Project, port: int | None) -> Project:
    """The project with another port to collect on, where one is given."""
    if port is None:
        return project
    host = project.collect.listen.rpartition(":")[0]
    return replace(project, collect=structs.replace(project.collect, listen=f"{host}:{port}"))


def _names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in SERVICES if name.startswith(incomplete)]


@click.command()
@with_project
@click.argument("names", metavar="SERVICE...", nargs=-1, required=True, shell_complete=_names)
@collect_port
@serve_port
def run(project: Project, names: tuple[str, ...], collect_port: int | None, serve_port: int | None) -> int:
    """Run one or more services in this process.

    For production, where something else starts, watches and restarts processes; `catchment up` does it all. The
    first SIGTERM or Ctrl-C drains, the second interrupts.
    """
    wanted = list(dict.fromkeys(names))
    log.setup(wanted[0] if len(wanted) == 1 else "run")
    project = with_ports(project, collect_port, serve_port)
    services = [make_service(project, name) for name in wanted]
    # Imported late, as the services themselves: a wrong name should be said at once.
    from catchment.process import run_services

    return run_services(
        services,
        runtime=project.runtime,
        health_host=project.metrics.host,
        health_port=next(filter(None, map(project.metrics.port, wanted)), 0),
    )


def make_service(project: Project, name: str) -> Service:
    """The service of that name, not yet running. Raises `UsageError` for a name that does not exist."""
    if _WORKER.fullmatch(name):
        from catchment.cli.collect import collect

        return collect(project, name)
    if name not in SERVICES:
        nearest = get_close_matches(name, SERVICES, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"one of {', '.join(SERVICES)}"
        raise UsageError(f"there is no service {name!r}", hint)
    module, _, function = SERVICES[name].partition(":")
    return cast(Service, getattr(import_module(module), function)(project))
