"""Dead letters settled: through the queue and the archive, exactly once, and found again if they fail again."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from catchment.errors import UsageError
from catchment.load.corrections import Letter, Outcome, open_letters, record_again, settle
from catchment.queues import Message
from catchment.record import CORRECTIONS, DEAD_LETTERS
from catchment.service import Stop
from tests.load.loading import T0, Rig, event, packed, stamped
from tests.load.queues import ListQueue

BAD = b'{"a":1,"a":2}'


def letters(rig: Rig) -> list[Letter]:
    return open_letters(rig.warehouse)


def settled(letter: Letter, outcome: Outcome, mended: bytes | None = None) -> list[Message]:
    """What is published to settle it, as delivered."""
    queue = ListQueue()
    settle(queue, letter, outcome, [record_again(letter, mended)] if outcome == "retried" else [])
    [delivered] = queue.waiting
    return [Message(m.body, f"settled/{at}", m.enqueued_at) for at, m in enumerate(delivered)]


def load(rig: Rig, *messages: Message) -> None:
    rig.loader.load(rig.put(*messages))


def test_a_letter_shows_where_it_came_from(rig: Rig) -> None:
    load(rig, packed(stamped("1"), stamped("2", BAD)))
    [letter] = letters(rig)
    assert (letter.table, letter.reason, letter.source, letter.record_id) == ("web.event", "duplicate-key", "web", "2")
    assert letter.received_at == T0
    assert letter.origin.endswith(":2")
    assert letter.body == stamped("2", BAD).text.rstrip()
    assert open_letters(rig.warehouse, table="web.other") == []
    assert open_letters(rig.warehouse, letter=letter.id[:8]) == [letter]
    assert open_letters(rig.warehouse, limit=0) == []


@pytest.mark.parametrize("order", [1, -1])
def test_mended_it_keeps_its_id_and_received_at(rig: Rig, order: int) -> None:
    load(rig, packed(stamped("1", BAD)))
    [letter] = letters(rig)
    for message in settled(letter, "retried", b'{"table":"web.event","data":{"a":3}}')[::order]:
        load(rig, message)
    assert rig.ask("SELECT _id, _source, _received_at, a FROM web.event") == [("1", "web", T0, 3)]
    assert letters(rig) == []


def test_mended_badly_it_is_another_letter(rig: Rig) -> None:
    load(rig, packed(stamped("1", BAD)))
    [letter] = letters(rig)
    load(rig, *settled(letter, "retried", b'{"table":"web.event","data":{"a":3,"a":4}}'))
    [other] = letters(rig)
    assert other.id != letter.id
    assert b'"a":4' in other.body


def test_what_is_mended_must_be_a_record(rig: Rig) -> None:
    load(rig, packed(stamped("1", BAD)))
    [letter] = letters(rig)
    with pytest.raises(UsageError, match="the mended record is none"):
        record_again(letter, b'{"table":"web.event"}')


@pytest.mark.parametrize("order", [1, -1])
def test_retried_and_rejected_again_it_is_another_letter(rig: Rig, order: int) -> None:
    load(rig, packed(stamped("1", BAD)))
    seen = set()
    for _ in range(3):
        [letter] = letters(rig)
        seen.add(letter.id)
        for message in settled(letter, "retried")[::order]:
            load(rig, message)
    [last] = letters(rig)
    assert len(seen | {last.id}) == 4
    assert rig.ask(f"SELECT count(*) FROM {DEAD_LETTERS}") == [(4,)]


def test_retried_it_is_closed_until_it_is_rejected_again(rig: Rig) -> None:
    load(rig, packed(stamped("1", BAD)))
    [letter] = letters(rig)
    record, correction = settled(letter, "retried")
    load(rig, correction)
    assert letters(rig) == []
    load(rig, record)
    assert len(letters(rig)) == 1


def test_retried_when_it_fits_it_is_loaded(rig: Rig) -> None:
    """Such as a key that the table had wrong."""
    keyed = {"table": "crm.users", "source": "crm", "op": "upsert", "version": "1"}
    rig.file({**keyed, "id": "1", "key": ["k"], "data": {"k": 1}})
    rig.file({**keyed, "id": "2", "key": ["j"], "data": {"j": 1}})
    [letter] = letters(rig)
    cursor = rig.warehouse._new_cursor()
    for statement in ("DROP TABLE crm.users", "DELETE FROM catchment.keys", "DELETE FROM catchment.columns"):
        cursor.execute(statement)
    del rig.warehouse._shapes["crm.users"]
    load(rig, *settled(letter, "retried"))
    assert letters(rig) == []
    assert rig.ask("SELECT _id FROM crm.users") == [("2",)]


@pytest.mark.parametrize("outcome", ["discarded", "retried"])
def test_what_is_settled_stays_so_when_everything_is_restored(rig: Rig, tmp_path: Path, outcome: Outcome) -> None:
    load(rig, packed(stamped("1", BAD)))
    [letter] = letters(rig)
    mended = b'{"table":"web.event","data":{"a":3}}' if outcome == "retried" else None
    load(rig, *settled(letter, outcome, mended))
    before = rig.ask("SELECT count(*) FROM catchment.open_dead_letters")
    rig.close()
    for file in tmp_path.glob("warehouse.duckdb*"):
        file.unlink()
    again = Rig(tmp_path)
    try:
        again.sweep.everything(Stop())
        assert again.ask("SELECT count(*) FROM catchment.open_dead_letters") == before == [(0,)]
        assert again.ask(f"SELECT count(*) FROM {DEAD_LETTERS}") == [(1,)]
        assert again.ask(f"SELECT outcome FROM {CORRECTIONS}") == [(outcome,)]
    finally:
        again.close()


def test_a_discarded_letter_stays_closed_though_its_record_comes_again(rig: Rig) -> None:
    load(rig, packed(stamped("1", BAD)))
    [letter] = letters(rig)
    load(rig, *settled(letter, "discarded"))
    load(rig, packed(stamped("1", BAD, at_s=60)))
    assert letters(rig) == []


def test_a_correction_that_comes_twice_is_one(rig: Rig) -> None:
    load(rig, packed(stamped("1", BAD)))
    [letter] = letters(rig)
    [correction] = settled(letter, "discarded")
    load(rig, correction)
    load(rig, correction)
    assert rig.ask(f"SELECT count(*) FROM {CORRECTIONS}") == [(1,)]


# ---- messages --------------------------------------------------------------------------------


def test_a_broken_pack_is_sent_again_as_it_was(rig: Rig) -> None:
    whole = packed(*[stamped(str(at), b'{"a":1}') for at in range(3)])
    broken = whole.body[:-1] + bytes([whole.body[-1] ^ 1])
    load(rig, Message(broken, "queue/1", T0))
    [letter] = letters(rig)
    assert letter.body == broken
    [record, _] = settled(letter, "retried")
    assert record.body == broken
    load(rig, *settled(letter, "retried"))
    assert [again.id for again in letters(rig)] != [letter.id]
    assert len(letters(rig)) == 1


def test_a_plain_message_is_mended(rig: Rig) -> None:
    load(rig, Message(b"{nonsense", "queue/7", T0))
    [letter] = letters(rig)
    assert (letter.reason, letter.source, letter.record_id) == ("not-json", "test", "")
    load(rig, *settled(letter, "retried", msgspec.json.encode({"table": "web.event", "data": {"a": 1}})))
    assert letters(rig) == []
    assert rig.ask("SELECT _source, _received_at, a FROM web.event") == [("test", T0, 1)]


def test_a_message_redelivered_is_one_letter(rig: Rig) -> None:
    for at in range(3):
        load(rig, Message(b"{nonsense", "queue/7", T0), rig.message(event(str(at))))
        load(rig, Message(b"{other nonsense", None, None), rig.message(event(f"x{at}")))
    assert len(letters(rig)) == 2


def test_parts_of_a_message_are_letters_of_their_own(rig: Rig) -> None:
    load(rig, Message(b'{"a"\n{"b"\n{"table":"web.event","data":{}}', "queue/7", T0))
    assert sorted(letter.origin for letter in letters(rig)) == [
        "message queue/7, part 0", "message queue/7, part 1"
    ]  # fmt: skip
