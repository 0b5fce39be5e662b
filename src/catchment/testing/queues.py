"""The conformance suite of queues: what every `Queue` promises, as tests.

    class TestMyQueue(QueueConformance):
        @pytest.fixture
        def factory(self, tmp_path):
            return functools.partial(MyQueue, MyConfig(...), tmp_path)

`factory` makes a new connection to one and the same queue, which is empty when a test begins. It has to be
picklable: some tests call it in a process of their own, and kill that.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from typing import Any

import pytest

from catchment.queues import Delivery, Message, Queue

Factory = Callable[[], Queue]

MANY_BYTES = 64_000_000
PATIENCE_S = 30.0
"""How long a busy machine may take; reached only by a test that fails."""

_spawn = multiprocessing.get_context("spawn")


class QueueConformance:
    """What every queue promises. The attributes say what a backend cannot do, and adapters set them."""

    keeps_order = True
    """Messages of one publisher come in the order published."""
    has_identity = True
    """Messages carry an identity and a time, the same at each redelivery."""
    takes_empty = True
    """A body may have no bytes at all."""
    max_message_bytes = 1024 * 1024
    """The largest message that the tests send; Catchment's own stay below a MiB."""

    @pytest.fixture
    def connect(self, factory: Factory) -> Iterator[Factory]:
        """As `factory`, with everything closed at the end."""
        opened: list[Queue] = []

        def open_one() -> Queue:
            opened.append(factory())
            return opened[-1]

        yield open_one
        for queue in opened:
            queue.close()

    # Order, blocking

    def test_what_was_published_comes_once_and_in_order(self, connect: Factory) -> None:
        publishers, consumer = [connect(), connect()], connect()
        for start in range(0, 100, 10):
            for number, publisher in enumerate(publishers):
                publisher.publish([b"%d:%d" % (number, at) for at in range(start, start + 10)])
        bodies = [message.body for message in messages_of(take(consumer, 200))]
        assert consumer.receive(MANY_BYTES, 0.05) is None
        for number in range(2):
            of_this = [body for body in bodies if body.startswith(b"%d:" % number)]
            expected = [b"%d:%d" % (number, at) for at in range(100)]
            assert of_this == expected if self.keeps_order else sorted(of_this) == sorted(expected)

    def test_order_holds_across_receives_of_any_size(self, connect: Factory) -> None:
        publisher, consumer = connect(), connect()
        expected = [b"%04d" % at * (1 + at % 7) for at in range(300)]
        for start in range(0, 300, 10):
            publisher.publish(expected[start : start + 10])
        bodies: list[bytes] = []
        for size in (1, 10, 30, 100, 300, 1_000):
            delivery = consumer.receive(size, PATIENCE_S)
            assert delivery is not None
            bodies += [message.body for message in delivery.messages]
            consumer.ack([delivery])
        bodies += [message.body for message in messages_of(take(consumer, 300 - len(bodies)))]
        assert bodies == expected if self.keeps_order else sorted(bodies) == sorted(expected)

    def test_an_empty_queue_makes_receive_wait_that_long(self, connect: Factory) -> None:
        consumer = connect()
        assert consumer.receive(1_000, 0) is None
        began_s = time.monotonic()
        assert consumer.receive(1_000, 0.2) is None
        assert 0.19 <= time.monotonic() - began_s < PATIENCE_S

    def test_receive_returns_as_soon_as_something_comes(self, connect: Factory) -> None:
        publisher, consumer = connect(), connect()
        assert consumer.receive(1_000, 0) is None
        later = threading.Timer(0.1, publisher.publish, [[b"late"]])
        later.start()
        began_s = time.monotonic()
        delivery = consumer.receive(1_000, PATIENCE_S)
        later.join()
        assert delivery is not None
        assert [message.body for message in delivery.messages] == [b"late"]
        assert time.monotonic() - began_s < PATIENCE_S / 2

    def test_receive_takes_one_message_of_any_size_then_what_fits(self, connect: Factory) -> None:
        publisher, consumer = connect(), connect()
        publisher.publish([b"x" * 1_000, b"y" * 400, b"z" * 400, b"w" * 400])
        sizes: list[list[int]] = []
        while sum(sum(of_one) for of_one in sizes) < 2_200:
            delivery = consumer.receive(900, PATIENCE_S)
            assert delivery is not None
            sizes.append([len(message.body) for message in delivery.messages])
            assert delivery.bytes == sum(sizes[-1])
        assert all(len(of_one) == 1 or sum(of_one) <= 900 for of_one in sizes)
        assert sorted(size for of_one in sizes for size in of_one) == [400, 400, 400, 1_000]

    # Contents

    def test_bodies_are_bytes_of_any_kind_and_size(self, connect: Factory) -> None:
        publisher, consumer = connect(), connect()
        bodies = [bytes(range(256)), b"\x00", b"\xff\xfe\xed", b"{}\r\n", "Zürich 🏔".encode()]
        bodies += [b""] if self.takes_empty else []
        large = bytes(range(256)) * (self.max_message_bytes // 256)
        publisher.publish(bodies)
        publisher.publish([large])
        came = [message.body for message in messages_of(take(consumer, len(bodies) + 1))]
        assert sorted(came) == sorted([*bodies, large])

    def test_publishing_nothing_does_nothing(self, connect: Factory) -> None:
        queue = connect()
        queue.publish([])
        assert queue.receive(1_000, 0.05) is None

    def test_many_threads_share_a_publisher(self, connect: Factory) -> None:
        publisher, consumer = connect(), connect()
        sent = [[b"%d:%d" % (thread, at) for at in range(50)] for thread in range(16)]
        errors: list[BaseException] = []

        def publish(bodies: list[bytes]) -> None:
            try:
                for body in bodies:
                    publisher.publish([body])
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=publish, args=(bodies,), daemon=True) for bodies in sent]
        for thread in threads:
            thread.start()
        came = [message.body for message in messages_of(take(consumer, 800))]
        for thread in threads:
            thread.join()
        assert not errors
        assert sorted(came) == sorted(body for bodies in sent for body in bodies)
        for number in range(16) if self.keeps_order else ():
            assert [body for body in came if body.startswith(b"%d:" % number)] == sent[number]

    # Identity, acknowledging

    def test_each_message_has_an_identity_and_its_time(self, connect: Factory) -> None:
        if not self.has_identity:
            pytest.skip("this backend gives its messages no identity")
        publisher, consumer = connect(), connect()
        before = datetime.now(UTC) - timedelta(seconds=5)
        publisher.publish([b"same", b"same", b"same"])
        messages = messages_of(take(consumer, 3))
        assert len({message.identity for message in messages} - {None}) == 3
        for message in messages:
            moment = message.enqueued_at or message.sent_at
            assert moment is not None
            assert before <= moment <= datetime.now(UTC) + timedelta(seconds=5)

    def test_what_was_not_acknowledged_comes_again_and_unchanged(self, connect: Factory) -> None:
        publisher, first = connect(), connect()
        publisher.publish([b"%d" % at for at in range(10)])
        received = messages_of(take(first, 10))
        assert first.receive(MANY_BYTES, 0.05) is None, "delivered twice to the same consumer"
        first.close()
        assert by_body(messages_of(take(connect(), 10))) == by_body(received)

    def test_acknowledging_in_any_order_removes_just_that(self, connect: Factory) -> None:
        publisher, first = connect(), connect()
        publisher.publish([b"%d" % at for at in range(6)])
        deliveries = [receive_one(first) for _ in range(6)]
        first.ack([deliveries[4], deliveries[1]])
        first.ack([deliveries[5]])
        acked = {deliveries[at].messages[0].body for at in (1, 4, 5)}
        first.close()
        second = connect()
        left = take(second, 3)
        assert {message.body for message in messages_of(left)} == {b"%d" % at for at in range(6)} - acked
        second.ack(left)
        second.close()
        assert connect().receive(MANY_BYTES, 0.05) is None

    def test_acknowledging_twice_or_what_was_lost_does_nothing(self, connect: Factory) -> None:
        publisher, first = connect(), connect()
        publisher.publish([b"a", b"b"])
        a, b = receive_one(first), receive_one(first)
        first.ack([a, a])
        first.ack([a])
        first.ack([])
        first.close()
        second = connect()
        again = receive_one(second)
        assert again.messages[0].body == b.messages[0].body
        second.ack([b])
        second.ack([again])
        assert second.receive(MANY_BYTES, 0.05) is None

    def test_the_receipt_alone_is_enough(self, connect: Factory) -> None:
        """Whoever has made something else of the messages holds them no longer."""
        publisher, consumer = connect(), connect()
        publisher.publish([b"a"])
        emptied = replace(receive_one(consumer), messages=())
        assert consumer.keep([emptied]) == [emptied]
        consumer.ack([emptied])
        consumer.close()
        assert connect().receive(MANY_BYTES, 0.05) is None

    def test_keep_returns_what_is_still_ours(self, connect: Factory) -> None:
        publisher, consumer = connect(), connect()
        publisher.publish([b"a", b"b", b"c"])
        a, b, c = (receive_one(consumer) for _ in range(3))
        assert consumer.keep([c, a, b]) == [c, a, b]
        consumer.ack([a])
        assert consumer.keep([a, b, c]) == [b, c]
        assert consumer.keep([]) == []

    def test_stats_count_what_waits_for_its_acknowledgement(self, connect: Factory) -> None:
        publisher, consumer, onlooker = connect(), connect(), connect()
        stats = onlooker.stats()
        assert (stats.messages or 0, stats.bytes or 0) == (0, 0)
        publisher.publish([b"1234", b"", b"567890"] if self.takes_empty else [b"1234", b"5", b"67890"])
        deliveries = take(consumer, 3)
        stats = onlooker.stats()
        assert stats.messages in {3, None}
        assert stats.bytes in {10, None}
        assert stats.oldest_s is None or 0 <= stats.oldest_s < PATIENCE_S
        consumer.ack(deliveries)
        stats = onlooker.stats()
        assert (stats.messages or 0, stats.bytes or 0) == (0, 0)

    def test_closing_twice_is_fine(self, connect: Factory) -> None:
        used, unused = connect(), connect()
        used.publish([b"kept"])
        receive_one(used)
        for queue in (used, unused, used, unused):
            queue.close()
        assert receive_one(connect()).messages[0].body == b"kept"

    # kill -9

    def test_what_a_killed_publisher_had_confirmed_is_there(self, factory: Factory, connect: Factory) -> None:
        confirmed: set[bytes] = set()
        for life in range(3):
            with _Child(_publish_and_confirm, factory, b"%d" % life) as publisher:
                confirmed |= {publisher.hear() for _ in range(20 + 30 * life)}
                publisher.kill()
            confirmed |= set(publisher.rest())
        consumer = connect()
        came: set[bytes] = set()
        while delivery := consumer.receive(MANY_BYTES, 0.3 if confirmed <= came else PATIENCE_S):
            came |= {message.body for message in delivery.messages}
            consumer.ack([delivery])
        assert confirmed - came == set()

    def test_what_a_killed_consumer_held_comes_again_unchanged(self, factory: Factory, connect: Factory) -> None:
        connect().publish([b"%d" % at for at in range(20)])
        with _Child(_consume_and_acknowledge_half, factory) as consumer:
            held: list[Message] = consumer.hear()
            consumer.kill()
        assert held
        survivor = connect()
        left = take(survivor, len(held))
        assert by_body(messages_of(left)) == by_body(held)
        survivor.ack(left)
        assert survivor.receive(MANY_BYTES, 0.05) is None


def take(queue: Queue, count: int) -> list[Delivery]:
    """Receive until `count` messages have come, and not one more."""
    deliveries: list[Delivery] = []
    missing = count
    while missing > 0:
        delivery = queue.receive(MANY_BYTES, PATIENCE_S)
        assert delivery is not None, f"{missing} of {count} messages are missing"
        assert delivery.messages
        deliveries.append(delivery)
        missing -= len(delivery.messages)
    assert missing == 0, f"{-missing} messages too many"
    return deliveries


def receive_one(queue: Queue) -> Delivery:
    """A delivery of one message."""
    delivery = queue.receive(0, PATIENCE_S)
    assert delivery is not None
    assert len(delivery.messages) == 1
    return delivery


def messages_of(deliveries: Iterable[Delivery]) -> list[Message]:
    """The messages of all of these, in order."""
    return [message for delivery in deliveries for message in delivery.messages]


def by_body(messages: Iterable[Message]) -> list[Message]:
    """For comparing what came in different orders."""
    return sorted(messages, key=lambda message: message.body)


class _Child:
    """A process that works on the queue and says how far it is, until it is killed."""

    def __init__(self, work: Callable[..., None], *arguments: object) -> None:
        self._ear, self._mouth = _spawn.Pipe(duplex=False)
        self._process = _spawn.Process(target=work, args=(self._mouth, *arguments), daemon=True)

    def __enter__(self) -> _Child:
        self._process.start()
        self._mouth.close()  # so that the child's death ends what we hear
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def hear(self) -> Any:
        """What the child said next."""
        assert self._ear.poll(PATIENCE_S), "the child says nothing"
        return self._ear.recv()

    def rest(self) -> Iterator[Any]:
        """What it had said before it was killed, and nobody heard yet."""
        try:
            while True:
                yield self._ear.recv()
        except (EOFError, OSError):
            return  # it may have been killed in the middle of a word

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.join()


def _publish_and_confirm(mouth: Connection, factory: Factory, name: bytes) -> None:
    """Publish from four threads for as long as we live; say what was confirmed."""
    queue = factory()
    speaking = threading.Lock()

    def publish(thread: int) -> None:
        at = 0
        while True:
            body = b"%b:%d:%d:" % (name, thread, at) + b"x" * 2_000
            queue.publish([body])
            with speaking:
                mouth.send(body)
            at += 1

    for thread in range(4):
        threading.Thread(target=publish, args=(thread,), daemon=True).start()
    threading.Event().wait()


def _consume_and_acknowledge_half(mouth: Connection, factory: Factory) -> None:
    """Receive everything, one by one; acknowledge every other message; say what is left, and wait."""
    with closing(factory()) as queue:
        deliveries = [receive_one(queue) for _ in range(20)]
        queue.ack(deliveries[::2])
        mouth.send(messages_of(deliveries[1::2]))
        threading.Event().wait()
