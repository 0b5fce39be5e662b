"""What is heard is sent on to another Catchment, through kill -9 of the listener: neither lost nor doubled there."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.live import Live
from tests.crash.brokers import KINDS, serving
from tests.listen.tapping import Exchange, await_listening, in_background, listening_pid, project_file, until
from tests.servers.rabbitmq import RabbitServer

LOAD = "[load]\nmax_age_s = 0.2\n"
ONLY = 'only = "data.n != 7"\n'
MESSAGES = {"rabbitmq": 2_000, "kafka": 2_000, "sqs": 300}


@pytest.fixture
def exchange(rabbit_server: RabbitServer) -> Iterator[Exchange]:
    made = Exchange(rabbit_server)
    yield made
    made.drop()


@pytest.mark.parametrize("kind", KINDS)
def test_another_catchment_loads_what_is_sent_on(
    exchange: Exchange, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with serving(kind, request) as target:
        forward = target.settings.replace("[queue", "[listen.chats.forward")
        here = Live(tmp_path / "here", project_file(exchange, ONLY + forward, table="all"))
        there = Live(tmp_path / "there", LOAD + target.settings)
        with contextlib.closing(here), contextlib.closing(there):
            send_on(exchange, here, there, MESSAGES[kind])


def send_on(exchange: Exchange, here: Live, there: Live, messages: int) -> None:
    here.up()
    there.up()
    await_listening(here)
    publishing = in_background(exchange, range(messages))
    for _ in range(2):
        pid = until(lambda: listening_pid(here), "a listener")
        assert pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    exchange.say("message.new", b"no JSON", message_id="odd")
    publishing.join()

    def loaded() -> list[dict[str, int]]:
        if not there.status()["tables"]:
            return []
        return there.rows("SELECT count(*) AS rows, count(DISTINCT n) AS numbers FROM chat.all")

    until(lambda: loaded() and loaded()[0]["numbers"] == messages - 1, "all to be there")
    until(here.letters, "the dead letter to be here")
    assert loaded() == [{"rows": messages - 1, "numbers": messages - 1}]
    assert here.status()["tables"] == []
    (letter,) = here.letters()
    (here.folder / "mended.json").write_text(f'{{"n": {messages}}}')
    here.done("dead-letters retry", letter["id"], "--mended", here.folder / "mended.json")
    until(lambda: loaded()[0]["numbers"] == messages, "the mended message to be there")
    until(lambda: not here.letters(), "the letter to be settled")
    assert "listen.chats.forward" in here.run("doctor").out
    assert here.down() == 0
    assert there.down() == 0
