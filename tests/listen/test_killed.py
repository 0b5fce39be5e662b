"""Exactly once from brokers of others into DuckDB, through kill -9 of the listener at random moments, and of the
broker."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from catchment import presence
from tests.cli.live import Live
from tests.listen.tapping import (
    PUBLISHED,
    Tapped,
    await_listening,
    check_all_once,
    in_background,
    project_file,
    tap_on,
    until,
)

KILLS = {"rabbitmq": 4, "kafka": 4, "sqs": 2}


@pytest.fixture(params=["rabbitmq", "kafka", "sqs"])
def tapped(request: pytest.FixtureRequest) -> Iterator[Tapped]:
    made = tap_on(request.param, request)
    yield made
    made.drop()


def kill_listener(live: Live) -> bool:
    state = presence.service(live.runtime, "listen")
    if state is None or not state.alive or state.pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(state.pid, signal.SIGKILL)
        return True
    return False


def test_nothing_is_lost_and_nothing_doubled(tapped: Tapped, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    kind = request.node.callspec.params["tapped"]
    rng = random.Random()
    # What the broker calls a message is enough, but where its producer, of before idempotence, sends one twice.
    identity = 'id = "data.n"\n' if kind == "kafka" else ""
    live = Live(tmp_path / "acme", project_file(tapped, identity, table="all"))
    try:
        live.up()
        await_listening(live)
        numbers = list(range(PUBLISHED[kind]))
        parts = KILLS[kind] + 1
        for part in range(parts):
            publishing = in_background(tapped, numbers[part::parts])
            time.sleep(rng.uniform(0, 0.4))
            if part == parts // 2:
                tapped.kill()
            if part:
                until(lambda: kill_listener(live), "a listener to kill")
            publishing.join()
        check_all_once(live, len(numbers))
        assert live.down() == 0
    finally:
        live.close()
