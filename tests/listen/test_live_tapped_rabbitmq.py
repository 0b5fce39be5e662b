"""An exchange of others, tapped from end to end: into DuckDB, by processes that run."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest

from catchment import presence
from tests.cli.live import Live, until
from tests.servers.rabbitmq import RabbitServer

SETTINGS = """
[load]
max_age_s = 0.2
[listen.chats]
type = "rabbitmq"
url = "{url}"
exchange = "{exchange}"
queue = "{exchange}.catchment"
routing_keys = ["message.*", "note.#"]
table = "chat.{{routing_key}}"
"""


class Exchange:
    """A topic exchange of others: not durable, so that whoever declared it as Catchment's would be refused."""

    def __init__(self, server: RabbitServer) -> None:
        self.server = server
        self.name = f"chat.{secrets.token_hex(4)}"
        with server.channel() as channel:
            channel.exchange_declare(self.name, "topic", durable=False)

    def publish(self, key: str, body: bytes | str | dict[str, Any], **properties: Any) -> None:
        with self.server.channel() as channel:
            channel.confirm_delivery()
            text = json.dumps(body) if isinstance(body, dict) else body
            channel.basic_publish(self.name, key, text, pika.BasicProperties(**properties))

    def drop(self) -> None:
        with self.server.channel() as channel:
            channel.queue_delete(f"{self.name}.catchment")
            channel.exchange_delete(self.name)


@pytest.fixture
def exchange(rabbit_server: RabbitServer) -> Iterator[Exchange]:
    made = Exchange(rabbit_server)
    yield made
    made.drop()


def live_with(folder: Path, settings: str) -> Live:
    return Live(folder / "acme", settings)


def await_listening(live: Live) -> None:
    def is_ready() -> bool:
        state = presence.service(live.runtime, "listen")
        return state is not None and state.state == "ready"

    until(is_ready, "listen to be ready")


def test_what_an_exchange_says_is_filed_by_its_routing_keys(
    rabbit_server: RabbitServer, exchange: Exchange, tmp_path: Path
) -> None:
    live = live_with(tmp_path, SETTINGS.format(url=rabbit_server.url, exchange=exchange.name))
    try:
        assert live.done("validate")
        live.up()
        await_listening(live)
        exchange.publish("message.created", {"text": "hello", "n": 1}, message_id="m1")
        exchange.publish("message.created", {"text": "hello", "n": 1}, message_id="m1")
        exchange.publish("note.a.b", {"n": 2}, message_id="m2")
        exchange.publish("other", {"n": 3}, message_id="m3")
        exchange.publish("message.created", b"\x00 no JSON", message_id="m4")
        until(lambda: len(live.status()["tables"]) == 2, "the tables")
        until(lambda: len(live.letters()) == 1, "the dead letter")
        rows = live.rows("SELECT n, text, _id, _source FROM chat.message_created")
        assert rows == [{"n": 1, "text": "hello", "_id": "m1/0", "_source": "chats"}]
        assert live.rows("SELECT n FROM chat.note_a_b") == [{"n": 2}]
        status = live.status()
        assert status["listeners"] == [{"name": "chats", "type": "rabbitmq", "messages": 0}]
        assert [service["name"] for service in status["services"]] == ["listen", "load"]
        assert "0 messages wait in" in live.run("doctor").out
        assert live.down() == 0
    finally:
        live.close()
