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
    Exchange,
    SqsQueue,
    Tapped,
    Topic,
    await_listening,
    in_background,
    listening_pid,
    project_file,
    until,
)

PUBLISHED = {"rabbitmq": 3_000, "kafka": 3_000, "sqs": 300}
VISITS = (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM)
"""How each visit of the second listener ends."""


@pytest.fixture(params=["rabbitmq", "kafka", "sqs"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tapped(request: pytest.FixtureRequest, kind: str) -> Iterator[Tapped]:
    made: Tapped
    if kind == "rabbitmq":
        made = Exchange(request.getfixturevalue("rabbit_server"))
    elif kind == "kafka":
        made = Topic(request.getfixturevalue("kafka_broker").config())
    else:
        made = SqsQueue(request.getfixturevalue("sqs_server"))
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

            def is_there() -> bool:
                found = first.run("query", "--format", "json", "SELECT count(DISTINCT n) AS n FROM chat.all")
                return found.code == 0 and f'"n":{len(numbers)}' in found.out.replace(" ", "")

            until(is_there, "all to be loaded")
            until(lambda: first.status()["listeners"][0]["messages"] == 0, "all to be acknowledged")
            until(lambda: first.status()["queue"]["messages"] == 0, "the queue to be empty")
            rows = first.rows("SELECT count(*) AS rows, count(DISTINCT n) AS numbers FROM chat.all")
            assert rows == [{"rows": len(numbers), "numbers": len(numbers)}]
            assert first.letters() == []
            assert first.down() == 0
        finally:
            first.close()
