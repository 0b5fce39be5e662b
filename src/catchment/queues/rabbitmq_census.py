"""How much waits, what consumers hold included. The broker tells by AMQP only what it has given to nobody; so every
consumer answers for what it holds, over the broker: a question goes to all of them at once.

Asked in this order nothing is missed: what the broker counts no longer is with a consumer by then, or acknowledged.
How many will answer the broker knows: each of ours consumes from a queue of members, to which nobody publishes. One
that holds as much as it may has no subscription to the queue itself.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pika

from catchment.errors import CatchmentError, Retry
from catchment.queues import QueueStats
from catchment.queues.rabbitmq_config import RabbitMQConfig
from catchment.queues.rabbitmq_link import Link, Steps, declare, run_steps

_REPLY_TO = "amq.rabbitmq.reply-to"
_REACH_S = 3.0
_ANSWER_S = 5.0
_SILENCE_S = 1.0
"""So long consumers may take; one that is no Catchment's never answers."""


class Holding(msgspec.Struct, frozen=True):
    """What a consumer was given and has not acknowledged."""

    messages: int
    bytes: int
    oldest: datetime | None
    subscriptions: int
    """How many it has made: the broker counts one that was cancelled until all it delivered is acknowledged."""


def _exchange(config: RabbitMQConfig) -> str:
    return f"{config.queue}.census"


def _declare(channel: Any, config: RabbitMQConfig) -> Steps:
    members = _exchange(config)
    yield lambda callback: channel.exchange_declare(members, "fanout", durable=True, callback=callback)
    yield lambda callback: channel.queue_declare(members, durable=True, callback=callback)


def answer_questions(channel: Any, config: RabbitMQConfig, held: Callable[[], Holding]) -> Steps:
    """Let a consumer's channel answer for what it holds."""

    def on_question(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        answer = msgspec.json.encode(held())
        reply = pika.BasicProperties(correlation_id=properties.correlation_id)
        channel.basic_publish("", properties.reply_to or "", answer, reply)

    yield from _declare(channel, config)
    name = f"{_exchange(config)}.{uuid.uuid4()}"  # as the others begin: permissions are given by names
    yield lambda callback: channel.queue_declare(name, exclusive=True, auto_delete=True, callback=callback)
    yield lambda callback: channel.queue_bind(name, _exchange(config), "", callback=callback)
    yield lambda callback: channel.basic_consume(name, on_question, auto_ack=True, callback=callback)
    yield lambda callback: channel.basic_consume(_exchange(config), lambda *_: None, auto_ack=True, callback=callback)


@dataclass(slots=True)
class _Question:
    ready: int = 0
    consumers: int = 0
    members: int = 0
    answers: list[Holding] = field(default_factory=list)
    counted: threading.Event = field(default_factory=threading.Event)
    answered: threading.Event = field(default_factory=threading.Event)
    error: CatchmentError | None = None


class Census:
    """Asks, over a connection of its own."""

    def __init__(self, config: RabbitMQConfig, folder: Path) -> None:
        self._config = config
        self._questions: dict[str, _Question] = {}
        self._channel: Any = None
        self._link = Link(config, folder, self, "stats")
        self._link.start()

    def ask(self) -> QueueStats:
        """What waits at this moment. Raises `Retry` or `StorageError` where the broker cannot be asked."""
        silent = Retry(f"{self._config.place}: it does not answer", "look at the network, and at the broker")
        if not self._link.wait(_REACH_S):
            raise self._link.trouble or silent
        name, question = str(uuid.uuid4()), _Question()
        self._link.submit(lambda: self._count(name, question))
        if not question.counted.wait(_ANSWER_S):
            raise self._link.trouble or silent
        if question.error is not None:
            raise question.error
        is_complete = question.answered.wait(_SILENCE_S)
        self._questions.pop(name, None)
        return _stats(question, is_complete)

    def close(self) -> None:
        self._link.close()

    # ---- in the link's thread ---------------------------------------------------------

    def prepare(self, channel: Any) -> Steps:
        """See `User`."""
        yield from declare(channel, self._config)
        yield from _declare(channel, self._config)
        yield lambda callback: channel.basic_consume(_REPLY_TO, self._on_answer, auto_ack=True, callback=callback)
        self._channel = channel

    def lost(self, error: CatchmentError) -> None:
        """Nobody answers any more."""
        self._channel = None
        for question in [*self._questions.values()]:
            question.error = error
            question.counted.set()
            question.answered.set()

    def _count(self, name: str, question: _Question) -> None:
        channel = self._channel
        if channel is None or not channel.is_open:
            return
        self._questions[name] = question

        run_steps(self._ask(channel, name, question), question.counted.set)

    def _ask(self, channel: Any, name: str, question: _Question) -> Steps:
        config = self._config
        queue = yield lambda callback: channel.queue_declare(config.queue, passive=True, callback=callback)
        question.ready, question.consumers = queue.method.message_count, queue.method.consumer_count
        members = yield lambda callback: channel.queue_declare(_exchange(config), passive=True, callback=callback)
        question.members = members.method.consumer_count
        if question.members:
            properties = pika.BasicProperties(reply_to=_REPLY_TO, correlation_id=name)
            channel.basic_publish(_exchange(config), "", b"", properties)
        else:
            question.answered.set()

    def _on_answer(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        question = self._questions.get(properties.correlation_id)
        if question is None:
            return
        question.answers.append(msgspec.json.decode(body, type=Holding))
        if len(question.answers) >= question.members:
            question.answered.set()


def _stats(question: _Question, is_complete: bool) -> QueueStats:
    """The queue is first in, first out: the oldest of all is with a consumer, where one holds any."""
    if not is_complete or question.consumers > sum(answer.subscriptions for answer in question.answers):
        return QueueStats()  # a consumer is silent, or none of ours
    messages = question.ready + sum(answer.messages for answer in question.answers)
    times = [answer.oldest for answer in question.answers if answer.oldest is not None]
    oldest_s = max(0.0, (datetime.now(UTC) - min(times)).total_seconds()) if times else None
    size = None if question.ready else sum(answer.bytes for answer in question.answers)
    return QueueStats(messages, size, oldest_s)
