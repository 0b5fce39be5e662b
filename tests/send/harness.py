"""A queue in memory, and files sent into it, for the tests of this folder."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from catchment import pack, record
from catchment.errors import QueueFull
from catchment.queues import Delivery, QueueStats
from catchment.record import DEAD_LETTERS, Record
from catchment.send import formats, parquet, render
from catchment.send.publish import Publisher, Target
from catchment.send.source import Source, opened
from catchment.send.survey import Options, survey


@dataclass
class ListQueue:
    """Keeps what is published. `full` times it says that it is full first."""

    full: int = 0
    calls: list[list[bytes]] = field(default_factory=list)

    def publish(self, messages: Sequence[bytes]) -> None:
        if self.full:
            self.full -= 1
            raise QueueFull("the queue is full")
        self.calls.append(list(messages))

    def receive(self, max_bytes: int, wait_s: float) -> Delivery | None:
        raise AssertionError("a sender receives nothing")

    def keep(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        raise AssertionError("a sender receives nothing")

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        raise AssertionError("a sender receives nothing")

    def stats(self) -> QueueStats:
        return QueueStats()

    def close(self) -> None:
        pass

    def packs(self) -> Iterator[pack.Pack]:
        for messages in self.calls:
            for message in messages:
                assert len(message) <= pack.MAX_MESSAGE_BYTES
                yield from pack.read(message)

    def records(self) -> list[Record]:
        """Every record, as the loader will read it; each pack within its bounds."""
        found = []
        for each in self.packs():
            lines = each.plain().split(b"\n")
            assert lines.pop() == b""
            assert len(lines) == each.header.count <= pack.MAX_RECORDS
            for line in lines:
                found.append(record.decode(line))
                assert found[-1].table == each.header.table
        return found


@dataclass
class Outcome:
    """What came of a file."""

    queue: ListQueue
    sent: Any
    table: str = "test.rows"

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(each.data) for each in self.queue.records() if each.table == self.table]

    @property
    def letters(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(each.data) for each in self.queue.records() if each.table == DEAD_LETTERS]

    @property
    def ids(self) -> list[str | None]:
        return [each.id for each in self.queue.records() if each.table == self.table]

    @property
    def raw(self) -> list[bytes]:
        return [bytes(each.data) for each in self.queue.records() if each.table == self.table]


def target(source: Source, place: str = "line", table: str = "test.rows") -> Target:
    return Target(table, "send", source.digest, source.name, place)


def send_csv(path: Path, options: Options | None = None, id_field: str | None = None, **target_of: str) -> Outcome:
    options = options or Options()
    queue = ListQueue()
    with opened(str(path)) as source:
        found = survey(source, options)
        batches = render.batches(source, found, options, id_field)
        publisher = Publisher(queue, target(source, **target_of), say=lambda _: None)
        sent = publisher.send(batches)
        assert sent.at_bytes == source.size_bytes or not found.rows
    outcome = Outcome(queue, sent, target_of.get("table", "test.rows"))
    assert (sent.rows, sent.dead_letters) == (len(outcome.ids), len(outcome.letters))
    assert (sent.rows + sent.dead_letters) == found.rows + found.bad
    return outcome


READERS = {"ndjson": formats.ndjson, "json": formats.array, "parquet": parquet.rows}


def send_as(kind: str, path: Path, id_field: str | None = None) -> Outcome:
    queue = ListQueue()
    with opened(str(path)) as source:
        sent = Publisher(queue, target(source), say=lambda _: None).send(READERS[kind](source, id_field))
    outcome = Outcome(queue, sent)
    assert (sent.rows, sent.dead_letters) == (len(outcome.ids), len(outcome.letters))
    return outcome


def letter_bytes(letter: dict[str, Any]) -> bytes:
    return base64.b64decode(letter["bytes"])
