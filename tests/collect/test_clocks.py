"""Clients send again, minutes to days later, to collectors whose clocks differ: real processes, each in a time of its
own by libfaketime, on one queue."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from catchment.testing.content import rows
from tests.collect.test_service import Collecting
from tests.crash.running import PATIENCE_S, REPOSITORY, opened_warehouse, until
from tests.missing import without
from tests.servers.ports import free_port

COLLECTORS = ("-3d", "+3d", "-2h")
"""By how much their clocks differ from ours. The first attempt comes to the first one, and so on: the second comes
six days after it, and the third before the second, as it seems."""
NOW = datetime.now(UTC)
CLIENTS: dict[str, timedelta | None] = {
    "right": timedelta(),
    "two hours ahead": timedelta(hours=2),
    "a year ahead": timedelta(days=365),
    "a day behind": timedelta(days=-1),
    "1970": datetime(1970, 1, 1, tzinfo=UTC) - NOW,
    "none": None,
}
"""How clients' clocks differ from the one of the first collector; without one they send no timestamp."""
EVENTS_A_CLIENT = 20
PROGRAM = """
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds)  # libfaketime breaks clock_nanosleep
from catchment.cli import main
main()
"""


def libfaketime() -> str:
    """The library that gives a process a time of its own; the test is skipped where there is none."""
    found = next(iter(sorted(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"))), None)
    if found is None:
        without("libfaketime is not installed (tests/system_packages.sh brings it)")
    return str(found)


@contextlib.contextmanager
def collector(made: Collecting, clock: str) -> Iterator[int]:
    """The port of one more collector of the project, with another clock."""
    port = free_port()
    command = ["-c", PROGRAM, "run", "-p", str(made.folder), "--collect-port", str(port), "collect"]
    env = os.environ | {"LD_PRELOAD": libfaketime(), "FAKETIME": clock, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    process = subprocess.Popen([sys.executable, *command], cwd=REPOSITORY, env=env, stderr=subprocess.DEVNULL)
    try:
        until(lambda: is_listening(port), f"the collector at {clock}")
        yield port
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def is_listening(port: int) -> bool:
    with contextlib.suppress(OSError):
        made = Collecting.connect_to(port)
        with contextlib.closing(made):
            made.connect()
            return True
    return False


def calls(first: datetime) -> list[dict[str, Any]]:
    """What every client sends, each time the same."""
    made = []
    for name, off in CLIENTS.items():
        for number in range(EVENTS_A_CLIENT):
            call: dict[str, Any] = {"type": "page", "name": name, "messageId": f"{name} {number}"}
            if off is not None:
                call["timestamp"] = (first + off - timedelta(seconds=number)).isoformat()
            made.append(call)
    return made


def test_a_retry_to_a_collector_with_another_clock_is_one_row(tmp_path: Path) -> None:
    made = Collecting(tmp_path / "project")
    sent = calls(NOW + timedelta(days=-3))
    try:
        made.start_up()
        with contextlib.ExitStack() as running:
            ports = [running.enter_context(collector(made, clock)) for clock in COLLECTORS]
            for number, port in enumerate([*ports, made.port, ports[0]]):
                with contextlib.closing(made.connect_to(port)) as connection:
                    sent_at = NOW + timedelta(hours=number)
                    assert made.post(connection, {"batch": sent, "sentAt": sent_at.isoformat()}) == 200
                if number < 2:  # the others are searched for together
                    until(made.is_loaded, "the attempt to be loaded")
        until(made.is_loaded, "everything to be loaded")
        made.stop_up()
        with opened_warehouse(made.project) as warehouse:
            found = rows(warehouse, "SELECT name, id, received_at FROM site.pages")
    finally:
        made.close()
    assert Counter(name for name, _, _ in found) == dict.fromkeys(CLIENTS, EVENTS_A_CLIENT)
    # The first attempt is the one that stays, so the clocks did differ.
    assert {round((received - NOW) / timedelta(days=1)) for _, _, received in found} == {-3}
