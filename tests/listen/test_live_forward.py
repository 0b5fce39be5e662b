"""What is heard is sent on to another Catchment, through kill -9 of the listener: neither lost nor doubled there."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from catchment.queues.rabbitmq_config import RabbitMQConfig
from tests.cli.live import Live
from tests.listen.tapping import Exchange, await_listening, in_background, listening_pid, project_file, until
from tests.servers.rabbitmq import RabbitServer

OTHER = """
[load]
max_age_s = 0.2
[queue]
type = "rabbitmq"
url = "{config.url}"
exchange = "{config.exchange}"
queue = "{config.queue}"
"""
FORWARD = """
only = "data.n != 7"
[listen.chats.forward]
type = "rabbitmq"
url = "{config.url}"
exchange = "{config.exchange}"
queue = "{config.queue}"
"""
MESSAGES = 2_000


@pytest.fixture
def exchange(rabbit_server: RabbitServer) -> Iterator[Exchange]:
    made = Exchange(rabbit_server)
    yield made
    made.drop()


@pytest.fixture
def config(rabbit_server: RabbitServer) -> Iterator[RabbitMQConfig]:
    made = rabbit_server.new_config()
    yield made
    rabbit_server.drop(made)


def test_another_catchment_loads_what_is_sent_on(exchange: Exchange, config: RabbitMQConfig, tmp_path: Path) -> None:
    here = Live(tmp_path / "here", project_file(exchange, FORWARD.format(config=config), table="all"))
    there = Live(tmp_path / "there", OTHER.format(config=config))
    try:
        here.up()
        there.up()
        await_listening(here)
        publishing = in_background(exchange, range(MESSAGES))
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

        until(lambda: loaded() and loaded()[0]["numbers"] == MESSAGES - 1, "all to be there")
        until(here.letters, "the dead letter to be here")
        assert loaded() == [{"rows": MESSAGES - 1, "numbers": MESSAGES - 1}]
        assert here.status()["tables"] == []
        (letter,) = here.letters()
        (here.folder / "mended.json").write_text(f'{{"n": {MESSAGES}}}')
        here.done("dead-letters retry", letter["id"], "--mended", here.folder / "mended.json")
        until(lambda: loaded()[0]["numbers"] == MESSAGES, "the mended message to be there")
        until(lambda: not here.letters(), "the letter to be settled")
        assert "listen.chats.forward" in here.run("doctor").out
        assert here.down() == 0
        assert there.down() == 0
    finally:
        here.close()
        there.close()
