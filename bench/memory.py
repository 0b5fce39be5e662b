"""Memory of a whole idle `catchment up`: in the project that `catchment init` makes, and with pages to serve."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import httpx2

from bench import orders, pages
from bench.measure import Check, memory_bytes, result, scratch, tree
from bench.up import COMMAND, up
from catchment.config import load_project

IDLE_S = 10
ROWS = 100_000
OPENED = 20
MB = 1e6
NEEDED_BYTES = 500_000_000


def run() -> dict[str, Any]:
    """PSS of all its processes after ten seconds; with pages, ten seconds after a dashboard was last opened."""
    with scratch(NEEDED_BYTES) as folder:
        home = folder / "project"
        subprocess.run([COMMAND, "init", home], check=True, capture_output=True)
        with up(load_project(home)) as running:
            time.sleep(IDLE_S)
            megabytes = memory_bytes(running.pid) / MB
            processes = len(tree(running.pid))
        ready_s = running.ready_s
        all_mb, serve_mb = _with_pages(folder / "pages")
    return result(
        [
            Check("idle_mb", megabytes, must=200, goal=150),
            Check("serve_mb", serve_mb, must=180, goal=150),
            Check("idle_with_pages_mb", all_mb, must=400, goal=350),
        ],
        "its own limits: memory of all processes, shared pages counted once",
        processes=processes,
        ready_s=round(ready_s, 2),
    )


def _with_pages(folder: Path) -> tuple[float, float]:
    """Megabytes of all, and of `serve`, which keeps answers: each time something else is chosen."""
    project, _, _ = pages.make(folder, ROWS)
    with up(project) as running:
        serve = pages.served(project)
        assert serve.pid is not None
        cookie = pages.signed_in(project, serve.address or "", "vic@example.com")
        with httpx2.Client(cookies=dict([cookie]), timeout=pages.REQUEST_S) as person:
            for at in range(OPENED):
                person.get(f"{serve.address}/d/{orders.BOARD}{orders.chosen(at)}").raise_for_status()
        time.sleep(IDLE_S)
        return memory_bytes(running.pid) / MB, memory_bytes(serve.pid) / MB
