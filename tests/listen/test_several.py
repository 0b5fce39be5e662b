"""Two listeners, on two machines as it were, tap the same broker into one queue: one comes and goes, in order or
killed, in the middle of what it holds. Nothing is lost and nothing doubled."""

from __future__ import annotations

import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.live import CATCHMENT, Live
from tests.crash.brokers import serving
from tests.listen.tapping import (
    PUBLISHED,
    Tapped,
    await_listening,
    check_all_once,
    in_background,
    listening_pid,
    project_file,
    tap_on,
    until,
)

VISITS = (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM)
"""How each visit of the second listener ends."""


@pytest.fixture(params=["rabbitmq", "kafka", "sqs"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tapped(request: pytest.FixtureRequest, kind: str) -> Iterator[Tapped]:
    made = tap_on(kind, request)
    yield made
    made.drop()


def test_nothing_is_lost_and_nothing_doubled(
    tapped: Tapped, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    rng = random.Random()
    numbers = list(range(PUBLISHED[kind]))
    with serving(kind, request) as own:
        settings = project_file(tapped, own.settings, table="all")
        first, second = Live(tmp_path / "first", settings), Live(tmp_path / "second", settings)
        try:
            first.up()
            await_listening(first)
            for visit, ends in enumerate(VISITS):
                with second.said.open("ab") as said:
                    listener = subprocess.Popen(
                        [*CATCHMENT, "run", "listen", "-p", str(second.folder)],
                        stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                    )  # fmt: skip
                try:
                    before = in_background(tapped, numbers[2 * visit :: 2 * len(VISITS)])
                    until(lambda: listening_pid(second), "the second to listen")
                    after = in_background(tapped, numbers[2 * visit + 1 :: 2 * len(VISITS)])
                    with_both = rng.uniform(0, 0.6)
                    after.join(with_both)
                    listener.send_signal(ends)
                    listener.wait(60)
                    before.join()
                    after.join()
                finally:
                    listener.kill()
                    listener.wait()
            check_all_once(first, len(numbers))
            assert first.down() == 0
        finally:
            first.close()
