"""Consuming from Kafka, as one of a group.

Partitions move one by one (cooperative-sticky): a loader that comes or goes takes from the others what it is given,
and leaves the rest of their open rounds alone. What was delivered of a partition that moves is delivered again by its
new owner; `keep` then no longer names it, and acknowledging it does nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Consumer as Client

from catchment.errors import CatchmentError, Retry
from catchment.log import get_log
from catchment.queues import Delivery, Message
from catchment.queues.kafka_config import KafkaConfig
from catchment.queues.kafka_faults import LOST, connecting, explained, made
from catchment.queues.kafka_messages import message_of
from catchment.queues.kafka_offsets import Claim, Span
from catchment.queues.kafka_patience import Unanswered, within

_log = get_log("queue")

_AT_ONCE = 1_000
_FIRST_GUESS_BYTES = 50_000
_TEND_AFTER_S = 2.0
"""From here on the loader is busy with its archive: the group must still hear from us."""
ANSWER_S = 10.0
_REBALANCE_S = 30.0
_SILENT_S = 10.0
"""Connections that fail are tried again, and say so, every two seconds at the least: who has been silent for so long
is asked whether a broker is there."""
_ASK_S = 2.0
UNANSWERED_S = 60.0
"""A client that has not heard from a broker for so long is asked, and replaced if it finds none; so is one that has
not answered. By then the group has given its partitions to others anyway."""
_LONGEST_SILENCE_S = 3600.0
_LEAVE_S = 30.0
_TELLING = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION})
"""Words that whoever receives has to hear."""
PREFETCHED_KBYTES = 32_000


class Consumer:
    """One member of the group. Thread-safe, as far as one loader's threads go."""

    def __init__(
        self,
        config: KafkaConfig,
        *,
        message: Callable[[str, Any, bytes], Message] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """`message` makes one of a topic, the client's message and its body; `options` go before ours."""
        self._config = config
        self._message = message or message_of
        self._lock = threading.RLock()
        self._claims: dict[int, Claim] = {}
        self._spare: deque[Any] = deque()
        """The client's messages that are not delivered yet: of partitions that are ours, and of this claim to them."""
        self._polled_s = time.monotonic()
        self._paused = False
        self._trouble: KafkaError | None = None
        """What the connections said last."""
        self._untold: KafkaError | None = None
        """What they said that has to be raised, whatever they have said since: many words may come at once."""
        self._away: CatchmentError | None = None
        """What they said when none was left, until one is there again."""
        self._heard_s = 0.0
        """When they said anything last."""
        self._was_here = False
        """A broker has been met."""
        self._failure: CatchmentError | None = None
        """What came in the place of a message: raised once there is nothing to deliver, lest that be lost."""
        self._mean_bytes = float(_FIRST_GUESS_BYTES)
        self._options = consumer_options(config) | {**(options or {}), "error_cb": self._heard}
        self._patience_s = UNANSWERED_S
        self._answered_s = time.monotonic()
        """When the brokers let us know last that the client finds them."""
        self._client = self._joined()

    def _joined(self) -> Any:
        """A new member of the group."""
        client = made(Client, self._options, self._config)
        client.subscribe(
            [self._config.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )
        return client

    # ---- receiving --------------------------------------------------------------------

    def receive(self, max_bytes: int, wait_s: float) -> Delivery | None:
        """As `Queue.receive`. Raises `Retry` while no broker can be reached, `StorageError`."""
        with self._lock:
            self._find_back()
            self._resume()
            give_up_s = time.monotonic() + wait_s
            delivery = self._deliver(max_bytes)
            while delivery is None:
                self._fetch(1, max(0.0, give_up_s - time.monotonic()))
                delivery = self._deliver(max_bytes)
                if delivery is None and (self._failure is not None or time.monotonic() >= give_up_s):
                    self._complain()
                    return None
            self._trouble = self._untold = None
            self._is_here()
            return delivery

    def _deliver(self, max_bytes: int) -> Delivery | None:
        """The first message, whatever its size, and what is here already and fits beside it."""
        messages: list[Message] = []
        spans: dict[Claim, Span] = {}
        size = 0
        topic, claims, spare = self._config.topic, self._claims, self._spare
        while spare or (0 < size < max_bytes and self._fetch(int((max_bytes - size) / self._mean_bytes) + 1, 0)):
            message = spare[0]
            body = message.value() or b""
            if messages and size + len(body) > max_bytes:
                break
            spare.popleft()
            partition, offset = message.partition(), message.offset()
            claim = claims[partition]
            if claim.beyond and claim.is_done(offset):
                continue
            messages.append(self._message(topic, message, body))
            size += len(body)
            span = spans.get(claim)
            if span is None:
                spans[claim] = claim.take(offset)
            else:
                span.end = offset + 1
        if not messages:
            return None
        self._mean_bytes = max(1.0, size / len(messages))
        return Delivery(messages, tuple(spans.values()))

    def _fetch(self, count: int, wait_s: float) -> bool:
        """Up to so many messages into `_spare`, and whether any are there; on the way partitions may come and go."""
        self._polled_s = time.monotonic()
        try:
            self._take_in(self._client.consume(min(_AT_ONCE, count), wait_s))
        except KafkaException as error:
            self._failure = explained(error.args[0], "receive from", self._config, self._trouble)
        if self._spare:
            self._has_answered()
        return bool(self._spare)

    def _take_in(self, messages: Iterable[Any]) -> None:
        for message in messages:
            error = message.error()
            if error is not None:
                self._weigh(error)
            elif message.partition() in self._claims:  # else it has moved to another member meanwhile
                self._spare.append(message)

    def _weigh(self, error: KafkaError) -> None:
        """An error in the place of a message: most pass by themselves."""
        if error.code() == KafkaError._MAX_POLL_EXCEEDED:
            _log.warning("the group has not heard from this loader in time; its partitions come again")
            return
        found = explained(error, "receive from", self._config)
        if isinstance(found, Retry):
            self._note(error)
        else:
            self._failure = found

    def _note(self, error: KafkaError) -> None:
        self._trouble = error
        if error.code() in _TELLING:
            self._untold = error

    def _heard(self, error: KafkaError) -> None:
        before = self._trouble
        self._note(error)
        self._heard_s = time.monotonic()
        if error.code() == KafkaError._ALL_BROKERS_DOWN and self._away is None:
            self._away = explained(error, "receive from", self._config, before)
            _log.warning("Kafka is away; connecting again", exc=self._away)

    def _is_here(self) -> None:
        self._was_here = True
        if self._away is not None:
            self._away = None
            _log.info("Kafka is back", topic=self._config.topic)

    def _complain(self) -> None:
        """Raise what keeps messages from coming, once for each time that it is heard."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        untold, self._untold = self._untold, None
        trouble, self._trouble = self._trouble, None
        if untold is not None:
            raise explained(untold, "receive from", self._config, trouble)
        # Between two such words come many of single connections. Who has been here finds the way back by receiving;
        # who has not is no listener yet.
        if self._away is None:
            return
        if time.monotonic() - self._heard_s > _SILENT_S:
            self._listen()
        elif not self._was_here:
            raise self._away.with_traceback(None)

    def _listen(self) -> None:
        """Of brokers that were away and say nothing any more some may be up, be there nothing for us."""
        self._heard_s = time.monotonic()
        if self._knows_brokers(_ASK_S):
            self._is_here()
        elif self._away is not None:
            raise self._away.with_traceback(None)

    # ---- clients that do not find back ------------------------------------------------

    def _has_answered(self) -> None:
        self._answered_s = time.monotonic()
        self._patience_s = UNANSWERED_S

    def _find_back(self) -> None:
        """Ask a client that has been silent for long where the brokers are; if it does not know, another may."""
        if time.monotonic() - self._answered_s < self._patience_s:
            return
        if not self._knows_brokers(ANSWER_S):
            self._replace()

    def _knows_brokers(self, wait_s: float) -> bool:
        """Whether one of them answers the client."""
        try:
            self._client.list_topics(self._config.topic, timeout=wait_s)
        except KafkaException:
            return False
        self._has_answered()
        return True

    def _replace(self) -> None:
        """Leave it to itself: it may never end. It may be the brokers that are away: the next one gets more time."""
        _log.warning(
            "Kafka's client has found no broker; another takes its place, and what was not acknowledged comes again",
            topic=self._config.topic, after_s=round(time.monotonic() - self._answered_s),
        )  # fmt: skip
        threading.Thread(target=self._client.close, name="kafka-leaving", daemon=True).start()
        self._forget()
        self._paused = False
        self._client = self._joined()
        self._answered_s = time.monotonic()
        self._patience_s = min(2 * self._patience_s, _LONGEST_SILENCE_S)

    # ---- keeping, acknowledging -------------------------------------------------------

    def keep(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """As `Queue.keep`; a delivery that was lost in part comes back as the rest of it."""
        with self._lock:
            if time.monotonic() - self._polled_s > _TEND_AFTER_S:
                try:
                    self._tend()
                except Retry as error:
                    _log.debug("the group cannot be heard at the moment", exc=error)
            return [kept for delivery in deliveries if (kept := _still_ours(delivery)) is not None]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """As `Queue.ack`: returns once the offsets are committed. Raises `Retry`, `StorageError`."""
        with self._lock:
            for span in (span for delivery in deliveries for span in delivery.receipt):
                span.done = span.done or not span.claim.lost
            give_up_s = time.monotonic() + _REBALANCE_S
            while self._commit():
                # The commit has to wait for the group, and the group waits for us. What is not ours any more is no
                # claim then; of what still is nothing else might come, and with it no other commit.
                if time.monotonic() >= give_up_s:
                    raise Retry("the group is still sharing out its partitions", "it commits again by itself")
                self._tend()
                time.sleep(0.1)

    def _commit(self) -> bool:
        """Commit what is acknowledged; whether it must be tried again, the group being in the middle of a change, or
        in another one than this member knows of."""
        unsaved = {claim: now for claim in self._claims.values() if (now := claim.unsaved()) is not None}
        if not unsaved:
            return False
        wanted = [
            TopicPartition(self._config.topic, claim.partition, offset, text)
            for claim, (offset, text) in unsaved.items()
        ]
        errors: set[KafkaError] = set()
        try:
            answers = within(UNANSWERED_S, partial(self._client.commit, offsets=wanted, asynchronous=False))
        except KafkaException as error:
            errors.add(error.args[0])
        except Unanswered:
            self._replace()
            raise Retry(
                f"cannot commit offsets of {self._config.topic} on {self._config.brokers}: no answer",
                "what was not acknowledged comes again by itself",
            ) from None
        else:
            self._has_answered()
            failed = {answer.partition: answer.error for answer in answers if answer.error is not None}
            errors.update(failed.values())
            for claim, now in unsaved.items():
                if claim.partition not in failed:
                    claim.saved(*now)
        for each in errors:
            if each.code() not in {KafkaError.REBALANCE_IN_PROGRESS, *LOST}:
                raise explained(each, "commit offsets of", self._config, self._trouble)
        return bool(errors)

    def _tend(self) -> None:
        """Let the group hear from us, and hear what it has to say, without receiving more than is on its way."""
        self._polled_s = time.monotonic()
        try:
            self._paused = True  # be it in part
            self._client.pause(self._client.assignment())
            while (message := self._client.poll(0)) is not None:
                self._take_in([message])
        except KafkaException as error:
            raise explained(error.args[0], "receive from", self._config, self._trouble) from error

    def _resume(self) -> None:
        if self._paused:
            self._client.resume(self._client.assignment())
            self._paused = False

    # ---- partitions come and go, within a call of the client's ------------------------

    def _assigned(self, client: Any, partitions: list[TopicPartition]) -> None:
        if client is not self._client:
            return  # it is leaving
        self._is_here()
        self._has_answered()
        try:
            committed = client.committed(partitions, timeout=ANSWER_S)
        except KafkaException as error:
            # Where to begin the client then finds out itself; what was acknowledged out of order comes again.
            _log.warning("cannot tell what was acknowledged", error=str(error))
            committed = partitions
        for each in committed:
            known = each if each.error is None else TopicPartition(each.topic, each.partition, OFFSET_INVALID)
            self._claims[each.partition] = Claim.of(each.partition, known.offset, known.metadata)
            if known.offset >= 0:
                self._look_for_losses(client, known)
        client.incremental_assign(
            [
                TopicPartition(each.topic, each.partition, each.offset if each.offset >= 0 else OFFSET_INVALID)
                for each in committed
            ]
        )
        # A partition that was paused when it went is still so when it comes back, and would never be received from.
        client.resume(partitions)
        _log.debug("partitions assigned", partitions=sorted(each.partition for each in partitions))

    def _look_for_losses(self, client: Any, committed: TopicPartition) -> None:
        try:
            low, _ = client.get_watermark_offsets(committed, timeout=ANSWER_S, cached=False)
        except KafkaException:
            return
        if low > committed.offset:
            _log.error(
                "messages have expired before they were loaded; the topic's retention is too short",
                topic=committed.topic, partition=committed.partition, messages=low - committed.offset,
            )  # fmt: skip

    def _revoked(self, client: Any, partitions: Iterable[TopicPartition]) -> None:
        if client is not self._client:
            return
        for each in partitions:
            claim = self._claims.pop(each.partition, None)
            if claim is not None:
                claim.lost = True
        ours = [message for message in self._spare if message.partition() in self._claims]
        self._spare.clear()
        self._spare.extend(ours)
        _log.debug("partitions revoked", partitions=sorted(each.partition for each in partitions))

    def close(self) -> None:
        """Leave the group: others get the partitions at once."""
        with self._lock:
            try:
                within(_LEAVE_S, self._client.close)
            except Unanswered:
                _log.warning("Kafka's client does not end; it is left to itself", topic=self._config.topic)
            self._forget()

    def _forget(self) -> None:
        for claim in self._claims.values():
            claim.lost = True
        self._claims.clear()
        self._spare.clear()


def consumer_options(config: KafkaConfig) -> dict[str, Any]:
    """Of a member of the group, and of one that only looks."""
    options = {
        "queued.max.messages.kbytes": PREFETCHED_KBYTES,
        **connecting(config),
        "group.id": config.group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
    }
    if config.options.get("group.protocol") != "consumer":  # where the brokers share out the partitions
        options["partition.assignment.strategy"] = "cooperative-sticky"
    return options


def _still_ours(delivery: Delivery) -> Delivery | None:
    ours = tuple(span for span in delivery.receipt if span.is_ours)
    if len(ours) == len(delivery.receipt):
        return delivery
    if not ours:
        return None
    partitions = {f"{span.claim.partition}" for span in ours}
    messages = [each for each in delivery.messages if (each.identity or "").split("/")[-2] in partitions]
    return replace(delivery, messages=messages, receipt=ours)
