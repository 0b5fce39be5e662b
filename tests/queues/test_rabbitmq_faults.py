"""RabbitMQ through what brokers and networks do: nothing that was confirmed is lost, and whoever asks hears why."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
from tests.servers import proxy
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitServer

from catchment.errors import CatchmentError, Retry, StorageError
from catchment.queues import Delivery, Message, rabbitmq_link
from catchment.queues.rabbitmq import RabbitMQQueue
from catchment.queues.rabbitmq_config import RabbitMQConfig
from catchment.queues.rabbitmq_consumer import FEW_MESSAGES
from catchment.queues.rabbitmq_link import queue_arguments
from catchment.testing.queues import MANY_BYTES, messages_of, receive_one, take

PATIENCE_S = 60.0
Open = Callable[..., RabbitMQQueue]


@pytest.fixture
def config(rabbit_server: RabbitServer) -> Iterator[RabbitMQConfig]:
    made = rabbit_server.new_config(publish_timeout_s=PATIENCE_S)
    yield made
    rabbit_server.drop(made)


@pytest.fixture
def open_queue(config: RabbitMQConfig, tmp_path: Path) -> Iterator[Open]:
    """Opens the test's queue, with other settings where given; all are closed at the end."""
    with contextlib.ExitStack() as closing:

        def open_one(**more: Any) -> RabbitMQQueue:
            settings = {name: getattr(config, name) for name in config.__struct_fields__}
            queue = RabbitMQQueue(RabbitMQConfig(**settings | more), tmp_path / ".catchment")
            return closing.enter_context(contextlib.closing(queue))

        yield open_one


@pytest.fixture
def network(rabbit_server: RabbitServer) -> Iterator[Proxy]:
    with proxy.carrying(rabbit_server.port) as between:
        yield between


def until(condition: Callable[[], object], what: str) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s, f"waited in vain for {what}"
        time.sleep(0.02)


def bodies_of(deliveries: list[Delivery]) -> list[bytes]:
    return [message.body for message in messages_of(deliveries)]


class Traffic:
    """Threads that publish, and one that consumes, through whatever happens in the meantime."""

    def __init__(self, publisher: RabbitMQQueue, consumer: RabbitMQQueue, threads: int = 3) -> None:
        self.confirmed: list[bytes] = []
        self.came: list[Message] = []
        self.failed: list[BaseException] = []
        self._publisher, self._consumer = publisher, consumer
        self._ending, self._published = threading.Event(), threading.Event()
        self._publishing = [threading.Thread(target=self._publish, args=(of,), daemon=True) for of in range(threads)]
        self._consuming = threading.Thread(target=self._consume, daemon=True)

    def _publish(self, of: int) -> None:
        number = 0
        while not self._ending.is_set():
            some = [b"%d:%06d" % (of, number + each) + b"x" * 200 for each in range(5)]
            number += 5
            try:
                self._publisher.publish(some)
            except CatchmentError as error:
                self.failed.append(error)
                return
            self.confirmed += some

    def _consume(self) -> None:
        rounds: list[Delivery] = []
        while not (self._published.is_set() and self._has_all()):
            with contextlib.suppress(Retry):
                if (delivery := self._consumer.receive(20_000, 0.2)) is not None:
                    self.came += delivery.messages
                    rounds.append(delivery)
            if len(rounds) >= 4 or self._published.is_set():
                with contextlib.suppress(Retry):
                    self._consumer.ack(rounds)
                    rounds.clear()

    def _has_all(self) -> bool:
        return set(self.confirmed) <= {message.body for message in self.came}

    def __enter__(self) -> Traffic:
        for thread in (*self._publishing, self._consuming):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._publishing:
            thread.join(PATIENCE_S)
        self._published.set()
        self._consuming.join(PATIENCE_S)

    def go_on(self, more: int = 200) -> None:
        """Until so many more are confirmed."""
        wanted = len(self.confirmed) + more
        until(lambda: len(self.confirmed) >= wanted or self.failed, f"{more} more to be confirmed")

    def check(self) -> None:
        """All that was confirmed came, in each thread's order, and a copy is the same message."""
        assert self.failed == []
        first: dict[bytes, Message] = {}
        for message in self.came:
            first.setdefault(message.body, message)
        assert set(self.confirmed) - first.keys() == set()
        for message in self.came:
            assert message == first[message.body]
        for of in range(len(self._publishing)):
            mine = [body for body in first if body.startswith(b"%d:" % of)]
            assert mine == sorted(mine)


# ---- the broker dies, the network breaks ----------------------------------------------


def test_a_broker_killed_and_started_again_loses_nothing(rabbit_server: RabbitServer, open_queue: Open) -> None:
    with Traffic(open_queue(), open_queue()) as traffic:
        traffic.go_on(500)
        rabbit_server.settle()
        rabbit_server.kill()
        rabbit_server.start()
        traffic.go_on(500)
    traffic.check()


def test_a_network_cut_now_and_then_loses_nothing(
    rabbit_server: RabbitServer, open_queue: Open, network: Proxy
) -> None:
    url = rabbit_server.url_of("guest", "guest", port=network.port)
    with Traffic(open_queue(url=url), open_queue(url=url)) as traffic:
        for _ in range(5):
            traffic.go_on(100)
            network.cut()
    traffic.check()


def test_a_network_that_swallows_everything_is_noticed_by_its_heartbeat(
    rabbit_server: RabbitServer, open_queue: Open, network: Proxy
) -> None:
    url = rabbit_server.url_of("guest", "guest", port=network.port)
    with Traffic(open_queue(url=url, heartbeat_s=1), open_queue(url=url, heartbeat_s=1)) as traffic:
        traffic.go_on(100)
        network.swallow()
        traffic.go_on(100)
    traffic.check()


def test_a_lost_acknowledgement_brings_the_same_messages_again(
    rabbit_server: RabbitServer, open_queue: Open, network: Proxy
) -> None:
    open_queue().publish([b"1", b"2", b"3"])
    consumer = open_queue(url=rabbit_server.url_of("guest", "guest", port=network.port))
    received = take(consumer, 3)
    assert consumer.keep(received) == received
    network.swallow()
    acking = threading.Thread(target=consumer.ack, args=(received,))
    acking.start()
    time.sleep(0.3)
    network.cut()
    acking.join(PATIENCE_S)
    assert not acking.is_alive()
    again = take(consumer, 3)
    assert messages_of(again) == messages_of(received)
    assert consumer.keep([*received, *again]) == again, "what a lost connection had is nobody's"
    consumer.ack(received)
    consumer.ack(again)
    assert open_queue().stats().messages == 0


def test_while_the_broker_is_away_everyone_is_told_and_goes_on_afterwards(
    rabbit_server: RabbitServer, open_queue: Open, network: Proxy
) -> None:
    url = rabbit_server.url_of("guest", "s3cr3t-guest", port=network.port).replace("s3cr3t-", "")
    queue = open_queue(url=url, publish_timeout_s=0.5)
    queue.publish([b"1"])
    held = receive_one(queue)
    network.cut(refuse=True)
    until(lambda: not queue.keep([held]), "the loss to be noticed")
    with pytest.raises(Retry, match=f"RabbitMQ at 127.0.0.1:{network.port}, vhost /: it cannot be reached"):
        queue.publish([b"2"])
    with pytest.raises(Retry, match="cannot be reached"):
        queue.receive(1, 0.1)
    network.mend()
    until(lambda: _has_received(queue, b"1"), "the message to come again")


def link_of(part: Any) -> Any:
    """The connection of a queue's publisher or consumer."""
    return part._link


def _has_received(queue: RabbitMQQueue, body: bytes) -> bool:
    with contextlib.suppress(Retry):
        delivery = queue.receive(1, 0.2)
        return delivery is not None and delivery.messages[0].body == body
    return False


def test_heartbeats_go_on_while_a_round_is_held(open_queue: Open) -> None:
    publisher, consumer = open_queue(), open_queue(heartbeat_s=1)
    publisher.publish([b"1"])
    held = receive_one(consumer)
    checker = link_of(consumer._consumer)._connection._heartbeat_checker
    began = checker._heartbeat_frames_sent
    # The broker gives up one that it has not heard of for two heartbeats.
    until(lambda: checker._heartbeat_frames_sent >= began + 4, "four heartbeats to be sent")
    assert consumer.keep([held]) == [held]
    consumer.ack([held])
    assert publisher.stats().messages == 0


# ---- a disk that is full, a queue that is gone ----------------------------------------


def test_a_broker_with_a_full_disk_is_said_and_nothing_is_lost(rabbit_server: RabbitServer, open_queue: Open) -> None:
    publisher, consumer = open_queue(publish_timeout_s=1), open_queue()
    publisher.publish([b"before"])
    rabbit_server.fill_disk()
    try:
        with pytest.raises(Retry, match="takes nothing in: its disk or memory is low"):
            publisher.publish([b"while"])
        (before,) = take(consumer, 1)
        assert bodies_of([before]) == [b"before"], "consuming goes on"
        consumer.ack([before])
    finally:
        rabbit_server.empty_disk()
    until(lambda: _has_published(publisher, b"after"), "the broker to take messages again")
    came: set[bytes] = set()
    while b"after" not in came:
        came |= set(bodies_of([receive_one(consumer)]))
    assert came <= {b"while", b"after"}


def _has_published(queue: RabbitMQQueue, body: bytes) -> bool:
    with contextlib.suppress(Retry):
        queue.publish([body])
        return True
    return False


def test_a_connection_blocked_for_long_is_given_up_and_what_it_had_is_sent_again(
    rabbit_server: RabbitServer, open_queue: Open
) -> None:
    publisher = open_queue(blocked_connection_timeout_s=0.5)
    publisher.publish([b"before"])
    rabbit_server.fill_disk()
    publishing = threading.Thread(target=publisher.publish, args=([b"while"],))
    publishing.start()
    link = link_of(publisher._publisher)
    blocked = link._connection
    until(lambda: link._connection is not blocked, "the blocked connection to be given up")
    assert publishing.is_alive()
    rabbit_server.empty_disk()
    publishing.join(PATIENCE_S)
    consumer = open_queue()
    came: list[Message] = []
    while delivery := consumer.receive(MANY_BYTES, 1):
        came += delivery.messages
    assert {message.body for message in came} == {b"before", b"while"}
    assert len({message.identity for message in came}) == 2, "sent again it is the same message"


def test_a_queue_that_somebody_removes_is_made_again(
    rabbit_server: RabbitServer, config: RabbitMQConfig, open_queue: Open
) -> None:
    publisher, consumer = open_queue(publish_timeout_s=5), open_queue()
    publisher.publish([b"1"])
    consumer.ack(take(consumer, 1))
    with rabbit_server.channel() as channel:
        channel.queue_delete(config.queue)
    until(lambda: _has_published(publisher, b"2"), "a new queue")
    until(lambda: _has_received(consumer, b"2"), "the consumer to come back")


def test_messages_that_reach_no_queue_are_not_confirmed(
    rabbit_server: RabbitServer, config: RabbitMQConfig, open_queue: Open
) -> None:
    publisher = open_queue()
    publisher.publish([b"1"])
    with rabbit_server.channel() as channel:
        channel.queue_unbind(config.queue, config.exchange, "")
    with pytest.raises(Retry, match=f"no queue is bound to the exchange {config.exchange}"):
        publisher.publish([b"2"])
    until(lambda: _has_published(publisher, b"3"), "the binding to be made anew")
    assert bodies_of(take(open_queue(), 2)) == [b"1", b"3"]


# ---- what somebody has to mend --------------------------------------------------------


def test_a_queue_that_somebody_declared_otherwise_is_refused_in_words(
    rabbit_server: RabbitServer, config: RabbitMQConfig, open_queue: Open
) -> None:
    with rabbit_server.channel() as channel:
        channel.queue_declare(config.queue, durable=True)
    queue = open_queue()
    for ask in (lambda: queue.publish([b"1"]), lambda: queue.receive(1, 1), queue.stats):
        with pytest.raises(StorageError, match=r"inequivalent arg 'x-queue-type' .* but current is") as caught:
            ask()
        assert "take other names for exchange and queue" in caught.value.hint
    with rabbit_server.channel() as channel:
        channel.queue_delete(config.queue)
    until(lambda: not isinstance(_failure(lambda: queue.publish([b"1"])), StorageError), "a second try")


def _failure(ask: Callable[[], object]) -> CatchmentError | None:
    try:
        ask()
    except CatchmentError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("password", "vhost", "words"),
    [
        ("p4ssw0rd-wrong", "%2F", "it refuses the user or the password"),
        ("guest", "no-such-vhost", "there is no such vhost, or the user may not enter it"),
    ],
)
def test_a_wrong_password_or_vhost_is_said_without_showing_a_secret(
    rabbit_server: RabbitServer,
    open_queue: Open,
    caplog: pytest.LogCaptureFixture,
    password: str,
    vhost: str,
    words: str,
) -> None:
    caplog.set_level(logging.DEBUG, "catchment")
    url = rabbit_server.url_of("guest", password, vhost)
    queue = open_queue(url=url)
    for ask in (lambda: queue.publish([b"1"]), lambda: queue.receive(1, 5), queue.stats):
        error = _failure(ask)
        assert isinstance(error, StorageError)
        assert words in error.message
        assert password == "guest" or password not in f"{error}{caplog.text}"
    (finding,) = RabbitMQQueue.diagnose(rabbit_server.new_config(url=url), Path())
    assert not finding.is_well
    assert words in finding.detail
    assert password == "guest" or password not in f"{finding}"


def test_the_doctor_declares_nothing_and_tells_what_is_there(
    rabbit_server: RabbitServer, config: RabbitMQConfig, open_queue: Open
) -> None:
    (finding,) = RabbitMQQueue.diagnose(config, Path())
    assert (finding.is_well, "its queue is made when used" in finding.detail) == (True, True)
    open_queue().publish([b"1", b"2"])
    (finding,) = RabbitMQQueue.diagnose(config, Path())
    assert finding.detail.endswith("2 messages wait, 0 consumers")
    (finding,) = RabbitMQQueue.diagnose(rabbit_server.new_config(url="amqp://guest:guest@127.0.0.1:1/"), Path())
    assert not finding.is_well
    assert "RabbitMQ at 127.0.0.1:1, vhost /: it cannot be reached: Connection refused" in finding.detail


def test_tls_is_checked(rabbit_server: RabbitServer, open_queue: Open, tmp_path: Path) -> None:
    url = rabbit_server.url_of("guest", "guest", port=rabbit_server.tls_port).replace("amqp:", "amqps:")
    with pytest.raises(StorageError, match=r"its certificate is not trusted: self.signed certificate") as caught:
        open_queue(url=url).publish([b"1"])
    assert "ca_file" in caught.value.hint
    with pytest.raises(StorageError, match=r"absent\.pem holds no certificates"):
        open_queue(url=url, ca_file="absent.pem").publish([b"1"])
    shutil.copy(rabbit_server.certificate, tmp_path / "broker.pem")
    trusting = open_queue(url=url, ca_file="broker.pem")
    trusting.publish([b"1"])
    assert bodies_of([receive_one(trusting)]) == [b"1"]


# ---- how much is held, counted, named -------------------------------------------------


def test_a_round_of_many_small_messages_is_held_as_a_whole(open_queue: Open) -> None:
    publisher, consumer = open_queue(), open_queue()
    sent = [b"%05d" % number for number in range(50 * FEW_MESSAGES)]
    publisher.publish(sent)
    held = take(consumer, len(sent))
    assert bodies_of(held) == sent
    assert consumer.keep(held) == held
    consumer.ack(held)
    assert publisher.stats().messages == 0


def test_large_messages_are_held_up_to_about_as_many_bytes_as_allowed(open_queue: Open) -> None:
    publisher, consumer = open_queue(), open_queue(prefetch_bytes=2_000_000)
    sent = [b"%03d" % number + bytes(100_000) for number in range(200)]
    publisher.publish(sent)
    came: list[bytes] = []
    while len(came) < len(sent):
        held: list[Delivery] = []
        left = len(sent) - len(came)
        until(lambda: publisher.stats().messages == left, "what one holds that takes no more to count as well")  # noqa: B023
        while delivery := consumer.receive(MANY_BYTES, 0.3):
            held.append(delivery)
        assert sum(delivery.bytes for delivery in held) < 25_000_000 < sum(map(len, sent)) + 10_000_000
        came += bodies_of(held)
        consumer.ack(held)
    assert came == sent


def test_questions_in_between_disturb_no_count_and_no_acknowledgement(open_queue: Open) -> None:
    publisher, consumer = open_queue(), open_queue()
    assert consumer.receive(1, 0) is None
    for number in range(6):
        publisher.publish([b"%d" % number])
        until(lambda: publisher.stats().messages == number + 1, "the count")  # noqa: B023
    first, second, third = (take_bytes(consumer, 2) for _ in range(3))
    consumer.ack([second])
    assert publisher.stats().messages == 4
    consumer.ack([third, first])
    assert (publisher.stats().messages, publisher.stats().bytes) == (0, 0)
    assert consumer.receive(1, 0.1) is None, "nothing comes again"


def take_bytes(queue: RabbitMQQueue, size: int) -> Delivery:
    delivery = queue.receive(size, PATIENCE_S)
    assert delivery is not None
    return delivery


def test_stats_count_with_several_consumers_and_with_strangers(
    rabbit_server: RabbitServer, config: RabbitMQConfig, open_queue: Open
) -> None:
    publisher, first, second = open_queue(), open_queue(), open_queue()
    for consumer in (first, second):
        assert consumer.receive(1, 0) is None
    publisher.publish([b"x" * 10] * 20)
    until(lambda: (publisher.stats().messages, publisher.stats().bytes) == (20, 200), "all to be with consumers")
    held = first.receive(MANY_BYTES, PATIENCE_S)
    assert held is not None
    first.ack([held])
    assert publisher.stats().messages == 20 - len(held.messages)
    with rabbit_server.channel() as channel:
        channel.basic_consume(config.queue, lambda *_: None)
        assert publisher.stats().messages is None, "what a stranger holds nobody can tell"
    until(lambda: publisher.stats().messages == 20 - len(held.messages), "the stranger to be gone")


@pytest.mark.parametrize(
    ("given", "identity", "moment"),
    [
        ({}, None, None),
        ({"message_id": "order-17", "timestamp": 1_800_000_000}, "order-17", "2027-01-15T08:00:00+00:00"),
        ({"message_id": "order-17"}, "order-17", None),
        ({"message_id": "", "timestamp": 0}, None, None),
        ({"timestamp": 1_800_000_000_500}, None, "2027-01-15T08:00:00.500000+00:00"),
        ({"message_id": "x", "timestamp": 2**63 - 1}, "x", None),
        ({"headers": {"a": [1, {"b": None}], "t": "ü"}, "content_type": "nonsense", "priority": 9}, None, None),
    ],
)
def test_what_a_stranger_publishes_has_the_identity_and_time_that_it_was_given(
    rabbit_server: RabbitServer,
    config: RabbitMQConfig,
    open_queue: Open,
    given: dict[str, Any],
    identity: str | None,
    moment: str | None,
) -> None:
    consumer = open_queue()
    assert consumer.receive(1, 0) is None
    with rabbit_server.channel() as channel:
        channel.basic_publish(config.exchange, "any.key", b"body", pika.BasicProperties(**given))
    for queue in (consumer, open_queue()):  # delivered, and delivered again
        (message,) = receive_one(queue).messages
        queue.close()
        assert (message.body, message.identity) == (b"body", identity)
        assert (message.enqueued_at and message.enqueued_at.isoformat()) == moment


def test_a_queue_that_an_older_broker_made_is_taken_with_its_limit(
    rabbit_server: RabbitServer, config: RabbitMQConfig, open_queue: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an upgrade to RabbitMQ 4. This one takes no -1, so another limit stands for none."""
    with rabbit_server.channel() as channel:
        channel.queue_declare(config.queue, durable=True, arguments={"x-queue-type": "quorum"})
    monkeypatch.setattr(rabbitmq_link, "queue_arguments", lambda _: {"x-queue-type": "quorum", "x-delivery-limit": 5})
    queue = open_queue()
    queue.publish([b"1"])
    until(lambda: _has_received(queue, b"1"), "the message")


def test_a_newer_broker_is_asked_never_to_drop_what_was_delivered_often() -> None:
    assert queue_arguments({"version": "3.13.7"}) == {"x-queue-type": "quorum"}
    assert queue_arguments({"version": b"4.1.0"}) == {"x-queue-type": "quorum", "x-delivery-limit": -1}
    assert queue_arguments({}) == {"x-queue-type": "quorum"}
