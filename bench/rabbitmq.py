"""The queue on RabbitMQ, packed: against its bare client with the same packs, and against a record per message."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pika
from pika.adapters.select_connection import SelectConnection
from tests.servers import rabbitmq
from tests.servers.rabbitmq import RabbitServer

from bench.measure import Check, progress, result, tree_cpu_s
from bench.queue import event_lines
from catchment import pack
from catchment.queues import Delivery
from catchment.queues.rabbitmq import RabbitMQQueue
from catchment.queues.rabbitmq_config import RabbitMQConfig
from catchment.queues.rabbitmq_consumer import FEW_MESSAGES

ROUNDS = 9
PACKS, RECORDS_A_PACK, SINGLES, DIFFERENT_PACKS = 12_000, 100, 10_000, 20
CALLS, THREADS = 16, 4
"""As many messages as several publishers of a collector's size have on their way at once."""
PREFETCH = 1_000


def run() -> dict[str, Any]:
    """The share of the bare client's speed, publishing and consuming, and how much packing is worth."""
    singles, packs = _messages()
    found: dict[str, list[float]] = {}
    with rabbitmq.running() as server:
        for number in range(ROUNDS):
            bare_s = _bare(server, packs)
            before_s = tree_cpu_s(server.pid)
            ours_s = _ours(server, packs)
            found.setdefault("broker_us_a_pack", []).append((tree_cpu_s(server.pid) - before_s) / PACKS * 1e6)
            singly_s = _ours(server, singles)
            for of, bare, ours, singly in zip(("publish", "consume"), bare_s, ours_s, singly_s, strict=True):
                found.setdefault(f"{of}_share_of_bare", []).append(bare / ours)
                found.setdefault(f"{of}_times_single", []).append((singly / SINGLES) / (ours / PACKS / RECORDS_A_PACK))
                found.setdefault(f"{of}_records_per_s", []).append(PACKS * RECORDS_A_PACK / ours)
            progress(f"round {number + 1} of {ROUNDS}: {[f'{name} {each[-1]:.2f}' for name, each in found.items()]}")
    middle = {name: statistics.median(values) for name, values in found.items()}
    shares = [middle["publish_share_of_bare"], middle["consume_share_of_bare"]]
    singles_times = [middle["publish_times_single"], middle["consume_times_single"]]
    return result(
        [
            Check("share_of_bare_client", min(shares), must=0.72, goal=0.9, at_least=True),
            Check("times_a_record_per_message", min(singles_times), must=12.0, goal=15.0, at_least=True),
            *(Check(name, value, must=None, goal=None, at_least=True) for name, value in middle.items()),
        ],
        "pika's SelectConnection with the same packs, all confirmed, and ours with a record per message",
        rounds=ROUNDS,
        pack_bytes=round(statistics.mean(map(len, packs))),
    )


def _messages() -> tuple[list[bytes], list[bytes]]:
    """The same records, one a message and packed."""
    lines = event_lines(RECORDS_A_PACK * DIFFERENT_PACKS, 1)
    pieces = [lines[at : at + RECORDS_A_PACK] for at in range(0, len(lines), RECORDS_A_PACK)]
    packs = [pack.build("bench.events", some) for some in pieces]
    singles = [line.text.rstrip() for line in lines]
    return singles * (SINGLES // len(singles)), packs * (PACKS // len(packs))


def _ours(server: RabbitServer, messages: Sequence[bytes]) -> tuple[float, float]:
    """Seconds to publish and to consume them through the queue."""
    config = server.new_config(publish_timeout_s=120)
    size = len(messages) // CALLS
    calls = [messages[at : at + size] for at in range(0, len(messages), size)]
    with closing(RabbitMQQueue(config, Path())) as queue:
        queue.publish([b"warm"])
        publish_s = _timed(lambda: _in_threads(queue, calls))
    with closing(RabbitMQQueue(config, Path())) as queue:
        left = len(messages) + 1 - _consume(queue, 1)
        # What it was sent before the clock began, at most, does not count.
        consume_s = _timed(lambda: _consume(queue, left)) * len(messages) / (left - FEW_MESSAGES)
    server.drop(config)
    return publish_s, consume_s


def _in_threads(queue: RabbitMQQueue, calls: list[Sequence[bytes]]) -> None:
    def publish(some: list[Sequence[bytes]]) -> None:
        for call in some:
            queue.publish(call)

    threads = [threading.Thread(target=publish, args=(calls[at::THREADS],)) for at in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _consume(queue: RabbitMQQueue, count: int) -> int:
    """Take so many at least, and acknowledge them; how many these were."""
    held: list[Delivery] = []
    taken = unacknowledged = 0
    while taken < count:
        delivery = queue.receive(4_000_000, 10)
        assert delivery is not None
        held.append(delivery)
        taken += len(delivery.messages)
        unacknowledged += len(delivery.messages)
        if unacknowledged >= PREFETCH or taken >= count:
            queue.ack(held)
            held, unacknowledged = [], 0
    return taken


def _bare(server: RabbitServer, messages: Sequence[bytes]) -> tuple[float, float]:
    """Seconds to publish and to consume them through the client alone."""
    config = server.new_config()
    with server.channel() as channel:
        channel.exchange_declare(config.exchange, "fanout", durable=True)
        channel.queue_declare(config.queue, durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_bind(config.queue, config.exchange, "")
    spans: list[float] = []
    for work in (_bare_publish, _bare_consume):
        with _bare_channel(server) as (connection, channel):
            spans.append(work(connection, channel, config, messages))
    server.drop(config)
    return spans[0], spans[1]


@contextlib.contextmanager
def _bare_channel(server: RabbitServer) -> Iterator[tuple[SelectConnection, Any]]:
    opened: list[Any] = []

    def on_open(connection: SelectConnection) -> None:
        connection.channel(on_open_callback=on_channel)

    def on_channel(channel: Any) -> None:
        opened.append(channel)
        connection.ioloop.stop()

    connection = SelectConnection(pika.URLParameters(server.url), on_open_callback=on_open)
    connection.ioloop.start()
    yield connection, opened[0]
    connection.add_on_close_callback(lambda *_: connection.ioloop.stop())
    connection.close()
    connection.ioloop.start()


def _bare_publish(
    connection: SelectConnection, channel: Any, config: RabbitMQConfig, messages: Sequence[bytes]
) -> float:
    confirmed = [0]

    def counted(frame: Any) -> None:
        tag = frame.method.delivery_tag
        confirmed[0] = max(confirmed[0], tag) if frame.method.multiple else confirmed[0] + 1
        if confirmed[0] >= len(messages):
            connection.ioloop.stop()

    channel.confirm_delivery(counted, callback=lambda _: connection.ioloop.stop())
    connection.ioloop.start()
    properties = pika.BasicProperties(delivery_mode=2)
    began_s = time.perf_counter()
    for body in messages:
        channel.basic_publish(config.exchange, "", body, properties)
    connection.ioloop.start()
    return time.perf_counter() - began_s


def _bare_consume(
    connection: SelectConnection, channel: Any, config: RabbitMQConfig, messages: Sequence[bytes]
) -> float:
    """What is not acknowledged is held, as whoever archives it must."""
    came = [0]
    held: list[bytes] = []

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        came[0] += 1
        held.append(body)
        if came[0] % (PREFETCH // 2) == 0 or came[0] == len(messages):
            channel.basic_ack(method.delivery_tag, multiple=True)
            held.clear()
            if came[0] == len(messages):
                # As ours does: an acknowledgement has no answer, and may be lost until what is sent behind it has.
                channel.queue_declare(config.queue, passive=True, callback=lambda _: connection.ioloop.stop())

    channel.basic_qos(prefetch_count=PREFETCH)
    began_s = time.perf_counter()
    channel.basic_consume(config.queue, on_message)
    connection.ioloop.start()
    return time.perf_counter() - began_s


def _timed(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s
