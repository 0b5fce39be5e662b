"""What is published, when it counts, and what a full queue or an interruption means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from catchment import pack, record
from catchment.errors import Retry
from catchment.record import DEAD_LETTERS, Stamp
from catchment.send import publish
from catchment.send.publish import Publisher, Target
from catchment.send.rows import Bad, Batch
from tests.send.harness import ListQueue

TARGET = Target("shop.orders", "send", "0123abcd", "orders.csv")


def rows(first: int, count: int, ids: Sequence[str] | None = None, bad: Sequence[Bad] = ()) -> Batch:
    numbers = range(first, first + count)
    data = [f'{{"n":{number}}}' for number in numbers]
    return Batch(data, numbers, numbers, data, ids, bad, first + count)


def test_lines_are_what_a_stamp_makes_of_the_record() -> None:
    """The publisher writes a thousand lines at once; each is as the record's own module has it."""
    queue = ListQueue()
    ids = ['a"\\\né', "x"]
    target = Target("shop.orders", 'se"nd', "0123abcd", "orders.csv")
    Publisher(queue, target, say=print).send([rows(1, 2, ids), rows(3, 1)])
    published = [each.plain() for each in queue.packs()]
    found = queue.records()
    assert [each.id for each in found] == [*ids, "0123abcd:3"]
    for each, line in zip(found, b"".join(published).splitlines(keepends=True), strict=True):
        assert each.received_at is not None
        assert Stamp(each.received_at, 'se"nd').line(each).text == line
        assert each.not_before == datetime(1970, 1, 1, tzinfo=UTC)
        assert timedelta(0) <= record.now() - each.received_at < timedelta(minutes=1)


def test_headers_say_what_the_packs_hold() -> None:
    queue = ListQueue()
    Publisher(queue, TARGET, say=print).send([rows(1, 2_500)])
    assert [each.header.count for each in queue.packs()] == [1_000, 1_000, 500]
    for each in queue.packs():
        lines = [record.decode(line) for line in each.plain().splitlines()]
        assert (
            {line.received_at for line in lines} == {each.header.first_received_at} == {each.header.last_received_at}
        )
        assert each.header.not_before == datetime(1970, 1, 1, tzinfo=UTC)


def test_dead_letters_are_records_with_ids_of_their_own() -> None:
    bad = [Bad(2, 7, "wrong-fields", "1 field instead of 2", b"\xff,")]
    other = Target("shop.others", "send", "0123abcd", "orders.csv")
    queue = ListQueue()
    for target in (TARGET, TARGET, other):
        Publisher(queue, target, say=print).send([rows(1, 1, bad=bad)])
    letters = [each for each in queue.records() if each.table == DEAD_LETTERS]
    letter, again, elsewhere = (each.id or "" for each in letters)
    assert letter == again != elsewhere
    assert len(letter) == 32
    assert letter[:6] != elsewhere[:6], "people name a letter by the beginning of its id"
    assert bytes(letters[0].data) == (
        b'{"table_name":"shop.orders","reason":"wrong-fields","detail":"1 field instead of 2",'
        b'"origin":"file orders.csv line 7","bytes":"/yw="}'
    )
    assert letters[0].not_before == datetime(1970, 1, 1, tzinfo=UTC)
    assert {each.reason for each in bad} <= set(record.REASONS)


def test_nothing_counts_before_it_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "PUBLISH_BYTES", 1)
    heard: list[tuple[int, int]] = []
    queue = ListQueue()
    publisher = Publisher(queue, TARGET, print, progress=lambda at: heard.append((at, len(queue.records()))))

    def batches() -> Iterator[Batch]:
        for first in (1, 11, 21):
            assert publisher.sent.rows == first - 1 == len(queue.records())
            yield rows(first, 10)

    publisher.send(batches())
    assert heard == [(11, 10), (21, 20), (31, 30), (31, 30)]


def test_several_messages_are_published_together() -> None:
    queue = ListQueue()
    noise = "".join(chr(0x4E00 + (at * 7919) % 20_000) for at in range(20_000))

    def batches() -> Iterator[Batch]:
        for number in range(1, 301):
            data = [f'{{"n":{number},"x":"{noise[number:]}{noise[:number]}"}}']
            yield Batch(data, [number], [number], data, None, [], number)

    sent = Publisher(queue, TARGET, print).send(batches())
    assert sent.rows == 300 == len(queue.records())
    assert len(queue.calls) >= 2
    assert all(len(messages) >= 4 for messages in queue.calls[:-1])


def test_rows_that_compress_badly_are_halved() -> None:
    queue = ListQueue()
    data = [f'{{"x":"{"".join(chr(0x4E00 + (at * seed) % 20_000) for at in range(200))}"}}' for seed in range(1, 900)]
    Publisher(queue, TARGET, print).send([Batch(data, range(899), range(899), data, None, [], 1)])
    assert len(queue.records()) == 899
    assert all(len(each.raw) <= pack.MAX_COMPRESSED_BYTES for each in queue.packs())
    assert len(list(queue.packs())) > 1


def test_a_full_queue_is_waited_for_and_said_once() -> None:
    said: list[str] = []
    waits: list[float] = []
    queue = ListQueue(full=12)
    sent = Publisher(queue, TARGET, said.append, sleep=waits.append).send([rows(1, 3)])
    assert sent.rows == 3 == len(queue.records())
    assert len(said) == 1
    assert "the queue is full" in said[0]
    assert len(waits) == 12
    assert waits == sorted(waits)
    assert max(waits) <= 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Retry("the broker is away")])
def test_after_an_interruption_what_was_queued_is_known(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    monkeypatch.setattr(publish, "PUBLISH_BYTES", 1)
    queue = ListQueue()
    publisher = Publisher(queue, TARGET, print)

    def batches() -> Iterator[Batch]:
        yield rows(1, 10)
        yield rows(11, 10)
        raise error

    with pytest.raises(type(error)):
        publisher.send(batches())
    assert publisher.sent.rows == 20 == len(queue.records())

    def broken(messages: Sequence[bytes]) -> None:
        raise error

    monkeypatch.setattr(queue, "publish", broken)
    with pytest.raises(type(error)):
        publisher.add(rows(21, 10))
    assert publisher.sent.rows == 20
