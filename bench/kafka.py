"""Packs through a topic of a real Kafka broker, beside bare confluent-kafka with the same packs and settings."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import confluent_kafka
import msgspec
from tests.servers.kafka import OLD, Broker, running

from bench.measure import Check, progress, result, tree_cpu_s
from bench.queue import event_lines
from catchment import pack
from catchment.queues.kafka import KafkaQueue
from catchment.queues.kafka_config import KafkaConfig
from catchment.queues.kafka_consumer import PREFETCHED_KBYTES

ROUNDS = 7
RECEIVED_TIMES = 3
"""In each round: it takes a tenth of a second, which is little to judge by on a machine that does something else."""
PACKS, REPEATED = 40, 150
PACK_RECORDS = 300
PUBLISH_BYTES = 4 << 20
"""At a time, as `send` publishes; a round of the loader receives as much at a time."""
ACK_BYTES = 32_000_000

_numbers = itertools.count()


def run() -> dict[str, Any]:
    """The shares of the bare client's speed."""
    packs = [pack.build("bench.events", event_lines(PACK_RECORDS, seed)) for seed in range(PACKS)] * REPEATED
    calls = list(_in_calls(packs))
    taken: dict[str, list[float]] = {
        "ours published": [],
        "bare published": [],
        "ours received": [],
        "bare received": [],
    }
    broker_us: dict[str, list[float]] = {}
    """CPU of the broker by message: each contender publishes them once, or receives them twice."""
    with running() as broker:
        for number in range(ROUNDS):
            config = _config(broker)
            contenders: dict[str, Callable[[], float]] = {
                "ours published": lambda config=config: _publish(config, calls),  # type: ignore[misc]
                "bare published": lambda config=config: _produce(config, packs),  # type: ignore[misc]
                "ours received": lambda config=config: _receive(config, 2 * len(packs)),  # type: ignore[misc]
                "bare received": lambda config=config: _consume(config, 2 * len(packs)),  # type: ignore[misc]
            }
            for name, contender in contenders.items():
                before_s = tree_cpu_s(broker.pid)
                taken[name].append(contender())
                broker_us.setdefault(name, []).append((tree_cpu_s(broker.pid) - before_s) / len(packs) * 1e6)
            for _ in range(RECEIVED_TIMES - 1):
                for name in ("ours received", "bare received"):
                    taken[name].append(contenders[name]())
            progress(
                f"round {number + 1} of {ROUNDS}: { ({name: round(times[-1], 2) for name, times in taken.items()}) }"
            )
    published = _share(taken["bare published"], taken["ours published"])
    received = _share(taken["bare received"], taken["ours received"])
    records = len(packs) * PACK_RECORDS
    return result(
        [
            Check("share_of_bare_produce", published, must=0.64, goal=0.8, at_least=True),
            Check("share_of_bare_consume", received, must=0.72, goal=0.9, at_least=True),
        ],
        "confluent-kafka alone: produce and flush, consume, hold and commit; the same packs, broker and settings",
        pack_bytes=round(statistics.mean(map(len, packs))),
        records_published_per_s=round(records / statistics.median(taken["ours published"])),
        records_received_per_s=round(2 * records / statistics.median(taken["ours received"])),
        broker_us_a_pack=round(
            statistics.median(broker_us["ours published"]) + statistics.median(broker_us["ours received"]) / 2
        ),
        rounds=ROUNDS,
    )


def _share(bare_s: list[float], ours_s: list[float]) -> float:
    return statistics.median(bare / ours for bare, ours in zip(bare_s, ours_s, strict=True))


def _config(broker: Broker) -> KafkaConfig:
    topic = f"bench-{next(_numbers)}"
    config = KafkaConfig(brokers=broker.brokers, topic=topic, options=OLD, publish_timeout_s=60.0)
    with closing(KafkaQueue(config, Path())) as queue:
        queue.publish([b"warm"] * 10)  # makes the topic
    return config


def _in_calls(packs: list[bytes]) -> Iterator[list[bytes]]:
    call: list[bytes] = []
    for each in packs:
        call.append(each)
        if sum(map(len, call)) >= PUBLISH_BYTES:
            yield call
            call = []
    if call:
        yield call


def _publish(config: KafkaConfig, calls: list[list[bytes]]) -> float:
    with closing(KafkaQueue(config, Path())) as queue:
        queue.publish([b"warm"])
        began_s = time.perf_counter()
        for call in calls:
            queue.publish(call)
        return time.perf_counter() - began_s


def _produce(config: KafkaConfig, packs: list[bytes]) -> float:
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": config.brokers, "linger.ms": 1, "acks": "all", **config.options}
    )
    producer.produce(config.topic, b"warm")
    producer.flush()
    failed: list[object] = []

    def heard(error: object, _: object) -> None:
        if error is not None:
            failed.append(error)

    began_s = time.perf_counter()
    for each in packs:
        producer.produce(config.topic, each, on_delivery=heard)
    producer.flush()
    taken_s = time.perf_counter() - began_s
    assert not failed
    return taken_s


def _receive(config: KafkaConfig, count: int) -> float:
    """From the first message on: a group takes seconds to form."""
    config = msgspec.structs.replace(config, group=f"ours-{next(_numbers)}")
    with closing(KafkaQueue(config, Path())) as queue:
        delivery = None
        while delivery is None:
            delivery = queue.receive(1, 1.0)
        began_s = time.perf_counter()
        held, size, came = [delivery], 0, 1
        while came < count:
            delivery = queue.receive(PUBLISH_BYTES, 1.0)
            if delivery is None:
                continue
            held.append(delivery)
            came += len(delivery.messages)
            size += delivery.bytes
            if size >= ACK_BYTES or came >= count:
                queue.ack(held)
                held, size = [], 0
        return time.perf_counter() - began_s


def _consume(config: KafkaConfig, count: int) -> float:
    """From the first message on, as ours; what is not committed is held, as whoever archives it must."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": config.brokers, "group.id": f"bare-{next(_numbers)}", "enable.auto.commit": False,
            "auto.offset.reset": "earliest", "queued.max.messages.kbytes": PREFETCHED_KBYTES, **config.options,
        }
    )  # fmt: skip
    with closing(consumer):
        consumer.subscribe([config.topic])
        while not consumer.consume(1, 1.0):
            pass
        began_s = time.perf_counter()
        size, came = 0, 1
        last: dict[int, Any] = {}
        held: list[bytes] = []
        while came < count:
            for message in consumer.consume(100, 0.01):
                body, partition = message.value(), message.partition()
                assert body is not None
                assert partition is not None
                size += len(body)
                held.append(body)
                last[partition] = message
                came += 1
            if size >= ACK_BYTES or came >= count:
                offsets = [
                    confluent_kafka.TopicPartition(m.topic(), m.partition(), m.offset() + 1) for m in last.values()
                ]
                consumer.commit(offsets=offsets, asynchronous=False)
                held, size = [], 0
        return time.perf_counter() - began_s
