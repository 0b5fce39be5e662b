"""`catchment up`: everything that a project needs, as processes of their own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

import click

from catchment import log
from catchment.child import Child
from catchment.cli import serve
from catchment.cli.project import with_project
from catchment.cli.run import SERVICES, collect_port, serve_port, with_ports
from catchment.cli.screen import visible
from catchment.config import Project
from catchment.listening import Port
from catchment.presence import ServiceState
from catchment.supervisor import Supervisor


@click.command()
@with_project
@collect_port
@serve_port
def up(project: Project, collect_port: int | None, serve_port: int | None) -> int:
    """Run everything, embedded.

    Starts a process for each service of the project, restarts what dies, and prints the addresses when all are
    ready; after 15 seconds those that are, and what the others wait for. The first Ctrl-C or SIGTERM drains, the
    second interrupts. `catchment status` shows what runs.
    """
    log.setup("up")
    project = with_ports(project, collect_port, serve_port)
    ports = {"collect": Port(project.collect.host, project.collect.port)}
    if _serves(project):
        ports["serve"] = Port(project.serve.host, project.serve.port)
    children = [
        Child(name, _command(project, name), _environment(name), ports.get(name.partition("-")[0]))
        for name in _services(project)
    ]
    return Supervisor(project.runtime, children, on_ready=_say_ready, on_slow=_say_slow).run()


def _serves(project: Project) -> bool:
    """Whether there are pages to serve. Without the extra everything else runs, and says so."""
    if not serve.is_used(project):
        return False
    if not serve.is_installed():
        log.get_log("up").warning("dashboards are not served", hint="pip install 'catchment[serve]'")
    return serve.is_installed()


def _services(project: Project) -> list[str]:
    """A process exists only if the project uses it; several workers are several."""
    workers = project.collect.workers if project.collect.sources or project.collect.webhooks else 0
    collectors = ["collect", *(f"collect-{number}" for number in range(2, workers + 1))][:workers]
    is_used = {"listen": bool(project.listen), "serve": _serves(project)}
    others = [name for name in SERVICES if name != "collect" and is_used.get(name, True)]
    return [*collectors, *others]


def _command(project: Project, name: str) -> list[str]:
    profile = ["--profile", project.profile] if project.profile else []
    return [sys.executable, "-m", "catchment", "run", "--project", str(project.root), *profile, name]


def _environment(name: str) -> dict[str, str]:
    # One of glibc's heaps for both threads of a collector: each keeps what it once had, of which the other could use
    # no byte.
    return {"MALLOC_ARENA_MAX": "1"} if name.startswith("collect") else {}


def _say_ready(states: Sequence[ServiceState]) -> None:
    if log.look(sys.stderr) == "json":
        for state in states:
            log.get_log("up").info(
                "ready", part=state.name, address=state.address, metrics_address=state.metrics_address
            )
        return
    _say("Ready. Ctrl-C stops everything in order.", states)


def _say_slow(states: Sequence[ServiceState]) -> None:
    """What is reached already, and what the others wait for: perhaps for long, and perhaps for somebody to act."""
    if log.look(sys.stderr) != "json":  # there the warning of each says it
        _say("Not all is ready yet. Ctrl-C stops everything in order.", states)


def _say(heading: str, states: Sequence[ServiceState]) -> None:
    width = max((len(state.name) for state in states), default=0)
    lines = [f"  {state.name:<{width}}  {_addresses(state)}" for state in states]
    with contextlib.suppress(OSError):  # nobody listens: no reason to stop
        click.echo("\n".join([heading, *lines]), err=True)


def _addresses(state: ServiceState) -> str:
    metrics = f"{state.metrics_address}/metrics" if state.metrics_address else ""
    waits = f"waits: {visible(state.waits_for)}" if state.waits_for else ""
    return "  ".join(filter(None, [state.address, metrics, waits]))
