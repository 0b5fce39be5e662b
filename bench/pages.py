"""A project with the orders and their dashboard, its pages, and people who have signed in."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import httpx2

from bench import orders
from bench.collect import free_port, settings
from bench.measure import progress
from bench.up import make_project, up
from bench.visible import Kind, wait_for_table
from catchment import presence
from catchment.config import Project
from catchment.serve.accounts.administration import COMMAND, sign_in_link
from catchment.warehouses.duckdb import DuckDBWarehouse

ORDERS = Kind(orders.EVENT, orders.TABLE, orders.properties)
NEEDED_BYTES = 4_000_000_000
SERVED_WITHIN_S = 60
REQUEST_S = 60


def make(folder: Path, rows: int = orders.ROWS) -> tuple[Project, int, Path]:
    """The project with its dashboard and so many orders; the port of its collector; its warehouse's file."""
    port = free_port()
    project = make_project(folder, settings(port) + f'[serve]\nlisten = "127.0.0.1:{free_port()}"\n')
    with up(project) as running:
        wait_for_table(running, port, ORDERS)
    warehouse = cast(DuckDBWarehouse, project.warehouse.open())
    warehouse.close()
    progress(f"{rows:,} orders straight into {warehouse.path.name}")
    orders.insert_standing(warehouse.path, rows)
    # With a dashboard there are pages to serve.
    (folder / "dashboards").mkdir()
    (folder / "dashboards" / f"{orders.BOARD}.md").write_text(orders.board())
    return project, port, warehouse.path


def served(project: Project) -> presence.ServiceState:
    """The `serve` of a project that runs, once it is ready. Raises `RuntimeError` where it is not in time."""
    deadline_s = time.monotonic() + SERVED_WITHIN_S
    while time.monotonic() < deadline_s:
        for each in presence.services(project.runtime):
            if each.name == "serve" and each.state == "ready" and each.address is not None:
                return each
        time.sleep(0.05)
    raise RuntimeError(f"no pages are served after {SERVED_WITHIN_S} s")


def signed_in(project: Project, address: str, email: str) -> tuple[str, str]:
    """The name and value of the cookie of a viewer who has just signed in."""
    with contextlib.closing(project.state.open()) as state:
        secret = sign_in_link(state, email, datetime.now(UTC), COMMAND, role="viewer").secret
    parts = urlsplit(address)
    answer = httpx2.post(
        f"{address}/sign-in/link",
        json={"token": secret},
        headers={"Origin": f"{parts.scheme}://{parts.netloc}"},
        timeout=REQUEST_S,
    )
    answer.raise_for_status()
    [(name, value)] = answer.cookies.items()
    return name, value
