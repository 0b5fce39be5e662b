"""What is retried is settled only by being loaded: an attempt that fails is another dead letter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from catchment.errors import UsageError
from catchment.load.corrections import Letter, open_letters, record_again, settle
from catchment.queues import Message
from tests.load.loading import Rig
from tests.send.harness import ListQueue

DOUBLED = b'{"table":"web.event","id":"7","source":"web","data":{"n":1,"n":2}}'


class RetryingRig(Rig):
    """A rig whose letters can be settled."""

    def settle(self, letter: Letter, mended: bytes | None = None) -> None:
        queue = ListQueue()
        settle(queue, letter, "retried", [record_again(letter, mended)])
        self.load(queue.calls[0])

    def load(self, bodies: Sequence[bytes]) -> None:
        """Archive and load messages as they were published."""
        messages = [Message(body, f"again/{at}", self.now) for at, body in enumerate(bodies)]
        self.loader.load(self.put(*messages))

    def letters(self) -> list[Letter]:
        return open_letters(self.warehouse)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RetryingRig]:
    made = RetryingRig(tmp_path)
    yield made
    made.close()


def test_an_attempt_that_fails_is_another_letter(rig: RetryingRig) -> None:
    rig.file(DOUBLED)
    (first,) = rig.letters()
    rig.settle(first)
    (second,) = rig.letters()
    assert second.id != first.id
    assert (second.table, second.reason, second.record_id) == ("web.event", "duplicate-key", "7")
    assert second.received_at == first.received_at
    rig.settle(second)
    (third,) = rig.letters()
    assert third.id not in {first.id, second.id}


def test_copies_of_an_attempt_are_one_letter(rig: RetryingRig) -> None:
    rig.file(DOUBLED)
    queue = ListQueue()
    (letter,) = rig.letters()
    settle(queue, letter, "retried", [record_again(letter, None)])
    rig.load(queue.calls[0])
    rig.load(queue.calls[0])
    assert len(rig.letters()) == 1
    assert rig.ask("SELECT count(*) FROM catchment.dead_letters") == [(2,)]


def test_a_mended_record_is_loaded_under_its_id(rig: RetryingRig) -> None:
    rig.file(DOUBLED)
    (letter,) = rig.letters()
    rig.settle(letter, b'{"table":"web.event","data":{"n":2}}')
    assert rig.letters() == []
    assert rig.ask("SELECT _id, _source, _received_at, n FROM web.event") == [("7", "web", letter.received_at, 2)]


def test_what_is_no_record_is_refused_with_the_form_of_one(rig: RetryingRig) -> None:
    rig.file(DOUBLED)
    with pytest.raises(UsageError, match=r'(?s)required field `data`.*\{"table": "web.event", "data": '):
        rig.settle(rig.letters()[0], b'{"table":"web.event"}')
