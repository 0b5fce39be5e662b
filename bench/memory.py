"""Memory of a whole idle `catchment up`, in the project that `catchment init` makes."""

from __future__ import annotations

import subprocess
import time
from typing import Any

from bench.measure import Check, memory_bytes, result, scratch, tree
from bench.up import COMMAND, up
from catchment.config import load_project

IDLE_S = 10
NEEDED_BYTES = 500_000_000


def run() -> dict[str, Any]:
    """PSS of all its processes after ten seconds."""
    with scratch(NEEDED_BYTES) as folder:
        home = folder / "project"
        subprocess.run([COMMAND, "init", home], check=True, capture_output=True)
        with up(load_project(home)) as running:
            time.sleep(IDLE_S)
            megabytes = memory_bytes(running.pid) / 1e6
            processes = len(tree(running.pid))
    return result(
        [Check("idle_mb", megabytes, must=200, goal=150)],
        "its own limit: memory of all processes, shared pages counted once",
        processes=processes,
        ready_s=round(running.ready_s, 2),
    )
