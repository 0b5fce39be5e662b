"""`python -m tests.crash.traced FOLDER`: publishes a record, runs the warehouse process until it is loaded, and says
at each step where it is by a write to FOLDER/marks, which shows among the system calls."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Literal

from catchment.cli.load import WarehouseProcess
from catchment.config import load_project
from catchment.process import run_services
from catchment.service import Stop
from tests.crash.dying import watched

MARKS = "marks"


def main(folder: Path) -> int:
    stop = Stop()
    marks = os.open(folder / MARKS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def mark(step: str, when: Literal["before", "after"]) -> None:
        os.write(marks, f"{when} {step.split(' incoming/', maxsplit=1)[0].strip()}\n".encode())
        if (step.strip(), when) == ("warehouse.load", "after"):
            stop.drain()

    project = watched(load_project(folder, None), mark)
    with contextlib.closing(project.queue.open()) as queue:
        mark("queue.publish", "before")
        queue.publish([b'{"table":"web.event","id":"1","data":{"n":1}}'])
        mark("queue.publish", "after")
    return run_services([WarehouseProcess(project)], health_port=None, stop=stop)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
