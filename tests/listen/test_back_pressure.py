"""A queue on disk that is full: what is heard waits with its broker, and nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from catchment.listen.listener import Listener
from catchment.listen.service import ListenService
from catchment.listen.transform import Transformation
from catchment.pack import read
from catchment.queues.sqlite import Config, SqliteQueue
from catchment.record import DEFAULT_WINDOW
from catchment.service import Stop
from catchment.sources.rabbitmq import RabbitMQTap
from catchment.sources.rabbitmq_config import RabbitMQTapConfig
from tests.listen.hearing import settings
from tests.listen.tapping import Exchange, until
from tests.servers.rabbitmq import RabbitServer

MESSAGES = 60
EACH_BYTES = 40_000


@pytest.fixture
def exchange(rabbit_server: RabbitServer) -> Iterator[Exchange]:
    made = Exchange(rabbit_server)
    yield made
    made.drop()


def test_a_full_disk_queue_holds_up_the_broker_and_not_for_ever(exchange: Exchange, tmp_path: Path) -> None:
    config = RabbitMQTapConfig(url=exchange.url, exchange=exchange.name, queue=exchange.queue)
    queue = SqliteQueue(Config(max_bytes=1_000_000, publish_timeout_s=0.5), tmp_path)
    transformation = Transformation("chats", settings(), Path(), DEFAULT_WINDOW)
    listener = Listener("chats", lambda: RabbitMQTap(config, tmp_path, "chats"), transformation, queue)
    service = ListenService([listener])
    stop = Stop()
    thread = threading.Thread(target=service.run, args=[stop], daemon=True)
    thread.start()
    found: list[int] = []

    def take() -> bool:
        delivery = queue.receive(100_000, 0.1)
        if delivery is not None:
            for message in delivery.messages:
                for pack in read(message.body):
                    found.extend(msgspec.json.decode(line)["data"]["n"] for line in pack.plain().splitlines())
            queue.ack([delivery])
        return len(set(found)) == MESSAGES

    try:
        until(lambda: service.health().ready, "it to listen")
        for number in range(MESSAGES):
            text = json.dumps({"n": number, "noise": os.urandom(EACH_BYTES // 2).hex()})
            exchange.say("a", text, message_id=f"m{number}")
        until(lambda: "holds its maximum" in service.health().detail, "the queue to be full")
        assert not service.health().ready
        assert service.health().ok
        until(take, "all of it")
        until(lambda: service.health().ready, "it to be ready again")
        assert sorted(found) == list(range(MESSAGES))
    finally:
        stop.drain(10)
        thread.join(20)
        queue.close()
    assert not thread.is_alive()
    with contextlib.closing(RabbitMQTap(config, tmp_path, "chats")) as tap:
        assert tap.stats().messages == 0, "all is acknowledged"
