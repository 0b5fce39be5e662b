"""What needs a real Kafka broker: messages outlive it and whoever was in the middle of something."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.servers.kafka import Broker

from catchment.errors import Retry
from catchment.queues import Queue
from catchment.queues.kafka import KafkaQueue
from catchment.testing.queues import messages_of

PATIENCE_S = 120.0


def patiently(call: Any, *arguments: Any) -> Any:
    """While the broker is away."""
    give_up_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return call(*arguments)
        except Retry:
            assert time.monotonic() < give_up_s


def received(queue: Queue, count: int) -> list[bytes]:
    """So many bodies that are not the same, acknowledged as they come."""
    found: list[bytes] = []
    give_up_s = time.monotonic() + PATIENCE_S
    while len(set(found)) < count:
        assert time.monotonic() < give_up_s, f"{count - len(set(found))} are missing"
        delivery = patiently(queue.receive, 200_000, 0.5)
        if delivery is not None:
            found += [message.body for message in delivery.messages]
            patiently(queue.ack, [delivery])
    return found


def test_what_was_confirmed_outlives_a_broker_that_is_killed_while_publishing_and_consuming(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    config = kafka_broker.config()
    confirmed: list[bytes] = []

    def publish() -> None:
        with closing(KafkaQueue(config, tmp_path)) as queue:
            for at in range(300):
                bodies = [b"%d/%d:" % (at, each) + b"x" * 2_000 for each in range(5)]
                patiently(queue.publish, bodies)
                confirmed.extend(bodies)

    def kill() -> None:
        for enough in (200, 700):
            while len(confirmed) < enough:
                time.sleep(0.01)
            kafka_broker.kill()
            kafka_broker.start_broker()

    threads = [threading.Thread(target=work, daemon=True) for work in (publish, kill)]
    for thread in threads:
        thread.start()
    with closing(KafkaQueue(config, tmp_path)) as consumer:
        found = received(consumer, 1_500)
        for thread in threads:
            thread.join(PATIENCE_S)
        assert len(confirmed) == 1_500
        assert set(confirmed) == set(found)
        give_up_s = time.monotonic() + PATIENCE_S
        while patiently(consumer.stats).messages:  # what was sent twice by the client itself
            assert time.monotonic() < give_up_s
            if (delivery := patiently(consumer.receive, 10**9, 0.5)) is not None:
                assert {message.body for message in messages_of([delivery])} <= set(confirmed)
                consumer.ack([delivery])
