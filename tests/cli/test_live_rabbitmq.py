"""A project on RabbitMQ from end to end: its processes, strangers' messages, and a broker that is away."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest

from catchment import presence
from catchment.queues.rabbitmq_config import RabbitMQConfig
from tests.cli.live import Live, until
from tests.servers import proxy
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitServer

SETTINGS = """
[queue]
type = "rabbitmq"
url = "{url}"
exchange = "{exchange}"
queue = "{queue}"
publish_timeout_s = 5
[outbox]
patience_s = 1
[load]
max_age_s = 0.2
[collect]
listen = "127.0.0.1:0"
[collect.sources.website]
write_key = "key"
"""


@pytest.fixture
def network(rabbit_server: RabbitServer) -> Iterator[Proxy]:
    with proxy.carrying(rabbit_server.port) as between:
        yield between


@pytest.fixture
def config(rabbit_server: RabbitServer, network: Proxy) -> Iterator[RabbitMQConfig]:
    made = rabbit_server.new_config(url=rabbit_server.url_of("guest", "guest", port=network.port))
    yield made
    rabbit_server.drop(made)


@pytest.fixture
def live(tmp_path: Path, config: RabbitMQConfig) -> Iterator[Live]:
    project = Live(tmp_path / "acme", SETTINGS.format(url=config.url, exchange=config.exchange, queue=config.queue))
    yield project
    project.close()


def track(live: Live, number: int) -> float:
    """An event over HTTP, which must be taken; how long that took."""
    state = presence.service(live.runtime, "collect")
    assert state is not None
    event = {"writeKey": "key", "userId": "u", "event": "Clicked", "messageId": f"m{number}"}
    body = json.dumps({**event, "properties": {"n": number}}).encode()
    request = urllib.request.Request(f"{state.address}/v1/track", body, {"Content-Type": "application/json"})
    began_s = time.monotonic()
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200
    return time.monotonic() - began_s


def ask(live: Live, path: str) -> str:
    """What the collector answers on its private port."""
    state = presence.service(live.runtime, "collect")
    assert state is not None
    with urllib.request.urlopen(f"{state.metrics_address}{path}", timeout=60) as answer:
        text: str = answer.read().decode()
        return text


def clicks(live: Live) -> list[int]:
    return [row["n"] for row in live.rows("SELECT n FROM website.clicked ORDER BY n")]


def test_events_and_strangers_records_are_loaded_and_a_broker_away_keeps_nobody_waiting(
    live: Live, rabbit_server: RabbitServer, config: RabbitMQConfig, network: Proxy
) -> None:
    assert live.done("validate")
    live.up()
    for number in range(5):
        track(live, number)
    with rabbit_server.channel() as channel:

        def publish(body: str | bytes, **properties: Any) -> None:
            channel.basic_publish(config.exchange, "any.key", body, pika.BasicProperties(**properties))

        order = '{"table":"shop.orders","data":{"n":%d}%s}'
        publish(order % (1, ',"id":"a"'))
        publish(order % (1, ',"id":"a"'))
        publish(order % (2, ""), message_id="order-2")
        publish(order % (2, ""), message_id="order-2")
        publish("\n".join(order % (number, f',"id":"b{number}"') for number in (3, 4)))
        publish(order % (5, ""))
        publish(b"\x00no record at all", message_id="odd")
    live.send("shop.orders", {"n": 6}, id_field="n")
    orders = "SELECT n, _id FROM shop.orders ORDER BY n"
    until(lambda: len(live.rows(orders)) == 6, "the orders")
    until(lambda: clicks(live) == list(range(5)), "the clicks")
    assert [row["n"] for row in live.rows(orders)] == [1, 2, 3, 4, 5, 6]
    assert [row["_id"] for row in live.rows(orders)][:4] == ["a", "order-2/0", "b3", "b4"]
    until(lambda: len(live.letters()) == 1, "the dead letter")
    assert 'catchment_records_without_id_total{table="shop.orders"} 1.0' in live.get("/metrics")[1]
    status = live.status()
    assert status["queue"]["messages"] == status["outbox"]["messages"] == 0
    assert status["problems"] == []
    assert "0 messages wait, 1 consumers" in live.run("doctor").out

    network.cut(refuse=True)
    assert track(live, 5) < 30
    waits = [track(live, number) for number in range(6, 20)]
    assert sorted(waits)[len(waits) // 2] < 0.9, "it waits for the broker each time"
    assert live.status()["outbox"]["messages"] > 0
    ready = until(lambda: said if "messages wait in the outbox" in (said := ask(live, "/readyz")) else "", "a word")
    assert json.loads(ready)["ready"] is True
    until(lambda: "catchment_outbox_messages 0.0" not in ask(live, "/metrics"), "the gauge")
    assert "queue: RabbitMQ at 127.0.0.1:" in live.status()["problems"][0]
    ended = live.run("send", "shop.orders", "--format", "ndjson", "--id", "n", stdin='{"n": 7}')
    assert "1 rows" in ended.out
    assert "waits in the outbox" in ended.err

    network.mend()
    until(lambda: clicks(live) == list(range(20)), "what waited in the outbox")
    until(lambda: len(live.rows(orders)) == 7, "what a process left that has ended")
    until(lambda: live.status()["outbox"]["messages"] == 0, "an empty outbox")
    assert live.down() == 0
