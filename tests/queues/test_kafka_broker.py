"""What needs a real Kafka broker: messages outlive it and whoever was in the middle of something."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.servers.kafka import Broker

from catchment.errors import Retry
from catchment.queues import Queue, kafka_consumer
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


@contextmanager
def silent(broker: Broker) -> Iterator[None]:
    """Its connections stay, and nothing comes by them: what a client is like that does not find back to its broker."""
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


def test_a_client_whose_commit_is_never_answered_is_replaced(
    kafka_broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = kafka_broker.config()
    with closing(KafkaQueue(config, tmp_path)) as queue:
        queue.publish([b"1"])
        first = queue.receive(10**6, PATIENCE_S)
        assert first is not None
        monkeypatch.setattr(kafka_consumer, "UNANSWERED_S", 0.5)
        with silent(kafka_broker), pytest.raises(Retry, match="no answer"):
            queue.ack([first])
        assert "another takes its place" in caplog.text
        assert queue.keep([first]) == []
        monkeypatch.undo()
        patiently(queue.ack, [first])  # is no longer ours
        patiently(queue.publish, [b"2"])
        found: set[bytes] = set()
        give_up_s = time.monotonic() + PATIENCE_S
        while b"2" not in found:  # and the first once more, unless the broker has read the commit after all
            assert time.monotonic() < give_up_s
            found |= set(received(queue, 1))
        assert found <= {b"1", b"2"}
        assert patiently(queue.stats).messages == 0


def test_a_client_that_hears_nothing_is_asked_and_replaced_only_if_it_finds_no_broker(
    kafka_broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kafka_consumer, "UNANSWERED_S", 1.0)
    monkeypatch.setattr(kafka_consumer, "ANSWER_S", 1.0)
    config = kafka_broker.config()
    with closing(KafkaQueue(config, tmp_path)) as queue:
        queue.publish([b"1"])
        assert received(queue, 1) == [b"1"]
        for _ in range(4):
            assert queue.receive(10**6, 0.5) is None
        assert "another takes its place" not in caplog.text
        give_up_s = time.monotonic() + PATIENCE_S
        with silent(kafka_broker):
            while "another takes its place" not in caplog.text:
                assert time.monotonic() < give_up_s
                assert queue.receive(10**6, 0.5) is None
        patiently(queue.publish, [b"2"])
        assert received(queue, 1) == [b"2"]
