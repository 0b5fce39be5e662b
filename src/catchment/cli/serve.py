"""The `serve` service as a process runs it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click

from catchment.cli.parts import is_embedded, is_loaded, is_loading, open_here
from catchment.config import Project
from catchment.errors import UsageError, WarehouseDown
from catchment.load.contracts import Contracts
from catchment.record import now
from catchment.service import Service
from catchment.warehouses import Warehouse
from catchment.warehouses.duckdb_remote import find

if TYPE_CHECKING:
    from starlette.types import ASGIApp

DASHBOARDS = "dashboards"


NEEDED = (
    "argon2", "authlib", "httpx2", "jinja2", "markdown_it", "python_calamine", "python_multipart", "sqlglot",
    "starlette", "uvicorn", "vl_convert", "yaml",
)  # fmt: skip
"""What the extra brings."""


def is_used(project: Project) -> bool:
    """Whether the project has pages: dashboards, or settings of its own for them."""
    return (project.root / DASHBOARDS).is_dir() or bool(project.serve.home)


def is_installed() -> bool:
    """Whether the extra is there."""
    return all(find_spec(module) is not None for module in NEEDED)


def serve(project: Project) -> Service:
    """The service, not yet running. Raises `UsageError` where its extra is not installed."""
    try:
        from catchment.serve.service import ServeService
        from catchment.serve.uploads.filing import Filing, Takes
        from catchment.serve.web.app import Parts, application
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("catchment"):
            raise
        raise UsageError(
            f"serving pages needs the module {error.name}, which is not installed", "pip install 'catchment[serve]'"
        ) from error

    contracts = Contracts(project.load)

    @contextlib.asynccontextmanager
    async def made() -> AsyncIterator[ASGIApp]:
        with contextlib.closing(project.state.open()) as state:
            parts = Parts(
                project=project.name,
                zone=ZoneInfo(project.timezone),
                config=project.serve,
                root=project.root,
                runtime=project.runtime,
                state=state,
                open_warehouse=lambda: _warehouse(project),
                dialect=project.warehouse.type,
                filing=Filing(
                    open_queue=project.queue.open,
                    is_loaded=lambda table, before_s: is_loaded(project, table, before_s),
                    is_loading=lambda: is_loading(project),
                    writer_of=project.collect.writer_of,
                    contract_of=lambda table: Takes(contracts.of(table).mode, contracts.of(table).max_columns),
                ),
            )
            async with application(parts) as app:
                yield app

    return ServeService(project.serve, project.root, made, lambda address: _say_first_link(project, address))


def _say_first_link(project: Project, address: str) -> None:
    """Whoever starts the first `serve` of a project is to be its admin."""
    from catchment.serve.accounts.administration import first_link, link_url

    with contextlib.closing(project.state.open()) as state:
        secret = first_link(state, now())
    if secret is not None:
        said = "Nobody can sign in yet. This link makes you the admin, once, within an hour:\n  {}"
        with contextlib.suppress(OSError):  # nobody listens: no reason to stop
            click.echo(said.format(link_url(project.serve, secret, address)), err=True)


def _warehouse(project: Project) -> Warehouse:
    """An embedded warehouse through its process, any other directly. Raises `WarehouseDown`."""
    if not is_embedded(project):
        return open_here(project)
    found = find(project.runtime)
    if found is None:
        raise WarehouseDown("the warehouse process is not running", "catchment up")
    return found
