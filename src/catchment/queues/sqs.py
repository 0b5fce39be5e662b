"""The queue on Amazon SQS.

Packs lie in a binary attribute of the message, since a body may hold only characters of XML: as text in a body they
would be a third larger, and the limit is a MiB either way. What is text goes as the body, as everybody else sends it.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from catchment.errors import CatchmentError, StorageError
from catchment.finding import Finding
from catchment.log import get_log
from catchment.pack import is_packed
from catchment.queues import Delivery, Message, QueueStats
from catchment.queues.sqs_config import SqsConfig
from catchment.queues.sqs_requests import MAX_ENTRIES, MAX_MESSAGE_BYTES, OVER_LIMIT, STALE, Entry, Requests, by_size

__all__ = ["SqsQueue"]

_log = get_log("queue")

ATTRIBUTE = "catchment"
_XML = re.compile("[\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+\\Z")
"""What a body may hold; a carriage return is left to the attribute, since XML makes it a line feed."""
_BODY = "records of Catchment, in the attribute"
_OVERHEAD_BYTES = len(_BODY) + len(ATTRIBUTE) + len("Binary")
_LONGEST_POLL_S = 20
_SHORT_PAUSE_S = 0.2
_GATHER_S = 0.2
"""So long more is asked for after the first, at least."""
_MAX_WAVES = 4
"""So many requests wait for each connection at most, before what came is looked at."""
_MAX_HELD = 100_000
"""A standard queue lets 120,000 messages be in flight, for all consumers together."""
_ACK_PATIENCE_S = 10.0
_WAITING = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


@dataclass(eq=False, slots=True)
class Lease:
    """A message that was received: `handle` is its receipt, good until `until_s` (monotonic)."""

    handle: str
    until_s: float
    ours: bool = True


@dataclass(slots=True)
class _Held:
    """What this consumer has received and not acknowledged."""

    leases: set[Lease] = field(default_factory=set)
    spare: deque[tuple[Lease, Message]] = field(default_factory=deque)
    """Received, and not delivered yet: a request brings up to ten, whatever their size."""


class SqsQueue:
    """A `Queue` of Amazon SQS. Nothing is connected to before the first call; a fork must come before that, too.

    A standard queue keeps no order; a FIFO queue keeps that of each message group, and here each message is a group of
    its own: a group is held up as long as one message of it is in flight, and order is not needed.
    """

    Config = SqsConfig

    def __init__(
        self,
        config: SqsConfig,
        folder: Path,
        *,
        message: Callable[[dict[str, Any]], Message] | None = None,
        attributes: Sequence[str] = (ATTRIBUTE,),
        system_attributes: Sequence[str] = ("SentTimestamp",),
    ) -> None:
        """`folder` is not used. `message` makes one of what SQS gives, which is asked for with these
        attributes."""
        self._config = config
        self._message = message or _message
        self._attributes, self._system_attributes = list(attributes), list(system_attributes)
        self._lock = threading.Lock()
        self._closed = False
        self._made: Requests | None = None
        self._holding = threading.RLock()
        self._held = _Held()

    def _requests(self) -> Requests:
        with self._lock:
            if self._closed:
                raise StorageError(
                    f"the queue {self._config.queue_url} has been closed in this process", "open another one"
                )
            if self._made is None:
                self._made = Requests(self._config)
            return self._made

    # ---- publishing -------------------------------------------------------------------

    def publish(self, messages: Sequence[bytes]) -> None:
        """As `Queue.publish`. Raises `Retry`, `StorageError`; no message may be empty."""
        requests = self._requests()
        give_up_s = time.monotonic() + self._config.publish_timeout_s
        batches = by_size(((self._entry(body), len(body) + _OVERHEAD_BYTES) for body in messages), MAX_MESSAGE_BYTES)
        sending = [
            lambda some=some: requests.all_of("publish to", "send_message_batch", some, give_up_s) for some in batches
        ]
        if sending:
            requests.at_once(sending)

    def _entry(self, body: bytes) -> Entry:
        entry: Entry
        if (text := _as_text(body)) is not None:
            entry = {"MessageBody": text}
        else:
            attribute = {"DataType": "Binary", "BinaryValue": body}
            entry = {"MessageBody": _BODY, "MessageAttributes": {ATTRIBUTE: attribute}}
        if self._config.is_fifo:
            # Sent again within five minutes, because an answer was lost, it is known by its name and taken once.
            entry["MessageGroupId"] = entry["MessageDeduplicationId"] = uuid4().hex
        return entry

    # ---- receiving --------------------------------------------------------------------

    def receive(self, max_bytes: int, wait_s: float) -> Delivery | None:
        """As `Queue.receive`. Raises `Retry`, `StorageError`."""
        give_up_s = time.monotonic() + wait_s
        with self._holding:
            while not self._held.spare or not self._drop_expired():
                left_s = max(0.0, give_up_s - time.monotonic())
                # A request that waits looks at every server of SQS, and costs as much as one that does not. It counts
                # whole seconds: half a second, which an idle loader asks for, becomes one.
                poll_s = min(_LONGEST_POLL_S, round(left_s + 0.1))
                self._receive(poll_s, requests=1)
                if not self._held.spare:
                    left_s = give_up_s - time.monotonic()
                    if left_s <= 0:
                        return None
                    if poll_s == 0:
                        time.sleep(min(left_s, _SHORT_PAUSE_S))
            return self._deliver(max_bytes, max(give_up_s, time.monotonic() + _GATHER_S))

    def _deliver(self, max_bytes: int, give_up_s: float) -> Delivery:
        """The first, and more as long as the last answers were half full at least: else we have caught up."""
        spare = self._held.spare
        is_behind = len(spare) * 2 >= MAX_ENTRIES
        taken = [spare.popleft()]
        room = max_bytes - len(taken[0][1].body)
        while room > 0:
            if not spare:
                if not is_behind or time.monotonic() >= give_up_s:
                    break
                # As many requests as fill the room with messages of the size that came so far.
                mean_bytes = (max_bytes - room) / len(taken) + 1
                wanted = min(_MAX_WAVES * self._config.connections, int(room / mean_bytes / MAX_ENTRIES) + 1)
                is_behind = self._receive(0, wanted) * 2 >= MAX_ENTRIES * wanted
                if not spare:
                    break
            if len(spare[0][1].body) > room:
                break
            taken.append(spare.popleft())
            room -= len(taken[-1][1].body)
        return Delivery([message for _, message in taken], tuple(lease for lease, _ in taken))

    def _receive(self, poll_s: int, requests: int) -> int:
        """Into `spare`; how many came."""
        if len(self._held.leases) >= _MAX_HELD:
            return 0
        came: list[tuple[Lease, Message]] = []
        failed: list[CatchmentError] = []
        for answer in self._requests().at_once([partial(self._ask, poll_s)] * requests):
            if isinstance(answer, CatchmentError):
                failed.append(answer)
            else:
                came += answer
        self._held.spare.extend(came)
        self._held.leases.update(lease for lease, _ in came)
        if failed and not self._held.spare:
            raise failed[0]
        return len(came)

    def _ask(self, poll_s: int) -> list[tuple[Lease, Message]] | CatchmentError:
        """One request's messages, or why there are none: others that were made beside it may have brought some."""
        try:
            answer = self._requests().one(
                "receive from",
                "receive_message",
                MaxNumberOfMessages=MAX_ENTRIES,
                WaitTimeSeconds=poll_s,
                VisibilityTimeout=self._config.visibility_s,
                MessageAttributeNames=self._attributes,
                MessageSystemAttributeNames=self._system_attributes,
            )
        except CatchmentError as error:
            # Of too much in flight nothing is wrong: it has to be archived first.
            return [] if any(code in error.message for code in OVER_LIMIT) else error
        # From the answer on: what an archive holds may be deleted by a receipt that has run out, and nothing is lost.
        until_s = time.monotonic() + self._config.visibility_s
        return [(Lease(each["ReceiptHandle"], until_s), self._message(each)) for each in answer.get("Messages", [])]

    def _drop_expired(self) -> bool:
        """Forget what has waited here for too long: it comes again. Whether anything is left."""
        spare = self._held.spare
        margin_s = self._config.visibility_s / 3
        while spare and spare[0][0].until_s - time.monotonic() < margin_s:
            self._forget([spare.popleft()[0]])
        return bool(spare)

    # ---- keeping, acknowledging -------------------------------------------------------

    def keep(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """As `Queue.keep`."""
        with self._holding:
            self._extend([lease for delivery in deliveries for lease in delivery.receipt])
            return [kept for delivery in deliveries if (kept := _still_ours(delivery)) is not None]

    def _extend(self, leases: Sequence[Lease]) -> None:
        """Those of which a third is over; what is over as a whole may be somebody else's by now."""
        now_s = time.monotonic()
        self._forget([lease for lease in leases if lease.until_s <= now_s])
        due = {
            lease.handle: lease
            for lease in leases
            if lease in self._held.leases and lease.until_s - now_s < self._config.visibility_s * 2 / 3
        }
        if not due:
            return
        entries = [{"ReceiptHandle": handle, "VisibilityTimeout": self._config.visibility_s} for handle in due]
        try:
            gone = self._requests().all_of("keep", "change_message_visibility_batch", entries, now_s, STALE)
        except CatchmentError as error:
            _log.debug("messages cannot be kept at the moment", exc=error)
            return
        self._forget([due.pop(entry["ReceiptHandle"]) for entry in gone])
        for lease in due.values():
            lease.until_s = now_s + self._config.visibility_s

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """As `Queue.ack`. Raises `Retry`, `StorageError`; what was deleted before that stays so."""
        with self._holding:
            now_s = time.monotonic()
            leases = {lease.handle: lease for delivery in deliveries for lease in delivery.receipt}
            self._forget([lease for lease in leases.values() if lease.until_s <= now_s])
            ours = [{"ReceiptHandle": handle} for handle, lease in leases.items() if lease in self._held.leases]
            if ours:
                self._requests().all_of("delete from", "delete_message_batch", ours, now_s + _ACK_PATIENCE_S, STALE)
                self._forget(list(leases.values()))

    def _forget(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            lease.ours = False
        self._held.leases.difference_update(leases)

    # ---- the rest ---------------------------------------------------------------------

    def stats(self) -> QueueStats:
        """As `Queue.stats`; at Amazon's the number lags behind by up to a minute."""
        answer = self._requests().one("look at", "get_queue_attributes", AttributeNames=list(_WAITING))
        return QueueStats(messages=sum(int(answer["Attributes"].get(name, 0)) for name in _WAITING))

    def close(self) -> None:
        """As `Queue.close`: what is held comes again at once."""
        with self._lock:
            self._closed = True
            requests, self._made = self._made, None
        if requests is None:
            return
        with self._holding:
            entries = [{"ReceiptHandle": lease.handle, "VisibilityTimeout": 0} for lease in self._held.leases]
            self._forget(list(self._held.leases))
            self._held.spare.clear()
            try:
                if entries:
                    requests.all_of("give back to", "change_message_visibility_batch", entries, 0, STALE)
            except CatchmentError as error:
                _log.debug("messages could not be given back; they come again later", exc=error)
        requests.close()

    @staticmethod
    def diagnose(config: SqsConfig, folder: Path) -> list[Finding]:
        """See `catchment.registry`."""
        from catchment.queues.sqs_diagnose import diagnose

        return diagnose(config)


def _as_text(body: bytes) -> str | None:
    """A body that any other program can read where it lies; None for packs, and for what is no text of XML."""
    if is_packed(body):
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return text if _XML.match(text) else None


def _message(received: dict[str, Any]) -> Message:
    attribute = received.get("MessageAttributes", {}).get(ATTRIBUTE)
    body = attribute["BinaryValue"] if attribute and "BinaryValue" in attribute else received["Body"].encode()
    milliseconds = int(received["Attributes"]["SentTimestamp"])
    sent_at = datetime.fromtimestamp(milliseconds / 1_000, UTC)
    return Message(body, received["MessageId"], enqueued_at=sent_at)


def _still_ours(delivery: Delivery) -> Delivery | None:
    kept = [lease.ours for lease in delivery.receipt]
    if all(kept):
        return delivery
    if not any(kept):
        return None
    return replace(
        delivery,
        messages=list(_where(kept, delivery.messages)),
        receipt=tuple(_where(kept, delivery.receipt)),
    )


def _where(kept: Sequence[bool], each: Sequence[Any]) -> Iterator[Any]:
    return (one for one, ours in zip(each, kept, strict=False) if ours)
