"""Kafka keeps what every queue promises: the conformance suite, and what only Kafka can do wrong."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaError
from tests.servers.kafka import (
    ILLEGAL_GENERATION,
    INVALID_COMMIT_OFFSET_SIZE,
    OFFSET_COMMIT,
    PRODUCE,
    REBALANCE_IN_PROGRESS,
    TOPIC_AUTHORIZATION_FAILED,
    UNKNOWN_MEMBER,
    MockCluster,
    mocking,
)

from catchment.config import find_mistakes
from catchment.errors import Retry, StorageError, UsageError
from catchment.queues import Delivery, kafka_consumer
from catchment.queues.kafka import KafkaQueue
from catchment.queues.kafka_config import KafkaConfig
from catchment.testing.queues import Factory, QueueConformance, messages_of, receive_one


@pytest.fixture(scope="module")
def cluster() -> Iterator[MockCluster]:
    with mocking() as started:
        yield started


class TestKafkaQueue(QueueConformance):
    max_message_bytes = 1_000_000

    @pytest.fixture
    def factory(self, cluster: MockCluster, tmp_path: Path) -> Factory:
        return partial(KafkaQueue, cluster.config(), tmp_path)


class TestKafkaQueueOfSeveralPartitions(TestKafkaQueue):
    keeps_order = False

    @pytest.fixture
    def factory(self, cluster: MockCluster, tmp_path: Path) -> Factory:
        return partial(KafkaQueue, cluster.config(partitions=4), tmp_path)


@pytest.fixture
def open_queue(tmp_path: Path) -> Iterator[Callable[[KafkaConfig], KafkaQueue]]:
    """Queues, closed at the end."""
    opened: list[KafkaQueue] = []

    def open_one(config: KafkaConfig) -> KafkaQueue:
        opened.append(KafkaQueue(config, tmp_path))
        return opened[-1]

    yield open_one
    for queue in opened:
        queue.close()


Open = Callable[[KafkaConfig], KafkaQueue]


def bodies(deliveries: list[Delivery]) -> list[bytes]:
    return [message.body for message in messages_of(deliveries)]


def drain(queue: KafkaQueue, count: int) -> list[Delivery]:
    """Everything, until so many have come and nothing follows. An empty answer is a chance to hear from the group."""
    found: list[Delivery] = []
    give_up_s = time.monotonic() + 60
    while time.monotonic() < give_up_s:
        delivery = queue.receive(10**9, 0.5)
        if delivery is not None:
            found.append(delivery)
        elif len(bodies(found)) >= count:
            break
    return found


# A group


def test_a_rebalance_in_a_round_takes_what_moves_and_leaves_the_rest(cluster: MockCluster, open_queue: Open) -> None:
    config = cluster.config(partitions=4)
    first, second = open_queue(config), open_queue(config)
    sent = [b"%d" % at for at in range(400)]
    for start in range(0, 400, 10):
        first.publish(sent[start : start + 10])
    held = drain(first, 400)
    assert sorted(bodies(held)) == sorted(sent)
    moved: list[Delivery] = []
    give_up_s = time.monotonic() + 60
    while not moved:
        assert time.monotonic() < give_up_s
        assert first.receive(10**9, 0.1) is None, "what it holds came to it twice"
        if (delivery := second.receive(10**9, 0.1)) is not None:
            moved.append(delivery)
    kept = first.keep(held)
    lost = partitions(held) - partitions(kept)
    assert lost, "nothing moved"
    assert partitions(kept), "nothing stayed"
    first.ack(held)  # the whole round is archived; what moved is not ours to acknowledge
    assert first.keep(held) == []
    moved += drain(second, 400 - len(bodies(kept)) - len(bodies(moved)))
    assert partitions(moved) == lost
    assert sorted(bodies(moved) + bodies(kept)) == sorted(sent), "lost, or delivered to both as its own"
    second.ack(moved)
    assert first.stats().messages == 0


def partitions(deliveries: list[Delivery]) -> set[int]:
    return {span.claim.partition for delivery in deliveries for span in delivery.receipt}


@contextlib.contextmanager
def keeping(queue: KafkaQueue, held: list[Delivery]) -> Iterator[None]:
    """As a loader does while it writes its archive."""
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(0.3):
            queue.keep(held)

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_loader_whose_archive_is_slow_stays_in_its_group(cluster: MockCluster, open_queue: Open) -> None:
    """Longer than the group's patience, without receiving; another member's coming is heard meanwhile."""
    config = cluster.config(partitions=2, options={"max.poll.interval.ms": "4000"})
    busy, other = open_queue(config), open_queue(config)
    sent = [b"%d" % at for at in range(60)]
    for body in sent:
        busy.publish([body])
    held = drain(busy, 60)
    began_s = time.monotonic()
    came: list[Delivery] = []
    with keeping(busy, held):  # not by the thread of the other, who may wait long for an answer of the brokers
        while time.monotonic() < began_s + 8 or not came:
            assert time.monotonic() < began_s + 60, "deaf to the group"
            if (delivery := other.receive(10**9, 0.3)) is not None:
                came.append(delivery)
    kept = busy.keep(held)
    assert len(partitions(kept)) == 1, "thrown out of the group"
    busy.ack(kept)
    came += drain(other, 60 - len(bodies(came)) - len(bodies(kept)))
    assert sorted(bodies(came) + bodies(kept)) == sorted(sent)
    for body in sent:
        busy.publish([body])
    after = drain(busy, 1)
    assert after, "receives no more after it was paused"
    assert sorted(bodies(after + drain(other, 60 - len(bodies(after))))) == sorted(sent)


def test_what_was_acknowledged_out_of_order_beyond_what_there_is_room_for_comes_again(
    cluster: MockCluster, open_queue: Open
) -> None:
    config = cluster.config()
    first = open_queue(config)
    first.publish([b"%d" % at for at in range(2_000)])
    held: list[Delivery] = []
    while len(held) < 2_000:
        held.append(receive_one(first))
    first.ack(held[1::2])
    first.close()
    again = bodies(drain(open_queue(config), 1_000))
    assert set(bodies(held[::2])) <= set(again)
    assert len(again) < 2_000


def test_the_new_group_protocol_works_where_it_is_asked_for(cluster: MockCluster, open_queue: Open) -> None:
    config = cluster.config(partitions=2)
    options = {name: value for name, value in config.options.items() if "session" not in name and "heart" not in name}
    config = msgspec.structs.replace(config, options=options | {"group.protocol": "consumer"})
    queue = open_queue(config)
    queue.publish([b"a", b"b"])
    held = drain(queue, 2)
    assert sorted(bodies(held)) == [b"a", b"b"]
    queue.ack(held)
    assert queue.stats().messages == 0


# Errors


def test_a_commit_in_the_middle_of_a_rebalance_is_made_again(cluster: MockCluster, open_queue: Open) -> None:
    queue = open_queue(cluster.config())
    queue.publish([b"a"])
    held = drain(queue, 1)
    cluster.fail(OFFSET_COMMIT, REBALANCE_IN_PROGRESS, REBALANCE_IN_PROGRESS)
    queue.ack(held)
    assert queue.stats().messages == 0


def test_a_commit_for_another_generation_of_the_group_is_made_again(cluster: MockCluster, open_queue: Open) -> None:
    queue = open_queue(cluster.config())
    queue.publish([b"a"])
    held = drain(queue, 1)
    cluster.fail(OFFSET_COMMIT, ILLEGAL_GENERATION)
    queue.ack(held)
    if queue.stats().messages:  # the partition went and came back, and with it the message: no other one will come
        queue.ack(drain(queue, 1))
    assert queue.stats().messages == 0


def test_a_group_that_is_not_at_rest_again_is_told(
    cluster: MockCluster, open_queue: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_consumer, "_REBALANCE_S", 0.0)
    queue = open_queue(cluster.config())
    queue.publish([b"a"])
    held = drain(queue, 1)
    cluster.fail(OFFSET_COMMIT, REBALANCE_IN_PROGRESS)
    with pytest.raises(Retry, match="still sharing out"):
        queue.ack(held)
    queue.ack(held)
    assert queue.stats().messages == 0


def test_a_commit_that_fails_is_told_and_can_be_made_again(cluster: MockCluster, open_queue: Open) -> None:
    queue = open_queue(cluster.config())
    queue.publish([b"a"])
    held = drain(queue, 1)
    cluster.fail(OFFSET_COMMIT, INVALID_COMMIT_OFFSET_SIZE)
    with pytest.raises(Retry, match="cannot commit offsets of"):
        queue.ack(held)
    assert queue.stats().messages == 1
    queue.ack(held)
    assert queue.stats().messages == 0


def test_a_lost_acknowledgement_brings_the_same_message_again(cluster: MockCluster, open_queue: Open) -> None:
    config = cluster.config()
    first = open_queue(config)
    first.publish([b"a"])
    held = drain(first, 1)
    cluster.fail(OFFSET_COMMIT, UNKNOWN_MEMBER)
    first.ack(held)  # the group has forgotten us: nothing to be done about it
    first.close()
    assert messages_of(drain(open_queue(config), 1)) == messages_of(held)


class _Interrupted:
    """A client that finds an error before, between and behind the messages of its first answers."""

    def __init__(self, client: Any, code: int) -> None:
        self._client = client
        self._error = SimpleNamespace(error=lambda: KafkaError(code))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def consume(self, count: int, wait_s: float) -> list[Any]:
        error = self._error
        found = self._client.consume(count, wait_s)
        return [each for message in found for each in (error, message)] + [error]


def test_an_error_among_messages_loses_none_of_them(cluster: MockCluster, open_queue: Open) -> None:
    queue = open_queue(cluster.config())
    sent = [b"%d" % at for at in range(100)]
    queue.publish(sent)
    held = [receive_one(queue)]
    assert queue._consumer is not None
    consumer = queue._consumer
    consumer._client = _Interrupted(consumer._client, TOPIC_AUTHORIZATION_FAILED)
    give_up_s = time.monotonic() + 60
    while len(bodies(held)) < 100:
        assert time.monotonic() < give_up_s, "lost"
        with contextlib.suppress(StorageError):
            if (delivery := queue.receive(20, 0.2)) is not None:
                held.append(delivery)
    with pytest.raises(StorageError, match="authorization failed"):
        queue.receive(20, 0.1)
    consumer._client = consumer._client._client
    assert bodies(held) == sent
    queue.ack(held)
    assert queue.stats().messages == 0


def test_publishing_outlives_a_broker_that_is_away_for_a_while(cluster: MockCluster, open_queue: Open) -> None:
    queue = open_queue(cluster.config(publish_timeout_s=30.0))
    queue.publish([b"before"])
    cluster.down()
    waking = threading.Timer(1.0, cluster.up)
    waking.start()
    try:
        queue.publish([b"during"])
    finally:
        waking.join()
    assert bodies(drain(queue, 2)) == [b"before", b"during"]


def test_a_broker_that_stays_away_is_told_to_publisher_and_consumer(cluster: MockCluster, open_queue: Open) -> None:
    with mocking() as own:
        config = own.config(publish_timeout_s=5.0)
        queue = open_queue(config)
        queue.publish([b"before"])
        assert drain(queue, 1)
        own.down()
        with pytest.raises(Retry, match="cannot publish to acme"):
            queue.publish([b"x"])
        give_up_s = time.monotonic() + 60
        with pytest.raises(Retry, match="cannot receive from acme"):
            receive_until(queue, give_up_s)
        own.up()
        while True:
            assert time.monotonic() < give_up_s
            try:
                queue.publish([b"after"])
                break
            except Retry:
                continue
        assert b"after" in bodies(drain(queue, 1))


def test_that_all_brokers_are_away_is_raised_whatever_the_connections_say_after_it(
    cluster: MockCluster, open_queue: Open
) -> None:
    """As after a publish that waited for long: the words of that time come at once."""
    queue = open_queue(cluster.config())
    queue.publish([b"before"])
    assert drain(queue, 1)
    assert queue._consumer is not None
    for code in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TRANSPORT):
        queue._consumer._heard(KafkaError(code))
    with pytest.raises(Retry, match="cannot receive from acme"):
        queue.receive(1, 0.1)
    assert queue.receive(1, 0.1) is None
    queue.publish([b"after"])
    assert bodies(drain(queue, 1)) == [b"after"]


def test_a_client_that_falls_silent_is_not_taken_for_one_that_has_found_back(
    open_queue: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_consumer, "_SILENT_S", 0.0)
    monkeypatch.setattr(kafka_consumer, "_ASK_S", 0.2)
    with mocking() as own:
        queue = open_queue(own.config())
        queue.publish([b"before"])
        assert drain(queue, 1)
        consumer = queue._consumer
        assert consumer is not None
        own.down()
        consumer._heard(KafkaError(KafkaError._ALL_BROKERS_DOWN))
        for _ in range(3):
            with pytest.raises(Retry, match="cannot receive from acme"):
                queue.receive(1, 0.1)
        own.up()
        give_up_s = time.monotonic() + 60
        while consumer._away is not None:
            assert time.monotonic() < give_up_s, "it is there, and nobody has noticed"
            with contextlib.suppress(Retry):
                queue.receive(1, 0.1)


def test_who_has_never_met_a_broker_says_so_until_it_does(cluster: MockCluster, open_queue: Open) -> None:
    with mocking() as own:
        own.down()
        queue = open_queue(own.config())
        give_up_s = time.monotonic() + 60
        with pytest.raises(Retry, match="brokers are down"):
            receive_until(queue, give_up_s)
        for _ in range(20):
            with pytest.raises(Retry, match="brokers are down"):
                queue.receive(1, 0.1)
        own.up()
        while True:
            assert time.monotonic() < give_up_s
            with contextlib.suppress(Retry):
                queue.publish([b"after"])
                break
        found: list[Delivery] = []
        while not found:
            assert time.monotonic() < give_up_s
            with contextlib.suppress(Retry):
                found += drain(queue, 1)
        assert b"after" in bodies(found)


def receive_until(queue: KafkaQueue, give_up_s: float) -> None:
    while time.monotonic() < give_up_s:
        queue.receive(1, 0.1)


@pytest.mark.parametrize(("code", "error"), [(29, StorageError), (10, StorageError), (87, StorageError)])
def test_refusals_that_somebody_has_to_act_on(
    cluster: MockCluster, open_queue: Open, code: int, error: type[Exception]
) -> None:
    """Not allowed, too large, a compacted topic that wants keys."""
    queue = open_queue(cluster.config())
    queue.publish([b"warm"])
    cluster.fail(PRODUCE, code)
    with pytest.raises(error, match="cannot publish to acme") as raised:
        queue.publish([b"x"])
    assert raised.value.hint  # type: ignore[attr-defined]
    queue.publish([b"y"])


def test_a_topic_that_is_not_there(cluster: MockCluster, open_queue: Open) -> None:
    config = msgspec.structs.replace(cluster.config(), topic="never.made")
    config = msgspec.structs.replace(config, options={**config.options, "allow.auto.create.topics": "false"})
    cluster.missing(config.topic)
    (finding,) = KafkaQueue.diagnose(config, Path())
    assert not finding.is_well
    assert "make the topic never.made" in finding.hint
    with pytest.raises(StorageError, match=r"never\.made"):
        open_queue(config).stats()


def test_a_wrong_option_is_a_mistake_of_the_users(cluster: MockCluster, open_queue: Open) -> None:
    with pytest.raises(UsageError, match=r"no\.such\.option"):
        open_queue(cluster.config(options={"no.such.option": "1"})).publish([b"x"])


def test_passwords_are_in_no_error(open_queue: Open) -> None:
    config = KafkaConfig(
        brokers="127.0.0.1:1", topic="t", username="u", password="open sesame", publish_timeout_s=1.0,
        options={"security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "PLAIN"},
    )  # fmt: skip
    queue = open_queue(config)
    with pytest.raises(Retry) as raised:
        queue.publish([b"x"])
    assert "sesame" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        ('brokers = "k"', 1, "queue.topic", "is required"),
        ('topic = "t"\nbrokers = "http://k"', 4, "queue.brokers", "must be addresses"),
        ('topic = "t"\nbrokers = "k-1:9092, k-2"\n[queue.options]\n"group.id" = "g"', 6,
         'queue.options."group.id"', "must be set otherwise"),
        ('topic = "t"\nbrokers = "k"\n[queue.options]\nacks = "1"', 6, "queue.options.acks", "must be left to"),
        ('topic = "t"\nbrokers = "k"\n[queue.options]\nssl.ca = "x"', 6, "queue.options.ssl", "must be a text"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_settings(tmp_path: Path, text: str, line: int, key: str, words: str) -> None:
    (tmp_path / "catchment.toml").write_text(f'[queue]\ntype = "kafka"\n{text}')
    (mistake,) = find_mistakes(tmp_path)
    assert (mistake.line, mistake.key) == (line, key)
    assert words in mistake.message


def test_what_expired_before_it_was_loaded_is_said(
    cluster: MockCluster, open_queue: Open, caplog: pytest.LogCaptureFixture
) -> None:
    config = cluster.config()
    first = open_queue(config)
    first.publish([b"%d" % at for at in range(10)])
    first.ack([receive_one(first)])
    first.close()
    cluster.expire(config.topic, 0, 5)
    assert bodies(drain(open_queue(config), 5)) == [b"5", b"6", b"7", b"8", b"9"]
    assert "expired before they were loaded" in caplog.text
