"""Taps without processes around them: what each broker says, what is looked at, what is never made."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pika
import pytest

from catchment.errors import CatchmentError, StorageError
from catchment.queues import Delivery
from catchment.sources import Heard, Tap
from catchment.sources.kafka import KafkaTap
from catchment.sources.kafka_config import KafkaTapConfig
from catchment.sources.rabbitmq import RabbitMQTap
from catchment.sources.rabbitmq_config import RabbitMQTapConfig
from catchment.sources.sqs import SqsTap
from catchment.sources.sqs_config import SqsTapConfig
from tests.listen.tapping import Exchange, Topic, until
from tests.servers.kafka import MockCluster, mocking
from tests.servers.moto import KEY, REGION, SECRET
from tests.servers.rabbitmq import RabbitServer
from tests.servers.sqs import Server


def receive(tap: Tap, count: int) -> tuple[list[Heard], list[Delivery]]:
    """As many messages, as they come."""
    messages: list[Heard] = []
    deliveries = []

    def has_all() -> bool:
        delivery = tap.receive(1_000_000, 0.2)
        if delivery is not None:
            deliveries.append(delivery)
            messages.extend(each for each in delivery.messages if isinstance(each, Heard))
        return len(messages) >= count

    until(has_all, f"{count} messages")
    return messages, deliveries


# ---- RabbitMQ -----------------------------------------------------------------------------


@pytest.fixture
def exchange(rabbit_server: RabbitServer) -> Iterator[Exchange]:
    made = Exchange(rabbit_server)
    yield made
    made.drop()


def tap_of(exchange: Exchange, folder: Path, **more: Any) -> RabbitMQTap:
    settings: dict[str, Any] = {"url": exchange.url, "exchange": exchange.name, "queue": exchange.queue, **more}
    return RabbitMQTap(RabbitMQTapConfig(**settings), folder, "chats")


def test_what_rabbitmq_says_of_a_message(exchange: Exchange, tmp_path: Path) -> None:
    with contextlib.closing(tap_of(exchange, tmp_path)) as tap:
        until(lambda: tap.receive(1, 0.1) is None and _is_bound(exchange), "the queue")
        moment = datetime(2026, 11, 23, 10, tzinfo=UTC)
        headers = {"tenant": "acme", "n": 3, "long": 2**40, "raw": b"\xff", "when": moment, "deep": {"a": [b"x"]}}
        exchange.say("a.b", b"{}", message_id="m1", timestamp=int(moment.timestamp()), headers=headers)
        receive(tap, 1)
    with contextlib.closing(tap_of(exchange, tmp_path)) as tap:  # where it comes again, and is the same
        (message,), deliveries = receive(tap, 1)
        assert message.about == {
            "exchange": exchange.name, "routing_key": "a.b", "message_id": "m1",
            "timestamp": "2026-11-23T10:00:00.000000Z",
        }  # fmt: skip
        assert (message.identity, message.enqueued_at) == ("m1", moment)
        assert {**message.headers, "when": None} == {
            "tenant": "acme", "n": 3, "long": 2**40, "raw": "\\xff", "when": None, "deep": {"a": ["x"]},
        }  # fmt: skip
        assert message.headers["when"].startswith("2026-11-23T10:00:00")
        msgspec.json.encode(message.headers)
        tap.ack(deliveries)
        assert tap.stats().messages == 0


def test_a_user_who_may_make_nothing_but_its_queue_is_enough(
    exchange: Exchange, rabbit_server: RabbitServer, tmp_path: Path
) -> None:
    """By the very permissions that errors tell; the exchange is another's, and of another kind than ours."""
    config = RabbitMQTapConfig(url=exchange.url, exchange=exchange.name, queue=exchange.queue).tapped("chats")
    configure, write, read = (each.strip("'") for each in config.permissions.split("' '"))
    rabbit_server.add_user("listener", "listener-password", configure, write, read)
    exchange.url = rabbit_server.url_of("listener", "listener-password")
    with contextlib.closing(tap_of(exchange, tmp_path)) as tap:
        until(lambda: tap.receive(1, 0.1) is None and _is_bound(exchange), "the queue")
        exchange.say("a.b", b"{}", message_id="m1")
        _, deliveries = receive(tap, 1)
        tap.ack(deliveries)
        (finding,) = RabbitMQTap.diagnose(
            RabbitMQTapConfig(url=exchange.url, exchange=exchange.name, queue=exchange.queue), tmp_path, "chats"
        )
        assert finding.is_well, finding
        peeking = tap.peek(1, 5)
        ended = _saying(exchange)
        assert next(peeking).about["routing_key"] == "seen"
        peeking.close()
        ended.set()


def _saying(exchange: Exchange) -> threading.Event:
    ended = threading.Event()

    def say() -> None:
        while not ended.wait(0.1):
            exchange.say("seen", b"{}")

    threading.Thread(target=say, daemon=True).start()
    return ended


def _is_bound(exchange: Exchange) -> bool:
    with exchange.server.channel() as channel:
        try:
            channel.queue_declare(exchange.queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            return False
    return True


def test_a_missing_exchange_is_said_and_not_made(rabbit_server: RabbitServer, tmp_path: Path) -> None:
    config = RabbitMQTapConfig(url=rabbit_server.url, exchange="nowhere.to.be.found", queue="catchment.listen.nowhere")
    with contextlib.closing(RabbitMQTap(config, tmp_path, "chats")) as tap:
        said: list[CatchmentError] = []

        def is_said() -> bool:
            try:
                tap.receive(1, 0.2)
            except CatchmentError as error:
                said.append(error)
            return bool(said)

        until(is_said, "an error")
        assert isinstance(said[0], StorageError)
        assert "no exchange 'nowhere.to.be.found' in vhost" in said[0].message
        assert said[0].hint == "have its owner make it, or name another as exchange in [listen.chats]"
        (finding,) = RabbitMQTap.diagnose(config, tmp_path, "chats")
        assert (finding.subject, finding.is_well) == ("listen.chats", False)
        with rabbit_server.channel() as channel, pytest.raises(pika.exceptions.ChannelClosedByBroker):
            channel.exchange_declare("nowhere.to.be.found", passive=True)
        # Once its owner has made it, all goes on by itself.
        with rabbit_server.channel() as channel:
            channel.exchange_declare("nowhere.to.be.found", "fanout")
            try:
                until(lambda: _hears(tap, channel), "a message")
            finally:
                channel.exchange_delete("nowhere.to.be.found")
                channel.queue_delete("catchment.listen.nowhere")


def _hears(tap: Tap, channel: Any) -> bool:
    channel.basic_publish("nowhere.to.be.found", "", b"{}")
    try:
        return tap.receive(1, 0.2) is not None
    except CatchmentError:
        return False


# ---- Kafka --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[MockCluster]:
    with mocking() as made:
        yield made


def kafka_tap(topic: Topic, **more: Any) -> KafkaTap:
    known = topic.config
    config = KafkaTapConfig(brokers=known.brokers, topic=known.topic, options=known.options, **more)
    return KafkaTap(config, Path(), f"tap_{topic.config.topic.replace('-', '_')}")


def test_what_kafka_says_of_a_message(cluster: MockCluster) -> None:
    topic = Topic(cluster.config())
    producer = topic.producer()
    headers = [("tenant", b"acme"), ("raw", b"\xff"), ("none", None)]
    producer.produce(topic.config.topic, b'{"n":1}', b"k1", headers=headers, timestamp=1_795_428_000_123)
    producer.produce(topic.config.topic, None, b"k2")
    producer.flush(30)
    with contextlib.closing(kafka_tap(topic)) as tap:
        messages, deliveries = receive(tap, 2)
        first, tombstone = messages
        name = topic.config.topic
        assert first.about == {
            "topic": name, "partition": 0, "offset": 0, "key": "k1", "timestamp": "2026-11-23T10:00:00.123000Z",
        }  # fmt: skip
        assert first.headers == {"tenant": "acme", "raw": "\\xff", "none": None}
        assert first.identity == f"{name}/0/0"
        assert (tombstone.body, tombstone.about["key"]) == (b"", "k2")
        assert tap.stats().messages == 2
        tap.ack(deliveries)
        assert tap.stats().messages == 0


def test_a_group_of_its_own_begins_where_it_is_told(cluster: MockCluster) -> None:
    topic = Topic(cluster.config())
    topic.publish([1])
    with contextlib.closing(kafka_tap(topic, start="latest", group=f"late {topic.config.topic}")) as tap:
        until(lambda: tap.receive(1, 0.2) is None and bool(tap._consumer and tap._consumer._claims), "its partitions")

        def hears_the_next() -> bool:
            topic.publish([2])
            delivery = tap.receive(1_000_000, 0.2)
            return delivery is not None and json.loads(delivery.messages[0].body) == {"n": 2}

        until(hears_the_next, "what came later")


def test_kafka_is_peeked_at_from_the_end_and_nothing_is_taken(cluster: MockCluster) -> None:
    topic = Topic(cluster.config(partitions=2))
    with contextlib.closing(kafka_tap(topic)) as tap:
        assert list(tap.peek(5, 1)) == []
        topic.publish(range(20))
        seen = [json.loads(each.body)["n"] for each in tap.peek(4, 30)]
        assert len(seen) == 4
        assert all(number >= 8 for number in seen), seen
        assert len(list(tap.peek(100, 30))) == 20
        messages, _ = receive(tap, 20)
        assert sorted(json.loads(each.body)["n"] for each in messages) == list(range(20))


def test_a_missing_topic_is_said_where_it_stands(cluster: MockCluster) -> None:
    topic = Topic(cluster.config())
    cluster.missing(topic.config.topic)
    config = KafkaTapConfig(brokers=topic.config.brokers, topic=topic.config.topic, options=topic.config.options)
    (finding,) = KafkaTap.diagnose(config, Path(), "chats")
    assert not finding.is_well
    assert finding.hint.endswith("name another as topic in [listen.chats]")


# ---- SQS ----------------------------------------------------------------------------------


def sqs_config(server: Server, url: str, **more: Any) -> SqsTapConfig:
    settings: dict[str, Any] = {"access_key_id": KEY, "secret_access_key": SECRET, "region": REGION, **more}
    return SqsTapConfig(queue_url=url, endpoint=server.endpoint, **settings)


def test_what_sqs_says_of_a_message(sqs_server: Server) -> None:
    url = sqs_server.make_queue()
    sent = sqs_server.client().send_message(
        QueueUrl=url,
        MessageBody='{"n": 1}',
        MessageAttributes={
            "tenant": {"DataType": "String", "StringValue": "acme"},
            "n": {"DataType": "Number", "StringValue": "1.5"},
            "raw": {"DataType": "Binary", "BinaryValue": b"\xff"},
        },
    )
    with contextlib.closing(SqsTap(sqs_config(sqs_server, url), Path(), "chats")) as tap:
        (message,), deliveries = receive(tap, 1)
        assert message.identity == message.about["message_id"] == sent["MessageId"]
        assert message.headers == {"tenant": "acme", "n": 1.5, "raw": "\\xff"}
        assert message.enqueued_at is not None
        tap.ack(deliveries)
        until(lambda: tap.stats().messages == 0, "it to be deleted")


def test_sqs_is_peeked_at_and_nothing_is_taken(sqs_server: Server) -> None:
    url = sqs_server.make_queue()
    for number in range(5):
        sqs_server.client().send_message(QueueUrl=url, MessageBody=json.dumps({"n": number}))
    with contextlib.closing(SqsTap(sqs_config(sqs_server, url), Path(), "chats")) as tap:
        assert len(list(tap.peek(3, 20))) == 3
        assert len(list(tap.peek(100, 20))) == 5
        messages, _ = receive(tap, 5)
        assert sorted(json.loads(each.body)["n"] for each in messages) == list(range(5))


ENVELOPE = {
    "Type": "Notification",
    "MessageId": "sns-1",
    "TopicArn": "arn:aws:sns:eu-central-1:1:chats",
    "Subject": "x",
    "Message": '{"n": 1}',
    "Timestamp": "2026-11-23T10:00:00.123Z",
    "SignatureVersion": "1",
    "MessageAttributes": {"tenant": {"Type": "String", "Value": "acme"}, "n": {"Type": "Number", "Value": "3"}},
}


def test_what_a_topic_of_sns_sent_is_named_by_the_topic(sqs_server: Server) -> None:
    """The same notification twice, as two messages of SQS; one that is raw; one that only looks like one."""
    url = sqs_server.make_queue()
    bodies = [json.dumps(ENVELOPE), json.dumps(ENVELOPE), '{"n": 2}', '{"Type": "Notification"}']
    for body in bodies:
        sqs_server.client().send_message(QueueUrl=url, MessageBody=body)
    with contextlib.closing(SqsTap(sqs_config(sqs_server, url, sns=True), Path(), "chats")) as tap:
        messages, _ = receive(tap, 4)
    enveloped = [each for each in messages if each.identity == "sns-1"]
    assert len(enveloped) == 2
    for message in enveloped:
        assert message.body == b'{"n": 1}'
        assert message.headers == {"tenant": "acme", "n": 3}
        assert message.about["topic"] == "arn:aws:sns:eu-central-1:1:chats"
        assert message.enqueued_at == datetime(2026, 11, 23, 10, 0, 0, 123000, UTC)
    others = sorted(each.body for each in messages if each.identity != "sns-1")
    assert others == sorted([b'{"n": 2}', b'{"Type": "Notification"}'])


def test_without_the_setting_an_envelope_is_a_message_like_others(sqs_server: Server) -> None:
    url = sqs_server.make_queue()
    sqs_server.client().send_message(QueueUrl=url, MessageBody=json.dumps(ENVELOPE))
    with contextlib.closing(SqsTap(sqs_config(sqs_server, url), Path(), "chats")) as tap:
        (message,), _ = receive(tap, 1)
    assert json.loads(message.body) == ENVELOPE


def test_a_missing_queue_is_said_where_it_stands(sqs_server: Server) -> None:
    config = sqs_config(sqs_server, f"{sqs_server.endpoint}/123456789012/none")
    (finding,) = SqsTap.diagnose(config, Path(), "chats")
    assert not finding.is_well
    assert finding.hint == "make the queue, or name another as queue_url in [listen.chats]"
