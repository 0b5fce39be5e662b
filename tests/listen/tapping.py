"""Brokers of others as the tests of all three want them: something to publish to, and the settings of a tap on it."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import confluent_kafka
import pika
import pytest

from catchment import presence
from catchment.queues.kafka_config import KafkaConfig
from tests.cli.live import Live
from tests.servers.kafka import Broker
from tests.servers.moto import KEY, REGION, SECRET
from tests.servers.rabbitmq import RabbitServer
from tests.servers.sqs import Server

FILED = """
[load]
max_age_s = 0.2
[listen.chats]
table = "chat.{table}"
"""


PATIENCE_S = 240.0
"""For a machine that does a lot else: what was killed is started again, and SQS gives again what it held after half a
minute at the soonest. Nothing waits longer than it has to."""

T = TypeVar("T")


def until(condition: Callable[[], T], what: str) -> T:
    """Wait for a condition to hold; what it says then."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < give_up_s, f"waited in vain for {what}"
        time.sleep(0.05)
    return found


class Tapped(Protocol):
    """What others publish to."""

    table: str
    """What `chat.…` is made of."""

    def settings(self) -> str:
        """Lines of `[listen.chats]`."""

    def publish(self, numbers: Sequence[int]) -> None:
        """A message for each, `{"n": …}`, until the broker has all."""

    def kill(self) -> bool:
        """kill -9 of the broker, and start it again; whether that can be done."""

    def drop(self) -> None:
        """Remove what was made."""


class Exchange:
    """A topic exchange, of which nobody may say that it is otherwise."""

    table = "{routing_key}"

    def __init__(self, server: RabbitServer, url: str | None = None) -> None:
        self.server = server
        self.url = url or server.url
        self.name = f"chat.{secrets.token_hex(4)}"
        self.queue = f"catchment.listen.{self.name}"
        with server.channel() as channel:
            channel.exchange_declare(self.name, "topic", durable=True, auto_delete=False)

    def settings(self) -> str:
        keys = '["message.*", "note.#"]'
        return (
            f'type = "rabbitmq"\nurl = "{self.url}"\nexchange = "{self.name}"\nqueue = "{self.queue}"\n'
            f"routing_keys = {keys}\n"
        )

    def say(self, key: str, body: bytes | str | dict[str, Any], **properties: Any) -> None:
        """One message."""
        with self.server.channel() as channel:
            channel.confirm_delivery()
            text = json.dumps(body) if isinstance(body, dict) else body
            channel.basic_publish(self.name, key, text, pika.BasicProperties(delivery_mode=2, **properties))

    def publish(self, numbers: Sequence[int]) -> None:
        left = list(numbers)
        while left:
            try:
                with self.server.channel() as channel:
                    channel.confirm_delivery()
                    while left:
                        properties = pika.BasicProperties(
                            delivery_mode=2, message_id=f"m{left[0]}", timestamp=SENT_AT_S
                        )
                        channel.basic_publish(self.name, "message.new", json.dumps({"n": left[0]}), properties)
                        left.pop(0)
            except (pika.exceptions.AMQPError, OSError):
                time.sleep(0.1)

    def kill(self) -> bool:
        self.server.settle()
        self.server.kill()
        self.server.start()
        return True

    def drop(self) -> None:
        with self.server.channel() as channel:
            channel.queue_delete(self.queue)
            channel.exchange_delete(self.name)


SENT_AT_S = 1_795_428_000
"""When all of these messages were sent, they say: the same however often one is sent again."""


class Topic:
    """A topic with two partitions."""

    table = "{topic}"

    def __init__(self, config: KafkaConfig, broker: Broker | None = None) -> None:
        self.config = config
        self.broker = broker

    def settings(self) -> str:
        options = ", ".join(f'"{name}" = "{value}"' for name, value in self.config.options.items())
        return (
            f'type = "kafka"\nbrokers = "{self.config.brokers}"\ntopic = "{self.config.topic}"\n'
            f"options = {{{options}}}\n"
        )

    def producer(self) -> Any:
        options = {name: value for name, value in self.config.options.items() if not name.startswith(_CONSUMERS)}
        return confluent_kafka.Producer({"bootstrap.servers": self.config.brokers, "log_level": 0, **options})

    def publish(self, numbers: Sequence[int]) -> None:
        producer = self.producer()
        for number in numbers:
            producer.produce(self.config.topic, json.dumps({"n": number}).encode(), f"k{number}".encode())
            producer.poll(0)
        assert producer.flush(60) == 0

    def kill(self) -> bool:
        if self.broker is None:
            return False
        self.broker.kill()
        self.broker.start_broker()
        return True

    def drop(self) -> None:
        pass


_CONSUMERS = ("session", "heartbeat", "fetch")


class SqsQueue:
    """A queue on SQS."""

    table = "{data.kind}"

    def __init__(self, server: Server, endpoint: str | None = None, **more: Any) -> None:
        self.server = server
        self.endpoint = endpoint or server.endpoint
        self.url = server.make_queue()
        self.more = more

    def settings(self) -> str:
        more = "".join(f"{name} = {json.dumps(value)}\n" for name, value in self.more.items())
        return (
            f'type = "sqs"\nqueue_url = "{self.url}"\nendpoint = "{self.endpoint}"\nregion = "{REGION}"\n'
            f'access_key_id = "{KEY}"\nsecret_access_key = "{SECRET}"\nvisibility_s = 30\n{more}'
        )

    def publish(self, numbers: Sequence[int]) -> None:
        client = self.server.client()
        for start in range(0, len(numbers), 10):
            entries = [
                {"Id": str(number), "MessageBody": json.dumps({"kind": "message_new", "n": number})}
                for number in numbers[start : start + 10]
            ]
            assert not client.send_message_batch(QueueUrl=self.url, Entries=entries).get("Failed")

    def kill(self) -> bool:
        return False

    def drop(self) -> None:
        self.server.client().delete_queue(QueueUrl=self.url)


def project_file(tapped: Tapped, more: str = "", table: str | None = None) -> str:
    """A project that listens to it; `more` are lines of `[listen.chats]`, or sections behind it."""
    filed = FILED.format(table=table or tapped.table)
    return f"{filed}{tapped.settings()}{more}"


def listening_pid(live: Live) -> int | None:
    """The pid of the process that listens, once it is ready."""
    state = presence.service(live.runtime, "listen")
    return state.pid if state is not None and state.state == "ready" and state.alive else None


def await_listening(live: Live) -> None:
    until(lambda: listening_pid(live), "listen to be ready")


def in_background(tapped: Tapped, numbers: Sequence[int]) -> threading.Thread:
    """Publish them while something else happens."""
    thread = threading.Thread(target=tapped.publish, args=[numbers], daemon=True)
    thread.start()
    return thread


PUBLISHED = {"rabbitmq": 3_000, "kafka": 3_000, "sqs": 300}
"""So many messages keep a listener busy for some seconds."""


def tap_on(kind: str, request: pytest.FixtureRequest) -> Tapped:
    """Something of this kind on a real broker."""
    match kind:
        case "rabbitmq":
            return Exchange(request.getfixturevalue("rabbit_server"))
        case "kafka":
            broker = request.getfixturevalue("kafka_broker")
            return Topic(broker.config(), broker)
    return SqsQueue(request.getfixturevalue("sqs_server"))


def check_all_once(live: Live, messages: int) -> None:
    """Wait until all of them are loaded and acknowledged: each is there once, and none is a dead letter."""

    def is_there() -> bool:
        found = live.run("query", "--format", "json", "SELECT count(DISTINCT n) AS n FROM chat.all")
        return found.code == 0 and f'"n":{messages}' in found.out.replace(" ", "")

    until(is_there, "all to be loaded")
    until(lambda: live.status()["listeners"][0]["messages"] == 0, "all to be acknowledged")
    until(lambda: live.status()["queue"]["messages"] == 0, "the queue to be empty")
    rows = live.rows("SELECT count(*) AS rows, count(DISTINCT n) AS numbers, min(n) AS lowest FROM chat.all")
    assert rows == [{"rows": messages, "numbers": messages, "lowest": 0}]
    assert live.letters() == []
